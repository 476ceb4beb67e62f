"""The page of a comparison of costs: cost a day against questions a day, by way, and every number that went in."""

import itertools
import math
from dataclasses import fields
from pathlib import Path

from markupsafe import Markup

from bench.break_even import Comparison, Line
from bench.break_even_case import Case, Way
from bench.break_even_words import NAMES, count, money, sentences
from data.files import write_text
from tasks import panels
from tasks.pages import environment
from tasks.panels import BASE, FAIL, GOOD, INK, MUTED, UNSURE, UPDATE, WARN, Axis, Panel, words

_COLOURS = {
    Way.CLOSED: BASE,
    Way.CONTEXT: FAIL,
    Way.CACHED: WARN,
    Way.RETRIEVAL: UPDATE,
    Way.ADAPTER: GOOD,
    Way.BOTH: UNSURE,
}
_PIECES = 110
_DASH = "4 3"
"""Of a way that is no choice."""


def write_page(path: Path, found: Comparison, command: str) -> Path:
    """Write the page to ``path`` atomically.

    Raises:
        OutsideError: the disk refused it; an older page stays as it was.
    """
    template = environment().get_template("break_even.html.j2")
    text = template.render(
        found=found, picture=picture(found), sentences=sentences(found), names=NAMES, command=command,
        given=given(found.case), money=money, count=count,
    )  # fmt: skip
    write_text(path, text)
    return path


def given(case: Case) -> list[tuple[str, float]]:
    """Every number that went in, by its name."""
    return [
        (one.name, getattr(part, one.name)) for part in (case.load, case.training, case.prices) for one in fields(part)
    ]


def picture(found: Comparison) -> Markup:
    """Cost a day (y) against questions a day (x), both in decades; a circle is where the cheapest choice changes."""
    panel = _panel(found)
    parts = [panel.frame(), panel.y_ticks(6), *_grid(panel)]
    for one in found.lines:
        parts.append(panels.hinted(_hint(one), _drawn(panel, one)))
    queries = found.case.load.queries
    if panel.x.low <= queries <= panel.x.high:
        parts.append(panel.up(queries, INK, "2 3"))
        parts.append(words(panel.at(queries, panel.y.low)[0] + 5, panel.bottom - 8, "asked about", MUTED))
    for start, way in found.stretches[1:]:
        line = found.line(way)
        assert line is not None
        mark = panel.point(start, line.cost(start), 5, INK, filled=False)
        parts.append(panels.hinted(f"From {count(start)} questions a day on: {NAMES[way]}", [mark]))
    parts += [
        words(0, 12, "cost a day, in the currency of the prices", MUTED),
        words(panel.right, panel.bottom + 30, "questions a day", MUTED, "end"),
        *_legend(found, panel.bottom + 52),
    ]
    return panels.picture(
        "Cost a day against questions a day, by way.", 860, panel.bottom + 60 + 18 * len(found.lines), parts
    )


def _panel(found: Comparison) -> Panel:
    queries = [start for start, _ in found.stretches[1:]] + [max(found.case.load.queries, 1.0)]
    x = Axis(
        max(1e-2, 10.0 ** math.floor(math.log10(max(min(queries), 1e-2)) - 1)),
        10.0 ** math.ceil(math.log10(max(queries)) + 1),
        True,
    )
    costs = [cost for one in found.lines for q in (x.low, x.high) if (cost := one.cost(q)) > 0] or [1.0]
    low, high = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))
    return Panel(56, 24, 790, 340, x, Axis(10.0**low, 10.0 ** max(high, low + 1), True))


def _grid(panel: Panel) -> list[str]:
    ticks = panel.x.ticks(9)
    names = [f"{value:,.10g}" if value < 1e6 else panels.power(value) for value in ticks]
    return [panel.x_ticks(ticks, names), *(panel.up(value, panels.LINE) for value in ticks)]


def _drawn(panel: Panel, one: Line) -> list[str]:
    """A straight line bends where both axes count decades, so it is drawn in pieces."""
    ratio = panel.x.high / panel.x.low
    places = [panel.x.low * ratio ** (step / _PIECES) for step in range(_PIECES + 1)]
    points = [(place, one.cost(place)) for place in places]
    if not one.hindrance:
        return [panel.curve(points, _COLOURS[one.way])]
    return [panel.line(start, end, _COLOURS[one.way], 1.3, _DASH) for start, end in itertools.pairwise(points)]


def _legend(found: Comparison, top: float) -> list[str]:
    return [
        panels.legend(
            [(panels.sign_line(_COLOURS[one.way], _DASH if one.hindrance else "", 2), _hint(one))], top + 18 * place
        )
        for place, one in enumerate(found.lines)
    ]


def _hint(one: Line) -> str:
    return f"{NAMES[one.way]} (no choice: {one.hindrance})" if one.hindrance else NAMES[one.way]
