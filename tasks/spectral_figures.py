"""Statistics of the layers by depth: one panel per kind of module, blocks from left to right, one level per picture.

Exponents with their intervals and the band of well-trained layers; the update's size beside its base with the levels
at which checks warn and fail; what of it survives a bf16 merge; its effective rank beside that of random updates.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from data.param_stages import GateParams
from data.spectral_records import LayerSpectrum, Spectrum
from models.random_matrix import null_effective_ranks
from models.spectral_checks import ALPHA_BAND, NULL_LEVEL, is_sound
from tasks import panels
from tasks.layer_places import CHARACTER, end_of, laid_out
from tasks.panels import BAND, BASE, FAIL, INK, MUTED, UPDATE, WARN, Axis, Panel, words

_LEFT, _TOP, _GAP, _HEIGHT = 46, 44, 12, 130
_BETWEEN = 40
"""From one row of panels to the next, for names above and below."""
_PER_ROW = 7
_ROOM = 3.5
"""Pixels for a layer; twice as many where update and base stand side by side."""
_HIGHEST_ALPHA = 10.0
_THINNEST = 2.5
"""Pixels of a band that is narrower than that."""
MOST_KINDS = 14
"""Panels in a picture; further kinds of module stand in the table alone."""

Spot = tuple[float, LayerSpectrum]
"""Where a layer stands in its panel, from left to right, and the layer."""


@dataclass(frozen=True)
class _Strip:
    """One panel: the layers of one kind by depth."""

    title: str
    spots: tuple[Spot, ...]
    names: tuple[str, ...]
    """What the places are called: blocks, or nothing where there are none."""


def alpha_by_depth(layers: Sequence[LayerSpectrum]) -> Markup:
    """Exponents of update and base with their 95 % intervals; empty where none was fitted."""
    fitted = [one for layer in layers for one in (layer.spectrum, layer.base) if one and one.alpha is not None]
    if not fitted:
        return Markup("")
    own = "update" if any(layer.base or layer.null_share is not None for layer in layers) else "weight"
    entries = [(panels.sign_point(UPDATE, interval=True), f"{own}, with its 95 % interval")]
    if any(layer.base and layer.base.alpha is not None for layer in layers):
        entries.append((panels.sign_point(BASE, filled=False, interval=True), "base"))
    entries.append((panels.sign_box(BAND), "2 to 6: well-trained layers"))

    def drawn(panel: Panel, x: float, layer: LayerSpectrum) -> str:
        aside = 0.18 if layer.base is not None else 0.0
        below = _alpha(panel, x - aside, layer.base, BASE, filled=False) if layer.base is not None else ""
        return below + _alpha(panel, x + aside, layer.spectrum, UPDATE, filled=True)

    alphas = [layer.spectrum.alpha for layer in layers if layer.spectrum.alpha is not None]
    low, high = ALPHA_BAND
    inside = sum(low <= alpha <= high for alpha in alphas)
    label = f"Alpha by depth: {inside} of {len(alphas)} fitted {own}s lie between {low:g} and {high:g}."
    axis = Axis(1.0, _HIGHEST_ALPHA)
    return _picture(layers, axis, entries, label, lambda panel: panel.band(*ALPHA_BAND), drawn, 2 * _ROOM)


def size_by_depth(layers: Sequence[LayerSpectrum], thresholds: GateParams) -> Markup:
    """The update's largest singular value over the base's noise edge; empty where there is no base."""
    ratios = [layer.update.sigma_ratio for layer in layers if layer.update is not None and is_sound(layer)]
    if not ratios:
        return Markup("")
    shown = [ratio for ratio in ratios if ratio > 0]
    low = max(min([0.1, *(ratio / 1.5 for ratio in shown)]), 1e-6)
    high = min(max([thresholds.max_sigma_ratio, *ratios]) * 1.8, 1e6)
    axis = Axis(min(low, thresholds.warn_sigma_ratio / 2), max(high, low * 10), log=True)

    def backdrop(panel: Panel) -> str:
        return panel.across(thresholds.warn_sigma_ratio, WARN, "5 3") + panel.across(thresholds.max_sigma_ratio, FAIL)

    def drawn(panel: Panel, x: float, layer: LayerSpectrum) -> str:
        if layer.update is None or not is_sound(layer):
            return ""
        ratio = layer.update.sigma_ratio
        far = FAIL if ratio > thresholds.max_sigma_ratio else WARN if ratio > thresholds.warn_sigma_ratio else UPDATE
        return panel.point(x, ratio, _seen(panel, far), far)

    entries = [
        (panels.sign_point(UPDATE), "update over the base's noise edge"),
        (panels.sign_line(WARN, "5 3"), f"warn above {thresholds.warn_sigma_ratio:g}"),
        (panels.sign_line(FAIL), f"fail above {thresholds.max_sigma_ratio:g}"),
    ]
    label = f"Size of the update over the base's noise edge by depth: {min(ratios):.3g} to {max(ratios):.3g}."
    return _picture(layers, axis, entries, label, backdrop, drawn)


def survival_by_depth(layers: Sequence[LayerSpectrum], thresholds: GateParams) -> Markup:
    """The share of the weights that a bf16 merge changes, in percent; empty where there is no base."""
    shares = [layer.update.survives_bf16 for layer in layers if layer.update is not None and is_sound(layer)]
    if not shares:
        return Markup("")
    warn, fail = 100 * thresholds.warn_surviving_share, 100 * thresholds.min_surviving_share

    def drawn(panel: Panel, x: float, layer: LayerSpectrum) -> str:
        if layer.update is None or not is_sound(layer):
            return ""
        share = 100 * layer.update.survives_bf16
        colour = FAIL if share < fail else WARN if share < warn else UPDATE
        return panel.point(x, share, _seen(panel, colour), colour)

    entries = [
        (panels.sign_point(UPDATE), "% of the weights that a bf16 merge changes"),
        (panels.sign_line(WARN, "5 3"), f"warn below {warn:g}"),
        (panels.sign_line(FAIL), f"fail below {fail:g}"),
    ]
    label = f"Share of the weights that a bf16 merge changes by depth: {min(shares):.1%} to {max(shares):.1%}."
    return _picture(
        layers,
        Axis(0.0, 105.0),
        entries,
        label,
        lambda panel: panel.across(warn, WARN, "5 3") + panel.across(fail, FAIL),
        drawn,
    )


def structure_by_depth(layers: Sequence[LayerSpectrum]) -> Markup:
    """The update's effective rank beside that of random updates of its shape and rank; empty where none has any."""
    judged = [one for one in layers if one.null_share is not None and _directions(one) > 1 and is_sound(one)]
    if not judged:
        return Markup("")
    bounds = {layer.name: _null(layer) for layer in judged}
    highest = max(high for _, high in bounds.values())

    def drawn(panel: Panel, x: float, layer: LayerSpectrum) -> str:
        if layer.name not in bounds:
            return ""
        low, high = bounds[layer.name]
        seen = _THINNEST * (panel.y.high - panel.y.low) / panel.height
        chance = panel.box(x - 0.38, x + 0.38, low, max(high, low + seen), BASE)
        colour = UPDATE if layer.spectrum.effective_rank < low else WARN
        return chance + panel.point(x, layer.spectrum.effective_rank, _seen(panel, colour), colour)

    apart = sum(layer.spectrum.effective_rank < bounds[layer.name][0] for layer in judged)
    entries = [
        (panels.sign_point(UPDATE), "effective rank of the update"),
        *[(panels.sign_point(WARN), "not told from chance")] * (apart < len(judged)),
        (panels.sign_box(BASE), "98 % of random updates"),
    ]
    label = f"Effective rank by depth: {apart} of {len(judged)} updates lie below what random updates have."
    return _picture(layers, Axis(0.0, 1.08 * highest), entries, label, lambda _: "", drawn)


