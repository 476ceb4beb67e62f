"""From the reports of a cycle to a verdict, a registered version and its HTML report."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from data.claims import told
from data.collection import read_lineage
from data.evaluation_records import EvaluationReport, Verdict
from data.files import read_record, read_records
from data.probes import read_probes
from data.proposals import starved
from data.records import Answer, FactChange, Snapshot
from data.report_records import IngestReport, SynthesisReport, TrainingReport
from data.snapshots import diff
from data.spectral_records import SpectralReport
from data.wordings import wordings_digest
from data.workspace import Workspace
from flows.advice import override
from flows.champion import beside_champion
from flows.inputs import base_digest, champion_entry, code_digest
from flows.progress import Lines
from flows.report_texts import comparison, probe_documents
from models.calibration import calibrate
from models.gates import judge, rejudge
from tasks import ledger, registry
from tasks.accepted import accepted_spectra
from tasks.candidate import Candidate, Decision, collect, digests_of
from tasks.evidence import read_evidence
from tasks.places import ledger_uri
from tasks.report_mark import serving_said
from tasks.reports import ReportInput, write_report
from tasks.validation import data_docs_index


def decide(workspace: Workspace) -> Decision:
    """The verdict on the candidate whose stages have run; one that was registered before is judged by what is stored.

    Raises:
        MissingFigureError: a gate needs a figure that no report holds.
        OutsideError: the registry is out of reach.
    """
    digests = digests_of(workspace, base_digest=base_digest(workspace), code_digest=code_digest(workspace))
    info = registry.find_candidate(workspace, digests.key)
    if info is None:
        return _judged(workspace)
    known = ledger.state(ledger_uri(workspace)).rulings.get(info.version)
    evidence = read_evidence(workspace, info, known.evidence if known is not None else None)
    judgement = rejudge(evidence, workspace.params().gates)
    return Decision(judgement=judgement, calibration=evidence.calibration, champion=evidence.champion)


def _judged(workspace: Workspace) -> Decision:
    gates = workspace.params().gates
    spectral = read_record(workspace.spectral / "report.json", SpectralReport)
    accepted = accepted_spectra(workspace, spectral.base, but=spectral.adapter)
    calibration = calibrate(accepted.reports, gates.max_robust_z, like=spectral)
    evaluation = read_record(workspace.evaluation / "report.json", EvaluationReport)
    champion = beside_champion(workspace, evaluation)
    judgement = judge(
        spectral,
        evaluation,
        read_record(workspace.synthetic / "report.json", SynthesisReport),
        gates,
        handbook_expected=read_lineage(workspace.base()).handbook_seed is not None,
        champion=champion,
        calibration=calibration,
    )
    if accepted.unread:
        Lines("judge").warn(_not_counted(accepted.unread))
    return Decision(judgement=judgement, calibration=calibration, champion=champion)


def _not_counted(versions: Sequence[int]) -> str:
    more = f" and {len(versions) - 1} others" if versions[1:] else ""
    return (
        f"Of accepted version {versions[0]}{more} there is no spectral report that this release reads, so that what is "
        "usual is said without."
    )


def candidate(workspace: Workspace, decision: Decision, seconds: dict[str, float]) -> Candidate:
    """The candidate with all that it rests on, as the registry takes it."""
    return collect(
        workspace,
        decision,
        base_digest=base_digest(workspace),
        code_digest=code_digest(workspace),
        figures={f"seconds/{stage}": value for stage, value in seconds.items()},
    )


def publish_report(
    workspace: Workspace, made: Candidate, version: int, seconds: dict[str, float], command: str
) -> Path:
    """Write the HTML report of a registered version."""
    snapshot = read_record(workspace.collection / "snapshot.json", Snapshot)
    compared = comparison(workspace, snapshot)
    ingested = read_record(workspace.collection / "report.json", IngestReport)
    entry = champion_entry(workspace)
    synthesis = read_record(workspace.synthetic / "report.json", SynthesisReport)
    path = workspace.reports / f"v{version}.html"
    return write_report(
        path,
        ReportInput(
            version=version,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            judgement=made.judgement,
            snapshot=snapshot,
            diff=diff(compared.before, snapshot),
            compared_with=compared.named,
            texts=compared.texts,
            paths=compared.paths,
            probe_documents=probe_documents(read_probes(workspace.probes), compared.paths, snapshot),
            other_languages=ingested.other_languages,
            synthesis=synthesis,
            changes=tuple(read_records(workspace.synthetic / "changes.jsonl", FactChange)),
            training=read_record(workspace.adapter / "training.json", TrainingReport),
            spectral=read_record(workspace.spectral / "report.json", SpectralReport),
            thresholds=workspace.params().gates,
            calibration=made.calibration,
            comparison=made.champion,
            evaluation=made.evaluation,
            answers=tuple(read_records(workspace.evaluation / "answers.jsonl", Answer)),
            digests=made.digests.model_dump(exclude={"schema_"}),
            champion=entry.to_version if entry else None,
            serving=serving_said(version, entry),
            warnings=(
                *ingested.warnings,
                *starved(synthesis.funnel),
                *told(synthesis),
                *_other_wordings(workspace),
            ),
            seconds=seconds,
            data_docs=Path(os.path.relpath(data_docs_index(workspace), path.parent)).as_posix(),
            next_command=command if made.judgement.verdict is not Verdict.REJECT else override(version),
        ),
    )


def _other_wordings(workspace: Workspace) -> tuple[str, ...]:
    learned = read_lineage(workspace.base()).wordings
    if learned is None or learned == wordings_digest():
        return ()
    return (
        "The base learned other wordings than data/prompts/wordings.yaml holds, so it may miss old facts that it "
        "knows; build it anew with relearn base build.",
    )
