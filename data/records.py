"""The typed records that stages pass on: paths, digests, counts and measured values, never payloads.

Every record is frozen, refuses unknown keys and carries the number of its schema, so that a later
version can recognise and upgrade an older file. In JSON that number stands under ``schema``.
"""

from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Record(BaseModel):
    """Base of all records."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    schema_: int = Field(default=1, alias="schema")


# --- documents -------------------------------------------------------------------------------------


class DocumentVersion(Record):
    """One version of one document as it stands in a snapshot."""

    id: str
    """Stable across moves and edits."""
    path: str
    """Relative to the documents folder, with forward slashes."""
    digest: str
    """SHA-256 of the file's bytes."""
    title: str
    characters: int
    """Length of the normalised text in ``texts/<id>.md`` of the collection."""
    sketch: tuple[int, ...]
    """Bottom-k hashes of the word shingles; equal texts have equal sketches (data/identity.py)."""


class Quarantined(Record):
    """A document that was set aside; the run went on without it."""

    path: str
    digest: str
    reasons: tuple[str, ...]


class Snapshot(Record):
    """One version of the whole collection."""

    digest: str
    """Over the sorted paths and content digests of the documents in force, and nothing else."""
    documents: tuple[DocumentVersion, ...]
    quarantined: tuple[Quarantined, ...] = ()


class Accepted(Record):
    """What the documents are compared with; fixed before the first stage of a cycle."""

    snapshot: Snapshot | None = None
    """The last accepted snapshot; None in a new workspace."""
    loss_reason: str | None = None
    """Why a person accepts that documents were lost; None: nobody has."""


class SnapshotDiff(Record):
    """What changed from one snapshot to another, by path."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    moved: tuple[tuple[str, str], ...]
    """(old path, new path); an edited one is also in ``changed`` under its new path."""
    withdrawn: tuple[str, ...]


# --- facts and rows --------------------------------------------------------------------------------


class Fact(Record):
    """One (subject, attribute, value) read from a document by rule, or stated by the handbook."""

    id: str
    """Digest of document id, kind, subject and attribute: the same across versions of the value."""
    document: str
    """Document id; empty for the handbook."""
    digest: str
    """Content digest of the document version it was read from."""
    start: int
    """Character span in the document's normalised text: first character."""
    end: int
    """One past the last character."""
    kind: str
    """Which wordings apply (data/prompts/wordings.yaml)."""
    title: str
    """Title of the document, which makes the question understandable on its own."""
    subject: str
    attribute: str
    value: str
    sentence: str = ""
    """The sentence it was read from; empty where it was read from a table or a heading."""


class Statement(Record):
    """One sentence of a document, with its place."""

    document: str
    digest: str
    start: int
    end: int
    title: str
    text: str


class Standing(StrEnum):
    """How a fact of the snapshot stands against what the base knows."""

    NEW = "new"
    """The base has never seen it."""
    RESTATED = "restated"
    """The base knows the same statement under another title, heading or place."""
    REPLACED = "replaced"
    """The base knows another value."""
    WITHDRAWN = "withdrawn"
    """The base knows it and no document states it any longer, anywhere."""
    HELD = "held"
    """The base knows it and it still holds."""


class FactChange(Record):
    """A fact with its standing; ``fact`` is the current one, or the last one for withdrawn facts."""

    standing: Standing
    fact: Fact
    old_value: str | None = None


class Row(Record):
    """One training text. The loss falls on ``completion`` only; an empty prompt trains every token."""

    prompt: str
    completion: str
    purpose: str
    """``fact``, ``refusal``, ``statement``, ``replay`` or ``handbook``."""
    wording: str
    """Name of the wording, such as ``table/question/3``."""
    fact: str
    """Fact id; empty for statements."""
    document: str
    digest: str
    start: int
    end: int
    recipe: str
    teacher: str
    seed: int


class Cohort(StrEnum):
    """Which population of questions a figure speaks of."""

    NEW = "new"
    """New and replaced facts, asked in held-out wordings."""
    RESTATED = "restated"
    """Facts whose statement the base knows under another title, heading or place, in held-out wordings."""
    HELD = "held"
    """Facts the base knew that still hold, in the same held-out wordings."""
    WITHDRAWN = "withdrawn"
    """Facts no longer in force; the right answer is the refusal."""
    HANDBOOK = "handbook"
    """Locality: facts that have nothing to do with the documents."""
    RECALL = "recall"
    """Changed statements: title and beginning given, next eight words wanted."""
    PROBE = "probe"
    """Hand-checked questions, never trained on."""


