"""From the answers of all arms to figures: what is right, stale, wrong or refused, year by year, with intervals.

A share has Wilson's interval at an effective number of questions: the wordings of one fact, the three wordings of one
probe, and the seeds of one arm stand or fall together. It speaks of these documents, all of which are there; what the
same recipe would do to others is less certain, and where there are enough documents that interval is given, too, with
documents as what belongs together. What is stale is a share of the questions that had another answer.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.measured import Figure
from bench.policies_questions import IN_FORCE, PROBE, Fate, Mark
from models.clusters import MIN_DOCUMENTS, Clusters, design_effect
from models.scoring import normalise
from models.statistics import wilson

WANTED = (Mark.RIGHT, Mark.RIGHTLY_REFUSED)
AS_WANTED = "right or rightly refused"
IN_GROUP = {
    "facts in force": Mark.RIGHT.value,
    "withdrawn facts": Mark.RIGHTLY_REFUSED.value,
    "facts that came and went": Mark.RIGHTLY_REFUSED.value,
    "probes": AS_WANTED,
}
"""What is wanted of the questions of each group."""
EARLY = "answered as only later years do"
_WENT = (Fate.WITHDRAWN, Fate.GONE)


def in_groups(answers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Answers about facts in force, about facts that were, and to probes; of a group that was not asked, none.

    What came and went since the base is apart: an arm that starts at the base has never been told it.
    Of probes all count, as people looked each up: what nothing states, or nothing yet, wants the refusal. Facts of
    later years are in no group.
    """
    facts, probes = answers[answers["kind"] != PROBE], answers[answers["kind"] == PROBE]
    fates = (IN_FORCE, *((fate,) for fate in _WENT))
    groups = (*(facts[facts["fate"].isin(some)] for some in fates), probes)
    return {name: asked for name, asked in zip(IN_GROUP, groups, strict=True) if len(asked)}


def possible(asked: pd.DataFrame) -> list[Mark]:
    """Marks that these questions allow: of those with an answer no refusal is right, of those without one none is."""
    stated = asked["answers"].map(len) > 0
    never = (
        {Mark.RIGHT, Mark.WRONGLY_REFUSED} if not stated.any() else {Mark.RIGHTLY_REFUSED} if stated.all() else set()
    )
    return [mark for mark in Mark if mark not in never]


def _with_former(asked: pd.DataFrame) -> pd.DataFrame:
    """Those that had another answer before; no other answer can be stale."""
    return asked[asked["stale"].map(len) > 0]


def to_come(answers: pd.DataFrame) -> pd.DataFrame:
    """Answers about facts that only later years state."""
    return answers[(answers["kind"] != PROBE) & (answers["fate"] == Fate.NOT_YET.value)]


def figures(answers: pd.DataFrame, command: str) -> list[Figure]:
    """Every figure of every arm and year, in the order in which they stand."""
    return [found for mine in by_year(answers) for found in _Year(mine, command).figures()]


def by_year(answers: pd.DataFrame) -> list[pd.DataFrame]:
    """The answers of each arm in each year."""
    return [mine for _, mine in answers.groupby(["arm", "year"], sort=False)]


