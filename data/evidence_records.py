"""What is kept of a version so that it can be judged again, and walked back to its documents."""

from enum import StrEnum

from pydantic import Field

from data.evaluation_records import ChampionComparison, EvaluationReport, Judgement
from data.records import Record
from data.report_records import SynthesisReport
from data.spectral_records import Calibration, SpectralReport


class Evidence(Record):
    """All that a verdict rests on; each report is a file of its own (earlier releases wrote one file of all)."""

    evaluation: EvaluationReport
    spectral: SpectralReport
    synthesis: SynthesisReport
    judgement: Judgement
    """As it was spoken first."""
    champion: ChampionComparison
    calibration: Calibration | None = None
    """None: the default thresholds."""
    handbook_expected: bool
    """Whether the base learned the handbook, so that locality can be measured."""


class Role(StrEnum):
    """What something learned of a document."""

    TAUGHT = "taught"
    """What it says."""
    REPLAYED = "replayed"
    """Again what the base knows of it, so that it is not forgotten."""
    REFUSED = "refused"
    """To answer no longer from it."""
    BASE = "base"
    """The base was trained on it."""


class LearnedFrom(Record):
    """One version of a document, and how many training rows name it."""

    id: str
    path: str
    """Empty: a base read it whose documents are gone."""
    digest: str
    rows: int | None
    """Zero: it was among the documents, and there was nothing to teach of it; None: those of a base are not kept."""
    role: Role = Role.TAUGHT
    """Earlier releases counted all rows of a document in force alike, and left out others."""


class Provenance(Record):
    """From a version back to its documents, and to what made it of them."""

    version: int
    kind: str
    """``base`` or ``candidate``."""
    snapshot: str | None
    documents: tuple[LearnedFrom, ...]
    digests: dict[str, str] = Field(default_factory=dict)
    """Of rows, base, parameters, code and adapter."""