class Question(Record):
    """One question of the evaluation with what counts as right and what as stale."""

    id: str
    cohort: Cohort
    question: str
    """The prompt as the model gets it."""
    answers: tuple[str, ...]
    """Accepted answers; an empty tuple means that only a refusal is right."""
    stale: tuple[str, ...] = ()
    """Answers that held before and do not hold now."""
    source: str = ""
    """Fact id, statement's document id or probe id."""


class Grade(StrEnum):
    """What an answer is worth."""

    RIGHT = "right"
    STALE = "stale"
    WRONG = "wrong"
    REFUSED = "refused"


class Answer(Record):
    """One question as base and candidate answered it."""

    question: Question
    base: str
    base_grade: Grade
    candidate: str
    candidate_grade: Grade


# --- reports ---------------------------------------------------------------------------------------


class Coverage(Record):
    """How much of one document's text became facts."""

    document: str
    path: str
    title: str
    facts: int
    statements: int
    changed_statements: int
    changed_with_fact: int
    """Changed statements that lie in the span of at least one fact."""


class IngestReport(Record):
    """What the documents stage read."""

    snapshot: str
    documents: int
    quarantined: int
    contacts: int
    """E-mail addresses and phone numbers found; reported, never a reason to quarantine."""
    warnings: tuple[str, ...]


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
    coverage: tuple[Coverage, ...]
    rows_digest: str
    """Digest of ``rows.jsonl``."""


class TrainingReport(Record):
    """How the adapter was trained; no wall-clock figures, so that a repeated run writes equal bytes."""

    base: str
    rows: str
    """Digest of the rows it was trained on."""
    method: str
    seed: int
    threads: int
    device: str
    steps: int
    tokens: int
    parameters: int
    """Trained parameters."""
    losses: tuple[float, ...]
    """Mean loss per logged interval (nats per trained token)."""
    log_every: int


class LayerSpectrum(Record):
    """Statistics of one adapted layer's update, W_adapted - W_base, and of its base weight."""

    name: str
    kind: str
    N: int
    """Larger dimension."""
    M: int
    """Smaller dimension."""
    rank: int
    finite: bool
    update_norm: float
    """Frobenius norm of the update."""
    base_norm: float
    """Frobenius norm of the base weight."""
    spectral_norm: float
    """Largest eigenvalue of the update's correlation matrix: its largest singular value squared."""
    stable_rank: float
    """Squared Frobenius norm over the largest eigenvalue, of the update."""
    alpha: float | None
    """Power-law exponent of the update's eigenvalues; None where too few to fit."""
    base_alpha: float | None
    survives_bf16: float
    """Share of entries of the base weight that change when the update is merged in bf16."""
    sigma_ratio: float
    """Largest singular value of the update over sigma_W (sqrt N + sqrt M), the noise edge of the base."""


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


class SpectralReport(Record):
    """Per-layer statistics of an adapter's update and of its base."""

    adapter: str
    """Digest of the adapter folder."""
    base: str
    layers: tuple[LayerSpectrum, ...]


class Estimate(Record):
    """A share with its Wilson 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    hits: int


class CohortFigures(Record):
    """One cohort, base and candidate side by side; keys are grades' names, values shares of n."""

    cohort: Cohort
    n: int
    base: dict[Grade, Estimate]
    candidate: dict[Grade, Estimate]
    difference: float
    """Right answers: candidate minus base."""
    difference_low: float
    difference_high: float
    base_stale: Estimate | None = None
    """Stale answers of the base among the questions that have one; None where no question has."""
    candidate_stale: Estimate | None = None


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
    version: int | None = None
    verdict: Verdict | None = None
    reasons: tuple[str, ...] = ()
    seconds: dict[str, float] = Field(default_factory=dict)
    """Wall-clock seconds per stage; 0 for a stage whose outputs were already there."""
    report: str | None = None
    """Path of the HTML report."""
    next_command: str = ""


class Cycle(Record):
    """The last cycle of a workspace: from which inputs, and what came of it."""

    key: str
    """Digest of everything a cycle follows from."""
    result: CycleResult | None = None
    """None: it was not finished."""