class _Year:
    """One arm in one year."""

    def __init__(self, answers: pd.DataFrame, command: str) -> None:
        self._answers = answers
        self._name = f"{answers['arm'].iloc[0]}/{answers['year'].iloc[0]}"
        self._seeds = tuple(sorted(answers["seed"].unique().tolist()))
        self._command = command

    def figures(self) -> Iterator[Figure]:
        for name, asked in in_groups(self._answers).items():
            wanted, marks = IN_GROUP[name], possible(asked)
            yield from self._of_these_and_others(f"{name}: {wanted}", asked, asked["mark"].isin(WANTED))
            for mark in [mark for mark in marks if mark.value != wanted]:
                able = _with_former(asked) if mark is Mark.STALE else asked
                if len(able):
                    yield self._share(f"{name}: {mark}", able, able["mark"] == mark.value)
        facts = self._answers[self._answers["kind"] != PROBE]
        for fate in IN_FORCE:
            yield from self._of_fate(fate, facts[facts["fate"] == fate.value])
        yield from self._early()

    def _of_fate(self, fate: Fate, asked: pd.DataFrame) -> Iterator[Figure]:
        able = _with_former(asked)
        if len(asked):
            yield from self._of_these_and_others(f"{fate}: {Mark.RIGHT}", asked, asked["mark"] == Mark.RIGHT.value)
        if len(able):
            yield self._share(f"{fate}: {Mark.STALE}", able, able["mark"] == Mark.STALE.value)

    def _of_these_and_others(self, name: str, asked: pd.DataFrame, hits: "pd.Series[Any]") -> Iterator[Figure]:
        """Of these documents; and where they are enough, as a sample of others."""
        yield self._share(name, asked, hits)
        if asked["document"].nunique() >= MIN_DOCUMENTS:
            yield self._share(f"{name}, these documents as a sample of others", asked, hits, "document")

    def _early(self) -> Iterator[Figure]:
        """Whether anything of later years shows, beside what the same answers would hit if dealt at random."""
        coming = to_come(self._answers)
        if len(coming):
            yield from self._of_these_and_others(f"{Fate.NOT_YET}: {EARLY}", coming, coming["early"])
            chance = _dealt(coming)
            name = f"{Fate.NOT_YET}: the same answers dealt at random among the questions of a kind"
            yield Figure(f"{self._name}/{name}", chance, chance, chance, len(coming), self._seeds, self._command)
        facts = in_groups(self._answers).get("facts in force", coming)
        altered = facts[(facts["fate"] != Fate.NOT_YET.value) & (facts["later"].map(len) > 0)]
        if len(altered):
            yield self._share(f"in force, and replaced later: {EARLY}", altered, altered["early"])

    def _share(self, name: str, asked: pd.DataFrame, hits: "pd.Series[Any]", together: str = "fact") -> Figure:
        values = hits.to_numpy(dtype=np.float64)
        clusters = Clusters(np.asarray(pd.factorize(asked[together])[0], dtype=np.int64))
        share = wilson(int(values.sum()), len(values), design_effect(values, clusters))
        name = f"{self._name}/{name}"
        return Figure(name, share.value, share.low, share.high, share.n, self._seeds, self._command)


def _dealt(asked: pd.DataFrame) -> float:
    """Expected share of hits where each answer went to any question of its kind with the same chance."""
    hits = 0.0
    for _, mine in asked.groupby("kind"):
        said = mine["said"].map(normalise).value_counts()
        for later in mine["later"]:
            hits += sum(said.get(text, 0) for text in {normalise(one) for one in later}) / len(mine)
    return hits / len(asked)


def sentences(answers: pd.DataFrame) -> list[str]:
    """Each year of each arm in plain words; of several seeds, all their answers together."""
    return [sentence(mine) for mine in by_year(answers)]


def sentence(mine: pd.DataFrame) -> str:
    """One arm's year: its questions on facts in force, on withdrawn ones, on probes, and on what is to come."""
    parts = [_counted(name, asked) for name, asked in in_groups(mine).items()]
    coming = to_come(mine)
    if len(coming):
        parts.append(f"of {len(coming):,} on facts of later years {int(coming['early'].sum()):,} answered as those do")
    seeds = mine["seed"].nunique()
    beside = f", {seeds} seeds" if seeds > 1 else ""
    return f"{mine['arm'].iloc[0]}, {mine['year'].iloc[0]}{beside}: {'; '.join(parts)}."


def _counted(name: str, asked: pd.DataFrame) -> str:
    counts = asked["mark"].value_counts()
    told = ", ".join(f"{int(counts.get(mark.value, 0)):,} {mark}" for mark in possible(asked))
    return f"of {len(asked):,} questions on {name} {told}"


def shares(asked: pd.DataFrame, marks: Sequence[Mark] = tuple(Mark)) -> dict[Mark, float]:
    """Share of each mark among some answers."""
    return {mark: float((asked["mark"] == mark.value).mean()) for mark in marks}
