"""The boundary to git: a production workspace is a repository, and each cycle is a commit in it, with a tag.

Only the line's own files are committed, whatever else a person has staged there.
"""

import os
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.errors import OutsideError, quoted
from data.workspace import PROJECT_ROOT, Workspace

OURS = (
    "dvc.lock",
    "dvc.yaml",
    "params.yaml",
    "prefect.yaml",
    ".gitignore",
    ".dvcignore",
    ".dvc/config",
    ".dvc/.gitignore",
    "data/README.md",
    "data/documents.dvc",
    "data/inputs",
    "data/probes",
)
"""What a revision holds; DVC keeps the rest, by what stands in these."""
NOBODY = ("-c", "user.name=relearn", "-c", "user.email=relearn@localhost")
"""Who commits where git knows no name."""
UNSIGNED = ("-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false")
"""Nobody is there to give a passphrase."""
SECONDS = 120
"""How long one call of git may take."""
ENDING_SECONDS = 5
"""How long it may take to end when it is asked to."""
STALE_SECONDS = 300
"""From this age on a lock of git's that no git holds is what a kill left; git itself never takes it away."""


def start(folder: Path) -> None:
    """Make a repository of a folder that is none.

    Raises:
        OutsideError: git is missing or refuses.
    """
    if not (folder / ".git").exists():
        _git(folder, "init", "--quiet", "--initial-branch=main")


def commit(workspace: Workspace, message: str, tag: str | None = None) -> bool:
    """Commit the line's files as they are, and tag the revision; False where nothing differs.

    A tag that exists stays where it is: a version that comes back was made at its first revision.

    Raises:
        OutsideError: the workspace is no repository of its own, or git refuses.
    """
    root = workspace.root
    if not (root / ".git").exists():
        raise OutsideError(
            f"{root} is no git repository of its own, and versioning.commit in params.yaml is set. Make one with "
            "git init, or set it to false."
        )
    present = [name for name in OURS if _holds_something(root / name) or _git(root, "ls-files", "--", name)]
    _git(root, "add", "--all", "--", *present)
    changed = [name for name in present if _git(root, "diff", "--cached", "--name-only", "--", name)]
    if changed:
        _git(root, *_identity(root), "commit", "--quiet", "--message", message, "--only", "--", *changed)
    if tag is not None and not _git(root, "tag", "--list", tag):
        _git(root, *_identity(root), "tag", "--annotate", "--message", message, tag)
    return bool(changed)


def describe(workspace: Workspace) -> dict[str, dict[str, Any] | None]:
    """The git revisions of the workspace and of this code, and whether files differ from them; None: no repository."""
    return {"workspace": _revision(workspace.root), "code": _revision(PROJECT_ROOT)}


def _revision(folder: Path) -> dict[str, Any] | None:
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        dirty = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except OutsideError:
        return None
    return {"revision": revision, "dirty": dirty}


def locks(workspace: Workspace) -> list[Path]:
    """Locks of git's that are there now, whoever made them."""
    folder = workspace.root / ".git"
    return sorted(path for path in (*folder.glob("*.lock"), *folder.glob("refs/**/*.lock")) if path.is_file())


def stale_locks(workspace: Workspace) -> list[Path]:
    """Locks of git's in the workspace that a kill left: old ones, while no git works there."""
    old = [path for path in locks(workspace) if age(path) > STALE_SECONDS]
    return old if old and not _git_works_in(workspace.root) else []


def age(lock: Path) -> float:
    """Seconds since a lock was made; 0 where it is gone by now."""
    try:
        return time.time() - lock.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _git_works_in(root: Path) -> bool:
    """Whether a process of git's may work there; one whose folder nobody tells us is taken for such."""
    import psutil

    named = [process.info for process in psutil.process_iter(["name", "cwd", "status"])]
    places = [info["cwd"] for info in named if _is_git(str(info["name"])) and info["status"] != psutil.STATUS_ZOMBIE]
    return any(place is None or Path(place).is_relative_to(root) for place in places)


def _is_git(name: str) -> bool:
    return name == "git" or name.startswith("git-")


def _holds_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _identity(root: Path) -> Sequence[str]:
    try:
        _git(root, "var", "GIT_COMMITTER_IDENT")
    except OutsideError:
        return NOBODY
    return ()


def _git(root: Path, *arguments: str) -> str:
    try:
        code, printed, complained = _run(["git", *UNSIGNED, *arguments], root)
    except subprocess.TimeoutExpired as error:
        raise OutsideError(
            f"git did not end within {SECONDS} seconds in {root}. See what holds it up there (a hook, a slow disk), "
            "then run the same command again."
        ) from error
    except FileNotFoundError as error:
        raise OutsideError(f"git does not run ({error}). Install it, then run the same command again.") from error
    if code:
        said = quoted(complained or printed)
        lock = re.search(r"'([^']+\.lock)': File exists", said)
        if lock is not None:
            raise OutsideError(
                f"git is held by {lock[1]}: another git works in {root}, or one that was killed left it. Wait for the "
                f"one; relearn doctor takes the other away once it is {STALE_SECONDS // 60} minutes old. Then run the "
                "same command again."
            )
        raise OutsideError(
            f"git {arguments[0] if arguments[0] != '-c' else 'commit'} failed in {root} ({said[:300]}). Mend what it "
            "names, then run the same command again."
        )
    return printed.strip()


def _run(command: list[str], root: Path) -> tuple[int, str, str]:
    """Exit code, output and complaints; whatever ends the wait lets git take its own locks away.

    Raises:
        TimeoutExpired: it took too long.
    """
    with subprocess.Popen(  # noqa: S603 (arguments are ours)
        command,
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},  # so that it complains in words that are known here
    ) as git:
        try:
            printed, complained = git.communicate(timeout=SECONDS)
        except BaseException:
            _end(git)
            raise
        return git.returncode, printed, complained


def _end(git: "subprocess.Popen[str]") -> None:
    """Ask it to end, which leaves nothing behind, and insist only then."""
    git.terminate()
    try:
        git.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        git.kill()
