"""What the report shows, chosen and ordered: pure functions from records to small frozen views.

The template prints; every choice (which examples, in which order, next to which check) is made here,
the same way each time, so that equal records give an equal page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from data.evaluation_records import (
    ChampionComparison,
    Check,
    CohortFigures,
    Estimate,
    EvaluationReport,
    Judgement,
    Outcome,
    PairedFigures,
)
from data.files import digest_text
from data.records import Answer, Cohort, FactChange, Grade, SnapshotDiff, Standing
from data.report_records import Coverage

T = TypeVar("T")

SAMPLES = 10
"""Sample questions per cohort."""
EXAMPLES = 8
"""Example facts per standing, and documents per list, that stand open."""
LONGEST_LIST = 300
"""Entries of a folded list; the rest are counted."""
LONGEST_ANSWER = 300
"""Characters of an answer, wanted or given."""
LONGEST_SENTENCE = 500
"""Characters of the sentence that a question rests on."""

SEVERITY = (Outcome.FAIL, Outcome.INSUFFICIENT, Outcome.WARN, Outcome.PASS)
_GRADE_ORDER = (Grade.STALE, Grade.WRONG, Grade.REFUSED, Grade.RIGHT)


@dataclass(frozen=True)
class CohortWords:
    """How the report speaks of one cohort."""

    name: str
    questions: str
    """What the questions are about."""
    meaning: str
    """What the share counts."""
    check: str
    """Which check decides on it; empty: none does."""


COHORTS = {
    Cohort.NEW: CohortWords(
        "Learned",
        "new and replaced facts in wordings never trained on",
        "new and replaced facts answered right",
        "learned",
    ),
    Cohort.RESTATED: CohortWords(
        "Restated",
        "facts whose statement the base knows under another title, heading or place",
        "facts known under another title, heading or place answered right",
        "restated",
    ),
    Cohort.HELD: CohortWords(
        "Kept",
        "facts that the base knew and that still hold",
        "facts that still hold answered right; a fall is forgetting",
        "forgotten",
    ),
    Cohort.HANDBOOK: CohortWords(
        "Handbook",
        "facts that have nothing to do with the documents",
        "unrelated knowledge answered right; a fall is damage",
        "locality",
    ),
    Cohort.WITHDRAWN: CohortWords(
        "Withdrawn", "facts no longer in force", "facts no longer in force refused", "withdrawn"
    ),
    Cohort.RECALL: CohortWords(
        "Recall",
        "changed statements: the beginning given, the next words wanted",
        "changed statements continued word for word",
        "",
    ),
    Cohort.PROSE: CohortWords(
        "Prose",
        "changed prose, written by a teacher, in wordings never trained on",
        "questions a teacher wrote about changed prose answered right",
        "",
    ),
    Cohort.PROBE: CohortWords(
        "Probes",
        "what people checked by hand",
        "hand-checked questions answered right, never trained on",
        "",
    ),
    Cohort.UNANSWERABLE: CohortWords(
        "Unanswerable",
        "what people checked by hand and nothing in force answers",
        "hand-checked questions without an answer in force refused",
        "",
    ),
}
"""In the order of the tables."""


@dataclass(frozen=True)
class KeyFigure:
    """One line of the key figures, base and candidate side by side."""

    name: str
    meaning: str
    base: Estimate | None
    candidate: Estimate | None
    difference: float | None
    interval: tuple[float, float] | None
    outcome: Outcome | None
    """None: reported, decides nothing."""
    paired: PairedFigures | None = None
    """None: of another kind, or written by an earlier release."""


@dataclass(frozen=True)
class SampleGroup:
    """Questions of one cohort that stand for it."""

    cohort: Cohort
    answers: tuple[Answer, ...]
    total: int
    right_before: int
    right_now: int


@dataclass(frozen=True)
class FactGroup:
    """Facts of one standing: some that stand open, more folded away, the rest counted."""

    standing: Standing
    count: int
    open: tuple[FactChange, ...]
    folded: tuple[FactChange, ...]
    left_out: int


@dataclass(frozen=True)
class PathList:
    """Documents that changed in one way; of a moved one also its old path."""

    name: str
    paths: tuple[tuple[str, str, str], ...]
    """(old path or empty, path, note)."""


def key_figures(evaluation: EvaluationReport, judgement: Judgement) -> tuple[KeyFigure, ...]:
    """Every cohort's right answers in a fixed order, and how many replaced facts are stale."""
    found = {figures.cohort: figures for figures in evaluation.cohorts}
    outcomes = {check.check: check.outcome for check in judgement.checks}
    lines = []
    for cohort in COHORTS:
        if cohort is Cohort.PROSE and cohort not in found:  # only a teacher for prose writes them
            continue
        lines.append(_right(cohort, found.get(cohort), outcomes))
        if cohort is Cohort.WITHDRAWN:
            lines.append(_stale(found.get(Cohort.NEW), outcomes))
    return tuple(lines)


def _right(cohort: Cohort, figures: CohortFigures | None, outcomes: dict[str, Outcome]) -> KeyFigure:
    words = COHORTS[cohort]
    outcome = outcomes.get(words.check)
    if figures is None:
        return KeyFigure(words.name, words.meaning, None, None, None, None, outcome)
    return KeyFigure(
        words.name,
        words.meaning,
        figures.base.get(Grade.RIGHT),
        figures.candidate.get(Grade.RIGHT),
        figures.difference,
        (figures.difference_low, figures.difference_high),
        outcome,
        figures.paired,
    )


