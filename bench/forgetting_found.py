"""All that is made of the answers of a grid: figures of arms, arms beside one another, families at one level."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.forgetting_compared import Comparison, comparisons, noise
from bench.forgetting_figures import Learned, figures
from bench.forgetting_figures import table as figure_table
from bench.forgetting_frontier import Apart, AtLevel, Family, apart, at_levels, families
from bench.forgetting_frontier import table as level_table
from bench.forgetting_rivals import Rival, rivals
from bench.forgetting_rivals import figures as rival_figures
from bench.forgetting_rivals import table as rival_table
from bench.measured import Figure


@dataclass(frozen=True)
class Found:
    """What ``figures.json`` holds."""

    figures: list[Figure]
    comparisons: list[Comparison]
    at_levels: list[AtLevel]
    """What each family of arms lost where it learned as much as the level says."""
    apart: list[Apart]
    """By how much that differs from the reference."""
    rivals: list[Rival]
    """Reading beside training, where an arm reads."""


def found_in(learned: Sequence[Learned]) -> tuple[Found, list[Family]]:
    """All of it, and the families with their points."""
    grouped, reading = families(learned), rivals(learned)
    made = [*figures(learned), *rival_figures(reading), *noise(learned)]
    return Found(made, comparisons(learned), at_levels(grouped), apart(grouped), reading), grouped


def table(found: Found) -> list[str]:
    """One line per figure."""
    return [*figure_table(found.figures), *level_table(found.at_levels, found.apart), *rival_table(found.rivals)]
