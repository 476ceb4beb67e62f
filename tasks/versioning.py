"""The boundary to DVC: which stage is up to date, what it wrote last, and what it wrote for these inputs.

A stage runs in this process, under a Prefect flow, and is committed afterwards; ``dvc.lock`` then says
what ``dvc repro`` would have written, and ``dvc status`` is clean. DVC keeps every output under its
digest, and remembers which inputs gave which outputs, so that inputs seen before cost a copy instead of
a training.

A process killed at any moment leaves nothing behind that stops the next one: DVC's repository lock is
the kernel's and goes with the process, an entry of its read-write lock is dropped when its process is
gone or its number was given away again, and a torn ``dvc.lock`` is rebuilt from the memory of runs.
"""

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from data.errors import InputError, OutsideError
from data.files import digest_text
from data.workspace import Workspace

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

os.environ.setdefault("DVC_NO_ANALYTICS", "1")


def is_current(workspace: Workspace, stage: str) -> bool:
    """Whether the stage's command, inputs, parameters and outputs are all as ``dvc.lock`` says.

    Raises:
        InputError: the workspace is no DVC repository, or has no such stage.
        OutsideError: DVC failed, or another process holds its lock.
    """
    with _opened(workspace) as repo:
        return not repo.status(targets=[_address(workspace, stage)])


def inputs(workspace: Workspace, stage: str) -> str:
    """Digest of all that the stage depends on, as it lies there now; taken before the stage works.

    Raises:
        InputError: an input of the stage does not exist, or there is no such stage.
        OutsideError: DVC failed, or another process holds its lock.
    """
    with _opened(workspace) as repo, _lock(repo):
        found = _load(repo, workspace, stage)
        found.save_deps()
        return _inputs_digest(found)


def commit(workspace: Workspace, stage: str, made_from: str) -> None:
    """Record the stage's outputs as made from the inputs of the digest ``made_from`` (``dvc commit -f STAGE``).

    Never call it from a command that DVC itself runs: DVC commits that one.

    Raises:
        InputError: an input or output of the stage does not exist, or there is no such stage.
        OutsideError: an input changed while the stage worked, and nothing is recorded; or DVC failed, or
            another process holds its lock.
    """
    _link_command(workspace)
    with _opened(workspace) as repo, _lock(repo):
        found = _load(repo, workspace, stage)
        found.save(run_cache=False)
        if _inputs_digest(found) != made_from:
            names = ", ".join(sorted({str(dep.def_path) for dep in found.deps}))
            raise OutsideError(
                f"What stage {stage} reads ({names}) changed while it worked. Run the same command again; it "
                "takes up the change."
            )
        repo.stage_cache.save(found)
        found.commit()
        found.dump(update_pipeline=False)


def restore(workspace: Workspace, stage: str) -> bool:
    """Bring back what the stage once wrote for exactly the inputs that lie there now.

    Outputs that are missing or differ are replaced, and ``dvc.lock`` follows. False, with nothing
    touched, where these inputs are new or their outputs are no longer in the cache.

    Raises:
        InputError: an input of the stage does not exist, or there is no such stage.
        OutsideError: DVC failed, or another process holds its lock.
    """
    with _opened(workspace) as repo, _lock(repo):
        found = _load(repo, workspace, stage)
        if not _remembers(repo, found):
            return False
        found.remove_outs(force=True)
        repo.stage_cache.restore(found)
        found.save()
        found.commit()
        found.dump(update_pipeline=False)
        return True


