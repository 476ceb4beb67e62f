"""Per layer the density of the eigenvalues on logarithmic axes, with the fitted tail and the edges of chance.

The density is per decade of eigenvalue: the bulk is a hill, and a power law of exponent alpha the straight line of
slope 1 - alpha that leaves it. All panels share their axes, so that an update that is too small or too large stands
where the others do not.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from data.spectral_records import Histogram, LayerSpectrum, Spectrum, SpectrumStatus
from tasks import panels
from tasks.layer_places import CHARACTER, end_of, laid_out, spread
from tasks.panels import BAND, BASE, FAIL, INK, MUTED, UNSURE, UPDATE, WARN, Axis, Panel, Point, words

MOST_PANELS = 56
"""In one picture; of more blocks some are shown."""
MOST_KINDS = 14
_PER_ROW = 7
_LEFT, _TOP, _HEAD, _GAP, _HEIGHT = 70, 28, 16, 8, 76
_SAID = 15
"""Above each panel, for what it says of alpha."""
_SHADE = 0.28
"""Of the update's area, through which its base is seen."""
_LONGEST = 11
"""Characters of a stack's name beside its blocks."""
_MOST_DECADES = 12
"""Of the axis of eigenvalues; what is smaller than that is left out."""
_TRIMMED = 0.01
"""Share of the smallest eigenvalues that may lie left of the axis."""
_LN10 = math.log(10.0)
_WHY_NOT = {
    SpectrumStatus.FEW: "too few to fit",
    SpectrumStatus.EQUAL: "all equal",
    SpectrumStatus.ZERO: "zero",
    SpectrumStatus.NOISE: "only rounding",
    SpectrumStatus.NOT_FINITE: "not finite",
}


@dataclass(frozen=True)
class _Density:
    edges: tuple[float, ...]
    """Eigenvalues."""
    values: tuple[float, ...]
    """Share of all eigenvalues per decade."""


def density_by_layer(layers: Sequence[LayerSpectrum], marked: Collection[str] = ()) -> Markup:
    """Small multiples, blocks downwards and kinds of module across; empty where no layer has a spectrum.

    Args:
        layers: of one report.
        marked: names of layers that a check fails; their panels have a red edge, and their blocks are shown first.
    """
    axes = _axes(layers)
    if axes is None:
        return Markup("")
    rows, chosen, of = _rows(layers, marked)
    across = max(len(row) for _, row in rows)
    width = min(230.0, (panels.WIDTH - _LEFT) / across - _GAP)
    parts, top = [panels.legend(_legend(layers), 10, _LEFT)], float(_TOP)
    for title, row in rows:
        headed = top == _TOP or not title
        top += (_HEAD if headed else 0) + _SAID
        if title:
            stack, _, number = title.rpartition(" ")
            parts.append(words(0, top + _HEIGHT / 2 - 12, f"block {end_of(number, 4 * CHARACTER)}", INK, bold=True))
            parts += [words(0, top + _HEIGHT / 2 - 26, stack[:_LONGEST], INK)] if stack else []
        for place, (name, layer) in enumerate(row):
            if layer is None:
                continue
            panel = Panel(_LEFT + place * (width + _GAP), top, width, _HEIGHT, *axes)
            if headed:
                parts.append(words(panel.left, top - _SAID - 4, end_of(name, width), INK, bold=True))
            parts.append(_drawn(panel, layer, layer.name in marked))
            if place == 0:
                parts.append(panel.y_ticks(3))
        if (title, row) == rows[-1] or not rows[rows.index((title, row)) + 1][0]:
            parts += [_decades(_LEFT + place * (width + _GAP), top, width, axes) for place in range(len(row))]
            top += 16
        top += _HEIGHT + _GAP
    parts.append(words(_LEFT, top + 8, "eigenvalue; upwards: share of the eigenvalues per decade", MUTED))
    shown = f" Shown are {chosen} of {of} blocks." if chosen < of else ""
    label = f"Density of the eigenvalues of {len(layers)} layers.{shown} {_said(layers)}"
    return panels.picture(label, panels.WIDTH, top + 14, parts)


