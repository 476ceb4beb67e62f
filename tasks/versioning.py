"""The boundary to DVC: which stage is up to date, what it wrote last, and what it wrote for these inputs.

A stage runs in this process, under a Prefect flow, and is committed afterwards; ``dvc.lock`` then says
what ``dvc repro`` would have written, and ``dvc status`` is clean. DVC keeps every output under its
digest, and remembers which inputs gave which outputs, so that inputs seen before cost a copy instead of
a training.

A process killed at any moment leaves nothing behind that stops the next one: DVC's repository lock is
the kernel's and goes with the process, an entry of its read-write lock is dropped when its process is
gone or its number was given away again, and a torn ``dvc.lock`` is rebuilt from the memory of runs.

DVC takes a write-protected file of its cache for whole without looking. Here every object is read and compared with
its digest before it is brought back, and a damaged one is dropped, so that its stage runs again.
"""

import contextlib
import json
import logging
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from data.errors import InputError, OutsideError, RelearnError, quoted
from data.files import digest_text, read_value, refusal, write_bytes
from data.workspace import STAGES, Workspace
from tasks.dvc_cache import Cache, recorded_outputs
from tasks.dvc_locks import drop_dead_holders, drop_torn

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

os.environ.setdefault("DVC_NO_ANALYTICS", "1")


def is_current(workspace: Workspace, stage: str) -> bool:
    """Whether the stage's command, inputs, parameters and outputs are all as ``dvc.lock`` says.

    Raises:
        InputError: the workspace is no DVC repository, or has no such stage.
        OutsideError: DVC failed, or another process holds its lock.
    """
    with opened(workspace) as repo:
        return not repo.status(targets=[_address(workspace, stage)])


def inputs(workspace: Workspace, stage: str) -> str:
    """Digest of all that the stage depends on, as it lies there now; taken before the stage works.

    Raises:
        InputError: an input of the stage does not exist, or there is no such stage.
        OutsideError: DVC failed, or another process holds its lock.
    """
    with opened(workspace) as repo, repository_lock(repo):
        found = load(repo, workspace, stage)
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
    with opened(workspace) as repo, repository_lock(repo):
        _link_command(workspace)
        found = load(repo, workspace, stage)
        found.save(run_cache=False)
        if _inputs_digest(found) != made_from:
            names = ", ".join(sorted({str(dep.def_path) for dep in found.deps}))
            raise OutsideError(
                f"What stage {stage} reads ({names}) changed while it worked. Run the same command again; it "
                "takes up the change."
            )
        for output in found.outs:
            cache_of(repo).drop_damaged(_objects_of(output))
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
    with opened(workspace) as repo, repository_lock(repo):
        found = load(repo, workspace, stage)
        cache_of(repo).drop_empty_runs()
        if not _remembers(repo, found):
            return False
        found.remove_outs(force=True)
        repo.stage_cache.restore(found)
        found.save()
        found.commit()
        found.dump(update_pipeline=False)
        return True


def checkout(workspace: Workspace, lock: bytes) -> bool:
    """Bring back the outputs of stages that a ``dvc.lock`` names, and the lock itself.

    False, with outputs and lock as they were, where the cache no longer holds all of them. A kill leaves some outputs
    of either; the next call brings back the rest.

    Raises:
        OutsideError: DVC failed, or another process holds its lock.
    """
    file = workspace.dvc_lock
    with opened(workspace) as repo, repository_lock(repo):
        before = file.read_bytes() if file.is_file() else b""
        if before != lock:
            write_bytes(file, lock)
        kept = cache_of(repo)
        digests = [each for outputs in recorded_outputs(file).values() for one in outputs for each in kept.below(one)]
        if kept.drop_damaged(digests) or kept.missing(digests):
            write_bytes(file, before) if before else file.unlink()
            return False
        repo.checkout([_address(workspace, stage) for stage in STAGES], force=True)  # and never people's documents
        return True


