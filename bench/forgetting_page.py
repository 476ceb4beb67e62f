"""One page with every experiment: pictures, maps, and all figures side by side by arm."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from bench.forgetting_compared import Comparison
from bench.forgetting_figures import Learned
from bench.forgetting_found import Found
from bench.forgetting_frontier import Apart, AtLevel, Family
from bench.forgetting_pictures import cohort_map, frontier, heat_map, mean_matrix, over_days
from bench.forgetting_plans import PLANS, Groups
from bench.forgetting_rivals import Rival
from bench.measured import Row, side_by_side
from data.files import write_text
from tasks.pages import environment


@dataclass(frozen=True)
class Level:
    """One family where it learned as much as a level says, and beside the reference."""

    at: AtLevel
    apart: Apart | None


@dataclass(frozen=True)
class Section:
    """One experiment."""

    name: str
    title: str
    about: str
    arms: tuple[str, ...]
    pictures: tuple[Markup, ...]
    maps: tuple[Markup, ...]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    levels: tuple[Level, ...]
    rivals: tuple[Rival, ...]


@dataclass(frozen=True)
class Page:
    """All that the page shows."""

    base: str
    command: str
    seeds: tuple[int, ...]
    answers: int
    plans: tuple[Section, ...]


def write_page(
    path: Path,
    base: str,
    command: str,
    learned: Sequence[Learned],
    families: Sequence[Family],
    found: Found,
) -> Path:
    """Write the page to ``path`` atomically."""
    names = dict.fromkeys(one.plan for one in learned)
    sections = tuple(_section(name, [one for one in learned if one.plan == name], families, found) for name in names)
    seeds = tuple(sorted({seed for one in learned for seed in one.seeds}))
    page = Page(base, command, seeds, sum(len(one.answers) for one in learned), sections)
    write_text(path, environment().get_template("forgetting.html.j2").render(page=page))
    return path


def _section(name: str, arms: Sequence[Learned], families: Sequence[Family], found: Found) -> Section:
    plan, names = PLANS[name], tuple(one.arm for one in arms)
    pictures: tuple[Markup, ...] = ()
    maps: tuple[Markup, ...] = ()
    if plan.groups is Groups.DAYS:
        mine = [one for one in families if one.plan == name]
        pictures = (frontier(found.figures, name, names, mine), over_days(arms))
        maps = tuple(heat_map(one, mean_matrix(one)) for one in arms)
    else:
        maps = tuple(cohort_map(one, found.figures) for one in arms)
    beside = tuple(one for one in found.comparisons if one.plan == name)
    rows = side_by_side(found.figures, [f"{name}/{arm}/" for arm in names])
    reading = tuple(one for one in found.rivals if one.plan == name)
    return Section(name, plan.title, plan.about, names, pictures, maps, rows, beside, _levels(name, found), reading)


def _levels(plan: str, found: Found) -> tuple[Level, ...]:
    beside = {(one.plan, one.family, one.level): one for one in found.apart}
    return tuple(Level(at, beside.get((plan, at.family, at.level))) for at in found.at_levels if at.plan == plan)