def blocks_left_out(layers: Sequence[LayerSpectrum], marked: Collection[str] = ()) -> str:
    """What the picture does not show, in a sentence; empty where it shows all."""
    layout = laid_out(layers)
    chosen = _blocks(layers, marked)
    said = []
    if len(chosen) < len(layout.blocks):
        said.append(f"{len(chosen)} of {len(layout.blocks)} blocks, those with a failed check first")
    if len(layout.kinds) > MOST_KINDS:
        said.append(f"{MOST_KINDS} of {len(layout.kinds)} kinds of module")
    if len(layout.others) > MOST_KINDS:
        said.append(f"{MOST_KINDS} of {len(layout.others)} layers outside blocks")
    return f"The picture shows {' and '.join(said)}; the table holds every layer." if said else ""


Row = tuple[str, list[tuple[str, LayerSpectrum | None]]]


def _rows(layers: Sequence[LayerSpectrum], marked: Collection[str]) -> tuple[list[Row], int, int]:
    """Titled rows of a block each, then untitled ones of layers outside; blocks shown, and blocks there are."""
    layout = laid_out(layers)
    kinds, chosen = layout.kinds[:MOST_KINDS], _blocks(layers, marked)
    rows: list[Row] = [(block, [(kind, layout.cells.get((block, kind))) for kind in kinds]) for block in chosen]
    others: list[tuple[str, LayerSpectrum | None]] = list(layout.others[:MOST_KINDS])
    rows += [("", others[start : start + _PER_ROW]) for start in range(0, len(others), _PER_ROW)]
    return rows, len(chosen), len(layout.blocks)


def _blocks(layers: Sequence[LayerSpectrum], marked: Collection[str]) -> tuple[str, ...]:
    layout = laid_out(layers)
    count = max(4, MOST_PANELS // max(1, min(len(layout.kinds), MOST_KINDS)))
    failing = [block for (block, _), layer in layout.cells.items() if layer.name in marked]
    return spread(layout.blocks, count, failing)


def _axes(layers: Sequence[LayerSpectrum]) -> tuple[Axis, Axis] | None:
    """The axes that all panels share: eigenvalues, and their density."""
    spectra = [found for layer in layers for found in (layer.spectrum, layer.base) if found is not None]
    drawn = [(found.histogram, density(found.histogram)) for found in spectra if found.histogram is not None]
    if not drawn:
        return None
    high = max(histogram.high for histogram, _ in drawn) + 0.2
    low = max(min(_low(histogram) for histogram, _ in drawn) - 0.1, high - _MOST_DECADES)
    dense = [value for _, one in drawn for value in one.values if value > 0]
    top = 1.6 * max(dense)
    return Axis(10**low, 10**high, log=True), Axis(max(min(dense) / 1.6, top / 10**4), top, log=True)


def _low(histogram: Histogram) -> float:
    """Where the histogram begins, but for its very smallest eigenvalues."""
    width = (histogram.high - histogram.low) / len(histogram.counts)
    allowed, seen = _TRIMMED * sum(histogram.counts), 0
    for place, count in enumerate(histogram.counts):
        seen += count
        if seen > allowed:
            return histogram.low + place * width
    return histogram.low


def density(histogram: Histogram) -> _Density:
    """The histogram as shares per decade, neighbouring bins joined where the eigenvalues are few."""
    total, bins = sum(histogram.counts), len(histogram.counts)
    joined = math.ceil(bins / max(5, round(1.3 * math.sqrt(total))))
    width = (histogram.high - histogram.low) / bins
    starts = list(range(0, bins, joined))
    edges = [histogram.low + width * start for start in starts] + [histogram.high]
    counts = [sum(histogram.counts[start : start + joined]) for start in starts]
    values = [count / total / (right - left) for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True)]
    return _Density(tuple(10**edge for edge in edges), tuple(values))