def cache(workspace: Workspace) -> Cache:
    """The repository's cache, wherever its configuration puts it; nothing is mended for who only looks."""
    with opened(workspace, mend=False) as repo:
        return cache_of(repo)


def added_outputs(workspace: Workspace, tags: Iterable[str]) -> set[str] | None:
    """Digests of all that the repository keeps now, a person's own data too, and of what it kept at these git tags.

    None: it cannot be told, since a file of DVC's in the workspace cannot be read. One at a tag that cannot be read
    tells of nothing, nor does a tag that is not there.
    """
    with opened(workspace, mend=False) as repo:
        unread: list[str] = []
        found = _kept_outputs(repo, unread)
        known = sorted(set(tags) & set(repo.scm.list_tags()))
        for _ in repo.brancher(revs=known, workspace=False) if known else ():
            found |= _kept_outputs(repo, [])
        return None if unread else found


def _kept_outputs(repo: "Repo", unread: list[str]) -> set[str]:
    """Digests by the files of DVC's as they lie in the repository's present revision; adds those that tell of none."""
    from dvc.repo.index import Index

    index = Index.from_repo(repo, onerror=lambda file, _: unread.append(file))
    whole = {str(output.hash_info.value) for output in index.outs if output.hash_info}
    return whole | {str(file["md5"]) for output in index.outs for file in output.files or () if "md5" in file}


# --- asking DVC ------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(workspace: Workspace, mend: bool = True) -> Iterator["Repo"]:
    """DVC's repository of the workspace; its errors become ours.

    Its memory of runs resolves paths against the current folder, so this is the workspace's root meanwhile.
    """
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.fs import AuthError, ConfigError, RemoteMissingDepsError

    lower_voice()
    try:
        if mend:
            drop_torn(workspace)
            drop_dead_holders(workspace.root / ".dvc" / "tmp")
        repo = _repository(workspace)
        with contextlib.chdir(workspace.root), repo:
            yield repo
    except NotDvcRepoError as error:
        raise InputError(f"{workspace.root} is no DVC repository. Make a workspace: relearn init DIR.") from error
    except RelearnError:
        raise
    except (ImportError, RemoteMissingDepsError) as error:
        raise no_client(error) from error
    except (
        DvcException,
        AuthError,
        ConfigError,
        OSError,
        sqlite3.Error,
    ) as error:  # DVC keeps what it knows of files in SQLite
        raise _misconfigured(workspace, error) or _refused(workspace, error) or translated(error) from error


def _repository(workspace: Workspace) -> "Repo":
    """The repository, to which what cannot be read in the documents folder is not there: DVC would stop at the first.

    Which documents these are goes into stage ``ingest`` by a file of its own (``Workspace.unreadable``).
    """
    from dvc.ignore import DvcIgnoreFilter
    from dvc.repo import Repo

    lets_read = _lets_read(workspace)

    class Filter(DvcIgnoreFilter):  # type: ignore[misc]
        def __call__(
            self, root: str, dirs: list[str], files: list[str], ignore_subrepos: bool = True
        ) -> tuple[list[str], list[str]]:
            folders, names = super().__call__(root, dirs, files, ignore_subrepos)
            return folders, [name for name in names if lets_read(f"{root}{os.sep}{name}")]

    class Readable(Repo):  # type: ignore[misc]
        @cached_property
        def dvcignore(self) -> Filter:
            return Filter(self.fs, self.root_dir)

    return Readable(str(workspace.root), config=_without_git(workspace.root))


def _lets_read(workspace: Workspace) -> Callable[[str], bool]:
    """Whether a file outside the documents folder, or one in it that can be read."""
    folder, known = f"{workspace.documents}{os.sep}", workspace.unreadable
    unreadable = {folder + str(path) for path in read_value(known, "documents", list)} if known.is_file() else set()
    as_it_acts = os.access in os.supports_effective_ids

    def lets_read(path: str) -> bool:
        if not path.startswith(folder):
            return True
        return path not in unreadable and os.access(path, os.R_OK, effective_ids=as_it_acts)

    return lets_read


