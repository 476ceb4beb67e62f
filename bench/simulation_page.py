"""One page about a simulation: what was done, who decided why, and what each version got right, stale and wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.measured import Figure
from bench.policies_page import Page as Answered
from bench.policies_page import page_of
from bench.simulation_line import Done
from data.cycle_records import LedgerEntry
from data.files import write_text
from tasks.pages import environment

SERVED = "what served"
"""Name of the curve of whatever was the champion at the time."""


@dataclass(frozen=True)
class Page:
    """All that the page shows."""

    answered: Answered
    steps: tuple[Done, ...]
    decisions: tuple[LedgerEntry, ...]
    measured: tuple[Figure, ...]
    """Of steps, not of answers."""


def write_page(
    path: Path,
    base: str,
    command: str,
    answers: pd.DataFrame,
    found: Sequence[Figure],
    steps: Sequence[Done],
    decisions: Sequence[LedgerEntry],
) -> Path:
    """Write the page to ``path`` atomically; ``base`` is a sentence about the base, ``found`` what is in the tables."""
    answered = page_of(base, command, answers, found, ())
    told = {f"{arm}/" for arm in answers["arm"].unique()}
    measured = tuple(one for one in found if not any(one.name.startswith(prefix) for prefix in told))
    page = Page(answered, tuple(steps), tuple(decisions), measured)
    write_text(path, environment().get_template("simulation.html.j2").render(whole=page, page=answered))
    return path