def _drawn(panel: Panel, layer: LayerSpectrum, failed: bool) -> str:
    parts = []
    if layer.base is not None:
        parts += list(_spectrum(panel, layer.base, BASE, BAND, 1))
    parts += list(_spectrum(panel, layer.spectrum, UPDATE, UPDATE, _SHADE))
    edge = layer.base.noise_edge if layer.base is not None else layer.spectrum.noise_edge
    if edge > 0:
        parts.append(panel.up(edge, WARN, "5 2"))
    if layer.spectrum.rounding_edge > 0:
        parts.append(panel.up(layer.spectrum.rounding_edge, UNSURE, "1 2", 1.5))
    parts.append(panel.frame(FAIL if failed else panels.LINE, 2 if failed else 1))
    said = "✗ a check fails" if failed else _alpha(layer.spectrum, short=panel.width < 100)
    parts.append(words(panel.left + 1, panel.top - 4, said, FAIL if failed else MUTED, bold=failed))
    return panels.hinted(_hint(layer), parts)


def _spectrum(panel: Panel, found: Spectrum, stroke: str, fill: str, solid: float) -> Iterator[str]:
    if found.histogram is None:
        return
    shape = density(found.histogram)
    yield panel.steps(shape.edges, shape.values, stroke, fill, solid)
    if found.alpha is None or found.xmin is None or found.num_pl_spikes is None:
        return
    (start, begin), (end, last) = tail_line(found.alpha, found.xmin, found.num_pl_spikes, found.histogram)
    colour, thick = (MUTED, 1.3) if stroke == BASE else (INK, 1.8)
    yield panel.line((start, panel.y.low), (start, begin), colour, 1, "1 3")
    yield panel.line((start, begin), (end, last), colour, thick)


def tail_line(alpha: float, xmin: float, tail: int, histogram: Histogram) -> tuple[Point, Point]:
    """Both ends of the fitted power law: eigenvalue, and share of all eigenvalues per decade.

    Of the tail's share the density per eigenvalue is (alpha - 1) / xmin * (x / xmin)^-alpha, and a decade x * ln 10.
    """
    begin = tail / sum(histogram.counts) * (alpha - 1.0) * _LN10
    end = 10**histogram.high
    return (xmin, begin), (end, begin * max((end / xmin) ** (1.0 - alpha), 1e-30))


def _alpha(found: Spectrum, short: bool) -> str:
    if found.alpha is None or found.alpha_low is None or found.alpha_high is None:
        return _WHY_NOT.get(found.status, found.status.value)
    return f"α {found.alpha:.1f}" + ("" if short else f" [{found.alpha_low:.1f}, {found.alpha_high:.1f}]")


def _hint(layer: LayerSpectrum) -> str:
    found = layer.spectrum
    tail = f", tail {found.num_pl_spikes} of {found.matrix_rank}" if found.num_pl_spikes is not None else ""
    base = f"; base {_alpha(layer.base, short=False)}" if layer.base is not None else ""
    return f"{layer.name} ({layer.N} x {layer.M}): {_alpha(found, short=False)}{tail}{base}"


def _decades(left: float, top: float, width: float, axes: tuple[Axis, Axis]) -> str:
    panel = Panel(left, top, width, _HEIGHT, *axes)
    values = axes[0].ticks(max(2, int(width / 45)))
    return panel.x_ticks(values, [panels.power(value) for value in values])


def _legend(layers: Sequence[LayerSpectrum]) -> list[tuple[str, str]]:
    """What occurs in the picture."""
    compared = any(layer.base is not None for layer in layers)
    fitted = any(layer.spectrum.alpha is not None for layer in layers)
    rounded = any(layer.spectrum.rounding_edge > 0 for layer in layers)
    own = "update" if compared or any(layer.null_share is not None for layer in layers) else "weight"
    entries = [(panels.sign_box(UPDATE, UPDATE, _SHADE), own)]
    entries += [(panels.sign_box(BAND, BASE), "base")] if compared else []
    entries += [(panels.sign_line(INK, thick=1.8), "power law"), (panels.sign_line(INK, "1 3"), "xmin")] * fitted
    entries.append((panels.sign_line(WARN, "5 2"), "noise edge of the base" if compared else "noise edge"))
    return entries + [(panels.sign_line(UNSURE, "1 2"), "rounding edge")] * rounded


def _said(layers: Sequence[LayerSpectrum]) -> str:
    alphas = sorted(layer.spectrum.alpha for layer in layers if layer.spectrum.alpha is not None)
    if not alphas:
        return "No power law was fitted."
    return f"A power law was fitted to {len(alphas)}, with alpha from {alphas[0]:.2f} to {alphas[-1]:.2f}."
