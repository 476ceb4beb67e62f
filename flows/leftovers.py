"""What kills and finished work leave in a workspace: half-written files, checkpoints, notes of dead processes."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from filelock import FileLock

from data.files import DRAFT, OLD, leftovers
from data.workspace import Workspace
from flows.inputs import last_cycle


def bytes_of(path: Path) -> int:
    """Size of a file, or of all files below a folder; 0 where there is none."""
    if path.is_dir() and not path.is_symlink():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return path.stat().st_size if path.is_file() else 0


def half_built(workspace: Workspace) -> list[Path]:
    """Drafts of files and folders that a kill left; documents and probes are people's and are not looked at."""
    return [path for folder in _written_folders(workspace) for path in leftovers(folder)]


def first_of(stays: list[str]) -> list[str]:
    """The first sentence on what could not be deleted, and how many more there are."""
    return [*stays[:1], *([f"{len(stays) - 1} more could not be deleted either."] if stays[1:] else [])]


def interrupted_swaps(workspace: Workspace) -> list[Path]:
    """Folders that a kill between two renames left under another name; each is named as it should be."""
    asides = [path for folder in _written_folders(workspace) for path in folder.glob(f".*{OLD}")]
    targets = [path.with_name(path.name[1 : -len(OLD)]) for path in asides]
    return [target for target in targets if not target.exists()]


def _written_folders(workspace: Workspace) -> Iterator[Path]:
    """Every folder that this project writes into itself, without libraries' own."""
    own = [workspace.root / "data", workspace.inputs, workspace.inputs / "code", workspace.metrics("train").parent]
    state = [
        workspace.state,
        workspace.state / "snapshots",
        workspace.state / "texts",
        workspace.state / "spectra",
        workspace.reports,
        workspace.state / "bases",
    ]
    evidence = workspace.evidence(0).parent
    kept = [folder for folder in evidence.glob("v*") if folder.is_dir()]
    caches = workspace.state / "cache"
    deep = [folder for folder in (caches, *caches.rglob("*")) if folder.is_dir() and not folder.name.endswith(DRAFT)]
    runs = [folder for folder in workspace.checkpoints.glob("*") if folder.is_dir()]
    for folder in (*own, *state, evidence, *kept, *deep, workspace.checkpoints, *runs, workspace.state / "prefect"):
        if folder.is_dir():
            yield folder


def checkpoints_of_nobody(workspace: Workspace) -> list[Path]:
    """Checkpoints of trainings that a finished cycle left behind it.

    Younger ones belong to a training that goes on with them (``relearn train``, ``dvc repro``), and those of an
    unfinished build of a base stay.
    """
    cycle = last_cycle(workspace)
    if cycle is None or cycle.result is None:
        return []
    finished = datetime.fromisoformat(cycle.finished).timestamp() if cycle.finished else workspace.cycle.stat().st_mtime
    return [folder for folder in sorted(workspace.checkpoints.glob("train-*")) if _last_write(folder) < finished]


def _last_write(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def is_held(workspace: Workspace) -> bool:
    """Whether a process works in the workspace now."""
    return workspace.lock.with_suffix(".json").is_file() and dead_note(workspace) is None


def dead_note(workspace: Workspace) -> Path | None:
    """The lock's note, if the process that it names is gone."""
    return _of_the_dead(workspace.lock)


def dead_watch(workspace: Workspace) -> Path | None:
    """The note of a watch that was killed; one that ended by itself, or was asked to, took its note away."""
    return _of_the_dead(workspace.watch_lock)


def _of_the_dead(file: Path) -> Path | None:
    """The note beside a lock that nobody holds: the kernel knows, a process number may have been given away again."""
    note = file.with_suffix(".json")
    return note if note.is_file() and not _is_locked(file) else None


def _is_locked(file: Path) -> bool:
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except OSError:  # held, or another user's, of whom it cannot be told
        return True
    lock.release()
    return False
