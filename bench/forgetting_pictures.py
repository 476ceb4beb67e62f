"""Pictures of learning against forgetting: arms as points, R as a map, shares over the days."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from bench.forgetting_asking import SAMPLES
from bench.forgetting_figures import BY_CHOICE, IN_SAMPLES, Learned
from bench.forgetting_frontier import LEVELS, Family, frontier_of
from bench.forgetting_plans import POLICIES
from bench.measured import Figure
from data.handbook_questions import Form
from data.handbook_stream import Story
from models.continual import Matrix
from tasks import panels
from tasks.panels import BASE, FAIL, GOOD, MUTED, UNSURE, UPDATE, WARN, Axis, Panel, words

_COLOURS = (UPDATE, GOOD, WARN, FAIL, UNSURE, BASE)
_CELL_HIGH = 24
_HELD_OUT = f", {Form.HELD_OUT}: right"
_SHARES = Axis(0.0, 1.0)


def frontier(found: Sequence[Figure], plan: str, arms: Sequence[str], families: Sequence[Family]) -> Markup:
    """Every arm by what it forgot of the base's facts (x) and what it learned (y), with intervals; best is top left.

    A line is the frontier of a family; dashes are the levels at which families are compared.
    """
    lost, learned = (
        {arm: _figure(found, plan, arm, name) for arm in arms} for name in ("base's facts lost", "learned when taught")
    )
    most = max(0.1, *(one.high for one in lost.values()))
    panel = Panel(44, 24, 420, 260, Axis(-0.02, 1.05 * most), _SHARES)
    parts = [panel.frame(), panel.y_ticks(5)]
    ticks = panel.x.ticks(5)
    parts.append(panel.x_ticks(ticks, [f"{value:g}" for value in ticks]))
    parts += [panel.line((panel.x.low, level), (panel.x.high, level), MUTED, 0.8, "2 4") for level in LEVELS]
    for one in families:
        edge = [(lost, learned) for learned, lost in frontier_of([(p.learned, p.lost) for p in one.points])]
        parts += [panel.line(start, end, MUTED, 1) for start, end in itertools.pairwise(edge)]
    for arm, colour, filled in coloured(arms):
        x, y = lost[arm], learned[arm]
        hint = (
            f"{arm}: learned {y.value:.3f} [{y.low:.3f}, {y.high:.3f}], lost {x.value:.3f} [{x.low:.3f}, {x.high:.3f}]"
        )
        drawn = [
            panel.interval(x.value, y.low, y.high, colour),
            panel.line((x.low, y.value), (x.high, y.value), colour, 1.3),
            panel.point(x.value, y.value, 4, colour, filled),
        ]
        parts.append(panels.hinted(hint, drawn))
    parts += [
        words(0, 12, "right on what was taught, when it was taught", MUTED),
        words(panel.right, panel.bottom + 30, "share of the base's facts lost at the end", MUTED, "end"),
        *_names(arms, panel.bottom + 52),
    ]
    return panels.picture(
        "Arms by what they learned and what they forgot.", 480, panel.bottom + 60 + 18 * len(arms), parts
    )


def heat_map(one: Learned, R: Matrix) -> Markup:
    """R as a map: rows are days of training, columns what is asked about; darker is more often right."""
    rows = ["base" if day == 0 else f"day {day}" for day in range(len(R))]
    label = (
        f"Shares right of {one.arm}, from {R[-1, 0]:.2f} on what the base knew to {R[-1, -1]:.2f} on the last day's."
    )
    title = f"{one.arm}: right on (columns) after day (rows)"
    return _map(title, label, rows, one.groups, R, [UPDATE] * len(one.groups), 64, 46)


def cohort_map(one: Learned, found: Sequence[Figure]) -> Markup:
    """What became of each cohort (rows): right in each form, and what is stale or leaks; darker is more."""
    values = {figure.name.removeprefix(f"{one.plan}/{one.arm}/"): figure.value for figure in found}
    cohorts = [name for name in (*Story, POLICIES) if f"{name}{_HELD_OUT}" in values]
    forms = [(form.value, f"{{}}, {BY_CHOICE if form is Form.CHOICE else form}: right", UPDATE) for form in Form]
    columns = [*forms, ("stale", f"{{}}, {Form.HELD_OUT}: stale", FAIL), ("in samples", f"{{}}: {IN_SAMPLES}", FAIL)]
    shares = np.array([[values.get(name.format(row), np.nan) for _, name, _ in columns] for row in cohorts])
    heads, colours = [head for head, _, _ in columns], [colour for *_, colour in columns]
    label = (
        f"What became of each cohort under {one.arm}: shares right by form, stale in held-out wordings, and leaking."
    )
    title = f"{one.arm}: right by form (blue), stale or in any of {SAMPLES} samples (red), by cohort"
    return _map(title, label, cohorts, heads, shares, colours, 92, 66)


def _map(
    title: str,
    label: str,
    rows: Sequence[str],
    columns: Sequence[str],
    shares: Matrix,
    colours: Sequence[str],
    left: float,
    wide: float,
) -> Markup:
    """Shares [row, column] as cells, darker for more; what is NaN is left out."""
    top = 40
    parts = [words(0, 12, title, MUTED)]
    for column, name in enumerate(columns):
        parts.append(words(left + (column + 0.5) * wide, top - 8, name, MUTED, "middle"))
    for row, name in enumerate(rows):
        y = top + row * _CELL_HIGH
        parts.append(words(left - 8, y + 16, name, MUTED, "end"))
        for column, colour in enumerate(colours):
            if math.isfinite(shares[row, column]):
                parts.append(_cell(left + column * wide, y, wide, float(shares[row, column]), colour))
    return panels.picture(label, left + len(columns) * wide + 4, top + len(rows) * _CELL_HIGH + 4, parts)


def _cell(x: float, y: float, wide: float, value: float, colour: str) -> str:
    box = (
        f'<rect x="{x:g}" y="{y:g}" width="{wide - 2:g}" height="{_CELL_HIGH - 2}" fill="{colour}" '
        f'fill-opacity="{0.08 + 0.62 * value:.2f}"/>'
    )
    return box + words(x + wide / 2 - 1, y + 16, f"{value:.2f}", anchor="middle")


def over_days(arms: Sequence[Learned]) -> Markup:
    """Share right on all that is in force after each day (line), and on what the base knew (dashes), by arm."""
    days = max(len(mean_matrix(one)) for one in arms) - 1
    panel = Panel(44, 24, 560, 240, Axis(0, max(1, days)), _SHARES)
    parts = [panel.frame(), panel.y_ticks(5), panel.x_ticks(range(days + 1), ["base", *map(str, range(1, days + 1))])]
    for one, (_, colour, filled) in zip(arms, coloured([one.arm for one in arms]), strict=True):
        R = mean_matrix(one)
        every = [(float(day), float(np.nanmean(R[day, : day + 1]))) for day in range(len(R))]
        parts.append(panel.curve(every, colour))
        parts += [panel.point(*point, 2.5, colour, filled) for point in every]
        kept = [(float(day), float(R[day, 0])) for day in range(len(R))]
        parts += [panel.line(start, end, colour, 1.2, "4 3") for start, end in itertools.pairwise(kept)]
    parts += [
        words(0, 12, "right: mean over all that is in force (line), facts that the base knew (dashes)", MUTED),
        words(panel.right, panel.bottom + 30, "day", MUTED, "end"),
        *_names([one.arm for one in arms], panel.bottom + 52),
    ]
    return panels.picture("Shares right over the days, by arm.", 620, panel.bottom + 60 + 18 * len(arms), parts)


def coloured(arms: Sequence[str]) -> list[tuple[str, str, bool]]:
    """Arms with their colours, and whether their points are filled, in every picture the same."""
    count = len(_COLOURS)
    return [(arm, _COLOURS[place % count], place // count % 2 == 0) for place, arm in enumerate(arms)]


def mean_matrix(one: Learned) -> Matrix:
    """R, averaged over seeds."""
    return np.asarray(np.mean([one.matrix(seed) for seed in one.seeds], axis=0), dtype=np.float64)


def _names(arms: Sequence[str], top: float) -> list[str]:
    return [
        panels.legend([(panels.sign_point(colour, filled), arm)], top + 18 * place)
        for place, (arm, colour, filled) in enumerate(coloured(arms))
    ]


def _figure(found: Sequence[Figure], plan: str, arm: str, name: str) -> Figure:
    return next(one for one in found if one.name == f"{plan}/{arm}/{name}")
