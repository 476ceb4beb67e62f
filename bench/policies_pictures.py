"""Pictures of the years: answers by what they are worth as stacked bars, and shares as curves."""

from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup

from bench.forgetting_pictures import coloured
from bench.measured import Figure
from bench.policies_figures import AS_WANTED, IN_GROUP, WANTED, possible, shares
from bench.policies_questions import Fate, Mark
from tasks import panels
from tasks.panels import BASE, FAIL, GOOD, MUTED, UNSURE, UPDATE, WARN, Axis, Panel, words

_SHARES = Axis(0.0, 1.0)
_COLOURS = {
    Mark.RIGHT: GOOD,
    Mark.RIGHTLY_REFUSED: UPDATE,
    Mark.STALE: WARN,
    Mark.WRONG: FAIL,
    Mark.WRONGLY_REFUSED: UNSURE,
}
_LINES = {
    Fate.UNCHANGED: (BASE, True),
    Fate.NEW: (GOOD, True),
    Fate.BEFORE: (GOOD, False),
    Fate.RESTATED: (BASE, False),
    Fate.REPLACED: (WARN, True),
    Fate.WITHDRAWN: (UPDATE, True),
    Fate.GONE: (UPDATE, False),
}
_BAR = 0.32
"""Half of a bar's width, in years."""


def stacked(title: str, asked: pd.DataFrame, years: Sequence[str]) -> Markup:
    """One bar per year, from the bottom: right, rightly refused, stale, wrong, wrongly refused."""
    panel = _panel(years)
    parts = [panel.frame(), panel.y_ticks(5), _names(panel, years), words(0, 12, title, MUTED)]
    for place, year in enumerate(years):
        mine = asked[asked["year"] == year]
        low = 0.0
        for mark, share in shares(mine).items() if len(mine) else ():
            hint = f"{year}: {mark} {share:.3f} of {len(mine):,}"
            box = panel.box(place - _BAR, place + _BAR, low, low + share, _COLOURS[mark])
            parts.append(panels.hinted(hint, [box]))
            low += share
    there = possible(asked)
    marks = [(panels.sign_box(_COLOURS[mark]), str(mark)) for mark in there]
    parts += [panels.legend(marks[:3], panel.bottom + 36), panels.legend(marks[3:], panel.bottom + 54)]
    return panels.picture(f"{title}, by year.", panel.right + 12, panel.bottom + 66, parts)


def by_fate(arm: str, asked: pd.DataFrame, years: Sequence[str]) -> Markup:
    """Share right, or rightly refused, over the years, by what has become of a fact."""
    panel = _panel(years)
    title = f"{arm}: {AS_WANTED}, by what has become of the fact"
    parts = [panel.frame(), panel.y_ticks(5), _names(panel, years), words(0, 12, title, MUTED)]
    shown = []
    for fate, (colour, filled) in _LINES.items():
        points = []
        for place, year in enumerate(years):
            mine = asked[(asked["year"] == year) & (asked["fate"] == fate.value)]
            if len(mine):
                share = sum(shares(mine, WANTED).values())
                points.append((float(place), share))
                hint = f"{year}, {fate}: {share:.3f} of {len(mine):,}"
                parts.append(panels.hinted(hint, [panel.point(place, share, 3.5, colour, filled)]))
        if points:
            parts.append(panel.curve(points, colour))
            shown.append((panels.sign_point(colour, filled), str(fate)))
    lines = [panels.legend(shown[at : at + 2], panel.bottom + 36 + 9 * at) for at in range(0, len(shown), 2)]
    return panels.picture(f"{title}.", panel.right + 12, panel.bottom + 48 + 9 * len(shown), [*parts, *lines])


def over_years(found: Sequence[Figure], arms: Sequence[str], years: Sequence[str], name: str) -> Markup:
    """Share of a group answered as wanted, over the years, with its interval, by arm."""
    by_name = {one.name: one for one in found}
    panel = _panel(years)
    wanted = IN_GROUP[name]
    title = f"questions on {name}: {wanted}"
    parts = [panel.frame(), panel.y_ticks(5), _names(panel, years), words(0, 12, title, MUTED)]
    for number, (arm, colour, filled) in enumerate(coloured(arms)):
        there = [(place, by_name.get(f"{arm}/{year}/{name}: {wanted}")) for place, year in enumerate(years)]
        points = [(place + 0.05 * number, one) for place, one in there if one is not None]
        if points:
            parts.append(panel.curve([(place, one.value) for place, one in points], colour))
        for place, one in points:
            hint = f"{one.name}: {one.value:.3f} [{one.low:.3f}, {one.high:.3f}], n = {one.n:,}"
            drawn = [
                panel.interval(place, one.low, one.high, colour),
                panel.point(place, one.value, 3.5, colour, filled),
            ]
            parts.append(panels.hinted(hint, drawn))
        parts.append(panels.legend([(panels.sign_point(colour, filled), arm)], panel.bottom + 36 + 18 * number))
    return panels.picture(f"{title}, by arm.", panel.right + 12, panel.bottom + 48 + 18 * len(arms), parts)


def _panel(years: Sequence[str]) -> Panel:
    return Panel(44, 24, 430, 220, Axis(-0.5, len(years) - 0.5), _SHARES)


def _names(panel: Panel, years: Sequence[str]) -> str:
    """Below the panel; the first is what the base knows."""
    return panel.x_ticks(range(len(years)), [f"{years[0]} (base)", *years[1:]])
