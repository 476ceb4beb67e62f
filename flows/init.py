"""A new workspace: a git and DVC repository of its own, in which each cycle becomes a commit.

What it holds is written beside its place and swapped in whole; after an interruption the same call goes on.
"""

import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from data.addresses import without_passwords
from data.errors import InputError, OutsideError
from data.files import building, remove, write_text
from data.params import Params, load_params
from data.params_file import render
from data.workspace import PROJECT_ROOT, Workspace, require_model
from flows.inputs import PIPELINE_FILES
from tasks import dvc_sharing, revisions

DRAFT = ".relearn-workspace"
"""Built in an existing folder under this name, then unpacked; the next call goes on where one was interrupted."""
OWN_NAME = "relearn"
"""The project's own watch.name, as prefect.yaml repeats it."""
IGNORED = """\
# state: ledger, MLflow and Prefect databases, reports, checkpoints
.relearn/

# documents, and what stages write from them: DVC keeps these, by dvc.lock and data/documents.dvc
/data/documents/
/data/collection/
/data/synthetic/
/data/adapter/
/data/spectral/
/data/evaluation/
/data/metrics/

# half-built outputs that a killed run may leave beside their place
/data/.*
"""
NOTE = """\
# What lies here

- `documents/`: put your documents there, in subfolders as you like. They keep their identity when they are moved or
  edited. `relearn run` takes them up, and `relearn watch` whenever they change.
- `probes/`: your own questions with their accepted answers, `*.jsonl`; asked in every cycle, never trained on.
- `inputs/`: what the last cycle followed from; written by it.
- `collection/`, `synthetic/`, `adapter/`, `spectral/`, `evaluation/`, `metrics/`: what the stages wrote; DVC keeps
  them, and `dvc pull` brings back those of any revision.
"""


def make_workspace(folder: Path, base: str | None = None, remote: str | None = None) -> Workspace:
    """Make a production workspace in a folder that does not exist or is empty.

    Args:
        folder: where.
        base: folder of the base model or a Hugging Face id; the shipped one where none is given.
        remote: address of the DVC remote that cycles push to; none where none is given.

    Raises:
        InputError: the folder holds something, the base is neither a folder nor an id, or DVC has no client for the
            remote.
        OutsideError: git or DVC refuses, the disk is full, or what an interrupted call left cannot be deleted.
    """
    target = folder.resolve()
    if (target / DRAFT).is_dir():
        return _unpacked(target)
    if target.exists() and (not target.is_dir() or any(not _is_left(path) for path in target.iterdir())):
        raise InputError(f"{folder} is not empty. Name a folder that does not exist yet.")
    params = _params(target.name, base)
    address = _address(remote) if remote else None
    if address is not None:
        dvc_sharing.require_client(address)
    place = target / DRAFT if target.exists() else target  # an existing folder stays: it may be somebody's mount
    with building(place) as draft:
        _write(draft, params)
        revisions.start(draft)
        dvc_sharing.start(draft, address)
        if not revisions.commit(Workspace(draft), "A workspace of Relearn"):
            raise OutsideError(f"git ignores the files of {folder} by a rule outside of it. Choose another place.")
    return _unpacked(target) if place != target else Workspace(target)


def _is_left(path: Path) -> bool:
    """Whether an interrupted call left this in an existing folder."""
    return path.name.startswith(f".{DRAFT}.")


def _unpacked(target: Path) -> Workspace:
    """What was built within its own place, moved up."""
    for left in filter(_is_left, list(target.iterdir())):
        remove(left)
    for child in sorted((target / DRAFT).iterdir()):
        child.rename(target / child.name)
    (target / DRAFT).rmdir()
    return Workspace(target)


def _params(name: str, base: str | None) -> Params:
    """The project's, for a workspace of this name; on one Prefect server each needs its own."""
    params = load_params(PROJECT_ROOT / "params.yaml")
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-._")
    changes: dict[str, object] = {
        "versioning": params.versioning.model_copy(update={"commit": True}),
        "watch": params.watch.model_copy(update={"name": plain or params.watch.name}),
        "base": _base(base) if base else params.base,
    }
    return params.model_copy(update=changes)


_NAMED = ("  - name: {}\n", "      name: {}\n")
"""Where prefect.yaml gives the line's name to its deployments and to their work pool."""
_SAID = ('"{}: documents changed"', "relearn.line.{}\n", "work-pool create {} ", "--pool {} ")
"""Where it stands within a text, a resource or a command."""


def _deployments(name: str) -> str:
    """The project's prefect.yaml for a line of this name."""
    text = (PROJECT_ROOT / "prefect.yaml").read_text(encoding="utf-8")
    written = name if yaml.safe_load(name) == name else f'"{name}"'  # 2024 is a number
    for place in _NAMED:
        text = text.replace(place.format(OWN_NAME), place.format(written))
    for place in _SAID:
        text = text.replace(place.format(OWN_NAME), place.format(name))
    return text


def _base(base: str) -> str:
    """A folder by its full path, an id as it is."""
    folder = Path(base).expanduser()
    if folder.is_dir():
        require_model(folder)
        return str(folder.resolve())
    if base.count("/") == 1 and not base.startswith((".", "/", "~")):
        return base
    raise InputError(f"The base {base!r} is neither a folder nor a Hugging Face id (owner/name). Name one of them.")


def _address(remote: str) -> str:
    """An address as it is, a folder by its full path: DVC would read it from where its configuration lies."""
    try:
        secret = urlsplit(remote).password
    except ValueError as error:
        raise InputError(
            f"The remote {without_passwords(remote)!r} is no address ({error}). Name a folder, or an address like s3://bucket/path."
        ) from error
    if secret:
        raise InputError(
            "The remote's address holds a password, and .dvc/config stands in git. Give the address without it, then: "
            "dvc remote modify --local origin password ..."
        )
    return remote if "://" in remote else str(Path(remote).expanduser().resolve())


def _write(draft: Path, params: Params) -> None:
    for name in PIPELINE_FILES:
        shutil.copy(PROJECT_ROOT / name, draft / name)
    write_text(draft / "prefect.yaml", _deployments(params.watch.name))
    write_text(draft / ".gitignore", IGNORED)
    write_text(draft / "params.yaml", render(params))
    write_text(draft / "data" / "README.md", NOTE)
    for name in ("documents", "probes"):
        (draft / "data" / name).mkdir()
