"""Scores by task and length, and how long a context a base reads, as far as the questions can tell.

RULER (Hsieh et al. 2024, section 4) names one effective length: the longest at which the score reaches a reference
score. A score of fifty questions has an interval, and so has that length. At each length the interval lies at or above
the threshold (the base holds it), below it (the base falls short), or across it (the questions do not decide). A base
reads at least the longest length up to which it holds every one, and less than the first at which it falls short.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bench.measured import Figure
from data.context_tasks import effective_length
from models.statistics import wilson_interval

THRESHOLD = 0.856
"""Score that counts as holding a length: RULER's, that of Llama-2-7B (chat) at 4,096 tokens, on RULER's own tasks."""
ALL = "all tasks"
_ENOUGH = 10_000


class Held(StrEnum):
    """What an interval says of a length."""

    HOLDS = "holds"
    """It lies at or above the threshold."""
    SHORT = "falls short"
    """It lies below."""
    UNDECIDED = "undecided"
    """It lies across."""


@dataclass(frozen=True)
class Reach:
    """How long a context a base reads in one task."""

    task: str
    tried: tuple[int, ...]
    """Lengths in tokens, the shortest first."""
    at_least: int | None
    """Up to here it holds every length; None: not even the shortest for certain."""
    likely: int | None
    """Up to here every score itself reaches the threshold, whatever its interval: RULER's one number."""
    below: int | None
    """Here it falls short for the first time; None: nowhere."""
    undecided: tuple[int, ...]
    """Lengths between the two; the effective length is ``at_least`` or one of them."""
    statement: str


def figures(rows: Iterable[Mapping[str, Any]], seed: int, threshold: float, command: str) -> list[Figure]:
    """Scores by task and length, over all tasks by length, and effective lengths (0: not even the shortest)."""
    by_place: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        for task in (str(row["task"]), ALL):
            by_place[task, int(row["length"])].append(row)
    found: list[Figure] = []
    for (task, length), mine in sorted(by_place.items(), key=lambda one: one[0][1] if one[0][0] == ALL else 0):
        for name, column in (("score", "score"), ("no context", "score_without")):
            found.append(_mean(f"{task}/{length}/{name}", [row[column] for row in mine], seed, command))
    return [*found, *(_length(one, seed, threshold, command) for one in reaches(found, threshold))]


def scores(found: Iterable[Figure], name: str = "score") -> dict[str, dict[int, Figure]]:
    """The figures of this name by task and length, the shortest first."""
    by_task: dict[str, dict[int, Figure]] = defaultdict(dict)
    for one in found:
        task, *rest = one.name.split("/")
        if len(rest) == 2 and rest[1] == name:
            by_task[task][int(rest[0])] = one
    return {task: dict(sorted(mine.items())) for task, mine in by_task.items()}


def reaches(found: Iterable[Figure], threshold: float) -> tuple[Reach, ...]:
    """How long a context is read, by task."""
    return tuple(reach(task, mine, threshold) for task, mine in scores(found).items())


def reach(task: str, mine: Mapping[int, Figure], threshold: float) -> Reach:
    """How long a context is read in one task, of which there is at least one length."""
    tried = tuple(sorted(mine))
    at_least = effective_length({length: one.low for length, one in mine.items()}, threshold)
    likely = effective_length({length: one.value for length, one in mine.items()}, threshold)
    below = next((length for length in tried if judged(mine[length], threshold) is Held.SHORT), None)
    undecided = tuple(length for length in tried if (at_least or 0) < length < (below or math.inf))
    return Reach(task, tried, at_least, likely, below, undecided, _statement(tried, at_least, below, undecided))


def judged(score: Figure, threshold: float) -> Held:
    """What the interval of one score says of its length."""
    if score.low >= threshold:
        return Held.HOLDS
    return Held.SHORT if score.high < threshold else Held.UNDECIDED


def too_few(questions: int, threshold: float) -> str | None:
    """Says so where not even answering every one of these questions would hold a length; None where it would."""
    if wilson_interval(1.0, questions)[0] >= threshold:
        return None
    low = wilson_interval(1.0, questions)[0]
    needed = next((n for n in range(questions, _ENOUGH) if wilson_interval(1.0, n)[0] >= threshold), None)
    return (
        f"Even {questions} right of {questions} questions have an interval from {low:.3f} on, so that no single task "
        f"can hold a length at {threshold:g}. {f'Ask {needed} or more' if needed else 'Take a lower threshold'}."
    )


def table(found: Iterable[Figure], reached: Iterable[Reach], threshold: float) -> list[str]:
    """One line per task and length: score with its interval, and without the context; then the effective lengths."""
    found = list(found)
    bare = scores(found, "no context")
    lines = [
        f"{task:<18} {length:>7} tokens  {_told(one)}  no context {_told(bare[task][length])}  n={one.n}"
        for task, mine in scores(found).items()
        for length, one in mine.items()
    ]
    return [*lines, f"Effective length at {threshold:g}:", *(f"  {one.task}: {one.statement}" for one in reached)]


def _statement(tried: Sequence[int], at_least: int | None, below: int | None, undecided: Sequence[int]) -> str:
    if at_least == tried[-1]:
        return f"at least {at_least} tokens, the longest tried"
    if below == tried[0]:
        return f"below {below} tokens, the shortest tried"
    ends = [f"at least {at_least}"] * bool(at_least) + [f"below {below}"] * bool(below)
    between = [f"undecided at {', '.join(map(str, undecided))}"] * bool(undecided)
    return f"{'; '.join([', '.join(ends), *between] if ends else between)} tokens"


def _length(one: Reach, seed: int, threshold: float, command: str) -> Figure:
    name = f"{one.task}/effective length at {threshold:g}"
    most = max((length for length in one.tried if length < (one.below or math.inf)), default=0)
    return Figure(name, float(one.likely or 0), float(one.at_least or 0), float(most), len(one.tried), (seed,), command)


def _mean(name: str, shares: Sequence[float], seed: int, command: str) -> Figure:
    share = sum(shares) / len(shares)
    low, high = wilson_interval(share, len(shares))
    return Figure(name, share, low, high, len(shares), (seed,), command)


def _told(one: Figure) -> str:
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
