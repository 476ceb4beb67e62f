"""What every decision on a version rests on: one folder per version, in formats that need no code of ours.

``.relearn/evidence/vN/`` is written once, when the version is registered, and attached to its MLflow run.
``manifest.json`` lists the SHA-256 of each file, and the ledger keeps the manifest's own: so whoever holds the ledger
can tell whether a folder is what was decided on.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.collection import read_lineage
from data.errors import InputError, PersonNeededError
from data.evidence_records import Evidence, LearnedFrom, Provenance
from data.files import building, digest_file, each_record, read_record, write_json, write_record, write_text
from data.records import Row, Snapshot
from data.report_records import (
    ChampionComparison,
    Compared,
    EvaluationReport,
    Judgement,
    SynthesisReport,
)
from data.spectral_records import Calibration, SpectralReport
from data.workspace import Workspace
from tasks import registry, revisions
from tasks.bill_of_materials import bill_of_materials
from tasks.candidate import Candidate, flat_params
from tasks.model_card import base_card, model_card
from tasks.registry import VersionInfo
from tasks.tracking import CALIBRATION_ARTIFACT, CHAMPION_ARTIFACT, JUDGEMENT_ARTIFACT, fetched, reaching

FOLDER = "evidence"
"""Below a run's artifacts."""
MANIFEST = "manifest.json"
EVIDENCE, PROVENANCE = "evidence.json", "provenance.json"


def write_evidence(workspace: Workspace, made: Candidate, version: int) -> str:
    """Write the folder of a registered candidate, unless it is there; returns the digest of its manifest.

    Raises:
        InputError: a report of the candidate is missing.
        OutsideError: MLflow is out of reach, or the disk refuses.
    """
    info = registry.get_version(workspace, version)

    def fill(folder: Path) -> None:
        evidence = _evidence(workspace, made)
        provenance = _provenance(info, made)
        write_record(folder / EVIDENCE, evidence)
        write_record(folder / PROVENANCE, provenance)
        write_json(folder / "params.json", flat_params(made.params))
        write_text(folder / "model-card.md", model_card(version, made, provenance))

    return _written(workspace, info, fill)


def write_base_evidence(workspace: Workspace, version: int, base: str, base_digest: str) -> str:
    """Write the folder of the base alone, unless it is there; returns the digest of its manifest.

    Raises:
        OutsideError: MLflow is out of reach, or the disk refuses.
    """
    info, lineage = registry.get_version(workspace, version), read_lineage(base)

    def fill(folder: Path) -> None:
        digests = {"base": base_digest}
        provenance = Provenance(version=version, kind="base", snapshot=lineage.snapshot, documents=(), digests=digests)
        write_record(folder / PROVENANCE, provenance)
        write_record(folder / "lineage.json", lineage)
        write_text(folder / "model-card.md", base_card(version, base, base_digest, lineage))

    return _written(workspace, info, fill)


def read_evidence(workspace: Workspace, info: VersionInfo, digest: str | None) -> Evidence:
    """What a candidate's verdict rests on; of a version that is older than evidence folders, from its run.

    Args:
        workspace: whose version it is.
        info: of a candidate.
        digest: of the manifest, as the ledger keeps it; None: it keeps none.

    Raises:
        PersonNeededError: a file is not what was decided on.
        InputError: a report is gone.
        OutsideError: MLflow is out of reach.
    """
    if not digest:
        return _from_run(workspace, info)
    folder = _folder(workspace, info)
    require_intact(folder, info.version, digest)
    return read_record(folder / EVIDENCE, Evidence)


def read_provenance(workspace: Workspace, info: VersionInfo) -> Provenance:
    """Which documents a version learned from.

    Raises:
        InputError: it is not on record.
        OutsideError: MLflow is out of reach.
    """
    return read_record(_folder(workspace, info) / PROVENANCE, Provenance)


