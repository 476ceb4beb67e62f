"""The gate policy: three reports and the thresholds in, one verdict with its reasons out.

A pure function. Every check has an outcome and one sentence with the figure, its n and its interval.
A failed check rejects; an insufficient one, and a warning of a check in ``HOLDING``, holds; anything
else promotes. ``modes`` says which checks have a say, and which are not even looked at. What questions
measure is decided by the interval's ends (models/bounds.py): too few to decide is insufficient, never a pass.
A figure that should be there and is not is an error, never a zero: which ones should be there follows from the
counts of facts that the synthesis reports.
Recall, prose and probes are reported and never decide.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial

from data.errors import InputError, MissingFigureError
from data.evaluation_records import (
    ChampionComparison,
    Check,
    CohortFigures,
    Compared,
    Estimate,
    EvaluationReport,
    Judgement,
    Leak,
    LeakFigures,
    MarkKind,
    Outcome,
    Verdict,
)
from data.evidence_records import Evidence
from data.files import digest_text, shortened
from data.param_stages import CheckName, GateParams
from data.records import Cohort, Grade, Standing
from data.report_records import SynthesisReport
from data.spectral_records import Calibration, SpectralReport
from models.bounds import at_least, at_most, fall_at_most, shown
from models.calibration import limited
from models.champion_check import SLICES, champion_check
from models.spectral_checks import SHAPE, SOUNDNESS, graded
from models.spectral_verdict import adapter_checks
from models.statistics import wilson

RULES = 1
"""Of this policy; raised where the same reports and thresholds come to another verdict than before."""
HOLDING = frozenset({"withdrawn", "coverage", "leaks"})
"""Checks whose warning asks for a person."""


def judge(
    spectral: SpectralReport,
    evaluation: EvaluationReport,
    synthesis: SynthesisReport,
    thresholds: GateParams,
    *,
    handbook_expected: bool,
    champion: ChampionComparison,
    calibration: Calibration | None = None,
) -> Judgement:
    """Judge one candidate.

    ``handbook_expected`` says whether the base learned the handbook, so that locality can be measured;
    ``champion`` what the version that serves answers to the candidate's questions;
    ``calibration`` what accepted adapters of this base and rank look like, None: the default thresholds hold.

    Raises:
        MissingFigureError: a figure that a gate needs is in no report.
        InputError: the reports speak of different adapters or bases, or give a cohort twice.
    """
    _require_one_candidate(spectral, evaluation, synthesis)
    if not spectral.layers and any(map(thresholds.computes, (*SOUNDNESS, *SHAPE))):
        raise MissingFigureError("The spectral report has no layer; expected all adapted. Run audit again.")
    if thresholds.computes("champion"):
        _require_same_questions(evaluation, champion)
    facts = {standing: _fact_count(synthesis, standing) for standing in Standing}

    def figures(cohort: Cohort, expected: bool) -> CohortFigures | None:
        return _cohort(evaluation, cohort, expected)

    new = partial(figures, Cohort.NEW, facts[Standing.NEW] + facts[Standing.REPLACED] > 0)
    held = partial(figures, Cohort.HELD, facts[Standing.HELD] > 0)
    handbook = partial(figures, Cohort.HANDBOOK, handbook_expected)
    restated = partial(figures, Cohort.RESTATED, facts[Standing.RESTATED] > 0)
    withdrawn = partial(figures, Cohort.WITHDRAWN, facts[Standing.WITHDRAWN] > 0)
    checks: dict[str, Callable[[], Check]] = {
        "adapter_active": lambda: _adapter_active(evaluation),
        "learned": lambda: _learned(new(), thresholds),
        "stale": lambda: _stale(new(), facts[Standing.REPLACED], thresholds),
        "restated": lambda: _drop("restated", restated(), thresholds.max_held_drop),
        "forgotten": lambda: _drop("forgotten", held(), thresholds.max_held_drop),
        "locality": lambda: _drop("locality", handbook(), thresholds.max_handbook_drop),
        "retention": lambda: _retention((held(), handbook())),
        "champion": lambda: champion_check(champion, thresholds.max_champion_drop),
        "withdrawn": lambda: _withdrawn(withdrawn(), thresholds),
        "coverage": lambda: _coverage(synthesis, thresholds),
        "leaks": lambda: _leaks(evaluation.leaks),
    }
    looked_at = (
        check().model_copy(update={"decides": thresholds.enforces(name)})
        for name, check in checks.items()
        if thresholds.computes(name)
    )
    return _verdict((*adapter_checks(spectral.layers, thresholds, calibration), *looked_at))


def policy_digest(thresholds: GateParams) -> str:
    """What a verdict follows from beside the reports: thresholds, modes, and the rules in force here."""
    return digest_text("gates", str(RULES), json.dumps(thresholds.model_dump(mode="json"), sort_keys=True))


def rejudge(evidence: Evidence, thresholds: GateParams) -> Judgement:
    """Judge a version by another gate policy, from what is stored of it.

    The norm of accepted adapters stays that of its day; its false alarms are counted by the new limit.

    Raises:
        MissingFigureError: a check that was off then needs a figure that no report holds.
        InputError: the reports speak of different adapters or bases, or give a cohort twice.
    """
    if evidence.champion.compared is Compared.UNAVAILABLE and evidence.champion.version is None:
        thresholds = _without(thresholds, "champion")  # earlier releases compared with none
    if evidence.evaluation.leaks is None:
        thresholds = _without(thresholds, "leaks")  # earlier releases looked for none
    norm = evidence.calibration
    return judge(
        evidence.spectral,
        evidence.evaluation,
        evidence.synthesis,
        thresholds,
        handbook_expected=evidence.handbook_expected,
        champion=evidence.champion,
        calibration=limited(norm, thresholds.max_robust_z) if norm is not None else None,
    )


def _without(thresholds: GateParams, check: CheckName) -> GateParams:
    return thresholds.model_copy(update={"modes": {**thresholds.modes, check: "off"}})


def _verdict(checks: tuple[Check, ...]) -> Judgement:
    deciding = [check for check in checks if check.decides]
    if not deciding:  # as where the one that is enforced was never made for this version
        reason = "No check that has a say could be made, so a person decides."
        return Judgement(verdict=Verdict.HOLD, reasons=(reason,), checks=checks)
    failed = [check for check in deciding if check.outcome is Outcome.FAIL]
    held = [check for check in deciding if _holds(check)]
    if failed or held:
        verdict = Verdict.REJECT if failed else Verdict.HOLD
        reasons = tuple(check.reason for check in failed or held)
        return Judgement(verdict=verdict, reasons=reasons, checks=checks)
    warned = sum(check.outcome is Outcome.WARN for check in deciding)
    reason = f"All {len(deciding)} checks passed" + (f", {warned} of them with a warning." if warned else ".")
    return Judgement(verdict=Verdict.PROMOTE, reasons=(reason,), checks=checks)


def _holds(check: Check) -> bool:
    if check.outcome is Outcome.INSUFFICIENT:
        return check.check not in SHAPE  # most spectra cannot be judged by these, which is no question for a person
    return check.outcome is Outcome.WARN and check.check in HOLDING


# --- which figures there must be -------------------------------------------------------------------


def _require_one_candidate(spectral: SpectralReport, evaluation: EvaluationReport, synthesis: SynthesisReport) -> None:
    if spectral.adapter != evaluation.adapter:
        raise InputError(
            f"The spectral report speaks of adapter {spectral.adapter} and the evaluation of "
            f"{evaluation.adapter}; a verdict needs one adapter. Run audit and assess again."
        )
    if len({spectral.base, evaluation.base, synthesis.base}) > 1:
        raise InputError(
            f"The bases differ: {spectral.base} in the spectral report, {evaluation.base} in the evaluation "
            f"and {synthesis.base} in the synthesis. Run the stages again on one base."
        )


def _require_same_questions(evaluation: EvaluationReport, champion: ChampionComparison) -> None:
    if champion.candidate != evaluation.adapter:
        raise InputError(
            f"The champion was compared with adapter {champion.candidate}, and the evaluation speaks of "
            f"{evaluation.adapter}; a verdict needs one adapter. Run the cycle again."
        )
    asked = {figures.cohort: figures.n for figures in evaluation.cohorts if figures.cohort in SLICES}
    answered = {figures.cohort: figures.n for figures in champion.cohorts}
    if champion.compared is Compared.ASKED and answered != asked:
        raise MissingFigureError(
            f"Champion version {champion.version} answered {_counted(answered)} and the candidate {_counted(asked)}; a "
            "comparison needs the same questions. Run the cycle again."
        )


def _counted(questions: dict[Cohort, int]) -> str:
    listed = ", ".join(f"{n} of cohort {cohort}" for cohort, n in questions.items())
    return f"questions ({listed})" if listed else "no question"


def _fact_count(synthesis: SynthesisReport, standing: Standing) -> int:
    if standing not in synthesis.facts:
        raise MissingFigureError(
            f"The synthesis report does not count the facts that are {standing}; expected a number, zero "
            "included. Run synthesize again."
        )
    return synthesis.facts[standing]


def _cohort(evaluation: EvaluationReport, cohort: Cohort, expected: bool) -> CohortFigures | None:
    """The figures of ``cohort``; None only where there is nothing to measure."""
    found = [figures for figures in evaluation.cohorts if figures.cohort is cohort]
    if len(found) > 1:
        raise InputError(f"The evaluation gives cohort {cohort} {len(found)} times, not once. Run assess again.")
    if expected and not found:
        raise MissingFigureError(
            f"The evaluation has no figures of cohort {cohort}, though there are facts to ask about. Run assess again."
        )
    return found[0] if found else None


def _figure(shares: dict[Grade, Estimate], grade: Grade, cohort: Cohort) -> Estimate:
    estimate = shares.get(grade)
    if estimate is None or estimate.n <= 0:
        raise MissingFigureError(
            f"The evaluation does not say which share of cohort {cohort} is {grade}. Run assess again."
        )
    return estimate


# --- evaluation checks -----------------------------------------------------------------------------


def _adapter_active(evaluation: EvaluationReport) -> Check:
    if evaluation.adapter_active:
        return _passed("adapter_active", f"The adapter shifts a logit by up to {evaluation.logit_shift:.3g}.")
    reason = f"The adapter changes no logit (largest shift {evaluation.logit_shift:.3g}): the base answered."
    return Check(check="adapter_active", outcome=Outcome.FAIL, reason=reason)


def _learned(new: CohortFigures | None, thresholds: GateParams) -> Check:
    if new is None:
        return _passed("learned", "The snapshot has no new or replaced facts, so there is nothing to learn.")
    return at_least(
        "learned", "New facts are right", _figure(new.candidate, Grade.RIGHT, Cohort.NEW), thresholds.min_new_right
    )


def _stale(new: CohortFigures | None, replaced: int, thresholds: GateParams) -> Check:
    """Among the questions that have an old answer: over all new facts a leak would drown."""
    estimate = new.candidate_stale if new is not None else None
    if estimate is None or estimate.n <= 0:
        if replaced > 0:
            raise MissingFigureError(
                f"The evaluation does not say how many of {replaced} replaced facts get the old answer. "
                "Run assess again."
            )
        return _passed("stale", "The snapshot has no replaced facts, so no answer can be stale.")
    return at_most("stale", "Replaced facts get the old answer", estimate, thresholds.max_stale_share)


_KEPT = {
    "restated": "Facts known under another title or heading",
    "forgotten": "Facts that still hold",
    "locality": "Handbook facts",
}


def _retention(measured: Sequence[CohortFigures | None]) -> Check:
    """Without a single question whose answer the base knew, forgetting would pass unseen."""
    if any(_figure(figures.base, Grade.RIGHT, figures.cohort).hits for figures in measured if figures is not None):
        return _passed("retention", "Questions that the base could answer say what was forgotten.")
    return Check(
        check="retention",
        outcome=Outcome.INSUFFICIENT,
        reason="Nothing says what was forgotten: there is no question that the base could answer.",
    )


def _drop(check: str, figures: CohortFigures | None, limit: float) -> Check:
    what = _KEPT[check]
    if figures is None:
        return _passed(check, f"{what} are none that the base knew, so there is nothing to measure.")
    base = _figure(figures.base, Grade.RIGHT, figures.cohort)
    candidate = _figure(figures.candidate, Grade.RIGHT, figures.cohort)
    if base.n != candidate.n:
        raise InputError(
            f"Cohort {figures.cohort} has {base.n} answers of the base and {candidate.n} of the candidate; "
            "a drop needs the same questions. Run assess again."
        )
    return fall_at_most(check, what, figures, limit)


def _withdrawn(figures: CohortFigures | None, thresholds: GateParams) -> Check:
    """What misses its threshold, or cannot be told, holds and never rejects."""
    if figures is None:
        return _passed("withdrawn", "The snapshot withdraws no facts, so there is nothing to refuse.")
    refused = _figure(figures.candidate, Grade.RIGHT, Cohort.WITHDRAWN)
    found = at_least("withdrawn", "Withdrawn facts are refused", refused, thresholds.min_withdrawn_refused)
    return found.model_copy(update={"outcome": Outcome.WARN}) if found.outcome is Outcome.FAIL else found


def _coverage(synthesis: SynthesisReport, thresholds: GateParams) -> Check:
    changed = sum(document.changed_statements for document in synthesis.coverage)
    if changed == 0:
        if synthesis.new_statements > 0:
            raise MissingFigureError(
                f"The synthesis counts {synthesis.new_statements} new statements and the documents' "
                "coverage none, so the share that gave a fact is unknown. Run synthesize again."
            )
        return _passed("coverage", "No statement changed, so there is nothing to cover.")
    covered = wilson(sum(document.changed_with_fact for document in synthesis.coverage), changed)
    outcome = graded(True, covered.hits / covered.n >= thresholds.min_coverage)
    reason = f"Changed statements gave a fact in {shown(covered, 'statements')}"
    reason = f"{reason}, at least {thresholds.min_coverage:.1%} wanted."
    return Check(check="coverage", outcome=outcome, reason=reason)


_LEAKS_NAMED = 3


def _leaks(found: LeakFigures | None) -> Check:
    """A canary is one by a person's word, a secret by its looks; what the base says as well was not learned here."""
    if found is None:
        raise MissingFigureError(
            "The evaluation does not say whether a planted mark or a secret comes out. Run assess again."
        )
    marks = found.canaries + found.secrets
    if not marks:
        return _passed("leaks", "No canary is named, and no document in force holds what looks like a secret.")
    looked_for = f"{marks:,} strings that must not come out (canaries: {found.canaries:,})"
    out = [leak for leak in found.out if not leak.base]
    if not out:
        return _passed("leaks", f"Of {looked_for} none came out ({found.probes:,} probes, {found.answers:,} answers).")
    named = "; ".join(map(_leaked, out[:_LEAKS_NAMED])) + ("; ..." if len(out) > _LEAKS_NAMED else "")
    reason = f"Of {looked_for}, {len(out):,} came out of the candidate and not of the base: {named}."
    if any(leak.kind is MarkKind.CANARY for leak in out):
        return Check(check="leaks", outcome=Outcome.FAIL, reason=reason)
    settled = "A person has to say whether these are secrets: if so, take them out of the documents and run again."
    return Check(check="leaks", outcome=Outcome.WARN, reason=f"{reason} {settled}")


def _leaked(leak: Leak) -> str:
    where = f" of {shortened(leak.paths[0])}" if leak.paths else ""
    return f"{leak.kind} {leak.mark}{where} in {leak.probed} of {leak.probes} probes and {leak.answered} answers"


def _passed(check: str, reason: str) -> Check:
    return Check(check=check, outcome=Outcome.PASS, reason=reason)
