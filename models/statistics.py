"""Shares with intervals, and the difference between two models that answered the same questions.

A share has Wilson's score interval (Wilson, JASA 22, 1927). A difference of paired shares has
Newcombe's square-and-add interval with the corrected phi coefficient (Newcombe, Statistics in Medicine
17, 1998, pp. 2635-2650, method 10): both models answered the same questions, so their answers
are correlated, and an interval for independent samples would be too wide. Both are taken at an effective number of
questions, n over the design effect (Kish, Survey Sampling, 1965, section 8.2; Korn and Graubard, Survey Methodology 24,
1998), since questions on one fact or one document fail together (models/clusters.py).
"""

import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from data.errors import InputError, MissingFigureError
from data.evaluation_records import CohortFigures, Estimate, PairedFigures
from data.records import Answer, Cohort, Grade, Question
from models.clusters import Clusters, Values, bootstrap, correlation, design_effect, documents, facts

_Z = NormalDist().inv_cdf(0.975)


def wilson(hits: int, n: int, design_effect: float = 1.0) -> Estimate:
    """``hits`` of ``n`` as a share with its 95 % interval at n / ``design_effect`` independent questions.

    Raises:
        MissingFigureError: n is zero: nothing was measured.
        InputError: hits lie outside 0 to n, or the design effect is no positive number.
    """
    if n == 0:
        raise MissingFigureError("A share of no questions was asked for. Measure at least one first.")
    if not 0 <= hits <= n:
        raise InputError(f"{hits} hits of {n} is not a share; expected 0 to {n}. Count them again.")
    if not 0 < design_effect < math.inf:
        raise InputError(f"{design_effect} is no design effect; expected a positive number. Count the clusters again.")
    low, high = wilson_interval(hits / n, n / design_effect)
    return Estimate(value=hits / n, low=low, high=high, n=n, hits=hits, design_effect=design_effect)


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    """The 95 % interval of a share of ``n`` independent questions, which need not be a whole number."""
    width = 1.0 + _Z**2 / n
    centre = (share + _Z**2 / (2 * n)) / width
    half = _Z * math.sqrt(share * (1.0 - share) / n + _Z**2 / (4 * n**2)) / width
    return 0.0 if share == 0 else centre - half, 1.0 if share == 1 else centre + half


# --- two models on the same questions --------------------------------------------------------------


@dataclass(frozen=True)
class PairedTable:
    """Questions by which of two models answered them right."""

    both: int
    gained: int
    """Right by the second model alone."""
    lost: int
    """Right by the first model alone."""
    neither: int

    @property
    def n(self) -> int:
        return self.both + self.gained + self.lost + self.neither

    @property
    def difference(self) -> float:
        """Share right of the second minus that of the first."""
        return (self.gained - self.lost) / self.n

    def interval(self, n: float) -> tuple[float, float]:
        """Newcombe's 95 % interval of the difference, for ``n`` independent questions with these shares.

        Returns:
            (low, high), within -1 to 1.
        """
        first, second = (self.both + self.lost) / self.n, (self.both + self.gained) / self.n
        first_low, first_high = wilson_interval(first, n)
        second_low, second_high = wilson_interval(second, n)
        phi = self._corrected_phi(n)
        below = _square_and_add(second - second_low, first_high - first, phi)
        above = _square_and_add(second_high - second, first - first_low, phi)
        return max(-1.0, self.difference - below), min(1.0, self.difference + above)

    def _corrected_phi(self, n: float) -> float:
        """Correlation of the 2 x 2 table; a positive numerator is drawn towards zero by n / 2 (method 10)."""
        both, gained, lost, neither = (
            count * n / self.n for count in (self.both, self.gained, self.lost, self.neither)
        )
        margins = (both + gained) * (lost + neither) * (both + lost) * (gained + neither)
        if margins == 0:
            return 0.0
        product = both * neither - gained * lost
        return (max(product - n / 2, 0.0) if product > 0 else product) / math.sqrt(margins)


def _square_and_add(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(one**2 - 2.0 * phi * one * other + other**2, 0.0))


