"""Which versions rest on documents that are no longer in force."""

from data.decisions import Decisions
from data.errors import PersonNeededError
from data.files import read_record, shortened, write_record
from data.records import DocumentVersion, Snapshot
from data.workspace import Workspace
from flows.inputs import last_snapshot
from tasks import registry
from tasks.registry import VersionInfo


def rests_on(workspace: Workspace, state: Decisions, info: VersionInfo) -> tuple[DocumentVersion, ...]:
    """Documents that a candidate was made from and that are withdrawn now: by a decision, by themselves, or gone.

    The base alone rests on nothing that could be withdrawn: it is what serves when nothing else may.

    Raises:
        OutsideError: MLflow is out of reach.
    """
    if info.kind != "candidate":
        return ()
    now = last_snapshot(workspace)
    in_force = {document.id for document in now.documents} if now is not None else None
    return tuple(
        document
        for document in _documents(workspace, info)
        if document.id in state.withdrawn or (in_force is not None and document.id not in in_force)
    )


def require_in_force(workspace: Workspace, state: Decisions, version: int) -> None:
    """Refuse a version that rests on a document which a decision withdrew.

    Raises:
        PersonNeededError: it does; it says on which, and who withdrew it.
    """
    if not state.withdrawn:
        return
    for document in _documents(workspace, registry.get_version(workspace, version)):
        entry = state.withdrawn.get(document.id)
        if entry is not None:
            raise PersonNeededError(
                f"Version {version} rests on {shortened(document.path)}, which {entry.actor} withdrew at "
                f"{entry.time[:19]}. Take one that does not (relearn impact {document.id[:12]}), or reinstate the "
                f"document: relearn reinstate {document.id[:12]} --reason WHY."
            )


def _documents(workspace: Workspace, info: VersionInfo) -> tuple[DocumentVersion, ...]:
    if info.kind != "candidate" or info.snapshot is None:
        return ()
    file = workspace.snapshot_file(info.snapshot)
    if not file.is_file():
        write_record(file, registry.fetch_snapshot(workspace, info.run))
    return read_record(file, Snapshot).documents
