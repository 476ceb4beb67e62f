"""What people ask of a workspace without changing it: status, history, reports, differences."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.collection import as_it_lies
from data.errors import InputError
from data.files import read_record
from data.records import Snapshot
from data.snapshots import diff
from data.workspace import Workspace, open_workspace
from flows.inputs import champion_entry, is_of_folder, last_cycle, last_snapshot
from flows.leftovers import is_held


def status(root: Path) -> dict[str, Any]:
    """What serves now, what waits, and on which documents."""
    from tasks import registry

    workspace = open_workspace(root)
    snapshot = last_snapshot(workspace)
    warnings = []
    cycle = last_cycle(workspace)
    if cycle is not None and cycle.result is None and not is_held(workspace):
        warnings.append("The last cycle was not finished; relearn run goes on with it.")
    entry = champion_entry(workspace)
    serves = {
        "champion": entry.to_version if entry else None,
        "challenger": registry.get_alias(workspace, registry.CHALLENGER),
    }
    warnings.extend(mirrors_that_differ(workspace, serves["champion"]))
    return {
        **{alias: _version(workspace, version, snapshot) for alias, version in serves.items()},
        "snapshot": {"digest": snapshot.digest, "documents": len(snapshot.documents)} if snapshot else None,
        "warnings": warnings,
    }


def mirrors_that_differ(workspace: Workspace, champion: int | None) -> list[str]:
    """What does not follow the ledger, which alone says who the champion is."""
    from tasks import registry, serving

    pointer = serving.pointer(workspace)
    mirrors = {
        "The alias champion in MLflow": registry.champion(workspace),
        "What answers (relearn ask)": pointer.version if pointer else None,
    }
    remedy = f'relearn promote {champion} --reason "..." puts it right' if champion else "restore the ledger's backup"
    return [
        f"{what} is version {version}, but the ledger's champion is {champion}; {remedy}."
        for what, version in mirrors.items()
        if version != champion
    ]


def history(root: Path, verify: bool) -> dict[str, Any]:
    """The ledger's entries, oldest first."""
    from tasks import ledger
    from tasks.places import ledger_uri

    uri = ledger_uri(open_workspace(root))
    entries = [
        {
            "time": entry.time,
            "actor": entry.actor,
            "action": entry.action,
            "from": entry.from_version,
            "to": entry.to_version,
            "reason": entry.reason,
            "digest": entry.digest,
        }
        for entry in ledger.entries(uri)
    ]
    if not verify:
        return {"entries": entries}
    broken = ledger.broken_at(uri)
    return {"entries": entries, "intact": broken is None, "broken_at": broken}


def report_path(root: Path, version: int | None) -> Path:
    """The HTML report of a version, by default that of the last cycle.

    Raises:
        InputError: there is none.
    """
    workspace = open_workspace(root)
    cycle = last_cycle(workspace)
    number = version if version is not None else (cycle.result.version if cycle and cycle.result else None)
    path = workspace.reports / f"v{number}.html"
    if number is None:
        raise InputError("No cycle has ended with a report yet. Name a version, or make a report with: relearn run.")
    if not path.is_file():
        found = ", ".join(sorted(file.stem for file in workspace.reports.glob("v*.html"))) or "none"
        raise InputError(
            f"{path} is not there (there are: {found}). Name one of these, or take it from MLflow: the report of a "
            f"version that a cycle made is attached to the version's run as report/{path.name}."
        )
    return path


def folder_diff(root: Path) -> dict[str, Any]:
    """The documents folder against the last snapshot; what was set aside there and is as it was is no news."""
    workspace = open_workspace(root)
    params = workspace.params().ingest
    before = last_snapshot(workspace)
    aside = {(one.path, one.digest) for one in before.quarantined} if before else set()
    previous = before.documents if before else ()
    now = as_it_lies(
        workspace.documents, params, previous, workspace.conversions, lambda one: (one.path, one.digest) not in aside
    )
    changes = diff(before, now)
    return changes.model_dump(mode="json", exclude={"schema_"})


def _version(workspace: Workspace, version: int | None, now: Snapshot | None) -> dict[str, Any] | None:
    from tasks import registry

    if version is None:
        return None
    info = registry.get_version(workspace, version)
    return {
        "version": info.version,
        "verdict": info.verdict.value if info.verdict else None,
        "snapshot": info.snapshot,
        "rests_on_withdrawn": _rests_on_withdrawn(workspace, info.snapshot, now),
    }


def _rests_on_withdrawn(workspace: Workspace, digest: str | None, now: Snapshot | None) -> bool | None:
    """Whether a version learned from a document that is no longer in force; None where it is not on record."""
    file = workspace.snapshot_file(digest) if digest else None
    if now is None or file is None or not file.is_file():
        return None
    return bool(diff(read_record(file, Snapshot), now).withdrawn)


@dataclass(frozen=True)
class Surroundings:
    """What status tells people beside what serves: how the last cycle went, and whether there is news."""

    last_cycle: str
    folder: str


def surroundings(root: Path) -> Surroundings:
    """The last cycle and the documents folder, in words; only files that changed are read."""
    workspace = open_workspace(root)
    return Surroundings(_last_cycle(workspace), _folder(workspace))


def _last_cycle(workspace: Workspace) -> str:
    cycle = last_cycle(workspace)
    if cycle is None:
        return "none yet; the first one: relearn run"
    if cycle.result is None:
        return "not finished; relearn run goes on with it"
    when = f"{cycle.finished[:16].replace('T', ' ')} UTC: " if cycle.finished else ""
    return f"{when}{cycle.result.verdict}, version {cycle.result.version}"


def _folder(workspace: Workspace) -> str:
    """Whether the folder holds what the last snapshot was made from, set aside or not."""
    snapshot = last_snapshot(workspace)
    if snapshot is None:
        return "not read yet; relearn run reads it"
    try:
        same = is_of_folder(workspace, snapshot)
    except InputError as error:
        return str(error)
    return "as in the snapshot" if same else "differs from the snapshot: relearn diff shows how"


def overridden(root: Path) -> frozenset[str]:
    """Digests of the ledger's entries by which a person promoted against the verdict."""
    from tasks import ledger
    from tasks.places import ledger_uri

    found = ledger.entries(ledger_uri(open_workspace(root)))
    return frozenset(entry.digest for entry in found if entry.evidence.get("overridden"))
