"""What a kill leaves of DVC's locks: a torn ``dvc.lock``, and entries of dead processes in its read-write lock."""

import json
from pathlib import Path
from typing import Any

from data.files import write_text
from data.workspace import Workspace
from tasks.dvc_cache import read_mapping


def is_torn(workspace: Workspace) -> bool:
    """DVC writes ``dvc.lock`` in place, so a kill may tear it."""
    from dvc.dvcfile import Lockfile
    from dvc.utils.strictyaml import YAMLValidationError

    if not workspace.dvc_lock.is_file():
        return False
    try:
        Lockfile.validate(read_mapping(workspace.dvc_lock))
    except YAMLValidationError:
        return True
    return False


def drop_torn(workspace: Workspace) -> None:
    """Every stage in it can be restored."""
    if is_torn(workspace):
        workspace.dvc_lock.unlink()


def drop_dead_holders(folder: Path) -> None:
    """Take entries of dead processes out of DVC's read-write lock."""
    from dvc.lock import make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    if not (folder / RWLOCK_FILE).is_file():
        return
    with make_lock(str(folder / RWLOCK_LOCK), tmp_dir=str(folder)):
        alive = dead_holders(folder)
        if alive is not None:
            write_text(folder / RWLOCK_FILE, json.dumps(alive))


def dead_holders(folder: Path) -> dict[str, Any] | None:
    """What DVC's read-write lock holds without entries of dead processes; None where it names none of these.

    DVC drops them itself unless the process number was given away again, which a container does at once.
    A process that started after the file was last written cannot be the one that it names.
    """
    from dvc.rwlock import RWLOCK_FILE

    path = folder / RWLOCK_FILE
    if not path.is_file():
        return None
    written = path.stat().st_mtime
    try:
        content = json.loads(path.read_text())
    except ValueError:  # torn by the kill
        content = None
    known = {"write": {}, "read": {}, **(content if isinstance(content, dict) else {})}
    readers = known["read"].items()
    alive = {
        "write": {key: one for key, one in known["write"].items() if _holds(one, written)},
        "read": {key: [one for one in many if _holds(one, written)] for key, many in readers},
    }
    return None if content is not None and alive == known else alive


def _holds(entry: dict[str, Any], written: float) -> bool:
    """Whether the process that an entry names may still live."""
    import psutil

    try:
        return bool(psutil.Process(int(entry["pid"])).create_time() <= written)
    except psutil.NoSuchProcess:
        return False
