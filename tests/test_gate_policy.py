"""What a check may do, what leaks do to a verdict, and what other gates make of evidence that is kept."""

from typing import Any, get_args

import pytest

from data.errors import MissingFigureError
from data.evaluation_records import (
    Compared,
    EvaluationReport,
    Leak,
    LeakFigures,
    MarkKind,
    Outcome,
    Verdict,
)
from data.evidence_records import Evidence
from data.param_stages import CheckName, GateParams
from data.records import Cohort
from data.spectral_records import Calibration, ModuleNorm
from models.gates import policy_digest, rejudge
from models.spectral_checks import SHAPE, SOUNDNESS
from tests.judgements import (
    BASE_SERVES,
    CHECKS,
    GATES,
    THRESHOLDS,
    cohort,
    evaluation,
    judged,
    outcome,
    spectral,
    synthesis,
    without,
)  # fmt: skip
from tests.spectral_miniature import layer

# --- modes -----------------------------------------------------------------------------------------


def moded(*names: str, mode: str) -> GateParams:
    return THRESHOLDS.model_copy(update={"modes": {**THRESHOLDS.modes, **dict.fromkeys(names, mode)}})


def test_there_is_a_mode_for_every_check_that_a_judgement_can_hold() -> None:
    assert list(get_args(CheckName)) == CHECKS == list(GATES.modes)
    decisive = [check.check for check in judged(thresholds=GATES).checks if check.decides]
    assert decisive == [name for name, mode in GATES.modes.items() if mode == "enforce"]
    assert set(CHECKS) - set(decisive) == {"intruders", "alpha", "traps", "determinant", "distance"}


LEAK = Leak(
    kind=MarkKind.SECRET, mark="hu… (9 characters)", paths=("policy/wiki.md",), probes=3, probed=2, answered=0, base=0
)


def leaking(*out: Leak) -> EvaluationReport:
    found = LeakFigures(canaries=1, secrets=2, probes=9, answers=400, out=out)
    return evaluation().model_copy(update={"leaks": found})


BROKEN: dict[str, dict[str, Any]] = {
    "integrity": {"spectra": spectral(layer(declared_rank=8))},
    "not_learned": {"spectra": spectral(layer(survives_bf16=0.0))},
    "exploded": {"spectra": spectral(layer(sigma_ratio=1e6))},
    "unstructured": {"spectra": spectral(layer(null_share=0.5))},
    "alpha": {"spectra": spectral(layer(alpha=9.0, num_pl_spikes=99, alpha_low=8.9, alpha_high=9.1))},
    "adapter_active": {"measured": evaluation(active=False)},
    "learned": {"measured": evaluation(cohort(Cohort.NEW, 400, 0, 200, dated=100))},
    "stale": {"measured": evaluation(cohort(Cohort.NEW, 2000, 0, 1950, stale=50, dated=200))},
    "restated": {"measured": evaluation(cohort(Cohort.RESTATED, 160, 160, 80))},
    "forgotten": {"measured": evaluation(cohort(Cohort.HELD, 400, 400, 200))},
    "locality": {"measured": evaluation(cohort(Cohort.HANDBOOK, 400, 400, 200))},
    "champion": {
        "champion": BASE_SERVES.model_copy(
            update={"compared": Compared.ASKED, "version": 2, "cohorts": (cohort(Cohort.HELD, 400, 400, 200),)}
        ),
        "measured": evaluation().model_copy(update={"cohorts": (cohort(Cohort.HELD, 400, 200, 200),)}),
        "written": synthesis(new=0, replaced=0, restated=0, withdrawn=0),
        "handbook_expected": False,
    },
    "withdrawn": {"measured": evaluation(cohort(Cohort.WITHDRAWN, 60, 0, 0))},
    "coverage": {"written": synthesis(100, 0)},
    "leaks": {"measured": leaking(LEAK)},
}
"""By check, what it alone does not let pass."""


@pytest.mark.parametrize("check", BROKEN)
def test_a_check_decides_is_shown_or_is_silent(check: str) -> None:
    enforced = judged(**BROKEN[check], thresholds=moded(check, mode="enforce"))
    shadowed = judged(**BROKEN[check], thresholds=moded(check, mode="shadow"))
    silent = judged(**BROKEN[check], thresholds=moded(check, mode="off"))
    assert enforced.verdict is not Verdict.PROMOTE
    assert shadowed.verdict is silent.verdict is Verdict.PROMOTE, (shadowed.reasons, silent.reasons)
    (one,) = [entry for entry in shadowed.checks if entry.check == check]
    assert (one.outcome, one.decides) == (outcome(enforced, check), False)
    assert [entry.check for entry in silent.checks] == [name for name in CHECKS if name != check]


@pytest.mark.parametrize(
    ("checks", "kind"),
    [
        (("learned", "stale"), Cohort.NEW),
        (("restated",), Cohort.RESTATED),
        (("forgotten", "retention"), Cohort.HELD),
        (("locality", "retention"), Cohort.HANDBOOK),
        (("withdrawn",), Cohort.WITHDRAWN),
    ],
)
def test_a_figure_that_only_silent_checks_need_may_be_missing(checks: tuple[str, ...], kind: Cohort) -> None:
    assert judged(measured=without(kind), thresholds=moded(*checks, mode="off")).verdict is Verdict.PROMOTE
    with pytest.raises(MissingFigureError, match=kind):
        judged(measured=without(kind), thresholds=moded(*checks, mode="shadow"))