def paired_table(base_right: Sequence[bool], candidate_right: Sequence[bool]) -> PairedTable:
    """The answers of base and candidate to the same questions in the same order, counted.

    Raises:
        MissingFigureError: there are no questions.
        InputError: the two have different lengths.
    """
    if len(base_right) != len(candidate_right):
        raise InputError(
            f"{len(base_right)} answers of the base stand beside {len(candidate_right)} of the candidate; "
            "a paired difference needs one of each per question. Assess both on the same questions."
        )
    if not base_right:
        raise MissingFigureError("A difference over no questions was asked for. Measure at least one first.")
    both = sum(one and other for one, other in zip(base_right, candidate_right, strict=True))
    lost, gained = sum(base_right) - both, sum(candidate_right) - both
    return PairedTable(both, gained, lost, len(base_right) - both - gained - lost)


def paired_difference(base_right: Sequence[bool], candidate_right: Sequence[bool]) -> tuple[float, float, float]:
    """Share right of the candidate minus that of the base, as though all questions were independent.

    Returns:
        (difference, low, high), the 95 % interval's ends within -1 to 1.

    Raises:
        MissingFigureError: there are no questions.
        InputError: the two have different lengths.
    """
    table = paired_table(base_right, candidate_right)
    return table.difference, *table.interval(table.n)


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p-value that gains and losses are equally likely (McNemar, Psychometrika 12, 1947).

    Of the questions on which two equal models differ, each wins one with probability 1/2. Whole numbers throughout,
    so that the value is exact up to one division.

    Raises:
        InputError: a count is negative.
    """
    if min(gained, lost) < 0:
        raise InputError(f"{min(gained, lost)} questions is not a count; expected 0 or more. Count them again.")
    discordant = gained + lost
    ways = tail = 1
    for k in range(min(gained, lost)):
        ways = ways * (discordant - k) // (k + 1)
        tail += ways
    return float(min(1.0, 2 * tail / (1 << discordant)))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values adjusted for their number, in their order (Holm, Scandinavian Journal of Statistics 6, 1979).

    Rejecting where the adjusted value is at most 5 % calls any true null hypothesis false in at most 5 % of cases,
    however the slices depend on one another.

    Raises:
        InputError: a value lies outside 0 to 1.
    """
    _refuse_what_is_no_p(p_values)
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = dict(zip(order, _stepped_down([p_values[place] for place in order]), strict=True))
    return tuple(adjusted[place] for place in range(len(p_values)))


def _stepped_down(ascending: Sequence[float]) -> Iterator[float]:
    """Each times the number of those that are not smaller, never below the one before, never above 1."""
    least = 0.0
    for rank, p in enumerate(ascending):
        least = max(least, min(1.0, p * (len(ascending) - rank)))
        yield least


def beyond_chance(p_values: Sequence[float], least: Sequence[float], level: float = 0.05) -> tuple[bool, ...]:
    """Which of many null hypotheses are rejected, any true one in at most ``level`` of cases, in their order.

    Holm's steps, but a test of so few events that it could not have reached the level whatever they were is not counted
    among those that share it (Tarone, Biometrics 46, 1990, pp. 515-522); who shares it is counted anew after each
    step. The level is kept however the tests depend on one another (Goeman and Solari, Annals of Statistics 38, 2010).

    Args:
        p_values: of discrete tests.
        least: the smallest p-value that each could have given, which must not depend on how it came out.
        level: of the whole family.

    Raises:
        InputError: a value lies outside 0 to 1.
    """
    _refuse_what_is_no_p([*p_values, *least])
    left = set(range(len(p_values)))
    while left:
        share = level / sharing([least[place] for place in left], level)
        found = {place for place in left if p_values[place] <= share}
        if not found:
            break
        left -= found
    return tuple(place not in left for place in range(len(p_values)))


def sharing(least: Sequence[float], level: float) -> int:
    """The smallest number such that no more tests than it can reach ``level`` over it (Tarone 1990)."""
    ascending = sorted(least)
    return next(k for k in itertools.count(1) if bisect_right(ascending, level / k) <= k)


def _refuse_what_is_no_p(values: Sequence[float]) -> None:
    wrong = [p for p in values if not 0 <= p <= 1]
    if wrong:
        raise InputError(f"{wrong[0]} is not a p-value; expected 0 to 1. Count the discordant questions again.")


# --- the figures of an evaluation ------------------------------------------------------------------


def figures(answers: Sequence[Answer], seed: int = 0) -> tuple[CohortFigures, ...]:
    """The figures of every cohort that has answers, in the order of ``Cohort``; ``seed`` draws the resamples."""
    members = {cohort: [answer for answer in answers if answer.question.cohort is cohort] for cohort in Cohort}
    return tuple(_cohort_figures(cohort, found, seed) for cohort, found in members.items() if found)


