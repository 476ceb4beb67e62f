"""A candidate whose verdict is spoken, kept until its cycle has ended: ``.relearn/judged.json``.

A cycle that is killed while it registers its candidate goes on with it when it is run again. If other documents came
meanwhile, the next cycle would leave a version without report, commit and tag behind; so it first concludes the one
that was begun, from this record, while what the stages wrote for it still lies there.
"""

from data.files import digest_tree, read_record, write_record
from data.records import Record, Snapshot
from data.workspace import Workspace
from flows.inputs import champion_entry, last_cycle
from tasks.candidate import Candidate, Decision


class Judged(Record):
    """All that registration and report need, whatever is edited meanwhile."""

    key: str
    """Of the cycle."""
    candidate: Candidate
    seconds: dict[str, float]
    """Per stage."""
    served: int | None
    """The version that served when the verdict was spoken."""


def keep(workspace: Workspace, key: str, candidate: Candidate, seconds: dict[str, float]) -> Judged:
    """Write down a judged candidate, before anything of it is registered."""
    left, entry = _read(workspace), champion_entry(workspace)
    served = entry.to_version if entry else None
    if left is not None and left.key == key:
        served = left.served  # it may have been promoted before the kill
    judged = Judged(key=key, candidate=candidate, seconds=seconds, served=served)
    write_record(workspace.judged, judged)
    return judged


def decided(workspace: Workspace, key: str) -> Decision | None:
    """The verdict of a killed run of the cycle with this key, if the stages' outputs are still what it was spoken on.

    It is not judged again: what accepted adapters look like may have changed since.
    """
    judged = _read(workspace)
    if judged is None or judged.key != key or not _is_of_outputs(workspace, judged):
        return None
    made = judged.candidate
    return Decision(judgement=made.judgement, calibration=made.calibration, champion=made.champion)


def left_by_another(workspace: Workspace, key: str) -> Judged | None:
    """What a cycle with another key left unfinished, if the stages' outputs are still its own."""
    judged, cycle = _read(workspace), last_cycle(workspace)
    if judged is None or judged.key == key or cycle is None or cycle.result is not None or cycle.key != judged.key:
        return None
    return judged if _is_of_outputs(workspace, judged) else None


def _is_of_outputs(workspace: Workspace, judged: Judged) -> bool:
    file, digests = workspace.collection / "snapshot.json", judged.candidate.digests
    if not file.is_file() or read_record(file, Snapshot).digest != digests.snapshot:
        return False
    return digest_tree(workspace.adapter) == digests.adapter


def _read(workspace: Workspace) -> Judged | None:
    return read_record(workspace.judged, Judged) if workspace.judged.is_file() else None
