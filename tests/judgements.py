"""Reports of a candidate, made up cohort by cohort, and the verdict on them."""

import re

from data.evaluation_records import (
    ChampionComparison,
    CohortFigures,
    Compared,
    EvaluationReport,
    Judgement,
    LeakFigures,
    Outcome,
)
from data.param_stages import GateParams
from data.params import load_params
from data.records import Answer, Cohort, Grade, Question, Standing
from data.report_records import Coverage, SynthesisReport
from data.spectral_records import LayerSpectrum, SpectralReport
from data.workspace import PROJECT_ROOT
from models.gates import judge
from models.spectral_checks import SHAPE
from models.statistics import figures
from tests.spectral_miniature import layer

GATES = load_params(PROJECT_ROOT / "params.yaml").gates
THRESHOLDS = GATES.model_copy(
    update={
        "min_new_right": 0.9,
        "max_held_drop": 0.03,
        "max_handbook_drop": 0.03,
        "max_champion_drop": 0.03,
        "max_stale_share": 0.1,
        "min_withdrawn_refused": 0.5,
        "min_coverage": 0.2,
        "min_surviving_share": 0.05,
        "warn_surviving_share": 0.8,
        "max_sigma_ratio": 10.0,
        "warn_sigma_ratio": 4.0,
        "max_robust_z": 10.0,
        "warn_robust_z": 6.0,
        "modes": {**GATES.modes, "unstructured": "shadow"},
    }
)
DECISIVE = [
    "integrity",
    "not_learned",
    "exploded",
    "adapter_active",
    "learned",
    "stale",
    "restated",
    "forgotten",
    "locality",
]
CHECKS = [*DECISIVE[:3], *SHAPE, *DECISIVE[3:], "retention", "champion", "withdrawn", "coverage", "leaks"]
NO_MARKS = LeakFigures(canaries=0, secrets=0, probes=0, answers=0)
"""Nothing that must not come out."""
BASE_SERVES = ChampionComparison(candidate="adapter", version=1, compared=Compared.BASE)


def spectral(*layers: LayerSpectrum) -> SpectralReport:
    return SpectralReport(adapter="adapter", base="base", layers=layers)


def answer(kind: Cohort, place: int, base: Grade, candidate: Grade, dated: bool = False, fact: str = "") -> Answer:
    question = Question(
        id=str(place), cohort=kind, question="?", answers=("x",), stale=("o",) * dated, source=fact
    )  # fmt: skip
    return Answer(question=question, base="", base_grade=base, candidate="", candidate_grade=candidate)


def cohort(kind: Cohort, n: int, base: int, right: int, stale: int = 0, dated: int = 0) -> CohortFigures:
    """n questions, the last ``dated`` with a stale answer; the first are right, the last are stale."""
    answers = [
        answer(
            kind,
            i,
            Grade.RIGHT if i < base else Grade.WRONG,
            Grade.RIGHT if i < right else Grade.STALE if i >= n - stale else Grade.WRONG,
            dated=i >= n - dated,
        )
        for i in range(n)
    ]
    (found,) = figures(answers)
    return found


GOOD = {
    Cohort.NEW: cohort(Cohort.NEW, 400, 8, 380, stale=4, dated=100),
    Cohort.RESTATED: cohort(Cohort.RESTATED, 160, 144, 160),
    Cohort.HELD: cohort(Cohort.HELD, 400, 380, 380),
    Cohort.HANDBOOK: cohort(Cohort.HANDBOOK, 400, 388, 386),
    Cohort.WITHDRAWN: cohort(Cohort.WITHDRAWN, 60, 0, 45),
}


def evaluation(*cohorts: CohortFigures, active: bool = True) -> EvaluationReport:
    """The good cohorts, with ``cohorts`` in place of those of their kind."""
    chosen = GOOD | {figure.cohort: figure for figure in cohorts}
    return EvaluationReport(
        adapter="adapter", base="base", questions="q", adapter_active=active, logit_shift=3.0,
        cohorts=tuple(chosen.values()), leaks=NO_MARKS,
    )  # fmt: skip


def without(*kinds: Cohort) -> EvaluationReport:
    whole = evaluation()
    return whole.model_copy(update={"cohorts": tuple(c for c in whole.cohorts if c.cohort not in kinds)})


def synthesis(changed: int = 100, covered: int = 60, **facts: int) -> SynthesisReport:
    documents = (Coverage(document="d", path="d.md", title="D", facts=1, statements=changed,
                          changed_statements=changed, changed_with_fact=covered),)  # fmt: skip
    counts = {Standing.NEW: 30, Standing.RESTATED: 9, Standing.REPLACED: 20, Standing.WITHDRAWN: 20, Standing.HELD: 300,
              Standing.AMBIGUOUS: 0}  # fmt: skip
    return SynthesisReport(
        snapshot="s", base="base", recipe="facts", teacher="template", seed=1, new_statements=changed,
        gone_statements=0, rows={}, dropped={}, coverage=documents, rows_digest="r",
        facts=counts | {Standing(name): count for name, count in facts.items()},
    )  # fmt: skip


def judged(
    spectra: SpectralReport | None = None,
    measured: EvaluationReport | None = None,
    written: SynthesisReport | None = None,
    thresholds: GateParams = THRESHOLDS,
    handbook_expected: bool = True,
    champion: ChampionComparison = BASE_SERVES,
) -> Judgement:
    return judge(
        spectra or spectral(layer()), measured or evaluation(), written or synthesis(), thresholds,
        handbook_expected=handbook_expected, champion=champion,
    )  # fmt: skip


def outcome(judgement: Judgement, check: str) -> Outcome:
    (found,) = [entry for entry in judgement.checks if entry.check == check]
    return found.outcome


def reason(check: str, *cohorts: CohortFigures) -> str:
    (found,) = [entry.reason for entry in judged(measured=evaluation(*cohorts)).checks if entry.check == check]
    return found


def would(said: str) -> int:
    """How many questions would tell."""
    found = re.search(r"about ([\d,]+) would", said)
    assert found is not None, said
    return int(found[1].replace(",", ""))
