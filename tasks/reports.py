"""The report of one version as a single HTML page that a person reads before deciding.

Everything lies in the page: style, figures, text. Nothing is fetched and nothing runs; a content
security policy in its head says so to the browser as well. Documents, and answers of a model trained on
them, are untrusted text: the template escapes all of it. Equal input gives equal bytes.
"""

import functools
import math
from enum import StrEnum
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import Field

from data.files import write_text
from data.records import Answer, FactChange, Grade, Record, Snapshot, SnapshotDiff
from data.report_records import (
    DocumentTexts,
    Estimate,
    EvaluationReport,
    Judgement,
    Outcome,
    SynthesisReport,
    TrainingReport,
    Verdict,
)
from data.spectral_records import SpectralReport
from models.gates import HOLDING
from tasks import figures, report_views
from tasks.report_documents import document_views
from tasks.report_headlines import headlines

TEMPLATES = Path(__file__).parent / "templates"

_MEANING = {
    Verdict.PROMOTE: "Every gate passed. This version may serve.",
    Verdict.HOLD: "The evidence does not decide. A person decides whether this version serves.",
    Verdict.REJECT: "At least one gate failed. This version does not serve.",
}
_TONE: dict[StrEnum, str] = {
    Verdict.PROMOTE: "pass",
    Verdict.HOLD: "warn",
    Verdict.REJECT: "fail",
    Outcome.PASS: "pass",
    Outcome.WARN: "warn",
    Outcome.FAIL: "fail",
    Outcome.INSUFFICIENT: "unsure",
    Grade.RIGHT: "pass",
    Grade.STALE: "warn",
    Grade.WRONG: "fail",
    Grade.REFUSED: "unsure",
}
_SIGN = {"pass": "✓", "warn": "!", "fail": "✗", "unsure": "?"}


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
    evaluation: EvaluationReport
    answers: tuple[Answer, ...]
    digests: dict[str, str]
    """Of all that the candidate rests on: documents, rows, base, params, code, adapter."""
    champion: int | None
    """The version that serves now; None: none does."""
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    """Wall-clock time by stage, in the order in which the stages ran."""
    data_docs: str
    """Great Expectations' Data Docs, relative to the report; empty: there are none."""
    next_command: str


def render(report: ReportInput) -> str:
    """The report as one self-contained HTML page."""
    return (
        _environment()
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
            checks=report_views.by_severity(report.judgement.checks),
            path_lists=report_views.path_lists(report.diff),
            fact_groups=report_views.fact_groups(report.changes),
            samples=report_views.samples(report.answers),
            coverage=report_views.by_gap(report.synthesis.coverage),
            loss_curve=figures.loss_curve(report.training),
            alpha_figure=figures.alpha_by_layer(report.spectral.layers),
            rank_figure=figures.stable_rank_by_layer(report.spectral.layers),
        )
    )


def write_report(path: Path, report: ReportInput) -> Path:
    """Write the page to ``path`` atomically and return ``path``.

    Raises:
        OutsideError: the disk refused it; an older page stays as it was.
    """
    write_text(path, render(report))
    return path


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number, signed=signed, share=share, duration=duration, question=report_views.plain_question
    )
    environment.globals.update(
        tone=_TONE,
        sign=_SIGN,
        Grade=Grade,
        cohorts=report_views.COHORTS,
        holding=sorted(HOLDING),
        examples=report_views.EXAMPLES,
        longest=report_views.LONGEST_LIST,
        longest_answer=report_views.LONGEST_ANSWER,
        longest_sentence=report_views.LONGEST_SENTENCE,
        pair=pair,
    )
    return environment


# --- numbers, the same everywhere ------------------------------------------------------------------


def number(value: float | None, digits: int = 3) -> str:
    """A figure with a fixed number of digits; what is missing or not finite is said in signs or words."""
    if value is None:
        return "–"
    return f"{value:,.{digits}f}" if math.isfinite(value) else "not finite"


def signed(value: float | None) -> str:
    """A difference with its sign; what rounds to zero has none."""
    if value is None or not math.isfinite(value):
        return number(value)
    return "0.000" if abs(value) < 0.0005 else f"{value:+.3f}".replace("-", "−")


def pair(base: Estimate | float | None, candidate: Estimate | float | None) -> str:
    """Two shares and their difference, as ``0.10 -> 0.86 (+0.76)``; what was not measured is a dash."""
    before, after = (one.value if isinstance(one, Estimate) else one for one in (base, candidate))
    if before is None or after is None:
        return f"{number(before, 2)} -> {number(after, 2)}"
    difference = after - before
    change = "0.00" if abs(difference) < 0.005 else f"{difference:+.2f}"
    return f"{before:.2f} -> {after:.2f} ({change})"


def share(part: int, whole: int) -> str:
    """Part of a whole in percent; of nothing there is no share."""
    return f"{100 * part / whole:.0f} %" if whole else "–"


def duration(seconds: float) -> str:
    """Seconds as a person reads them."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