def _directions(layer: LayerSpectrum) -> int:
    return min(layer.rank, layer.M)


def _null(layer: LayerSpectrum) -> tuple[float, float]:
    """Effective ranks between which all but the lowest and highest hundredth of random updates lie."""
    shares = null_effective_ranks(layer.N, layer.M, _directions(layer))
    low, high = np.quantile(shares, (NULL_LEVEL, 1.0 - NULL_LEVEL))
    return float(low) * _directions(layer), float(high) * _directions(layer)


def _alpha(panel: Panel, x: float, found: Spectrum, colour: str, *, filled: bool) -> str:
    if found.alpha is None or found.alpha_low is None or found.alpha_high is None:
        return ""
    interval = panel.interval(x, found.alpha_low, found.alpha_high, colour)
    return interval + panel.point(x, found.alpha, _radius(panel), colour, filled)


# --- panels by depth -------------------------------------------------------------------------------


def _picture(
    layers: Sequence[LayerSpectrum],
    axis: Axis,
    entries: Sequence[tuple[str, str]],
    label: str,
    backdrop: Callable[[Panel], str],
    drawn: Callable[[Panel, float, LayerSpectrum], str],
    room: float = _ROOM,
) -> Markup:
    """One panel per kind of module, with at least ``room`` pixels for each layer where there is so much."""
    strips = _strips(layers)
    spots = max(len(strip.names) or len(strip.spots) for strip in strips)
    fitting = int((panels.WIDTH - _LEFT) / (room * spots + _GAP))
    across = min(len(strips), _PER_ROW, max(2, fitting))
    width = min(500.0, (panels.WIDTH - _LEFT) / across - _GAP)
    parts = [panels.legend(entries, 10, _LEFT)]
    for place, strip in enumerate(strips):
        column, row = place % across, place // across
        left, top = _LEFT + column * (width + _GAP), _TOP + row * (_HEIGHT + _BETWEEN)
        count = max(1, len(strip.names) or len(strip.spots))
        panel = Panel(left, top, width, _HEIGHT, Axis(-0.7, count - 0.3), axis)
        parts += [backdrop(panel), panel.frame(), words(left, top - 6, end_of(strip.title, width), INK, bold=True)]
        parts += [panels.hinted(_hint(layer), [drawn(panel, x, layer)]) for x, layer in strip.spots]
        parts += [panel.y_ticks(5)] if column == 0 else []
        apart = width / (panel.x.high - panel.x.low)
        names = [end_of(name, max(9 * CHARACTER, 1.4 * apart + _GAP)) for name in strip.names]
        wide = [CHARACTER * len(name) for name in names] or [0.0]
        stride = math.ceil(max(26.0, 6 + max(wide)) / apart)
        named = list(enumerate(names))[::stride]
        parts.append(panel.x_ticks([at for at, _ in named], [name for _, name in named]))
        if strip.names and column == 0 and wide[0] / 2 < apart:
            parts.append(words(left - 5, panel.bottom + 13, "block", MUTED, "end"))
    height = _TOP + math.ceil(len(strips) / across) * (_HEIGHT + _BETWEEN) - _BETWEEN + 20
    return panels.picture(label, panels.WIDTH, height, parts)