def test_spectra_and_the_champion_may_be_missing_where_nothing_asks_for_them() -> None:
    weights = moded(*SOUNDNESS, *SHAPE, mode="off")
    assert judged(spectral(), thresholds=weights).verdict is Verdict.PROMOTE
    unlike = BASE_SERVES.model_copy(update={"compared": Compared.ASKED, "version": 2})
    with pytest.raises(MissingFigureError, match="same questions"):
        judged(champion=unlike)
    assert judged(champion=unlike, thresholds=moded("champion", mode="off")).verdict is Verdict.PROMOTE


def test_the_digest_follows_every_threshold_and_mode_and_nothing_else() -> None:
    same = GateParams.model_validate(dict(reversed(GATES.model_dump(mode="json").items())))
    assert policy_digest(same) == policy_digest(GATES)
    numbers = [name for name, value in GATES.model_dump().items() if isinstance(value, float)]
    others = [GATES.model_copy(update={name: getattr(GATES, name) / 2}) for name in numbers]
    others += [GATES.model_copy(update={"modes": {**GATES.modes, name: "off"}}) for name in GATES.modes]
    assert len({policy_digest(one) for one in (GATES, *others)}) == len(others) + 1


# --- leaks -----------------------------------------------------------------------------------------


def test_what_comes_out_of_the_candidate_alone_rejects_and_is_named_masked() -> None:
    canary = LEAK.model_copy(update={"kind": MarkKind.CANARY})
    judgement = judged(measured=leaking(canary, LEAK.model_copy(update={"base": 1})))
    assert judgement.verdict is Verdict.REJECT
    assert judgement.reasons == (
        "Of 3 strings that must not come out (canaries: 1), 1 came out of the candidate and not of the base: "
        "canary hu… (9 characters) of policy/wiki.md in 2 of 3 probes and 0 answers.",
    )


def test_whether_what_looks_like_a_secret_is_one_a_person_says() -> None:
    judgement = judged(measured=leaking(LEAK))
    assert judgement.verdict is Verdict.HOLD
    (reason,) = judgement.reasons
    assert "secret hu… (9 characters) of policy/wiki.md in 2 of 3 probes" in reason
    assert "take them out of the documents and run again" in reason
    canary = LEAK.model_copy(update={"kind": MarkKind.CANARY})
    assert judged(measured=leaking(LEAK, canary)).verdict is Verdict.REJECT


def test_what_comes_out_of_nobody_or_of_the_base_as_well_passes() -> None:
    for measured in (leaking(), leaking(LEAK.model_copy(update={"base": 1}))):
        assert outcome(judged(measured=measured), "leaks") is Outcome.PASS


def test_what_was_not_looked_for_is_an_error_and_earlier_evidence_is_judged_without() -> None:
    earlier = evaluation().model_copy(update={"leaks": None})
    with pytest.raises(MissingFigureError, match="whether a planted mark or a secret comes out"):
        judged(measured=earlier)
    again = rejudge(kept(evaluation=earlier), THRESHOLDS)
    assert (again.verdict, "leaks" in [check.check for check in again.checks]) == (Verdict.PROMOTE, False)
    stored = earlier.model_dump(mode="json", by_alias=True)
    del stored["leaks"]
    assert EvaluationReport.model_validate(stored) == earlier


# --- judged again ----------------------------------------------------------------------------------


def kept(**changes: Any) -> Evidence:
    found = {"evaluation": evaluation(), "spectral": spectral(layer()), "synthesis": synthesis(), "judgement": judged()}
    return Evidence(**{**found, "champion": BASE_SERVES, "handbook_expected": True, **changes})


def test_judged_again_by_the_same_gates_the_verdict_is_the_same() -> None:
    assert rejudge(kept(), THRESHOLDS) == judged()


def test_what_was_never_compared_with_a_champion_is_not_held_for_it_and_never_passes_by_nothing() -> None:
    untold = BASE_SERVES.model_copy(update={"version": None, "compared": Compared.UNAVAILABLE, "why": "earlier"})
    assert "champion" not in [check.check for check in rejudge(kept(champion=untold), THRESHOLDS).checks]
    alone = moded(*(name for name in CHECKS if name != "champion"), mode="shadow")
    assert rejudge(kept(champion=untold), alone).verdict is Verdict.HOLD


def test_a_norm_of_its_day_is_taken_by_the_false_alarms_of_the_limit_now() -> None:
    """Below 8.0 two of twenty adapters are rejected by the others, which is more than 5 %: then the defaults hold."""
    modules = {"layer": {"sigma_ratio": ModuleNorm(median=0.0, spread=0.1)}}
    norm = Calibration(
        base="base", rank=16, adapters=20, false_alarms=0, reaches=(8.0, 8.0, *[1.0] * 18), modules=modules
    )
    odd = kept(calibration=norm, spectral=spectral(layer(sigma_ratio=3.0)))
    assert outcome(rejudge(odd, THRESHOLDS), "exploded") is Outcome.FAIL
    narrower = THRESHOLDS.model_copy(update={"max_robust_z": 7.0})
    assert outcome(rejudge(odd, narrower), "exploded") is Outcome.PASS, "by the defaults"
    older = odd.model_copy(update={"calibration": norm.model_copy(update={"reaches": ()})})
    assert outcome(rejudge(older, narrower), "exploded") is Outcome.FAIL, "an earlier release kept no more"