def start(folder: Path, remote: str | None) -> None:
    """Make a DVC repository of a git repository, without usage reports.

    Raises:
        OutsideError: DVC refuses.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    _lower_voice()
    try:
        with Repo.init(str(folder)) as repo, repo.config.edit("repo") as config:
            config["core"] |= {"analytics": False, "check_update": False, "autostage": False}
            if remote is not None:
                config["core"]["remote"] = "origin"
                config["remote"]["origin"] = {"url": remote}
    except DvcException as error:
        raise _translated(error) from error


def keep_documents(workspace: Workspace) -> None:
    """Keep the documents folder itself as it was read (``dvc add``), so that another machine gets the same files.

    The folder stays as it is; nothing in it becomes a link.

    Raises:
        OutsideError: the documents changed since stage ``ingest`` read them; or DVC failed.
    """
    folder = workspace.documents.relative_to(workspace.root).as_posix()
    with _opened(workspace) as repo:
        (kept,) = repo.add(folder, relink=False)
        read = next(dep for dep in _load(repo, workspace, "ingest").deps if dep.def_path == folder)
        if kept.outs[0].hash_info != read.hash_info:
            raise OutsideError(
                f"{workspace.documents} changed while its files were kept. Run the same command again; it takes up "
                "the change."
            )


def push(workspace: Workspace) -> int | None:
    """Copy what this revision names to the DVC remote; the number of files copied, None where no remote is set.

    Raises:
        OutsideError: the remote is out of reach, or refuses.
    """
    with _opened(workspace) as repo:
        remote = repo.config["core"].get("remote")
        if remote is None:
            return None
        try:
            return int(repo.push())
        except OSError as error:
            raise OutsideError(
                f"The DVC remote {remote} is out of reach ({error}). See that it answers (dvc remote list), then run "
                "the same command again."
            ) from error


# --- asking DVC ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(workspace: Workspace) -> Iterator["Repo"]:
    """DVC's repository of the workspace; its errors become ours.

    Its memory of runs resolves paths against the current folder, so this is the workspace's root meanwhile.
    """
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    _lower_voice()
    try:
        _drop_torn_lock(workspace)
        _drop_dead_holders(workspace.root / ".dvc" / "tmp")
        repo = Repo(str(workspace.root), config=_without_git(workspace.root))
        with contextlib.chdir(workspace.root), repo:
            yield repo
    except NotDvcRepoError as error:
        raise InputError(f"{workspace.root} is no DVC repository. Make a workspace: relearn init DIR.") from error
    except DvcException as error:
        raise _translated(error) from error


def _lower_voice() -> None:
    """DVC says what it does on standard output, which is not its own."""
    logging.getLogger("dvc").setLevel(logging.WARNING)
    logging.getLogger("dvc.output").addFilter(_is_not_about_emptiness)


def _is_not_about_emptiness(record: logging.LogRecord) -> bool:
    """A workspace without probes is nothing to warn of, several times a cycle."""
    return not record.getMessage().endswith("is empty.")


def _translated(error: Exception) -> Exception:
    """An error of DVC as one of ours, in one sentence."""
    from dvc.dependency.base import DependencyDoesNotExistError
    from dvc.lock import LockError
    from dvc.output import OutputDoesNotExistError
    from dvc.stage.exceptions import StageNotFound

    said = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, LockError):
        return OutsideError(f"DVC is busy in another process ({said}). Wait for it, then run the same again.")
    if isinstance(error, StageNotFound):
        return InputError(f"dvc.yaml lacks a stage ({said}). Restore dvc.yaml from the project.")
    if isinstance(error, DependencyDoesNotExistError | OutputDoesNotExistError):
        return InputError(f"A file of the stage is missing ({said}). Run the stage that writes it: relearn run.")
    return OutsideError(f"DVC failed ({said}). Mend what it names, then run the same again.")


def _remembers(repo: "Repo", stage: "PipelineStage") -> bool:
    """Whether the cache holds outputs for the inputs as they are; leaves ``stage`` ready to restore them."""
    from dvc.stage.cache import RunCacheNotFoundError
    from dvc_data.hashfile.hash_info import HashInfo

    if stage.changed_stage() or not stage.deps_cached():
        stage.save_deps()
        for output in stage.outs:
            output.hash_info = HashInfo()  # what the lock says belongs to other inputs
    try:
        repo.stage_cache.restore(stage, dry=True)
    except RunCacheNotFoundError:
        return False
    return True


def _lock(repo: "Repo") -> contextlib.AbstractContextManager[None]:
    """DVC's lock of the whole repository."""
    from dvc.repo import lock_repo

    return cast("contextlib.AbstractContextManager[None]", lock_repo(repo))


def _load(repo: "Repo", workspace: Workspace, stage: str) -> "PipelineStage":
    return repo.stage.load_one(path=str(_pipeline(workspace)), name=stage)


def _inputs_digest(stage: "PipelineStage") -> str:
    """Of dependencies and parameters, whose digests were just taken."""
    return digest_text(*(json.dumps(dep.dumpd(), sort_keys=True, default=str) for dep in stage.deps))


def _pipeline(workspace: Workspace) -> Path:
    return workspace.root / "dvc.yaml"


def _address(workspace: Workspace, stage: str) -> str:
    return f"{_pipeline(workspace)}:{stage}"


def _without_git(root: Path) -> dict[str, Any]:
    """DVC's setting for a folder that no git repository holds, such as an unpacked archive."""
    if any((folder / ".git").exists() for folder in (root, *root.parents)):
        return {}
    return {"core": {"no_scm": True}}


def _link_command(workspace: Workspace) -> None:
    """Let ``dvc repro`` find this installation's command: ``dvc.yaml`` looks in ``.relearn/bin`` first."""
    command, link = Path(sys.prefix) / "bin" / "relearn", workspace.state / "bin" / "relearn"
    if command.is_file() and not (link.is_symlink() and link.readlink() == command):
        link.parent.mkdir(parents=True, exist_ok=True)
        draft = link.with_name(f".relearn.{os.getpid()}")
        draft.unlink(missing_ok=True)
        draft.symlink_to(command)
        draft.replace(link)


# --- after a kill ----------------------------------------------------------------------------------


def _lock_file(workspace: Workspace) -> Path:
    return workspace.root / "dvc.lock"


def _lock_content(path: Path) -> dict[str, Any] | None:
    """What a ``dvc.lock`` says; None where it is missing or torn."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return content if isinstance(content, dict) else None


def _drop_torn_lock(workspace: Workspace) -> None:
    """DVC writes ``dvc.lock`` in place, so a kill may tear it; every stage in it can be restored."""
    from dvc.dvcfile import Lockfile
    from dvc.utils.strictyaml import YAMLValidationError

    path = _lock_file(workspace)
    if not path.is_file():
        return
    try:
        Lockfile.validate(_lock_content(path))
    except YAMLValidationError:
        path.unlink()


def _drop_dead_holders(folder: Path) -> None:
    """Take entries of dead processes out of DVC's read-write lock.

    DVC does so itself unless the process number was given away again, which a container does at once.
    A process that started after the file was last written cannot be the one that it names.
    """
    from dvc.lock import make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    path = folder / RWLOCK_FILE
    if not path.is_file():
        return
    with make_lock(str(folder / RWLOCK_LOCK), tmp_dir=str(folder)):
        written = path.stat().st_mtime
        try:
            content = json.loads(path.read_text())
        except ValueError:  # torn by the kill
            content = {}
        readers = content.get("read", {}).items()
        alive = {
            "write": {key: one for key, one in content.get("write", {}).items() if _holds(one, written)},
            "read": {key: [one for one in many if _holds(one, written)] for key, many in readers},
        }
        if alive != content:
            path.write_text(json.dumps(alive))


def _holds(entry: dict[str, Any], written: float) -> bool:
    """Whether the process that an entry names may still live."""
    import psutil

    try:
        return bool(psutil.Process(int(entry["pid"])).create_time() <= written)
    except psutil.NoSuchProcess:
        return False
