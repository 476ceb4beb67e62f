"""What an interval says of a threshold, and how many questions would tell."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import MissingFigureError
from data.evaluation_records import Outcome
from data.params import load_params
from data.records import Cohort, Grade
from data.workspace import PROJECT_ROOT
from models.power import effect_reaching, questions_for_difference
from models.statistics import PairedTable, figures
from tests.judgements import GOOD, THRESHOLDS, answer, cohort, evaluation, judged, outcome, reason, would


def test_what_is_held_for_says_how_many_questions_would_tell_and_what_a_person_can_do() -> None:
    assert reason("learned", cohort(Cohort.NEW, 50, 0, 46, dated=10)) == (
        "New facts are right in 92.0% of 50 questions (95 % interval 81.2% to 96.8%), at least 90.0% wanted; "
        "50 questions cannot tell, about 865 would: look at the answers in the report and decide "
        '(relearn promote VERSION --override --reason "..."), or keep more wordings from training to ask in '
        "(synthesize.held_out_questions)."
    )
    forgotten = reason("forgotten", cohort(Cohort.HELD, 41, 41, 41))
    assert "41 questions show a fall of 0.181 in four of five tries and cannot tell, about 125 would:" in forgotten
    assert "raise assess.held_questions, as far as there are facts to ask about, or look at the answers" in forgotten
    assert "raise assess.handbook_questions" in reason("locality", cohort(Cohort.HANDBOOK, 41, 41, 41))
    assert "held_out_questions" in reason("restated", cohort(Cohort.RESTATED, 41, 41, 41))
    assert "and no number would at such figures" in reason("learned", cohort(Cohort.NEW, 50, 0, 45, dated=10))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 60))
def test_the_number_that_would_tell_does(n: int, base: int, right: int) -> None:
    """The same figures at that many independent questions pass or fail; at one question less they still hold."""
    found = cohort(Cohort.HELD, n, min(base, n), min(right, n))
    said = reason("forgotten", found)
    if "about" not in said:
        return
    needed = would(said)
    assert needed > n
    assert found.paired is not None
    lost, gained = found.paired.lost, found.paired.gained
    both = min(base, n) - lost
    table = PairedTable(both, gained, lost, n - both - lost - gained)
    end = found.difference_low if (lost - gained) / n <= THRESHOLDS.max_held_drop else found.difference_high
    effect = effect_reaching(table, found.paired.design_effect, end)

    def at(questions: int) -> Outcome:
        low, high = table.interval(questions / effect)
        ends = {"difference_low": low, "difference_high": high}
        return outcome(judged(measured=evaluation(found.model_copy(update=ends))), "forgotten")

    assert at(needed) is not Outcome.INSUFFICIENT
    assert at(needed - 1) is Outcome.INSUFFICIENT


@pytest.mark.parametrize(
    ("settings_of", "setting", "lost"),
    [
        ("assess", "held_questions", 20),
        ("assess", "handbook_questions", 15),
        ("quick", "held_questions", 15),
        ("quick", "handbook_questions", 10),
    ],
)
def test_the_shipped_settings_ask_enough_to_allow_a_small_loss(settings_of: str, setting: str, lost: int) -> None:
    """Of a thousand; at the design effect of 1.15 that facts which hold had on the shipped year."""
    asked = getattr(getattr(load_params(PROJECT_ROOT / "params.yaml"), settings_of), setting)
    table = PairedTable(both=1000 - lost, gained=0, lost=lost, neither=0)
    needed = questions_for_difference(table, 1.15, lambda low, high: -low <= THRESHOLDS.max_held_drop)
    assert needed is not None
    assert needed <= asked


def test_wordings_that_fail_together_need_more_questions() -> None:
    """100 facts in four wordings each: as though nothing but 100 questions had been asked."""
    pairs = [
        answer(Cohort.HELD, place, Grade.RIGHT, Grade.WRONG if place < 4 else Grade.RIGHT, fact=str(place // 4))
        for place in range(400)
    ]
    (whole,) = figures(pairs)
    alone = cohort(Cohort.HELD, 400, 400, 396)
    assert outcome(judged(measured=evaluation(alone)), "forgotten") is Outcome.PASS
    assert outcome(judged(measured=evaluation(whole)), "forgotten") is Outcome.INSUFFICIENT
    assert "as of 99 independent ones" in reason("forgotten", whole)
    assert would(reason("forgotten", whole)) > 400


def test_a_bootstrap_wider_than_newcombes_interval_counts_in_the_number_that_would_tell() -> None:
    enough = cohort(Cohort.HELD, 125, 125, 125)
    assert outcome(judged(measured=evaluation(enough)), "forgotten") is Outcome.PASS
    wider = enough.model_copy(update={"difference_low": -0.1})
    assert would(reason("forgotten", wider)) > 250
    lost = cohort(Cohort.HELD, 400, 400, 380)
    assert outcome(judged(measured=evaluation(lost)), "forgotten") is Outcome.FAIL
    assert would(reason("forgotten", lost.model_copy(update={"difference_high": -0.01}))) > 800


@settings(max_examples=50, deadline=None)
@given(st.integers(20, 400), st.integers(0, 100))
def test_an_upper_end_of_exactly_the_limit_passes(n: int, percent: int) -> None:
    exact = cohort(Cohort.HELD, n, n, n - percent * n // 100)
    thresholds = THRESHOLDS.model_copy(update={"max_held_drop": -exact.difference_low})
    assert outcome(judged(measured=evaluation(exact), thresholds=thresholds), "forgotten") is Outcome.PASS
    tighter = THRESHOLDS.model_copy(update={"max_held_drop": -exact.difference_low - 1e-9})
    assert outcome(judged(measured=evaluation(exact), thresholds=tighter), "forgotten") is not Outcome.PASS


def test_figures_without_their_facts_are_missing() -> None:
    """An earlier release wrote them: its interval took all questions as independent."""
    bare = GOOD[Cohort.HELD].model_copy(update={"paired": None})
    with pytest.raises(MissingFigureError, match="earlier release"):
        judged(measured=evaluation(bare))