def _cohort_figures(cohort: Cohort, answers: Sequence[Answer], seed: int) -> CohortFigures:
    questions = [answer.question for answer in answers]
    base = [answer.base_grade for answer in answers]
    candidate = [answer.candidate_grade for answer in answers]
    paired = compare(questions, _is(base, Grade.RIGHT), _is(candidate, Grade.RIGHT), seed)
    table = paired_table([grade is Grade.RIGHT for grade in base], [grade is Grade.RIGHT for grade in candidate])
    low, high = deciding(table, paired.design_effect, paired.bootstrap)
    return CohortFigures(
        cohort=cohort,
        n=len(answers),
        base=_shares(base, questions),
        candidate=_shares(candidate, questions),
        difference=table.difference,
        difference_low=low,
        difference_high=high,
        paired=paired,
        base_stale=_stale(base, questions),
        candidate_stale=_stale(candidate, questions),
    )


def compare(questions: Sequence[Question], base: Values, candidate: Values, seed: int = 0) -> PairedFigures:
    """What two models' answers to the same questions say of the difference between them.

    Args:
        questions: they say what belongs together.
        base: 1 where the first model is right, 0 elsewhere.
        candidate: the same of the second.
        seed: of the resamples.
    """
    table = paired_table((base == 1).tolist(), (candidate == 1).tolist())
    by_fact, by_document = facts(questions), documents(questions)
    differences = candidate - base
    return PairedFigures(
        gained=table.gained,
        lost=table.lost,
        mcnemar=mcnemar(table.gained, table.lost),
        facts=by_fact.count,
        documents=len({question.document for question in questions if question.document}),
        bootstrap=bootstrap(differences, by_fact, seed),
        other_documents=bootstrap(differences, by_document, seed) if by_document else None,
        design_effect=design_effect(differences, by_fact),
    )


def table_of(found: CohortFigures) -> PairedTable:
    """The table that a cohort's figures were taken from.

    Raises:
        MissingFigureError: an earlier release wrote them.
    """
    paired = paired_of(found)
    both = found.base[Grade.RIGHT].hits - paired.lost
    return PairedTable(both, paired.gained, paired.lost, found.n - both - paired.gained - paired.lost)


def paired_of(found: CohortFigures) -> PairedFigures:
    """What a cohort's figures say of the same questions.

    Raises:
        MissingFigureError: an earlier release wrote them.
    """
    if found.paired is None:
        raise MissingFigureError(
            f"The evaluation does not say which facts cohort {found.cohort} asks about, so nothing says how far its "
            "interval reaches: an earlier release wrote it. Run assess again."
        )
    return found.paired


def deciding(table: PairedTable, design_effect: float, resampled: tuple[float, float]) -> tuple[float, float]:
    """The wider of two 95 % intervals at either end: Newcombe's at n / design effect, and the bootstrap's.

    Where all clusters agree the bootstrap's is one point, and Newcombe's says how far off it may be.
    """
    low, high = table.interval(table.n / design_effect)
    return min(low, resampled[0]), max(high, resampled[1])


def _is(grades: Sequence[Grade], wanted: Grade) -> Values:
    return np.array([grade is wanted for grade in grades], dtype=np.float64)


def _shares(grades: Sequence[Grade], questions: Sequence[Question]) -> dict[Grade, Estimate]:
    found = facts(questions)
    alike = correlation(_is(grades, Grade.RIGHT), found)
    return {grade: _share(_is(grades, grade), found, alike) for grade in Grade}


def _stale(grades: Sequence[Grade], questions: Sequence[Question]) -> Estimate | None:
    """Among the questions that have an old answer; None where none has."""
    dated = [place for place, question in enumerate(questions) if question.stale]
    if not dated:
        return None
    alike = correlation(_is(grades, Grade.RIGHT), facts(questions))
    return _share(_is(grades, Grade.STALE)[dated], facts([questions[place] for place in dated]), alike)


def _share(hits: Values, found: Clusters, alike: float) -> Estimate:
    """A grade too rare to show how alike a fact's wordings are is taken to be as alike as the right answers."""
    return wilson(int(hits.sum()), len(hits), design_effect(hits, found, alike))
