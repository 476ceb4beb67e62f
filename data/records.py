"""The typed records that stages pass on: documents, facts, rows, questions (reports: data/*_records.py).

Every record is frozen, refuses unknown keys and carries the number of its schema, so that a later
version can recognise and upgrade an older file. In JSON that number stands under ``schema``.
"""

from base64 import b64decode, b64encode
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator


class Record(BaseModel):
    """Base of all records."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    schema_: int = Field(default=1, alias="schema")


# --- documents -------------------------------------------------------------------------------------


def _packed(sketch: object) -> object:
    """A sketch as it is held, from JSON; schema 1 wrote numbers of 53 bits, of which 48 are left."""
    if isinstance(sketch, str):
        return b64decode(sketch, validate=True)
    if isinstance(sketch, list) and all(isinstance(number, int) and 0 <= number < 2**53 for number in sketch):
        return b"".join((number >> 5).to_bytes(6) for number in sketch)
    return sketch


class DocumentVersion(Record):
    """One version of one document as it stands in a snapshot.

    Schema 2 packs the sketch, which schema 1 held as a list of numbers.
    """

    schema_: int = Field(default=2, alias="schema")
    id: str
    """Stable across moves and edits."""
    path: str
    """Relative to the documents folder, with forward slashes."""
    digest: str
    """SHA-256 of the file's bytes."""
    title: str
    characters: int
    """Length of the normalised text."""
    sketch: Annotated[
        bytes, BeforeValidator(_packed), PlainSerializer(lambda sketch: b64encode(sketch).decode(), when_used="json")
    ]
    """Bottom-k hashes of the word shingles, Base64 in JSON; equal texts have equal sketches (data/identity.py)."""

    @field_validator("schema_")
    @classmethod
    def _upgraded(cls, _: int) -> int:
        return 2


class LeftOut(DocumentVersion):
    """A document that lies in the folder and is withheld from every stage; should it come back, it keeps its id."""

    reason: str


class DocumentText(Record):
    """The normalised text of one document of a collection."""

    path: str
    text: str


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
    withheld: tuple[LeftOut, ...] = ()
    """Left out because they are withdrawn, or hold only later; no loss, and nothing to mend."""
    retired: tuple[str, ...] = ()
    """Ids of documents that said of themselves that they were withdrawn and were then taken away: no loss either."""

    @property
    def aside(self) -> tuple[Quarantined | LeftOut, ...]:
        """What lies in the folder and is no part of the collection."""
        return (*self.quarantined, *self.withheld)


class Accepted(Record):
    """What the documents are compared with; fixed before the first stage of a cycle."""

    snapshot: Snapshot | None = None
    """The last accepted snapshot; None in a new workspace."""
    last: Snapshot | None = None
    """The last snapshot where it is not the accepted one: documents that go on from it keep their ids."""
    loss_reason: str | None = None
    """Why a person accepts that documents were lost; None: nobody has."""

    @property
    def newest(self) -> Snapshot | None:
        """The last snapshot, accepted or not; None in a new workspace."""
        return self.last if self.last is not None else self.snapshot


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
    AMBIGUOUS = "ambiguous"
    """Documents in force state several values under one name, so it is neither taught nor asked."""


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
    """``fact``, ``refusal``, ``statement``, ``question``, ``rephrase``, ``replay`` or ``handbook``."""
    wording: str
    """Name of the wording, such as ``table/question/3``."""
    fact: str
    """Fact id; empty for statements and what a teacher wrote."""
    document: str
    digest: str
    start: int
    end: int
    recipe: str
    teacher: str
    seed: int

    @property
    def replayed(self) -> bool:
        """Whether it rehearses what held before."""
        return self.purpose in ("replay", "handbook")


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
    PROSE = "prose"
    """Questions a teacher wrote about changed prose, in wordings never trained."""
    PROBE = "probe"
    """Hand-checked questions that the documents answer, never trained on."""
    UNANSWERABLE = "unanswerable"
    """Hand-checked questions that nothing in force answers; the right answer is the refusal."""


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
    """Fact id, document id of a statement or of prose, or probe id."""
    document: str = ""
    """Document id; empty for the handbook and probes, and in files of earlier releases, which did not say it."""


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
