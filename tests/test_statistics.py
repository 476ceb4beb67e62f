"""Intervals agree with published examples and keep what an interval must keep."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from data.errors import InputError, MissingFigureError
from data.evaluation_records import CohortFigures
from data.records import Answer, Cohort, Grade, Question
from models.statistics import beyond_chance, figures, holm, mcnemar, paired_difference, wilson, wilson_interval


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


@given(st.integers(1, 500), st.floats(0, 1), st.floats(1, 50))
def test_a_design_effect_widens_as_fewer_questions_would(n: int, share: float, effect: float) -> None:
    hits = round(share * n)
    plain, clustered = wilson(hits, n), wilson(hits, n, effect)
    assert clustered.low <= plain.low <= plain.value == clustered.value <= plain.high <= clustered.high
    assert (clustered.low, clustered.high) == wilson_interval(hits / n, n / effect)
    assert wilson(hits, n, 1.0) == plain


@pytest.mark.parametrize("effect", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_design_effect_is_refused(effect: float) -> None:
    with pytest.raises(InputError, match="design effect"):
        wilson(1, 2, effect)


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


# --- McNemar and Holm ------------------------------------------------------------------------------


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_two_sided_binomial_test(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(gained, lost) == mcnemar(lost, gained)


@pytest.mark.parametrize(("gained", "lost", "p"), [(0, 0, 1.0), (0, 5, 0.0625), (1, 9, 22 / 1024), (4, 4, 1.0)])
def test_mcnemar_by_hand(gained: int, lost: int, p: float) -> None:
    assert mcnemar(gained, lost) == p


def test_mcnemar_of_thousands_is_still_a_number() -> None:
    assert 0.0 < mcnemar(4900, 5100) < 0.05 < mcnemar(4950, 5050) < 1.0
    with pytest.raises(InputError):
        mcnemar(-1, 3)


def test_holm_by_hand() -> None:
    """0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, never below the one before."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx((0.06, 0.04, 0.06, 0.06))
    assert holm([]) == ()
    with pytest.raises(InputError, match="p-value"):
        holm([0.5, float("nan")])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_never_kinder_than_one_test_nor_harsher_than_bonferroni(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for raw, made in zip(p_values, adjusted, strict=True):
        assert raw <= made <= min(1.0, raw * len(p_values))
    assert min(adjusted) == pytest.approx(min(1.0, min(p_values) * len(p_values)))
    pairs = sorted(zip(p_values, adjusted, strict=True))
    assert [made for _, made in pairs] == sorted(adjusted), "the order stays"
    assert holm(p_values[::-1]) == adjusted[::-1]


def test_holm_keeps_the_family_at_its_level() -> None:
    """Twelve slices without any difference: at least one is called different in at most one of twenty evaluations."""
    drawn = np.random.default_rng(3).random((4000, 12))
    alarms = sum(min(holm(row)) <= 0.05 for row in drawn.tolist()) / 4000
    assert 0.035 <= alarms <= 0.06
    assert sum(min(row) <= 0.05 for row in drawn.tolist()) / 4000 > 0.4


def test_beyond_chance_by_hand() -> None:
    """Of four, two could never reach 5 %: two share it, and once the first is told the other has it alone."""
    assert beyond_chance([0.02, 0.5, 0.04, 0.5], [0.01, 0.5, 0.02, 0.25]) == (True, False, True, False)
    assert beyond_chance([0.02, 0.04, 0.5], [0.01, 0.02, 0.01]) == (False, False, False), "shared among three"
    assert beyond_chance([], []) == ()
    with pytest.raises(InputError, match="p-value"):
        beyond_chance([0.5], [float("nan")])


PER_MILLE = st.integers(0, 1000).map(lambda count: count / 1000)


@given(st.lists(st.tuples(PER_MILLE, PER_MILLE), max_size=12))
def test_beyond_chance_names_all_that_holm_names_and_none_that_is_not_small(pairs: list[tuple[float, float]]) -> None:
    p_values, least = [max(pair) for pair in pairs], [min(pair) for pair in pairs]
    told = beyond_chance(p_values, least)
    for p, adjusted, beyond in zip(p_values, holm(p_values), told, strict=True):
        assert beyond >= (adjusted <= 0.05)
        assert not (beyond and p > 0.05)
    assert beyond_chance(p_values[::-1], least[::-1]) == told[::-1]
    assert beyond_chance(p_values, [0.0] * len(pairs)) == tuple(adjusted <= 0.05 for adjusted in holm(p_values))


@pytest.mark.parametrize("different", [0, 20])
def test_few_events_keep_the_level_and_lose_less_of_it(different: int) -> None:
    """Eighty sign tests of 0 to 14 events among equals, and some that truly differ: 5 % of families hold an alarm."""
    draw = np.random.default_rng(5)
    events = draw.integers(0, 15, size=(1000, 80))
    gained = draw.binomial(events, 0.5)
    truly = [(12, mcnemar(0, 12))] * different
    alarms, by_holm, alone = 0, 0, 0
    for row, wins in zip(events.tolist(), gained.tolist(), strict=True):
        tests = [(n, mcnemar(k, n - k)) for n, k in zip(row, wins, strict=True)] + truly
        p_values, least = [p for _, p in tests], [mcnemar(0, n) for n, _ in tests]
        alarms += any(beyond_chance(p_values, least)[:80])
        by_holm += min(holm(p_values)[:80]) <= 0.05
        alone += min(p_values[:80]) <= 0.05
    assert by_holm < alarms <= 1000 * (0.05 + 1.96 * np.sqrt(0.05 * 0.95 / 1000))
    assert alone > 500


# --- figures ---------------------------------------------------------------------------------------


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


def test_figures_name_what_belongs_together_and_repeat() -> None:
    """30 documents of two facts in two wordings, of which one document is lost whole."""
    answers = [
        Answer(
            question=Question(
                id=f"{place}", cohort=Cohort.HELD, question="?", answers=("x",), source=f"f{place // 2}",
                document=f"d{place // 4}",
            ),
            base="", base_grade=Grade.RIGHT,
            candidate="", candidate_grade=Grade.WRONG if place < 4 else Grade.RIGHT,
        )
        for place in range(120)
    ]  # fmt: skip
    (cohort,) = figures(answers, seed=1)
    paired = cohort.paired
    assert paired is not None
    assert (paired.facts, paired.documents) == (60, 30)
    assert (paired.gained, paired.lost, paired.mcnemar) == (0, 4, 0.125)
    assert paired.design_effect == pytest.approx(2.0, abs=0.1)
    assert cohort.difference_low <= paired.bootstrap[0] <= cohort.difference <= paired.bootstrap[1]
    assert paired.other_documents is not None
    assert paired.other_documents[0] < paired.bootstrap[0], "other documents could be lost whole, too"
    assert cohort.candidate[Grade.RIGHT].design_effect == pytest.approx(2.0, abs=0.1)
    naive = paired_difference([True] * 120, [place >= 4 for place in range(120)])
    assert cohort.difference_low < naive[1] - 0.01
    assert figures(answers, seed=1) == (cohort,)
    alone = [answer.model_copy(update={"question": _bare(answer.question)}) for answer in answers]
    (unknown,) = figures(alone)
    assert unknown.paired is not None
    assert (unknown.paired.facts, unknown.paired.documents, unknown.paired.other_documents) == (120, 0, None)


def test_what_is_too_rare_to_show_it_is_as_alike_as_the_right_answers() -> None:
    """40 facts in two wordings, 20 of them wrong in both: none stale is no more than 40 answers say."""
    answers = [
        Answer(
            question=Question(
                id=f"{place}", cohort=Cohort.NEW, question="?", answers=("x",), source=f"f{place // 2}", stale=("o",)
            ),
            base="", base_grade=Grade.RIGHT,
            candidate="", candidate_grade=Grade.WRONG if place < 40 else Grade.RIGHT,
        )
        for place in range(80)
    ]  # fmt: skip
    (whole,) = figures(answers)
    halves = [
        answer.model_copy(update={"candidate_grade": Grade.WRONG if place % 2 else Grade.RIGHT})
        for place, answer in enumerate(answers)
    ]
    (apart,) = figures(halves)
    assert whole.candidate_stale is not None
    assert apart.candidate_stale is not None
    assert whole.candidate_stale.design_effect == pytest.approx(2.0, abs=0.05)
    assert whole.candidate[Grade.STALE] == whole.candidate_stale
    assert apart.candidate_stale.design_effect == 1.0


def _bare(question: Question) -> Question:
    """As files of earlier releases without sources hold it."""
    return question.model_copy(update={"source": "", "document": ""})


def test_what_earlier_releases_wrote_is_still_read() -> None:
    """A report without what belongs together says so; a question without its document stands alone."""
    (cohort,) = figures([_answer(Cohort.HELD, Grade.RIGHT, Grade.RIGHT)])
    old = cohort.model_dump(mode="json", by_alias=True, exclude={"paired": True})
    for shares in (old["base"], old["candidate"]):
        for share in shares.values():
            del share["design_effect"]
    read = CohortFigures.model_validate(old)
    assert read.paired is None
    assert read.candidate[Grade.RIGHT].design_effect == 1.0
    question = {"schema": 1, "id": "q", "cohort": "held", "question": "?", "answers": ["x"], "stale": [], "source": "f"}
    assert Question.model_validate(question).document == ""
