"""The typed records of what stages report before a candidate is measured, and of what a base was trained on."""

from typing import Self

from pydantic import Field, model_validator

from data.records import Record, Standing
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
    """Between documents in force, the first few of those under one title and of the others."""
    contradicted: int = 0
    """Of all contradictions."""
    disputed: int = 0
    """Of those under one title, where nothing is taught."""
    differing: int = 0
    """Of those numbers and addresses under different titles that a person is told of."""
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
