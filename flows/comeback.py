"""A cycle whose inputs all were seen before: its version is known by their digest, and nothing is computed anew.

A policy that changes back brings back the version that was made from exactly those documents, settings and code, with
the data and the report of then, in seconds. What is not complete any more goes the long way, through the stages.
"""

from datetime import UTC, datetime

from data.cycle_records import Cycle, CycleResult
from data.decisions import Action
from data.errors import RelearnError
from data.files import read_record, write_bytes, write_record
from data.records import Snapshot
from data.workspace import Workspace
from flows.advice import next_command
from flows.notices import tell_of_cycle, to_look_at
from flows.recovery import recover
from flows.succession import settle
from tasks import ledger, registry, revisions, versioning, weights
from tasks.places import ledger_uri
from tasks.registry import VersionInfo


def come_back(workspace: Workspace, key: str) -> CycleResult | None:
    """The result of a cycle with this key that was finished before, carried out again; None: there is none to be had.

    Raises:
        OutsideError: MLflow, the ledger or DVC is out of reach.
        PersonNeededError: the ledger was tampered with.
    """
    version = _made_by(workspace, key)
    if version is None:
        return None
    recover(workspace)
    info, state = registry.get_version(workspace, version), ledger.state(ledger_uri(workspace))
    verdict, served = state.verdict(version), state.version
    if verdict is None or info.tags.get(weights.TAG) == weights.FREED or not _has_its_data(workspace, info):
        return None
    done = settle(workspace, version)
    result = CycleResult(
        changed=True,
        version=version,
        verdict=verdict,
        reasons=state.rulings[version].reasons,
        report=str(workspace.reports / f"v{version}.html"),
        next_command=next_command(workspace, version, verdict),
        switched=f"Version {done.to_version} serves now: {done.reason}" if done else "",
        notices=to_look_at(workspace),
    )
    _end(workspace, key, result, info.snapshot or "", served)
    return result


def _made_by(workspace: Workspace, key: str) -> int | None:
    """The version that a cycle with this key ended with."""
    made = [
        entry.to_version
        for entry in ledger.intact_entries(ledger_uri(workspace))
        if entry.action == Action.JUDGE and entry.evidence.get("cycle") == key
    ]
    return made[-1] if made else None


def _has_its_data(workspace: Workspace, info: VersionInfo) -> bool:
    """Bring back what its stages wrote; whether all of it is there, the report too."""
    if not (workspace.reports / f"v{info.version}.html").is_file():
        return False
    lock = registry.fetch_lock(workspace, info.version)
    try:
        if lock is None or not versioning.checkout(workspace, lock):
            return False
    except RelearnError:
        return False  # what DVC cannot bring back, its stages make again
    file = workspace.collection / "snapshot.json"
    snapshot = read_record(file, Snapshot)
    write_bytes(workspace.snapshot_file(snapshot.digest), file.read_bytes())
    return snapshot.digest == info.snapshot


def _end(workspace: Workspace, key: str, result: CycleResult, snapshot: str, served: int | None) -> None:
    """As a cycle ends: the revision, the hooks, and the record that tells at once whether anything changed."""
    if workspace.params().versioning.commit:
        revisions.commit(workspace, f"Version {result.version} again: {result.verdict}\n\nDocuments {snapshot[:8]}.")
    tell_of_cycle(workspace, result, served)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_record(workspace.cycle, Cycle(key=key, result=result, finished=now, snapshot=snapshot))
