"""Shares with intervals, and the difference between two models that answered the same questions.

A share has Wilson's score interval (Wilson, JASA 22, 1927). A difference of paired shares has
Newcombe's square-and-add interval with the corrected phi coefficient (Newcombe, Statistics in Medicine
17, 1998, pp. 2635-2650, method 10): both models answered the same questions, so their answers
are correlated, and an interval for independent samples would be too wide.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

from data.errors import InputError, MissingFigureError
from data.records import Answer, Cohort, Grade
from data.report_records import CohortFigures, Estimate

_Z = NormalDist().inv_cdf(0.975)


def wilson(hits: int, n: int) -> Estimate:
    """``hits`` of ``n`` as a share with its 95 % interval.

    Raises:
        MissingFigureError: n is zero: nothing was measured.
        InputError: hits lie outside 0 to n.
    """
    if n == 0:
        raise MissingFigureError("A share of no questions was asked for. Measure at least one first.")
    if not 0 <= hits <= n:
        raise InputError(f"{hits} hits of {n} is not a share; expected 0 to {n}. Count them again.")
    share = hits / n
    width = 1.0 + _Z**2 / n
    centre = (share + _Z**2 / (2 * n)) / width
    half = _Z * math.sqrt(share * (1.0 - share) / n + _Z**2 / (4 * n**2)) / width
    low = 0.0 if hits == 0 else centre - half
    high = 1.0 if hits == n else centre + half
    return Estimate(value=share, low=low, high=high, n=n, hits=hits)


def paired_difference(base_right: Sequence[bool], candidate_right: Sequence[bool]) -> tuple[float, float, float]:
    """Share right of the candidate minus that of the base, on the same questions in the same order.

    Returns:
        (difference, low, high), the 95 % interval's ends within -1 to 1.

    Raises:
        MissingFigureError: there are no questions.
        InputError: the two have different lengths.
    """
    if len(base_right) != len(candidate_right):
        raise InputError(
            f"{len(base_right)} answers of the base stand beside {len(candidate_right)} of the candidate; "
            "a paired difference needs one of each per question. Assess both on the same questions."
        )
    base = wilson(sum(base_right), len(base_right))
    candidate = wilson(sum(candidate_right), len(candidate_right))
    both = sum(one and other for one, other in zip(base_right, candidate_right, strict=True))
    phi = _corrected_phi(both, candidate.hits - both, base.hits - both, base.n)
    difference = (candidate.hits - base.hits) / base.n
    below = _square_and_add(candidate.value - candidate.low, base.high - base.value, phi)
    above = _square_and_add(candidate.high - candidate.value, base.value - base.low, phi)
    return difference, max(-1.0, difference - below), min(1.0, difference + above)


def _corrected_phi(both: int, first: int, second: int, n: int) -> float:
    """Correlation of the 2 x 2 table; a positive numerator is drawn towards zero by n / 2 (method 10)."""
    neither = n - both - first - second
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    if margins == 0:
        return 0.0
    product = both * neither - first * second
    return (max(product - n / 2, 0.0) if product > 0 else product) / math.sqrt(margins)


def _square_and_add(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(one**2 - 2.0 * phi * one * other + other**2, 0.0))


def figures(answers: Sequence[Answer]) -> tuple[CohortFigures, ...]:
    """The figures of every cohort that has answers, in the order of ``Cohort``."""
    members = {cohort: [answer for answer in answers if answer.question.cohort is cohort] for cohort in Cohort}
    return tuple(_cohort_figures(cohort, found) for cohort, found in members.items() if found)


def _cohort_figures(cohort: Cohort, answers: Sequence[Answer]) -> CohortFigures:
    base = [answer.base_grade for answer in answers]
    candidate = [answer.candidate_grade for answer in answers]
    difference, low, high = paired_difference(
        [grade is Grade.RIGHT for grade in base], [grade is Grade.RIGHT for grade in candidate]
    )
    datable = [answer for answer in answers if answer.question.stale]
    return CohortFigures(
        cohort=cohort,
        n=len(answers),
        base=_shares(base),
        candidate=_shares(candidate),
        difference=difference,
        difference_low=low,
        difference_high=high,
        base_stale=_stale([answer.base_grade for answer in datable]),
        candidate_stale=_stale([answer.candidate_grade for answer in datable]),
    )


def _shares(grades: Sequence[Grade]) -> dict[Grade, Estimate]:
    return {grade: wilson(sum(given is grade for given in grades), len(grades)) for grade in Grade}


def _stale(grades: Sequence[Grade]) -> Estimate | None:
    return wilson(sum(grade is Grade.STALE for grade in grades), len(grades)) if grades else None
