"""The boundary to git: a production workspace is a repository, and each cycle is a commit in it, with a tag.

Only the line's own files are committed, whatever else a person has staged there.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from data.errors import OutsideError
from data.workspace import Workspace

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
SECONDS = 120


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
    present = [name for name in OURS if _holds_something(root / name)]
    _git(root, "add", "--", *present)
    changed = _git(root, "diff", "--cached", "--name-only", "--", *present)
    if changed:
        _git(root, *_identity(root), "commit", "--quiet", "--message", message, "--only", "--", *present)
    if tag is not None and not _git(root, "tag", "--list", tag):
        _git(root, *_identity(root), "tag", "--annotate", "--message", message, tag)
    return bool(changed)


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
        done = subprocess.run(  # noqa: S603 (arguments are ours)
            ["git", *arguments],  # noqa: S607 (whichever git the person uses)
            cwd=root,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise OutsideError(f"git does not run ({error}). Install it, then run the same command again.") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:300]
        raise OutsideError(
            f"git {arguments[0] if arguments[0] != '-c' else 'commit'} failed in {root} ({said}). Mend what it "
            "names, then run the same command again."
        )
    return done.stdout.strip()