def _strips(layers: Sequence[LayerSpectrum]) -> list[_Strip]:
    layout = laid_out(layers)
    strips = [_Strip(kind, tuple(layout.of_kind(kind)), layout.blocks) for kind in layout.kinds[: MOST_KINDS - 1]]
    if layout.others:
        spots = tuple((float(place), layer) for place, (_, layer) in enumerate(layout.others))
        names = " and ".join(name for name, _ in layout.others) if len(spots) < 3 else "outside blocks"
        strips.append(_Strip(names if len(names) < 26 else "outside blocks", spots, ()))
    return strips


def _radius(panel: Panel) -> float:
    """Points as large as there is room for them."""
    return min(3.4, max(1.4, panel.width / (panel.x.high - panel.x.low) / 4))


def _seen(panel: Panel, colour: str) -> float:
    """The radius of a point; one that warns or fails is found in any crowd."""
    return _radius(panel) if colour == UPDATE else max(3.0, _radius(panel))


def _hint(layer: LayerSpectrum) -> str:
    found = layer.spectrum
    said = [layer.name]
    if found.alpha is not None and found.alpha_low is not None and found.alpha_high is not None:
        said.append(f"alpha {found.alpha:.2f} [{found.alpha_low:.2f}, {found.alpha_high:.2f}]")
    if layer.update is not None and is_sound(layer):
        said.append(f"size {layer.update.sigma_ratio:.3g}, {layer.update.survives_bf16:.1%} survive a bf16 merge")
    if layer.null_share is not None:
        said.append(f"effective rank {found.effective_rank:.2f} of {_directions(layer)}")
    return ": ".join([said[0], "; ".join(said[1:])])
