"""The report of one version as a single HTML page that a person reads before deciding.

Everything lies in the page: style, figures, text. Nothing is fetched and nothing runs; a content
security policy in its head says so to the browser as well. Documents, and answers of a model trained on
them, are untrusted text: the template escapes all of it. Equal input gives equal bytes.
"""

from pathlib import Path

from pydantic import Field

from data.evaluation_records import ChampionComparison, EvaluationReport, Judgement, Verdict
from data.files import write_text
from data.param_stages import GateParams
from data.records import Answer, FactChange, Record, Snapshot, SnapshotDiff
from data.report_records import DocumentTexts, SynthesisReport, TrainingReport
from data.spectral_records import Calibration, SpectralReport
from tasks import figures, report_views
from tasks.pages import environment
from tasks.report_documents import document_views
from tasks.report_headlines import headlines
from tasks.spectral_views import weights_view

_MEANING = {
    Verdict.PROMOTE: "Every gate passed. This version may serve.",
    Verdict.HOLD: "The evidence does not decide. A person decides whether this version serves.",
    Verdict.REJECT: "At least one gate failed. This version does not serve.",
}


class ReportInput(Record):
    """All that the report of one candidate shows."""

    version: int | None
    """Its number in the registry; None: not registered."""
    created: str
    """UTC, ISO 8601."""
    judgement: Judgement
    snapshot: Snapshot
    diff: SnapshotDiff
    """From what ``compared_with`` names to ``snapshot``."""
    compared_with: str
    """In words: the last accepted snapshot, or what the base knows at the first run."""
    texts: tuple[DocumentTexts, ...] = ()
    """Of documents that changed, for their diffs; there may be more than are given here."""
    paths: dict[str, str] = Field(default_factory=dict)
    """Path by document id, also of documents that are gone."""
    probe_documents: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Ids of the documents that a probe's evidence names, by the probe's id."""
    other_languages: dict[str, str] = Field(default_factory=dict)
    """Path -> language of the documents that are not in the line's."""
    synthesis: SynthesisReport
    changes: tuple[FactChange, ...]
    training: TrainingReport
    spectral: SpectralReport
    thresholds: GateParams
    """By which the layers are judged."""
    calibration: Calibration | None = None
    """Of accepted adapters of the same base and rank; None: the default thresholds hold."""
    comparison: ChampionComparison | None = None
    """With the version that served when the verdict was spoken; None: an earlier release spoke it."""
    evaluation: EvaluationReport
    answers: tuple[Answer, ...]
    digests: dict[str, str]
    """Of all that the candidate rests on: documents, rows, base, params, code, adapter."""
    champion: int | None
    """The version that serves now; None: none does."""
    serving: str
    """Whether this version serves, or which does (tasks/report_mark.py)."""
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    """Wall-clock time by stage, in the order in which the stages ran."""
    data_docs: str
    """Great Expectations' Data Docs, relative to the report; empty: there are none."""
    next_command: str


def render(report: ReportInput) -> str:
    """The report as one self-contained HTML page."""
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            meaning=_MEANING[report.judgement.verdict],
            headlines=headlines(report.evaluation, report.judgement),
            by_document=document_views(
                report.answers,
                report.changes,
                report.texts,
                report.paths,
                {document.id: document.path for document in report.snapshot.documents},
                report.probe_documents,
            ),
            touched=report_views.touched(report.diff),
            key_figures=report_views.key_figures(report.evaluation, report.judgement),
            champion_figures=report_views.champion_figures(report.comparison),
            checks=report_views.by_severity([check for check in report.judgement.checks if check.decides]),
            shadow_checks=report_views.by_severity([check for check in report.judgement.checks if not check.decides]),
            path_lists=report_views.path_lists(report.diff),
            fact_groups=report_views.fact_groups(report.changes),
            samples=report_views.samples(report.answers),
            coverage=report_views.by_gap(report.synthesis.coverage),
            loss_curve=figures.loss_curve(report.training),
            weights=weights_view(report.spectral.layers, report.thresholds, report.calibration),
        )
    )


def write_report(path: Path, report: ReportInput) -> Path:
    """Write the page to ``path`` atomically and return ``path``.

    Raises:
        OutsideError: the disk refused it; an older page stays as it was.
    """
    write_text(path, render(report))
    return path
