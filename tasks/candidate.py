"""A candidate as the registry gets it: every digest on the way, the reports, and its figures as flat names.

Pure data: what becomes a parameter, a metric or a tag is decided here, and no outside system is called.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from data.addresses import without_passwords
from data.errors import InputError
from data.evaluation_records import ChampionComparison, EvaluationReport, Judgement, Verdict
from data.files import digest_text, digest_tree, read_record
from data.records import Cohort, Grade, Record, Snapshot
from data.report_records import SynthesisReport, TrainingReport
from data.spectral_records import Calibration, Look
from data.workspace import Workspace


class Digests(Record):
    """Every digest on the way from the documents to the adapter."""

    snapshot: str
    rows: str
    base: str
    params: str
    """Of the parameters in force that the candidate follows from."""
    code: str
    adapter: str

    @property
    def key(self) -> str:
        """The same candidate has the same key; the registry holds each key once."""
        return digest_text("candidate", *(getattr(self, name) for name in sorted(DIGESTS)))


class Decision(Record):
    """A verdict, the norm by which the spectra were judged, and what the champion answered."""

    judgement: Judgement
    calibration: Calibration | None = None
    """None: by the default thresholds."""
    champion: ChampionComparison | None = None
    """None: an earlier release spoke the verdict, and compared with no champion."""


class Candidate(Record):
    """A judged adapter with all that it rests on."""

    base: str
    """Folder of the base."""
    adapter: Path
    documents: Path
    """The collection it was made from."""
    rows: Path
    attachments: dict[str, tuple[Path, ...]]
    """Reports and answers, by the folder of the run's artifacts they are attached under."""
    digests: Digests
    judgement: Judgement
    training: TrainingReport
    evaluation: EvaluationReport
    params: dict[str, Any]
    """``params.yaml`` in force, nested, and no more of it than the key covers: MLflow refuses a second value of a
    parameter, so that a killed registration of the same candidate could never be completed after an edit."""
    figures: dict[str, float] = Field(default_factory=dict)
    """Further measured values, such as coverage or seconds per stage."""
    calibration: Calibration | None = None
    """What its spectra were held against; None: the default thresholds."""
    champion: ChampionComparison | None = None
    """What it was compared with; None: an earlier release judged it, and compared with no champion."""

    @property
    def key(self) -> str:
        """Of its digests."""
        return self.digests.key


UNRELATED = ("registry", "quick")
"""Blocks of ``params.yaml`` that no candidate follows from, beside how the line is run; some hold passwords."""
DIGESTS = tuple(name for name in Digests.model_fields if name != "schema_")


def collect(
    workspace: Workspace,
    decision: Decision,
    *,
    base_digest: str,
    code_digest: str,
    attachments: Mapping[str, tuple[Path, ...]] | None = None,
    figures: Mapping[str, float] | None = None,
) -> Candidate:
    """The candidate whose stages have just run in the workspace.

    Raises:
        InputError: a report is missing, or the evaluation speaks of another adapter.
    """
    reports = {
        "synthetic": (workspace.synthetic / "report.json", workspace.synthetic / "rows.jsonl"),
        "training": (workspace.adapter / "training.json",),
        "spectral": (workspace.spectral / "report.json",),
        "evaluation": (workspace.evaluation / "report.json", workspace.evaluation / "answers.jsonl"),
        "documents": (workspace.collection / "snapshot.json",),
    }
    if workspace.dvc_lock.is_file():  # says which objects of DVC's cache the candidate needs
        reports["versioning"] = (workspace.dvc_lock,)
    return Candidate(
        base=workspace.base(),
        adapter=workspace.adapter,
        documents=workspace.collection,
        rows=workspace.synthetic / "rows.jsonl",
        attachments={**reports, **(attachments or {})},
        digests=digests_of(workspace, base_digest=base_digest, code_digest=code_digest),
        judgement=decision.judgement,
        training=read_record(workspace.adapter / "training.json", TrainingReport),
        evaluation=read_record(workspace.evaluation / "report.json", EvaluationReport),
        params=workspace.params().shaping(*UNRELATED),
        figures=dict(figures or {}),
        calibration=decision.calibration,
        champion=decision.champion,
    )


def digests_of(workspace: Workspace, *, base_digest: str, code_digest: str) -> Digests:
    """What the candidate whose stages have just run in the workspace rests on.

    Raises:
        InputError: a stage's record is missing.
    """
    return Digests(
        snapshot=read_record(workspace.collection / "snapshot.json", Snapshot).digest,
        rows=read_record(workspace.synthetic / "report.json", SynthesisReport).rows_digest,
        base=base_digest,
        params=digest_text(json.dumps(workspace.params().shaping(*UNRELATED))),
        code=code_digest,
        adapter=digest_tree(workspace.adapter),
    )