def no_client(error: Exception) -> InputError:
    """DVC's clients for remotes such as S3 are packages of their own, which only their users need."""
    return InputError(
        f"DVC cannot speak to this kind of remote here ({error}). Install what is missing with pip, into the "
        "environment of relearn, then run the same command again."
    )


def _misconfigured(workspace: Workspace, error: Exception) -> InputError | None:
    """DVC's settings, where it cannot read them; it does not say which file it means."""
    from dvc.config import ConfigError

    file = workspace.root / ".dvc" / "config"
    if not isinstance(error, ConfigError) and getattr(error, "filename", None) != str(file):
        return None
    said = getattr(error, "strerror", None) or quoted(error).removeprefix("config file error: ")
    return InputError(
        f"{file}, or config.local beside it, is not what DVC can read ({said}). Mend it, or restore it from git, then "
        "run the same command again."
    )


def _refused(workspace: Workspace, error: Exception) -> OutsideError | None:
    """What the disk refused; DVC itself says no more than how many files failed."""
    from dvc.exceptions import FileTransferError

    said = refusal(error) or ("the disk refused it" if isinstance(error, FileTransferError) else None)
    if said is None:
        return None
    place = getattr(error, "filename", None) or workspace.root / ".dvc" / "cache"
    return OutsideError(
        f"{place} could not be read or written by DVC ({said}). Free the disk or mend the permissions, then run the "
        "same command again."
    )


def lower_voice() -> None:
    """DVC says what it does on standard output, which is not its own."""
    logging.getLogger("dvc").setLevel(logging.WARNING)
    for noisy in ("dvc_data", "dvc_objects"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)  # they log a traceback per file of what is raised as well
    logging.getLogger("dvc.output").addFilter(_is_not_about_emptiness)


def _is_not_about_emptiness(record: logging.LogRecord) -> bool:
    """A workspace without probes is nothing to warn of, several times a cycle."""
    return not record.getMessage().endswith("is empty.")


def translated(error: Exception) -> Exception:
    """An error of DVC as one of ours, in one sentence."""
    from dvc.dependency.base import DependencyDoesNotExistError
    from dvc.lock import LockError
    from dvc.output import OutputDoesNotExistError
    from dvc.stage.exceptions import StageNotFound

    said = quoted(error).rstrip(".")
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
    for digest in _recorded_outputs(repo, stage):
        cache_of(repo).drop_damaged(cache_of(repo).below(digest))
    try:
        repo.stage_cache.restore(stage, dry=True)
    except RunCacheNotFoundError:
        return False
    return True


def _recorded_outputs(repo: "Repo", stage: "PipelineStage") -> list[str]:
    """Digests of the outputs that would be restored: those of the lock, or of the run remembered for these inputs."""
    known = [str(output.hash_info.value) for output in stage.outs if output.hash_info]
    entry = None if known else repo.stage_cache._load(stage)
    return known or [str(output["md5"]) for output in (entry or {}).get("outs", ())]


def _objects_of(output: "Output") -> list[str]:
    """Digests of the objects that an output in the workspace consists of."""
    files = [str(hash_info.value) for _, _, hash_info in output.obj] if output.is_dir_checksum and output.obj else []
    return [*files, str(output.hash_info.value)]


def cache_of(repo: "Repo") -> Cache:
    """The cache of an opened repository."""
    return Cache(Path(repo.cache.local.path).parent.parent)


def repository_lock(repo: "Repo") -> contextlib.AbstractContextManager[None]:
    """DVC's lock of the whole repository."""
    from dvc.repo import lock_repo

    return cast("contextlib.AbstractContextManager[None]", lock_repo(repo))


def load(repo: "Repo", workspace: Workspace, stage: str) -> "PipelineStage":
    """One stage of ``dvc.yaml``."""
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
