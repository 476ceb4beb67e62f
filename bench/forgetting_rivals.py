"""Reading beside training: the same questions closed book, with their answer before them, after a search, and trained.

Questions of the last day, in held-out wordings. *Changed* facts are those that the stream touched, withdrawn ones among
them, of which nothing can be read and the right answer is the refusal; *unchanged* ones the base knew, documents'
included. Beside every arm that reads stands the same model closed book; its answers to the same questions stand in
answers.parquet. The share of searches that found the sentence that answers counts those questions that have one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bench.forgetting_arms import Reads, arm
from bench.forgetting_figures import CHANGED, Learned, counted
from bench.forgetting_reading import FOUND
from bench.measured import Figure
from data.handbook_questions import Form
from data.records import Grade

_RIGHT = ("changed facts right", "unchanged facts right")
_CLOSED = "closed book"
_HITS = f"answering sentence among {FOUND} found"


@dataclass(frozen=True)
class Rival:
    """One model, asked in one way."""

    plan: str
    model: str
    """The arm by which it was trained."""
    reads: Reads
    pairs: tuple[tuple[Figure, Figure], ...]
    """Right on changed and on unchanged facts, each beside the same closed book."""
    hits: Figure | None
    """Searches that found the sentence that answers; None: there was none."""


def rivals(arms: Sequence[Learned]) -> list[Rival]:
    """Every arm that reads, after the same model closed book."""
    by_name = {(one.plan, one.arm): one for one in arms}
    closed = {key: (key[0], arm(key[1]).closed.name) for key in by_name}
    read = {other for key, other in closed.items() if key != other and other in by_name}
    return [_rival(one, by_name[closed[key]]) for key, one in by_name.items() if closed[key] in read]


def _rival(one: Learned, closed: Learned) -> Rival:
    pairs = tuple(zip(_right(one), _right(closed), strict=True))
    return Rival(one.plan, closed.arm, arm(one.arm).reads, pairs, _hits(one))


def _right(one: Learned) -> tuple[Figure, ...]:
    asked = _asked(one)
    changed = asked["story"].isin([story.value for story in CHANGED])
    found = (asked[changed], asked[~changed])
    return tuple(
        counted(one, name, mine, mine["grade"] == Grade.RIGHT.value) for name, mine in zip(_RIGHT, found, strict=True)
    )


def _hits(one: Learned) -> Figure | None:
    searched = _asked(one).dropna(subset=["found"])
    return counted(one, _HITS, searched, searched["found"]) if len(searched) else None


def _asked(one: Learned) -> pd.DataFrame:
    answers = one.answers
    last = answers["day"] == answers["day"].max()
    return pd.DataFrame(answers[last & (answers["form"] == Form.HELD_OUT.value)])


def figures(found: Sequence[Rival]) -> list[Figure]:
    """What is right, each beside the same closed book, and what searches found."""
    return [figure for one in found for figure in _figures(one)]


def _figures(one: Rival) -> Iterator[Figure]:
    for right, closed in one.pairs:
        yield right
        if one.reads is not Reads.NOTHING:
            yield replace(closed, name=f"{right.name}, {_CLOSED}")
    if one.hits is not None:
        yield one.hits


def table(found: Sequence[Rival]) -> list[str]:
    """One line per model and way of asking."""
    lines = [f"{'':<44} {'changed facts right':<24} {'closed':<7} {'unchanged':<24} {'closed':<7} found among {FOUND}"]
    for one in found:
        cells = [f"{_said(right):<24} {closed.value:<7.3f}" for right, closed in one.pairs]
        hits = _said(one.hits) if one.hits else "–"
        lines.append(f"{f'{one.plan}: {one.model}, reads {one.reads}':<44} {' '.join(cells)} {hits}")
    return lines if found else []


def _said(figure: Figure) -> str:
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
