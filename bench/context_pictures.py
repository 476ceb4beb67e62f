"""Pictures of a base's reading: scores by length with and without the context, and which lengths it holds as a map."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from bench.context_figures import Held, Reach, judged
from bench.measured import Figure
from tasks import panels
from tasks.panels import BASE, FAIL, GOOD, INK, LINE, MUTED, UNSURE, UPDATE, WARN, Axis, Panel, words

_SIGNS = {Held.HOLDS: ("✓", GOOD), Held.SHORT: ("✗", FAIL), Held.UNDECIDED: ("?", UNSURE)}
_SHARES = Axis(0.0, 1.0)
_APART = 0.06
"""Between the score with the context and the one without, in lengths."""
_NAMES, _CELL, _ROW = 120, 78, 26
_LETTER = 6.0
"""Of the small print, in pixels."""


def by_length(
    task: str, scored: Mapping[int, Figure], bare: Mapping[int, Figure], lengths: Sequence[int], threshold: float
) -> Markup:
    """Scores with their intervals against the length, with the context (points) and without (rings)."""
    panel = Panel(44, 24, 430, 200, Axis(-0.5, len(lengths) - 0.5), _SHARES)
    parts = [
        panel.frame(),
        panel.y_ticks(5),
        panel.x_ticks(range(len(lengths)), [f"{length:,}" for length in lengths]),
        words(0, 12, f"{task}: score", MUTED),
        words(panel.right, panel.bottom + 30, "length in tokens", MUTED, "end"),
        panel.across(threshold, WARN, "4 3"),
    ]
    for mine, name, colour, filled, aside in (
        (bare, "without the context", BASE, False, _APART),
        (scored, "with the context", UPDATE, True, -_APART),
    ):
        points = [(lengths.index(length) + aside, one) for length, one in mine.items()]
        parts.append(panel.curve([(place, one.value) for place, one in points], colour))
        for place, one in points:
            drawn = [
                panel.interval(place, one.low, one.high, colour),
                panel.point(place, one.value, 3.5, colour, filled),
            ]
            parts.append(panels.hinted(f"{name}: {_told(one)}", drawn))
    marks = [
        (panels.sign_point(UPDATE, interval=True), "with the context"),
        (panels.sign_point(BASE, filled=False, interval=True), "without it"),
        (panels.sign_line(WARN, "4 3"), f"threshold, {threshold:g}"),
    ]
    parts.append(panels.legend(marks, panel.bottom + 52))
    return panels.picture(f"Scores in {task} by length.", panel.right + 12, panel.bottom + 64, parts)


def held_map(
    reached: Sequence[Reach], scored: Mapping[str, Mapping[int, Figure]], lengths: Sequence[int], threshold: float
) -> Markup:
    """Which lengths (columns) are held in which task (rows), with the score, and the effective length in words."""
    right, top = _NAMES + len(lengths) * _CELL, 34
    parts = [
        words(right - 10, 12, "length in tokens", MUTED, "end"),
        words(right + 12, top - 8, "effective length", MUTED),
    ]
    for column, length in enumerate(lengths):
        parts.append(words(_NAMES + (column + 0.5) * _CELL, top - 8, f"{length:,}", MUTED, "middle"))
    for row, one in enumerate(reached):
        y = top + row * _ROW
        parts.append(words(_NAMES - 10, y + 16, one.task, INK, "end"))
        parts.append(words(right + 12, y + 16, one.statement))
        for column, length in enumerate(lengths):
            parts.append(_cell(_NAMES + column * _CELL, y, scored[one.task].get(length), threshold))
    bottom = top + len(reached) * _ROW
    marks = [(panels.sign_box(colour, solid=0.2), f"{sign} {verdict}") for verdict, (sign, colour) in _SIGNS.items()]
    parts.append(panels.legend([*marks, (panels.sign_box("none", LINE), "the task does not fit")], bottom + 18))
    wide = right + 12 + _LETTER * max(len(one.statement) for one in reached)
    return panels.picture(
        "Lengths held by task: " + "; ".join(f"{one.task}, {one.statement}" for one in reached),
        wide,
        bottom + 30,
        parts,
    )


def _cell(x: float, y: float, score: Figure | None, threshold: float) -> str:
    size = f'x="{x + 1:g}" y="{y + 1:g}" width="{_CELL - 3}" height="{_ROW - 3}"'
    if score is None:
        return f'<rect {size} fill="none" stroke="{LINE}"/>'
    verdict = judged(score, threshold)
    sign, colour = _SIGNS[verdict]
    drawn = [
        f'<rect {size} fill="{colour}" fill-opacity="0.2"/>',
        words(x + _CELL / 2 - 1, y + 16, f"{sign} {score.value:.3f}", anchor="middle"),
    ]
    return panels.hinted(f"{verdict}: {_told(score)}", drawn)


def _told(one: Figure) -> str:
    return f"{one.name}: {one.value:.3f} [{one.low:.3f}, {one.high:.3f}], n = {one.n:,}"