def check(candidate: Candidate) -> None:
    """Refuse a candidate whose parts do not belong together.

    Raises:
        InputError: the adapter's files or the evaluation are not those of the digests.
    """
    found = digest_tree(candidate.adapter)
    for what, digest in (
        ("the digests", candidate.digests.adapter),
        ("the evaluation", candidate.evaluation.adapter),
    ):
        if digest != found:
            raise InputError(
                f"The adapter in {candidate.adapter} has digest {found[:12]}, but {what} speak of "
                f"{digest[:12]}. Run the cycle again, so that it is measured as it stands."
            )


def tags(candidate: Candidate) -> dict[str, str]:
    """What a registered version says of itself: its verdict and every digest on the way."""
    own = {"kind": "candidate", "key": candidate.key, "verdict": candidate.judgement.verdict.value}
    return {**own, **{name: getattr(candidate.digests, name) for name in DIGESTS}}


def metrics(candidate: Candidate) -> dict[str, float]:
    """Every figure of the evaluation under ``cohort/who/grade``, with its interval and n."""
    report = candidate.evaluation
    flat = {"logit_shift": report.logit_shift, "adapter_active": float(report.adapter_active)}
    for figures in report.cohorts:
        cohort = figures.cohort.value
        for who, grades in (("base", figures.base), ("candidate", figures.candidate)):
            for grade, share in grades.items():
                place = f"{cohort}/{who}/{grade.value}"
                flat |= {place: share.value, f"{place}/low": share.low, f"{place}/high": share.high}
        flat |= {f"{cohort}/n": float(figures.n), f"{cohort}/difference": figures.difference}
        flat |= {f"{cohort}/difference/low": figures.difference_low}
        flat |= {f"{cohort}/difference/high": figures.difference_high}
        if figures.paired is not None:
            flat |= {f"{cohort}/difference/p": figures.paired.mcnemar}
    training = candidate.training
    sizes = {"steps": training.steps, "tokens": training.tokens, "parameters": training.parameters}
    flat |= {f"training/{name}": float(size) for name, size in sizes.items()}
    norm = candidate.calibration
    if norm is not None:
        flat |= {"calibration/adapters": float(norm.adapters), "calibration/false_alarms": float(norm.false_alarms)}
    return {**flat, **_beside_champion(candidate.champion), **candidate.figures}


def _beside_champion(comparison: ChampionComparison | None) -> dict[str, float]:
    """The champion's right answers, and the difference to them, under ``champion/cohort/figure``."""
    flat: dict[str, float] = {}
    for figures in comparison.cohorts if comparison is not None else ():
        place = f"champion/{figures.cohort.value}"
        flat |= {f"{place}/right": figures.base[Grade.RIGHT].value, f"{place}/difference": figures.difference}
        flat |= {f"{place}/difference/low": figures.difference_low, f"{place}/difference/high": figures.difference_high}
        if figures.paired is not None:
            flat |= {f"{place}/difference/p": figures.paired.mcnemar}
    return flat


def losses(candidate: Candidate) -> list[tuple[int, float]]:
    """The loss curve as (optimiser step, nats per trained token)."""
    every = candidate.training.log_every
    return [(every * point, loss) for point, loss in enumerate(candidate.training.losses, start=1)]


def looks(candidate: Candidate) -> list[tuple[int, str, float]]:
    """The spectra in mid-training as (optimiser step, figure, value)."""
    return [(look.step, name, value) for look in candidate.training.looks for name, value in _seen(look).items()]


def _seen(look: Look) -> dict[str, float]:
    return {
        "spectral/finite": float(look.finite),
        "spectral/largest_sigma_ratio": look.sigma_ratio,
        "spectral/median_stable_rank": look.stable_rank,
        "spectral/median_effective_rank_share": look.effective_rank,
        "spectral/median_null_share": look.null_share,
        "spectral/norm": look.norm,
    }


def flat_params(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters under dotted names, as texts without the passwords of addresses."""
    flat: dict[str, str] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            flat |= flat_params(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = without_passwords(str(value))
    return flat


def description(candidate: Candidate) -> str:
    """Two or three sentences for the person who opens the version in MLflow."""
    verdict = {
        Verdict.PROMOTE: "Passed every gate",
        Verdict.HOLD: "Held: a person decides",
        Verdict.REJECT: "Rejected",
    }
    reasons = "; ".join(candidate.judgement.reasons)
    lines = [f"{verdict[candidate.judgement.verdict]}{f' ({reasons})' if reasons else ''}."]
    for figures in candidate.evaluation.cohorts:
        share = figures.candidate.get(Grade.RIGHT)
        if figures.cohort in (Cohort.NEW, Cohort.HELD, Cohort.HANDBOOK) and share is not None:
            interval = f"{share.low:.3f} to {share.high:.3f}"
            lines.append(f"{figures.cohort.value}: {share.value:.3f} right ({interval}, n = {share.n}).")
    lines.append(f"Documents {candidate.digests.snapshot[:12]}, base {candidate.digests.base[:12]}.")
    return " ".join(lines)
