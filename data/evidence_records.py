"""What is kept of a version so that it can be judged again, and walked back to its documents."""

from pydantic import Field

from data.records import Record
from data.report_records import ChampionComparison, EvaluationReport, Judgement, SynthesisReport
from data.spectral_records import Calibration, SpectralReport


class Evidence(Record):
    """All that a verdict rests on."""

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


class LearnedFrom(Record):
    """One version of a document, and how many training rows name it."""

    id: str
    path: str
    digest: str
    rows: int


class Provenance(Record):
    """From a version back to its documents, and to what made it of them."""

    version: int
    kind: str
    """``base`` or ``candidate``."""
    snapshot: str | None
    documents: tuple[LearnedFrom, ...]
    digests: dict[str, str] = Field(default_factory=dict)
    """Of rows, base, parameters, code and adapter."""
