"""One page about a base's reading: how long a context it holds, scores by length, every figure, and what was asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bench.context_figures import ALL, Reach, scores
from bench.context_pictures import by_length, held_map
from bench.measured import Figure, Row, side_by_side
from data.files import write_text
from tasks.pages import environment

_SAYS = {"score": "with the context", "no context": "without it"}


@dataclass(frozen=True)
class About:
    """What was asked, of whom."""

    base: str
    command: str
    threshold: float
    seed: int
    left_out: tuple[str, ...]
    note: str | None


@dataclass(frozen=True)
class TaskTable:
    """Every score of one task, a column for each length."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Page:
    """All that the page shows."""

    about: About
    questions: int
    lengths: tuple[int, ...]
    whole: str
    """The statement over all tasks."""
    map: Markup
    pictures: tuple[Markup, ...]
    tables: tuple[TaskTable, ...]
    examples: tuple[Mapping[str, Any], ...]


def write_page(
    path: Path, about: About, found: Sequence[Figure], reached: Sequence[Reach], answers: Sequence[Mapping[str, Any]]
) -> Path:
    """Write the page to ``path`` atomically.

    Raises:
        OutsideError: the disk refused it; an older page stays as it was.
    """
    scored, bare = scores(found), scores(found, "no context")
    lengths = tuple(sorted({length for mine in scored.values() for length in mine}))
    page = Page(
        about=about,
        questions=len(answers),
        lengths=lengths,
        whole=next(one.statement for one in reached if one.task == ALL),
        map=held_map(reached, scored, lengths, about.threshold),
        pictures=tuple(by_length(task, mine, bare[task], lengths, about.threshold) for task, mine in scored.items()),
        tables=tuple(_table(task, found, lengths) for task in scored),
        examples=_first_of_each_task(answers),
    )
    write_text(path, environment().get_template("context.html.j2").render(page=page))
    return path


def _table(task: str, found: Sequence[Figure], lengths: Sequence[int]) -> TaskTable:
    rows = side_by_side(found, [f"{task}/{length}/" for length in lengths])
    return TaskTable(task, tuple(Row(_SAYS[row.name], row.figures) for row in rows))


def _first_of_each_task(answers: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """At the shortest length that it fits into."""
    first: dict[str, Mapping[str, Any]] = {}
    for row in sorted(answers, key=lambda row: (row["length"], row["number"])):
        first.setdefault(str(row["task"]), row)
    return tuple(first.values())