def champion_figures(comparison: ChampionComparison | None) -> tuple[KeyFigure, ...]:
    """Right answers in each cohort that decides, the champion's in the place of the base's; none: it was not asked."""
    found = {figures.cohort: figures for figures in comparison.cohorts} if comparison is not None else {}
    return tuple(_right(cohort, found[cohort], {}) for cohort in COHORTS if cohort in found)


def _stale(figures: CohortFigures | None, outcomes: dict[str, Outcome]) -> KeyFigure:
    base = figures.base_stale if figures else None
    candidate = figures.candidate_stale if figures else None
    difference = candidate.value - base.value if base and candidate else None
    meaning = "replaced facts still answered the old way; lower is better"
    return KeyFigure("Stale", meaning, base, candidate, difference, None, outcomes.get("stale"))


def by_severity(checks: Sequence[Check]) -> tuple[Check, ...]:
    """The checks, failures first; equals stay in their order."""
    return tuple(sorted(checks, key=lambda check: SEVERITY.index(check.outcome)))


def samples(answers: Sequence[Answer]) -> tuple[SampleGroup, ...]:
    """Up to ``SAMPLES`` questions of each cohort with answers, not right ones first; every probe, within reason."""
    groups = []
    for cohort in COHORTS:
        members = [answer for answer in answers if answer.question.cohort is cohort]
        if cohort in (Cohort.PROBE, Cohort.UNANSWERABLE):
            chosen = sorted(members, key=_worsened)[:LONGEST_LIST]
        else:
            chosen = sorted(_mixed(members), key=lambda answer: _GRADE_ORDER.index(answer.candidate_grade))
        before = sum(answer.base_grade is Grade.RIGHT for answer in members)
        now = sum(answer.candidate_grade is Grade.RIGHT for answer in members)
        if members:
            groups.append(SampleGroup(cohort, tuple(chosen), len(members), before, now))
    return tuple(groups)


def _worsened(answer: Answer) -> tuple[bool, int]:
    """What the base answered right and the candidate does not comes first."""
    lost = answer.base_grade is Grade.RIGHT and answer.candidate_grade is not Grade.RIGHT
    return not lost, _GRADE_ORDER.index(answer.candidate_grade)


def _mixed(answers: Sequence[Answer]) -> list[Answer]:
    """Half right and half not, as far as there are; which ones is drawn by the digest of their id."""
    drawn = sorted(answers, key=lambda answer: digest_text("sample", answer.question.id))
    right = [answer for answer in drawn if answer.candidate_grade is Grade.RIGHT]
    other = [answer for answer in drawn if answer.candidate_grade is not Grade.RIGHT]
    half = max(SAMPLES // 2, SAMPLES - len(right))
    chosen = other[:half]
    return chosen + right[: SAMPLES - len(chosen)]


def fact_groups(changes: Sequence[FactChange]) -> tuple[FactGroup, ...]:
    """Facts of every standing but held, with examples spread over the documents; held ones are counted."""
    return tuple(
        _fact_group(standing, [change for change in changes if change.standing is standing])
        for standing in (Standing.REPLACED, Standing.NEW, Standing.RESTATED, Standing.WITHDRAWN, Standing.AMBIGUOUS)
    )


def _fact_group(standing: Standing, changes: list[FactChange]) -> FactGroup:
    shown = _spread(changes, EXAMPLES)
    chosen = {id(change) for change in shown}
    rest = [change for change in changes if id(change) not in chosen]
    folded = _spread(rest, LONGEST_LIST)
    return FactGroup(standing, len(changes), tuple(shown), tuple(folded), len(rest) - len(folded))


def _spread(items: Sequence[T], count: int) -> list[T]:
    """``count`` items at equal distances, in their order."""
    if len(items) <= count:
        return list(items)
    return [items[place * len(items) // count] for place in range(count)]


def path_lists(diff: SnapshotDiff) -> tuple[PathList, ...]:
    """The four ways in which documents changed; a document moved and edited stands under both."""
    edited = set(diff.changed)
    old = {new: before for before, new in diff.moved}
    return (
        PathList("Added", tuple(("", path, "") for path in diff.added)),
        PathList("Changed", tuple(("", path, "also moved" if path in old else "") for path in diff.changed)),
        PathList(
            "Moved",
            tuple((before, new, "also changed" if new in edited else "") for before, new in diff.moved),
        ),
        PathList("Withdrawn", tuple(("", path, "") for path in diff.withdrawn)),
    )


def touched(diff: SnapshotDiff) -> int:
    """How many documents changed in any way, each once."""
    return len(diff.added) + len(diff.withdrawn) + len({*diff.changed, *(new for _, new in diff.moved)})


def by_gap(coverage: Sequence[Coverage]) -> tuple[Coverage, ...]:
    """The documents with the most changed statements that gave no fact first."""
    return tuple(sorted(coverage, key=lambda one: (one.changed_with_fact - one.changed_statements, one.path)))


def plain_question(answer: Answer) -> str:
    """The question without the marks that tell the model where to begin."""
    return answer.question.question.strip().removeprefix("Question:").removesuffix("Answer:").strip()
