"""One page about a simulation: what was done, who decided why, and what each version got right, stale and wrong."""

from dataclasses import dataclass
from pathlib import Path

from bench.measured import Figure
from bench.policies_page import Page as Answered
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


def write_page(path: Path, page: Page) -> Path:
    """Write the page to ``path`` atomically."""
    write_text(path, environment().get_template("simulation.html.j2").render(whole=page, page=page.answered))
    return path
