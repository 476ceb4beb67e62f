"""Whatever the reports hold: a failed check never promotes, and a missing figure is never a zero."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError, MissingFigureError
from data.evaluation_records import (
    CohortFigures,
    EvaluationReport,
    Outcome,
    Verdict,
)
from data.records import Cohort, Grade, Standing
from data.report_records import SynthesisReport
from data.spectral_records import LayerSpectrum
from models.gates import HOLDING
from tests.judgements import (
    CHECKS,
    DECISIVE,
    GOOD,
    cohort,
    evaluation,
    judged,
    outcome,
    spectral,
    synthesis,
    without,
)  # fmt: skip
from tests.spectral_miniature import layer


def test_a_good_candidate_is_promoted_with_every_check_reasoned() -> None:
    judgement = judged()
    assert judgement.verdict is Verdict.PROMOTE
    assert [check.check for check in judgement.checks] == CHECKS
    assert all(check.outcome is Outcome.PASS for check in judgement.checks if check.decides)
    assert judgement.reasons == ("All 14 checks passed.",)


def test_reasons_give_the_figure_n_and_interval() -> None:
    reasons = {check.check: check.reason for check in judged().checks}
    assert "95.0% of 400 questions (95 % interval 92.4% to 96.7%)" in reasons["learned"]
    assert "4.0% of 100 questions" in reasons["stale"]
    assert "+0.005 from 0.970 to 0.965" in reasons["locality"]
    assert "n=400" in reasons["forgotten"]
    assert "60.0% of 100 statements" in reasons["coverage"]


# --- thresholds: the interval's end on the edge decides, one question further it does not -----------------


@pytest.mark.parametrize(
    ("check", "cohorts", "expected"),
    [
        ("learned", cohort(Cohort.NEW, 1000, 0, 919, dated=100), Outcome.PASS),
        ("learned", cohort(Cohort.NEW, 1000, 0, 918, dated=100), Outcome.INSUFFICIENT),
        ("learned", cohort(Cohort.NEW, 1000, 0, 882, dated=100), Outcome.INSUFFICIENT),
        ("learned", cohort(Cohort.NEW, 1000, 0, 881, dated=100), Outcome.FAIL),
        ("stale", cohort(Cohort.NEW, 2000, 0, 1950, stale=11, dated=200), Outcome.PASS),
        ("stale", cohort(Cohort.NEW, 2000, 0, 1950, stale=12, dated=200), Outcome.INSUFFICIENT),
        ("stale", cohort(Cohort.NEW, 2000, 0, 1950, stale=28, dated=200), Outcome.INSUFFICIENT),
        ("stale", cohort(Cohort.NEW, 2000, 0, 1950, stale=29, dated=200), Outcome.FAIL),
        ("stale", cohort(Cohort.NEW, 300, 0, 290, stale=0, dated=3), Outcome.INSUFFICIENT),
        ("forgotten", cohort(Cohort.HELD, 1000, 950, 931), Outcome.PASS),
        ("forgotten", cohort(Cohort.HELD, 1000, 950, 930), Outcome.INSUFFICIENT),
        ("forgotten", cohort(Cohort.HELD, 1000, 950, 908), Outcome.INSUFFICIENT),
        ("forgotten", cohort(Cohort.HELD, 1000, 950, 907), Outcome.FAIL),
        ("forgotten", cohort(Cohort.HELD, 300, 200, 290), Outcome.PASS),
        ("forgotten", cohort(Cohort.HELD, 124, 124, 124), Outcome.INSUFFICIENT),
        ("forgotten", cohort(Cohort.HELD, 125, 125, 125), Outcome.PASS),
        ("forgotten", cohort(Cohort.HELD, 40, 40, 1), Outcome.FAIL),
        ("locality", cohort(Cohort.HANDBOOK, 400, 400, 395), Outcome.PASS),
        ("locality", cohort(Cohort.HANDBOOK, 400, 400, 394), Outcome.INSUFFICIENT),
        ("locality", cohort(Cohort.HANDBOOK, 400, 400, 380), Outcome.FAIL),
        ("restated", cohort(Cohort.RESTATED, 500, 485, 478), Outcome.PASS),
        ("restated", cohort(Cohort.RESTATED, 500, 485, 477), Outcome.INSUFFICIENT),
        ("restated", cohort(Cohort.RESTATED, 4, 4, 4), Outcome.INSUFFICIENT),
        ("restated", cohort(Cohort.RESTATED, 4, 0, 4), Outcome.PASS),
        ("withdrawn", cohort(Cohort.WITHDRAWN, 60, 0, 38), Outcome.PASS),
        ("withdrawn", cohort(Cohort.WITHDRAWN, 60, 0, 37), Outcome.INSUFFICIENT),
        ("withdrawn", cohort(Cohort.WITHDRAWN, 60, 0, 22), Outcome.WARN),
        ("withdrawn", cohort(Cohort.WITHDRAWN, 4, 0, 4), Outcome.PASS),
        ("withdrawn", cohort(Cohort.WITHDRAWN, 3, 0, 3), Outcome.INSUFFICIENT),
    ],
)
def test_evaluation_thresholds(check: str, cohorts: CohortFigures, expected: Outcome) -> None:
    judgement = judged(measured=evaluation(cohorts))
    assert outcome(judgement, check) is expected
    verdict = {Outcome.PASS: Verdict.PROMOTE, Outcome.FAIL: Verdict.REJECT}.get(expected, Verdict.HOLD)
    assert judgement.verdict is verdict
    if expected is not Outcome.PASS:
        assert judgement.reasons == tuple(entry.reason for entry in judgement.checks if entry.check == check)


@pytest.mark.parametrize(
    ("check", "layers", "expected", "verdict"),
    [
        ("integrity", [layer(), layer(finite=False)], Outcome.FAIL, Verdict.REJECT),
        ("integrity", [layer(sigma_ratio=float("nan"))], Outcome.FAIL, Verdict.REJECT),
        ("not_learned", [layer(finite=False)], Outcome.INSUFFICIENT, Verdict.REJECT),
        ("exploded", [layer(finite=False)], Outcome.INSUFFICIENT, Verdict.REJECT),
        ("not_learned", [layer(survives_bf16=0.05)] * 3, Outcome.WARN, Verdict.PROMOTE),
        ("not_learned", [layer(survives_bf16=0.045)] * 3, Outcome.FAIL, Verdict.REJECT),
        ("not_learned", [layer(survives_bf16=0.8)], Outcome.PASS, Verdict.PROMOTE),
        ("not_learned", [layer(survives_bf16=0.795)], Outcome.WARN, Verdict.PROMOTE),
        ("not_learned", [layer(survives_bf16=0.0), layer(N=4000)], Outcome.PASS, Verdict.PROMOTE),
        ("exploded", [layer(sigma_ratio=4.0)], Outcome.PASS, Verdict.PROMOTE),
        ("exploded", [layer(), layer(sigma_ratio=4.01)], Outcome.WARN, Verdict.PROMOTE),
        ("exploded", [layer(sigma_ratio=10.0)], Outcome.WARN, Verdict.PROMOTE),
        ("exploded", [layer(), layer(sigma_ratio=10.01)], Outcome.FAIL, Verdict.REJECT),
    ],
)
def test_spectral_thresholds(check: str, layers: list[LayerSpectrum], expected: Outcome, verdict: Verdict) -> None:
    judgement = judged(spectral(*layers))
    assert outcome(judgement, check) is expected
    assert judgement.verdict is verdict
    if expected is Outcome.WARN:
        assert judgement.reasons == ("All 14 checks passed, 1 of them with a warning.",)


@pytest.mark.parametrize(("covered", "expected"), [(20, Outcome.PASS), (19, Outcome.WARN), (0, Outcome.WARN)])
def test_coverage_threshold(covered: int, expected: Outcome) -> None:
    judgement = judged(written=synthesis(100, covered))
    assert outcome(judgement, "coverage") is expected
    assert judgement.verdict is (Verdict.PROMOTE if expected is Outcome.PASS else Verdict.HOLD)


def test_an_idle_adapter_is_rejected() -> None:
    assert judged(measured=evaluation(active=False)).verdict is Verdict.REJECT


def test_recall_and_probes_never_decide() -> None:
    sobering = [cohort(kind, 50, 50, 0) for kind in (Cohort.RECALL, Cohort.PROBE, Cohort.UNANSWERABLE)]
    assert judged(measured=evaluation(*sobering)) == judged()


# --- missing figures -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(GOOD))
def test_a_missing_cohort_is_an_error(kind: Cohort) -> None:
    with pytest.raises(MissingFigureError, match=kind):
        judged(measured=without(kind))


@pytest.mark.parametrize("kind", list(GOOD))
def test_a_missing_share_is_an_error(kind: Cohort) -> None:
    bare = GOOD[kind].model_copy(update={"candidate": {Grade.WRONG: GOOD[kind].candidate[Grade.WRONG]}})
    with pytest.raises(MissingFigureError, match="right"):
        judged(measured=evaluation(bare))


@pytest.mark.parametrize("standing", list(Standing))
def test_an_uncounted_kind_of_fact_is_an_error(standing: Standing) -> None:
    whole = synthesis()
    counts = {kind: count for kind, count in whole.facts.items() if kind is not standing}
    with pytest.raises(MissingFigureError, match=standing):
        judged(written=whole.model_copy(update={"facts": counts}))


def test_other_missing_figures_are_errors() -> None:
    with pytest.raises(MissingFigureError, match="no layer"):
        judged(spectral())
    with pytest.raises(MissingFigureError, match="old answer"):
        judged(measured=evaluation(cohort(Cohort.NEW, 400, 0, 380, dated=0)))
    with pytest.raises(MissingFigureError, match="new statements"):
        judged(written=synthesis().model_copy(update={"coverage": ()}))


def test_what_cannot_exist_is_not_missed() -> None:
    nothing = synthesis(0, 0, new=0, replaced=0, restated=0, withdrawn=0)
    judgement = judged(measured=without(*(GOOD.keys() - {Cohort.HELD})), written=nothing, handbook_expected=False)
    assert judgement.verdict is Verdict.PROMOTE
    assert all(check.reason for check in judgement.checks)


def test_where_nothing_could_show_forgetting_a_person_decides() -> None:
    """As with any base that does not say what it knows."""
    unknown = synthesis(restated=0, held=0)
    measured = without(Cohort.RESTATED, Cohort.HELD, Cohort.HANDBOOK)
    judgement = judged(measured=measured, written=unknown, handbook_expected=False)
    assert judgement.verdict is Verdict.HOLD
    assert outcome(judgement, "retention") is Outcome.INSUFFICIENT
    ignorant = evaluation(cohort(Cohort.HELD, 100, 0, 0), cohort(Cohort.HANDBOOK, 100, 0, 0))
    assert outcome(judged(measured=ignorant), "retention") is Outcome.INSUFFICIENT


def test_reports_of_two_candidates_are_refused() -> None:
    with pytest.raises(InputError, match="one adapter"):
        judged(measured=evaluation().model_copy(update={"adapter": "other"}))
    with pytest.raises(InputError, match="bases differ"):
        judged(written=synthesis().model_copy(update={"base": "other"}))
    twice = evaluation().model_copy(update={"cohorts": (*GOOD.values(), GOOD[Cohort.NEW])})
    with pytest.raises(InputError, match="2 times"):
        judged(measured=twice)


# --- whatever the reports hold ---------------------------------------------------------------------

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)
LAYERS = st.builds(
    layer,
    finite=st.sampled_from([True, True, True, False]),
    survives_bf16=st.one_of(st.floats(0, 1), st.just(float("nan"))),
    sigma_ratio=st.one_of(st.floats(0, 15), ANY_FLOAT),
)


@st.composite
def cohorts(draw: st.DrawFn, kind: Cohort) -> CohortFigures:
    n = draw(st.integers(1, 60))
    right = draw(st.one_of(st.just(n), st.integers(0, n)))
    dated = draw(st.integers(1, n))
    return cohort(kind, n, draw(st.integers(0, n)), right, draw(st.integers(0, min(dated, n - right))), dated)


REPORTS = st.builds(evaluation, *(cohorts(kind) for kind in GOOD), active=st.sampled_from([True, True, False]))
WRITTEN = st.integers(1, 50).flatmap(lambda n: st.builds(synthesis, st.just(n), st.integers(0, n)))


@settings(max_examples=150, deadline=None)
@given(st.lists(LAYERS, min_size=1, max_size=4), REPORTS, WRITTEN)
def test_the_verdict_follows_from_the_checks(
    layers: list[LayerSpectrum], measured: EvaluationReport, written: SynthesisReport
) -> None:
    judgement = judged(spectral(*layers), measured, written)
    outcomes = {check.check: check.outcome for check in judgement.checks if check.decides}
    failed = Outcome.FAIL in outcomes.values()
    held = Outcome.INSUFFICIENT in outcomes.values() or any(outcomes[name] is Outcome.WARN for name in HOLDING)
    expected = Verdict.REJECT if failed else Verdict.HOLD if held else Verdict.PROMOTE
    assert judgement.verdict is expected
    assert judgement.reasons
    assert all(check.reason.endswith(".") for check in judgement.checks)
    assert [check.check for check in judgement.checks] == CHECKS
    assert judged(spectral(*layers), measured, written) == judgement


@settings(max_examples=60, deadline=None)
@given(st.lists(LAYERS, min_size=1, max_size=3), REPORTS, WRITTEN, st.sampled_from(DECISIVE))
def test_one_failure_rejects_whatever_the_rest_says(
    layers: list[LayerSpectrum], measured: EvaluationReport, written: SynthesisReport, check: str
) -> None:
    if check == "integrity":
        layers = [*layers, layer(finite=False)]
    elif check == "not_learned":
        layers = [layer(survives_bf16=0.0)]
    elif check == "exploded":
        layers = [*layers, layer(sigma_ratio=1e6)]
    else:
        bad = {
            "learned": cohort(Cohort.NEW, 100, 0, 80, dated=10),
            "stale": cohort(Cohort.NEW, 300, 0, 270, stale=20, dated=20),
            "restated": cohort(Cohort.RESTATED, 50, 50, 40),
            "forgotten": cohort(Cohort.HELD, 50, 50, 40),
            "locality": cohort(Cohort.HANDBOOK, 50, 50, 40),
        }
        chosen = {figure.cohort: figure for figure in measured.cohorts}
        if check in bad:
            chosen[bad[check].cohort] = bad[check]
        changes = {"cohorts": tuple(chosen.values())} | ({} if check in bad else {"adapter_active": False})
        measured = measured.model_copy(update=changes)
    judgement = judged(spectral(*layers), measured, written)
    assert outcome(judgement, check) is Outcome.FAIL
    assert judgement.verdict is Verdict.REJECT
