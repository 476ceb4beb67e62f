"""The typed records of what stages report: counts, figures, checks, verdicts, and how a cycle went."""

from enum import StrEnum
from typing import Any, Self

from pydantic import Field, model_validator

from data.records import Cohort, Grade, Record, Standing
from data.spectral_records import Look


class Coverage(Record):
    """How much of one document's text became facts."""

    document: str
    path: str
    title: str
    facts: int
    statements: int
    changed_statements: int
    changed_with_fact: int
    """Changed statements from whose very sentence at least one fact was read."""


class IngestReport(Record):
    """What the documents stage read."""

    snapshot: str
    documents: int
    quarantined: int
    contacts: int
    """E-mail addresses and phone numbers found; reported, never a reason to quarantine."""
    warnings: tuple[str, ...]
    loss_accepted: bool
    """A loss of documents went through only because a person accepted it."""
    other_languages: dict[str, str] = Field(default_factory=dict)
    """Path -> language (ISO 639-1) of the documents that are not in the line's."""


class Funnel(Record):
    """What one recipe proposed, and what became of it."""

    recipe: str
    proposed: int
    kept: int
    dropped: dict[str, int]
    """Proposals dropped, by the first filter that each failed."""
    examples: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Up to two dropped texts per filter."""


class Stated(Record):
    """One value of several, and who states it."""

    value: str
    sentence: str = ""
    """In the first of the documents; empty where it was read from a table or a heading."""
    documents: tuple[str, ...]
    """Paths, sorted, the first few."""
    count: int
    """Of all that state it."""


class Contradiction(Record):
    """Documents in force that state different values of the same attribute of the same subject."""

    title: str | None
    """Their common title: the question has two answers, and neither is taught.

    None: their titles differ, each value is taught under its own, and a person may want to look."""
    kind: str = ""
    """Of the facts."""
    subject: str
    attribute: str
    stated: tuple[Stated, ...]
    """Most stated first, the first few."""
    values: int
    """Of all that are stated."""
    news: bool = False
    """Something that the base does not know takes part."""


class Repeated(Record):
    """A claim of more documents than may teach it."""

    subject: str
    attribute: str
    value: str
    documents: int
    taught_by: str
    """Path of the one that teaches it."""


class SynthesisReport(Record):
    """What the teacher wrote."""

    snapshot: str
    base: str
    """Digest of the base folder."""
    recipe: str
    teacher: str
    seed: int
    facts: dict[Standing, int]
    new_statements: int
    gone_statements: int
    rows: dict[str, int]
    """Rows kept, by purpose."""
    dropped: dict[str, int]
    """Rows dropped, by reason."""
    funnel: tuple[Funnel, ...] = ()
    """One per recipe, in the order in which they ran."""
    coverage: tuple[Coverage, ...]
    rows_digest: str
    """Digest of ``rows.jsonl``."""
    contradictions: tuple[Contradiction, ...] = ()
    """Between documents in force, the first few."""
    contradicted: int = 0
    """Of all contradictions."""
    repeated: tuple[Repeated, ...] = ()
    """Claims that more documents make than may teach them, the first few."""
    repeated_claims: int = 0
    """Of all such claims."""


class DocumentTexts(Record):
    """One document's normalised text before and after, for a report's diff."""

    path: str
    """Its path now; of a withdrawn document its last one."""
    old_path: str | None
    """Its path before; None: the document is new."""
    withdrawn: bool = False
    old: str | None
    """Empty for a new document; None: the text was not kept."""
    new: str | None
    """Empty for a withdrawn document; None: the text was not kept."""


class TrainingReport(Record):
    """How the adapter was trained; no wall-clock figures, so that a repeated run writes equal bytes."""

    base: str
    rows: str
    """Digest of the rows it was trained on."""
    method: str
    seed: int
    threads: int
    device: str
    dtype: str
    """Of the matrix products."""
    steps: int
    """Those that were made."""
    tokens: int
    parameters: int
    """Trained parameters."""
    losses: tuple[float, ...]
    """Weighted mean loss per logged interval (nats per trained token)."""
    log_every: int
    looks: tuple[Look, ...] = ()
    """At the spectra, in their order; the last one is of the adapter as it was saved."""
    stopped: str = ""
    """Why the run ended before its last step, one sentence; empty: it did not."""
    rates: dict[str, float] = Field(default_factory=dict)
    """Factor of the learning rate by layer; empty: all were trained at the same rate."""


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


class Lineage(Record):
    """What a base was trained on; lies as ``lineage.json`` in the base's folder."""

    documents: str | None = None
    """Folder of documents the base knows, relative to the base's folder; None: it knows none."""
    snapshot: str | None = None
    """Digest of that snapshot."""
    until: str | None = None
    handbook_seed: int | None = None
    """Seed of the handbook it learned; None: it learned none."""
    handbook_entities: int = 0
    handbook_withdrawn: int = 0
    wordings: str | None = None
    """Digest of the wordings it was trained on."""

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if (self.documents is None) is not (self.snapshot is None):
            raise ValueError("documents and snapshot are given together or not at all")
        return self


class LedgerEntry(Record):
    """One decision: who, why, from, to, on which evidence."""

    number: int
    time: str
    """UTC, ISO 8601."""
    actor: str
    action: str
    from_version: int | None
    to_version: int | None
    reason: str
    evidence: dict[str, Any]
    previous: str
    """Digest of the entry before; empty for the first."""
    digest: str


class StageRun(Record):
    """How a stage went in one cycle."""

    stage: str
    ran: bool
    """False: its outputs were already those of its inputs."""
    seconds: float


class CycleResult(Record):
    """What ``relearn run`` reports."""

    changed: bool
    version: int
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    seconds: dict[str, float] = Field(default_factory=dict)
    """Wall-clock seconds of each stage's own work; 0 for a stage whose outputs were already there."""
    report: str | None = None
    """Path of the HTML report."""
    next_command: str = ""
    switched: str = ""
    """What the cycle did to the champion, and why; empty: nothing."""
    warnings: tuple[str, ...] = ()
    """What a person has to put right, such as an alias that somebody moved."""
    notices: tuple[str, ...] = ()
    """What a person may want to look at: documents that contradict one another, claims of many documents."""


class Cycle(Record):
    """The last cycle of a workspace: from which inputs, and what came of it."""

    key: str
    """Digest of everything a cycle follows from."""
    result: CycleResult | None = None
    """None: it was not finished."""
    finished: str = ""
    """UTC, ISO 8601; empty: it was not, or an older version did not write it down."""
    snapshot: str = ""
    """Digest of the documents in force; empty: it was not finished, or an older version did not write it down."""
