"""The report's first screen: did it get better, did it forget, is anything stale, each answered in a word.

The word follows the check that decides where there is one, and the interval where it does not: within noise is
never called a change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data.evaluation_records import EvaluationReport, Judgement, Outcome
from data.records import Cohort, Grade
from tasks.report_views import KeyFigure, key_figures


@dataclass(frozen=True)
class Headline:
    """One question of the first screen with its answer."""

    question: str
    answer: str
    tone: Outcome
    """How good the answer is."""
    lines: tuple[KeyFigure, ...]


def headlines(evaluation: EvaluationReport, judgement: Judgement) -> tuple[Headline, ...]:
    """The three questions, always in this order."""
    figures = {figure.name: figure for figure in key_figures(evaluation, judgement)}
    return (_better(figures), _forgot(figures), _stale(figures, *_old_answers(evaluation)))


def _measured(figures: Mapping[str, KeyFigure], *names: str) -> tuple[KeyFigure, ...]:
    return tuple(figures[name] for name in names if figures[name].candidate is not None)


def _better(figures: Mapping[str, KeyFigure]) -> Headline:
    question, lines = "Did it get better?", _measured(figures, "Learned", "Restated", "Probes")
    learned = figures["Learned"]
    if learned.interval is None:
        return Headline(question, "There was nothing new to learn", Outcome.INSUFFICIENT, lines)
    low, high = learned.interval
    if high < 0:
        return Headline(question, "No, worse", Outcome.FAIL, lines)
    if low <= 0:
        return Headline(question, "Not measurably", Outcome.WARN, lines)
    if learned.outcome is Outcome.FAIL:
        return Headline(question, "Yes, but not enough", Outcome.FAIL, lines)
    if learned.outcome is Outcome.INSUFFICIENT:
        return Headline(question, "Yes; too few questions to tell whether enough", Outcome.INSUFFICIENT, lines)
    return Headline(question, "Yes", learned.outcome or Outcome.PASS, lines)


def _forgot(figures: Mapping[str, KeyFigure]) -> Headline:
    question, lines = "Did it forget?", _measured(figures, "Kept", "Handbook")
    if not lines:
        return Headline(question, "Nothing measures it", Outcome.INSUFFICIENT, lines)
    if _any(lines, Outcome.FAIL):
        return Headline(question, "Yes, too much", Outcome.FAIL, lines)
    if _any(lines, Outcome.INSUFFICIENT):
        return Headline(question, "Too few questions to tell", Outcome.INSUFFICIENT, lines)
    lost = [line for line in lines if line.interval is not None and line.interval[1] < 0]
    if any(line.outcome is None for line in lost):
        return Headline(question, "Yes, and the gate that says how much is off", Outcome.WARN, lines)
    if lost:
        return Headline(question, "A little, within the gate", Outcome.WARN, lines)
    return Headline(question, "No", Outcome.PASS, lines)


def _stale(figures: Mapping[str, KeyFigure], old: int, asked: int) -> Headline:
    question, lines = "Is anything stale?", _measured(figures, "Stale", "Withdrawn")
    if not lines:
        return Headline(question, "Nothing was replaced or withdrawn", Outcome.PASS, lines)
    if _any(lines, Outcome.FAIL):
        return Headline(question, "Yes, too much", Outcome.FAIL, lines)
    if _any(lines, Outcome.WARN):
        return Headline(question, "Yes: withdrawn facts are still told", Outcome.WARN, lines)
    if _any(lines, Outcome.INSUFFICIENT):
        return Headline(question, "Too few questions to tell", Outcome.INSUFFICIENT, lines)
    if old == 0:
        return Headline(question, "No", Outcome.PASS, lines)
    much = "Yes, and a gate that says how much is off" if any(line.outcome is None for line in lines) else "A little"
    return Headline(question, f"{much}: {old:,} of {asked:,} answers", Outcome.WARN, lines)


def _old_answers(evaluation: EvaluationReport) -> tuple[int, int]:
    """How many answers to questions on replaced and withdrawn facts are the old one, and of how many."""
    shares = [figures.candidate_stale for figures in evaluation.cohorts if figures.cohort is Cohort.NEW]
    shares += [f.candidate.get(Grade.STALE) for f in evaluation.cohorts if f.cohort is Cohort.WITHDRAWN]
    found = [share for share in shares if share is not None]
    return sum(share.hits for share in found), sum(share.n for share in found)


def _any(lines: Sequence[KeyFigure], outcome: Outcome) -> bool:
    return any(line.outcome is outcome for line in lines)
