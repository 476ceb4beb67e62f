"""Intervals agree with published examples and keep what an interval must keep."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError, MissingFigureError
from data.records import Answer, Cohort, Grade, Question
from models.statistics import figures, paired_difference, wilson


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_newcombe_1998_table_one(hits: int, n: int, low: float, high: float) -> None:
    estimate = wilson(hits, n)
    assert [estimate.low, estimate.high] == pytest.approx([low, high], abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_its_value_and_mirrors(counts: tuple[int, int]) -> None:
    hits, n = counts
    estimate, other = wilson(hits, n), wilson(n - hits, n)
    assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0
    assert estimate.low < estimate.high
    assert estimate.low == pytest.approx(1.0 - other.high, abs=1e-12)


def test_no_questions_are_a_missing_figure() -> None:
    with pytest.raises(MissingFigureError):
        wilson(0, 0)
    with pytest.raises(MissingFigureError):
        paired_difference([], [])


@pytest.mark.parametrize(("hits", "n"), [(-1, 5), (6, 5), (1, -1)])
def test_impossible_counts_are_refused(hits: int, n: int) -> None:
    with pytest.raises(InputError):
        wilson(hits, n)


def _table(both: int, candidate: int, base: int, neither: int) -> tuple[list[bool], list[bool]]:
    """(base_right, candidate_right) of a 2 x 2 table."""
    pairs = [(True, True)] * both + [(False, True)] * candidate + [(True, False)] * base + [(False, False)] * neither
    return [first for first, _ in pairs], [second for _, second in pairs]


@pytest.mark.parametrize(("table", "low", "high"), [((36, 12, 2, 0), 0.0569, 0.3404), ((14, 5, 0, 22), 0.0115, 0.2265)])
def test_paired_difference_agrees_with_worked_examples(
    table: tuple[int, int, int, int], low: float, high: float
) -> None:
    """Newcombe 1998, table II, and Altman et al., Statistics with Confidence, 2000, chapter 6."""
    _, found_low, found_high = paired_difference(*_table(*table))
    assert [found_low, found_high] == pytest.approx([low, high], abs=5e-5)


@given(*[st.integers(0, 60)] * 4)
def test_paired_difference_holds_its_value_and_mirrors(both: int, candidate: int, base: int, neither: int) -> None:
    if both + candidate + base + neither == 0:
        return
    first, second = _table(both, candidate, base, neither)
    difference, low, high = paired_difference(first, second)
    assert difference == pytest.approx((candidate - base) / len(first))
    assert -1.0 <= low <= difference + 1e-12
    assert difference - 1e-12 <= high <= 1.0
    assert list(paired_difference(second, first)) == pytest.approx([-difference, -high, -low], abs=1e-12)


def test_agreement_narrows_the_paired_interval() -> None:
    """The same shares right, once on the same questions and once on different ones."""
    _, low, high = paired_difference(*_table(80, 5, 5, 10))
    _, wide_low, wide_high = paired_difference(*_table(70, 15, 15, 0))
    assert high - low < 0.7 * (wide_high - wide_low)


@pytest.mark.parametrize("shares", [(0.9, 0.05, 0.03, 0.02), (0.5, 0.2, 0.1, 0.2)])
def test_paired_interval_covers_the_truth(shares: Sequence[float]) -> None:
    truth = shares[1] - shares[2]
    tables = np.random.default_rng(1).multinomial(100, shares, size=600)
    intervals = [paired_difference(*_table(*table)) for table in tables.tolist()]
    covered = sum(low <= truth <= high for _, low, high in intervals) / len(intervals)
    assert 0.92 <= covered <= 0.995


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="2 answers of the base stand beside 1"):
        paired_difference([True, False], [True])


def _answer(cohort: Cohort, base: Grade, candidate: Grade, stale: tuple[str, ...] = ()) -> Answer:
    question = Question(id="q", cohort=cohort, question="?", answers=("x",), stale=stale)
    return Answer(question=question, base="", base_grade=base, candidate="", candidate_grade=candidate)


GRADES = st.sampled_from(list(Grade))


@given(st.lists(st.builds(_answer, st.sampled_from(list(Cohort)), GRADES, GRADES), max_size=40))
def test_figures_account_for_every_answer(answers: list[Answer]) -> None:
    found = figures(answers)
    assert sum(cohort.n for cohort in found) == len(answers)
    assert len({cohort.cohort for cohort in found}) == len(found)
    for cohort in found:
        for side in (cohort.base, cohort.candidate):
            assert set(side) == set(Grade)
            assert sum(estimate.hits for estimate in side.values()) == cohort.n
        gain = cohort.candidate[Grade.RIGHT].value - cohort.base[Grade.RIGHT].value
        assert cohort.difference == pytest.approx(gain)


def test_stale_share_is_taken_of_questions_that_have_a_stale_answer() -> None:
    dated = [_answer(Cohort.NEW, Grade.STALE, grade, ("old",)) for grade in (Grade.STALE, Grade.RIGHT)]
    fresh = [_answer(Cohort.NEW, Grade.WRONG, Grade.RIGHT)] * 8
    (cohort,) = figures([*dated, *fresh])
    assert cohort.candidate[Grade.STALE].n == 10
    assert cohort.candidate_stale is not None
    assert cohort.base_stale is not None
    assert (cohort.candidate_stale.hits, cohort.candidate_stale.n, cohort.base_stale.hits) == (1, 2, 2)
    (undated,) = figures(fresh)
    assert undated.candidate_stale is None
