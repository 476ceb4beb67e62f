"""The report's curves as SVG that lies inside the page: drawn by matplotlib, coloured by the page.

Colours are drawn as placeholders and then replaced by ``currentColor`` and the page's CSS variables, so
that one drawing is readable in light, in dark and on paper. Equal input gives equal bytes: no date, ids
salted with a constant, and matplotlib's own defaults whatever a user's matplotlibrc says. Figures are
made without pyplot, so none stays open.
"""

import io
import math
import re
from collections.abc import Sequence

import matplotlib.style
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data.report_records import TrainingReport
from data.spectral_records import LayerSpectrum
from models.spectral_checks import ALPHA_BAND

_INK, _MUTED, _ACCENT, _BASE, _BAND = "#010101", "#020202", "#030303", "#040404", "#050505"
_COLOURS = {
    _INK: "currentColor",
    _MUTED: "var(--muted)",
    _ACCENT: "var(--accent)",
    _BASE: "var(--base)",
    _BAND: "var(--band)",
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "relearn",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
_SIZE = (5.4, 2.7)
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_MAX_TICKS = 9
_HIGHEST_ALPHA = 12.0


def loss_curve(training: TrainingReport) -> Markup:
    """Training loss over optimiser steps; empty where no finite loss was logged."""
    points = [
        (number * training.log_every, loss)
        for number, loss in enumerate(training.losses, start=1)
        if math.isfinite(loss)
    ]
    if not points:
        return Markup("")
    with matplotlib.style.context(["default", _STYLE]):
        figure, axes = _axes("Optimiser steps", "Loss (nats per trained token)")
        axes.plot(*zip(*points, strict=True), color=_ACCENT, linewidth=1.6)
        axes.set_ylim(bottom=0.0)
        axes.set_xlim(left=0)
        label = f"Training loss from {points[0][1]:.3f} at step {points[0][0]} to "
        return _svg(figure, "loss", f"{label}{points[-1][1]:.3f} at step {points[-1][0]}.")


def alpha_by_layer(layers: Sequence[LayerSpectrum]) -> Markup:
    """Exponent of the update's and of the base's eigenvalues per layer; empty where none was fitted."""
    update = _known([layer.spectrum.alpha for layer in layers])
    base = _known([layer.base.alpha if layer.base else None for layer in layers])
    if not update and not base:
        return Markup("")
    with matplotlib.style.context(["default", _STYLE]):
        figure, axes = _axes(_layer_axis(layers), "alpha")
        axes.axhspan(*ALPHA_BAND, color=_BAND, linewidth=0)
        top = min(max([8.0, *(1.08 * alpha for _, alpha in (*update, *base))]), _HIGHEST_ALPHA)
        _points(axes, base, top, _BASE, "base", filled=False)
        _points(axes, update, top, _ACCENT, "update", filled=True)
        axes.set_ylim(1.0, top)
        _block_ticks(axes, layers)
        _legend(axes)
        low, high = ALPHA_BAND
        inside = sum(low <= alpha <= high for _, alpha in update)
        label = f"Alpha per layer: {inside} of {len(update)} fitted updates lie between {low:g} and {high:g}."
        return _svg(figure, "alpha", label)


def stable_rank_by_layer(layers: Sequence[LayerSpectrum]) -> Markup:
    """Stable rank of the update per layer, the adapter's rank above it; empty without layers."""
    ranks = _known([layer.spectrum.stable_rank for layer in layers])
    if not ranks:
        return Markup("")
    with matplotlib.style.context(["default", _STYLE]):
        figure, axes = _axes(_layer_axis(layers), "stable rank")
        allowed = [layer.rank for layer in layers]
        axes.step(range(len(layers)), allowed, where="mid", color=_BASE, linewidth=1.2, label="adapter's rank")
        _points(axes, ranks, math.inf, _ACCENT, "update", filled=True)
        axes.set_ylim(bottom=0.0)
        _block_ticks(axes, layers)
        _legend(axes)
        values = [rank for _, rank in ranks]
        label = f"Stable rank of the update per layer, {min(values):.2f} to {max(values):.2f}."
        return _svg(figure, "stable-rank", label)


# --- drawing ---------------------------------------------------------------------------------------


def _axes(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes


def _known(values: Sequence[float | None]) -> list[tuple[int, float]]:
    return [(place, value) for place, value in enumerate(values) if value is not None and math.isfinite(value)]


def _points(axes: Axes, points: list[tuple[int, float]], top: float, colour: str, label: str, *, filled: bool) -> None:
    """Points; those above ``top`` as triangles on the upper edge, so that one outlier hides no layer."""
    face = colour if filled else "none"
    for marker, chosen in (
        ("o", [point for point in points if point[1] <= top]),
        ("^", [(place, top) for place, value in points if value > top]),
    ):
        if chosen:
            xs, ys = zip(*chosen, strict=True)
            name = label if marker == "o" else f"{label}, above {top:g}"
            axes.plot(xs, ys, marker, color=colour, markerfacecolor=face, markersize=4.5, label=name, clip_on=False)


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, borderaxespad=0, handletextpad=0.4)


def _block(layer: LayerSpectrum) -> int | None:
    found = re.search(r"\.(\d+)\.", layer.name)
    return int(found[1]) if found else None


def _layer_axis(layers: Sequence[LayerSpectrum]) -> str:
    numbered = any(_block(layer) is not None for layer in layers)
    return "Adapted layers, by transformer block" if numbered else "Adapted layers"


def _block_ticks(axes: Axes, layers: Sequence[LayerSpectrum]) -> None:
    """A tick where each transformer block begins; where names bear no number, plain counts."""
    blocks = [_block(layer) for layer in layers]
    starts = [
        (place, block)
        for place, block in enumerate(blocks)
        if block is not None and (place == 0 or blocks[place - 1] != block)
    ]
    if not starts:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    shown = starts[:: math.ceil(len(starts) / _MAX_TICKS)]
    axes.set_xticks([place for place, _ in shown], [str(block) for _, block in shown])


# --- from matplotlib's file to the page's element --------------------------------------------------


def _svg(figure: Figure, name: str, label: str) -> Markup:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata=_NO_METADATA, transparent=True)
    return _inline(stream.getvalue(), name, label)


def _inline(svg: str, name: str, label: str) -> Markup:
    """One ``<svg>`` element: no fixed size, no style sheet of its own, ids that no other figure has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(?<= id=")|(?<=href="#)|(?<=url\(#)', f"{name}-", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    for placeholder, colour in _COLOURS.items():
        svg = svg.replace(placeholder, colour)
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None, "matplotlib writes a viewBox"
    opening = f'<svg class="figure" role="img" aria-label="{escape(label)}" {view_box[0]}>'
    return Markup(re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1))  # noqa: S704 (numbers only, label escaped)