def require_intact(folder: Path, version: int, digest: str) -> None:
    """Refuse an evidence folder that is not the one that was decided on.

    Raises:
        PersonNeededError: it names the file that differs.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file() or digest_file(manifest) != digest:
        raise _altered(version, manifest)
    for name, wanted in json.loads(manifest.read_bytes()).items():
        file = folder / name
        if not file.is_file() or digest_file(file) != wanted:
            raise _altered(version, file)


def _altered(version: int, file: Path) -> PersonNeededError:
    return PersonNeededError(
        f"{file} is not the evidence on which version {version} was judged: the ledger keeps another digest of it. "
        f"Restore it from the artifacts of the version's MLflow run (folder {FOLDER}), or delete the folder, and it is "
        "fetched from there."
    )


# --- writing ---------------------------------------------------------------------------------------


def _written(workspace: Workspace, info: VersionInfo, fill: Callable[[Path], None]) -> str:
    target = workspace.evidence(info.version)
    if not _is_here(workspace, info):
        with building(target) as draft:
            fill(draft)
            write_json(draft / "git.json", revisions.describe(workspace))
            write_text(draft / "sbom.cdx.json", bill_of_materials())
            write_json(draft / MANIFEST, {file.name: digest_file(file) for file in sorted(draft.iterdir())})
    with reaching(workspace) as client:
        if f"{FOLDER}/{MANIFEST}" not in [entry.path for entry in client.list_artifacts(info.run, FOLDER)]:
            for file in sorted(target.iterdir(), key=lambda file: file.name == MANIFEST):  # the list comes last
                client.log_artifact(info.run, str(file), FOLDER)
    return digest_file(target / MANIFEST)


def _evidence(workspace: Workspace, made: Candidate) -> Evidence:
    untold = ChampionComparison(
        candidate=made.digests.adapter, version=None, compared=Compared.UNAVAILABLE, why="It was compared with none."
    )
    return Evidence(
        evaluation=made.evaluation,
        spectral=read_record(workspace.spectral / "report.json", SpectralReport),
        synthesis=read_record(workspace.synthetic / "report.json", SynthesisReport),
        judgement=made.judgement,
        champion=made.champion or untold,
        calibration=made.calibration,
        handbook_expected=read_lineage(made.base).handbook_seed is not None,
    )


def _provenance(info: VersionInfo, made: Candidate) -> Provenance:
    rows = Counter(row.document for row in each_record(made.rows, Row))
    snapshot = read_record(made.documents / "snapshot.json", Snapshot)
    documents = [
        LearnedFrom(id=one.id, path=one.path, digest=one.digest, rows=rows[one.id]) for one in snapshot.documents
    ]
    return Provenance(
        version=info.version,
        kind=info.kind,
        snapshot=info.snapshot,
        documents=tuple(documents),
        digests=made.digests.model_dump(exclude={"schema_"}),
    )


# --- reading ---------------------------------------------------------------------------------------


def _folder(workspace: Workspace, info: VersionInfo) -> Path:
    """The folder, fetched from the run if it has to be.

    Raises:
        InputError: there is none, here or there.
    """
    target = workspace.evidence(info.version)
    if not _is_here(workspace, info):
        raise InputError(
            f"There is no evidence of version {info.version}, neither in {target} nor with its MLflow run. Restore one "
            "of them from its backup."
        )
    return target


def _is_here(workspace: Workspace, info: VersionInfo) -> bool:
    """Whether the folder lies here; one that was lost is fetched, since another one would have another digest."""
    target = workspace.evidence(info.version)
    if (target / MANIFEST).is_file():
        return True
    with tempfile.TemporaryDirectory() as place, reaching(workspace) as client:
        if f"{FOLDER}/{MANIFEST}" not in [entry.path for entry in client.list_artifacts(info.run, FOLDER)]:
            return False
        copy = Path(client.download_artifacts(info.run, FOLDER, place))
        with building(target) as draft:
            for file in copy.iterdir():
                (draft / file.name).write_bytes(file.read_bytes())
    return True


def _from_run(workspace: Workspace, info: VersionInfo) -> Evidence:
    """From the reports that every registered candidate has had attached."""
    adapter, base = info.tags.get("adapter", ""), workspace.base()

    def read(artifact: str, kind: type[Any]) -> Any:
        with fetched(workspace, info.run, artifact) as file:
            return read_record(file, kind) if file is not None else None

    found = {
        "evaluation": read("evaluation/report.json", EvaluationReport),
        "spectral": read("spectral/report.json", SpectralReport),
        "synthesis": read("synthetic/report.json", SynthesisReport),
        "judgement": read(JUDGEMENT_ARTIFACT, Judgement),
    }
    gone = [name for name, record in found.items() if record is None]
    if gone:
        raise InputError(
            f"The MLflow run of version {info.version} lacks its {' and '.join(gone)}. Restore its artifacts from "
            "their backup."
        )
    untold = ChampionComparison(
        candidate=adapter, version=None, compared=Compared.UNAVAILABLE, why="An earlier release compared with none."
    )
    return Evidence(
        **found,
        champion=read(CHAMPION_ARTIFACT, ChampionComparison) or untold,
        calibration=read(CALIBRATION_ARTIFACT, Calibration),
        handbook_expected=read_lineage(base).handbook_seed is not None,
    )
