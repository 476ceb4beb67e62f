"""One page about the years: what is right, stale, wrong and refused, arm beside arm, and every figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from bench.measured import Figure, Row, side_by_side
from bench.policies_figures import in_groups, sentence
from bench.policies_pictures import by_fate, over_years, stacked
from bench.policies_questions import PROBE
from data.files import write_text
from tasks.pages import environment


@dataclass(frozen=True)
class ArmSection:
    """One arm through the years."""

    name: str
    sentences: tuple[str, ...]
    pictures: tuple[Markup, ...]


@dataclass(frozen=True)
class YearTable:
    """Every figure of one year."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Page:
    """All that the page shows."""

    base: str
    command: str
    seeds: tuple[int, ...]
    answers: int
    years: tuple[str, ...]
    arms: tuple[ArmSection, ...]
    pictures: tuple[Markup, ...]
    tables: tuple[YearTable, ...]
    disagreements: tuple[str, ...]


def write_page(
    path: Path,
    base: str,
    command: str,
    answers: pd.DataFrame,
    found: Sequence[Figure],
    disagreements: Sequence[str],
) -> Path:
    """Write the page to ``path`` atomically; ``base`` is a sentence about the base, ``found`` what is in the tables."""
    page = page_of(base, command, answers, found, disagreements)
    write_text(path, environment().get_template("policies.html.j2").render(page=page))
    return path


def page_of(
    base: str, command: str, answers: pd.DataFrame, found: Sequence[Figure], disagreements: Sequence[str]
) -> Page:
    """What the answers of all arms in all years show."""
    arms, years = (tuple(dict.fromkeys(answers[column])) for column in ("arm", "year"))
    groups = tuple(in_groups(answers))
    return Page(
        base=base,
        command=command,
        seeds=tuple(sorted(answers["seed"].unique().tolist())),
        answers=len(answers),
        years=years,
        arms=tuple(_arm(name, answers[answers["arm"] == name], years) for name in arms),
        pictures=tuple(over_years(found, arms, years, name) for name in groups),
        tables=tuple(YearTable(year, side_by_side(found, [f"{arm}/{year}/" for arm in arms])) for year in years),
        disagreements=tuple(disagreements),
    )


def _arm(name: str, mine: pd.DataFrame, years: Sequence[str]) -> ArmSection:
    told = tuple(sentence(mine[mine["year"] == year]) for year in years)
    groups = in_groups(mine)
    bars = [stacked(f"{name}: questions on {group}", asked, years) for group, asked in groups.items()]
    return ArmSection(name, told, (*bars, by_fate(name, mine[mine["kind"] != PROBE], years)))
