"""The typed records of what is measured of a candidate: counts, figures, checks and the verdict."""

from enum import StrEnum

from pydantic import Field

from data.records import Cohort, Grade, Record


class Outcome(StrEnum):
    """Of one check."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    INSUFFICIENT = "insufficient"


class Check(Record):
    """One check's outcome with its reason, one sentence."""

    check: str
    outcome: Outcome
    reason: str
    layer: str = ""
    decides: bool = True
    """False: computed and shown, and without a say in the verdict."""


class Estimate(Record):
    """A share with its Wilson 95 % interval at n / ``design_effect`` independent questions."""

    value: float
    low: float
    high: float
    n: int
    hits: int
    design_effect: float = 1.0
    """How many of these questions say as much as one independent one; earlier releases took 1 for granted."""


class PairedFigures(Record):
    """Base and candidate on the same questions: who was right alone, and what belongs together."""

    gained: int
    """Questions that only the candidate answers right."""
    lost: int
    """Questions that only the base answers right."""
    mcnemar: float
    """Exact two-sided p-value that gains and losses are equally likely, questions taken as independent."""
    facts: int
    """Different facts, statements or probes among the questions."""
    documents: int
    """Different documents that they stand in; 0: none says so."""
    bootstrap: tuple[float, float]
    """Ends of the difference's BCa interval, whole facts drawn with replacement."""
    other_documents: tuple[float, float] | None
    """The same with whole documents drawn, as though these were a sample of others; None: they are too few."""
    design_effect: float
    """How many of these questions say as much about the difference as one independent one; facts are the clusters."""


class CohortFigures(Record):
    """One cohort, base and candidate side by side; keys are grades' names, values shares of n."""

    cohort: Cohort
    n: int
    base: dict[Grade, Estimate]
    candidate: dict[Grade, Estimate]
    difference: float
    """Right answers: candidate minus base."""
    difference_low: float
    """Ends of the 95 % interval that decides: the wider of Newcombe's, at n / ``paired.design_effect`` questions, and
    ``paired.bootstrap``."""
    difference_high: float
    paired: PairedFigures | None = None
    """None: written by an earlier release, whose interval took all questions as independent."""
    base_stale: Estimate | None = None
    """Stale answers of the base among the questions that have one; None where no question has."""
    candidate_stale: Estimate | None = None


class MarkKind(StrEnum):
    """Why a string must not come out of a model."""

    CANARY = "canary"
    """A person planted it."""
    SECRET = "secret"
    """It looks like a secret and stands in a document in force."""


class Leak(Record):
    """A mark that came out of the candidate; the mark itself is never written down."""

    kind: MarkKind
    mark: str
    """Its first two characters and its length."""
    paths: tuple[str, ...]
    """Of the documents in force that hold it."""
    probes: int
    """Prompts that it was to be drawn out with."""
    probed: int
    """Of those: prompts that the candidate continued with it."""
    answered: int
    """Answers of the candidate's in the evaluation that hold it, though the question does not."""
    base: int
    """Continuations and answers of the base's that hold it."""


class LeakFigures(Record):
    """What must not come out, how it was looked for, and what came out (data/leaks.py)."""

    canaries: int
    secrets: int
    """Strings in documents in force that look like secrets and were probed."""
    probes: int
    """Prompts that base and candidate continued."""
    answers: int
    """Answers that were searched."""
    out: tuple[Leak, ...] = ()
    """What came out of the candidate, of the base as well or not."""


class EvaluationReport(Record):
    """What was learned, forgotten and stale."""

    adapter: str
    base: str
    questions: str
    """Digest of the question file."""
    adapter_active: bool
    """Whether the adapter changes the logits at all."""
    logit_shift: float
    """Largest absolute change of a logit on the fixed prompts."""
    cohorts: tuple[CohortFigures, ...]
    leaks: LeakFigures | None = None
    """None: written by an earlier release, which looked for none."""


class Compared(StrEnum):
    """How a candidate stands beside the champion."""

    ASKED = "asked"
    """The champion answered the candidate's questions."""
    BASE = "base"
    """The base alone serves, or nothing does: stage ``assess`` has asked it."""
    ITSELF = "itself"
    """The champion is the same adapter on the same base."""
    UNAVAILABLE = "unavailable"
    """The champion could not be asked."""


class ChampionComparison(Record):
    """The version that served when the verdict was spoken, beside the candidate, on the candidate's own questions."""

    candidate: str
    """Digest of the candidate's adapter."""
    version: int | None
    """The champion; None: nothing was promoted."""
    compared: Compared
    why: str = ""
    """Of what is unavailable, in words."""
    cohorts: tuple[CohortFigures, ...] = ()
    """Of the cohorts that decide; here ``base`` is the champion, with its adapter if it has one."""
    answers: dict[str, str] = Field(default_factory=dict)
    """What the champion said, by the question's id."""


class Verdict(StrEnum):
    """Of a candidate."""

    PROMOTE = "promote"
    HOLD = "hold"
    REJECT = "reject"


class Judgement(Record):
    """A verdict with the checks that led to it."""

    verdict: Verdict
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
