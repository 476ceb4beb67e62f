"""What every decision on a version rests on: one folder per version, in formats that need no code of ours.

``.relearn/evidence/vN/`` is written once, when the version is registered, and attached to its MLflow run; what grows
later, the decisions on it, stands beside the list (tasks/approvals.py).
``manifest.json`` lists the SHA-256 of each file, and the ledger keeps the manifest's own: so whoever holds the ledger
can tell whether a folder is what was decided on.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.collection import collection_of, paths_of, read_lineage
from data.errors import InputError, PersonNeededError
from data.evaluation_records import ChampionComparison, Compared, EvaluationReport, Judgement
from data.evidence_records import Evidence, LearnedFrom, Provenance, Role
from data.files import (
    building,
    digest_file,
    each_record,
    read_record,
    write_json,
    write_long_record,
    write_record,
    write_text,
)
from data.records import Record, Row, Snapshot
from data.report_records import Lineage, SynthesisReport
from data.spectral_records import Calibration, SpectralReport
from data.withheld import REFUSAL
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
PROVENANCE, LINEAGE, SNAPSHOT = "provenance.json", "lineage.json", "snapshot.json"
IN_ONE = "evidence.json"
"""Where earlier releases wrote all parts."""
PARTS: dict[str, tuple[type[Record], str]] = {
    "evaluation": (EvaluationReport, "evaluation/report.json"),
    "spectral": (SpectralReport, "spectral/report.json"),
    "synthesis": (SynthesisReport, "synthetic/report.json"),
    "judgement": (Judgement, JUDGEMENT_ARTIFACT),
    "champion": (ChampionComparison, CHAMPION_ARTIFACT),
    "calibration": (Calibration, CALIBRATION_ARTIFACT),
}
"""What a verdict rests on, by the name of its file: its kind, and where a run without evidence folder has it."""


def write_evidence(workspace: Workspace, made: Candidate, version: int) -> str:
    """Write the folder of a registered candidate, unless it is there; returns the digest of its manifest.

    Raises:
        InputError: a report of the candidate is missing.
        OutsideError: MLflow is out of reach, or the disk refuses.
    """
    info = registry.get_version(workspace, version)

    def fill(folder: Path) -> None:
        for name, part in _evidence(workspace, made):
            if name in PARTS and part is not None:
                write_record(folder / f"{name}.json", part)
        provenance = _provenance(info, made)
        write_record(folder / PROVENANCE, provenance)
        write_record(folder / LINEAGE, read_lineage(made.base))
        write_json(folder / "params.json", flat_params(made.params))
        write_text(folder / "model-card.md", model_card(version, made, provenance))

    return _written(workspace, info, fill)


def write_base_evidence(workspace: Workspace, version: int, base: str, base_digest: str) -> str:
    """Write the folder of the base alone, unless it is there; returns the digest of its manifest.

    Raises:
        InputError: the documents that it was trained on are gone or are not the same.
        OutsideError: MLflow is out of reach, or the disk refuses.
    """
    info, lineage = registry.get_version(workspace, version), read_lineage(base)

    def fill(folder: Path) -> None:
        digests = {"base": base_digest}
        snapshot, _ = collection_of(base, workspace.params().ingest)
        documents = [
            LearnedFrom(id=one.id, path=one.path, digest=one.digest, rows=None, role=Role.BASE)
            for one in (snapshot.documents if snapshot is not None else ())
        ]
        provenance = Provenance(
            version=version, kind="base", snapshot=lineage.snapshot, documents=tuple(documents), digests=digests
        )
        write_record(folder / PROVENANCE, provenance)
        write_record(folder / LINEAGE, lineage)
        if snapshot is not None:
            write_long_record(folder / SNAPSHOT, snapshot)
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
    if (folder / IN_ONE).is_file():
        return read_record(folder / IN_ONE, Evidence)
    files = {name: folder / f"{name}.json" for name in PARTS}
    files = {name: file for name, file in files.items() if file.is_file() or name != "calibration"}
    parts: dict[str, Any] = {name: read_record(file, PARTS[name][0]) for name, file in files.items()}
    knows = read_record(folder / LINEAGE, Lineage)
    return Evidence(**parts, handbook_expected=knows.handbook_seed is not None)


def read_provenance(workspace: Workspace, version: int, digest: str | None) -> tuple[Provenance, Snapshot | None]:
    """Which documents a version learned from; of a base that knows documents, as they were read, too.

    MLflow is asked only where the folder was lost.

    Args:
        workspace: whose version it is.
        version: its number.
        digest: of the manifest, as the ledger keeps it; None: it keeps none.

    Raises:
        PersonNeededError: a file is not what was decided on.
        InputError: it is not on record.
        OutsideError: MLflow is out of reach.
    """
    folder = workspace.evidence(version)
    if digest:
        if not (folder / MANIFEST).is_file():
            folder = _folder(workspace, registry.get_version(workspace, version))
        require_intact(folder, version, digest)
    made, snapshot = read_record(folder / PROVENANCE, Provenance), folder / SNAPSHOT
    return made, read_record(snapshot, Snapshot) if snapshot.is_file() else None


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
    return Provenance(
        version=info.version,
        kind=info.kind,
        snapshot=info.snapshot,
        documents=_learned(made),
        digests=made.digests.model_dump(exclude={"schema_"}),
    )


def _learned(made: Candidate) -> tuple[LearnedFrom, ...]:
    """Every version of a document that rows name, by what they teach of it, and the documents that none names."""
    rows = Counter((row.document, row.digest, _role(row)) for row in each_record(made.rows, Row) if row.document)
    snapshot = read_record(made.documents / "snapshot.json", Snapshot)
    named = {(id, digest) for id, digest, _ in rows}
    rows.update(
        {(one.id, one.digest, Role.TAUGHT): 0 for one in snapshot.documents if (one.id, one.digest) not in named}
    )
    lying = {one.id: one.path for one in (*snapshot.documents, *snapshot.withheld)}
    paths = {(one.id, one.digest): one.path for one in snapshot.documents}
    former = paths_of(made.base) if any(key[:2] not in paths for key in rows) else {}
    found = [
        LearnedFrom(
            id=id,
            path=paths.get((id, digest)) or former.get(digest) or lying.get(id, ""),
            digest=digest,
            rows=count,
            role=role,
        )
        for (id, digest, role), count in rows.items()
    ]
    return tuple(sorted(found, key=lambda one: (one.path, one.id, one.digest, one.role)))


def _role(row: Row) -> Role:
    if row.purpose == REFUSAL:
        return Role.REFUSED
    return Role.REPLAYED if row.replayed else Role.TAUGHT


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

    def read(kind: type[Any], artifact: str) -> Any:
        with fetched(workspace, info.run, artifact) as file:
            return read_record(file, kind) if file is not None else None

    found = {name: read(*place) for name, place in PARTS.items()}
    gone = [name for name, record in found.items() if record is None and name not in ("champion", "calibration")]
    if gone:
        raise InputError(
            f"The MLflow run of version {info.version} lacks its {' and '.join(gone)}. Restore its artifacts from "
            "their backup."
        )
    untold = ChampionComparison(
        candidate=adapter, version=None, compared=Compared.UNAVAILABLE, why="An earlier release compared with none."
    )
    found["champion"] = found["champion"] or untold
    return Evidence(**found, handbook_expected=read_lineage(base).handbook_seed is not None)
