"""Where MLflow believes the workspace to be: its database names every file by an absolute place.

A workspace that was moved would look for its models where they no longer are, and a copy would write into the
original. Both are told from what the database says, before anything is written. A move is mended by naming the new
place in every table that names one, in one transaction; a copy is refused as long as its original is there, since
both hold the same versions and the same ledger.

Only a database inside the workspace moves with it; one on a server, or elsewhere, is another's to keep.
"""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import sqlalchemy as sa

from data.errors import InputError, OutsideError
from data.files import read_json, write_json
from data.workspace import Workspace
from tasks.places import WAIT_SECONDS, mlflow_uri

ARTIFACTS = "mlartifacts"
"""Folder of MLflow's files, in the state folder."""
PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
"""Where MLflow's database holds absolute places."""


def artifacts(workspace: Workspace) -> str:
    """Address of the folder that MLflow's files belong into."""
    return (workspace.state / ARTIFACTS).resolve().as_uri()


def former_root(workspace: Workspace) -> Path | None:
    """The folder that the workspace was moved or copied from; None: MLflow knows it where it is.

    A database that cannot be read now says nothing here; whoever needs it says so.
    """
    known = next(_elsewhere(workspace), None)
    return _root(known) if known is not None else None


def is_copy(workspace: Workspace, former: Path) -> bool:
    """Whether the original of this workspace is still there: a database with the same runs."""
    database = _database(workspace)
    if database is None:
        return False
    other = former / database.relative_to(workspace.root.resolve())
    first = "SELECT run_uuid FROM runs ORDER BY start_time LIMIT 1"
    with suppress(sqlite3.Error):
        ours = _ask(database, first)
        return bool(ours and _ask(other, "SELECT 1 FROM runs WHERE run_uuid = ?", *ours[0]))
    return other.is_file()


def require_own_place(workspace: Workspace) -> None:
    """Refuse a workspace that was moved or copied, before anything is read from or written to another place.

    Raises:
        InputError: it was; the sentence says from where, and what to do.
    """
    former = former_root(workspace)
    if former is not None:
        raise InputError(sentence(workspace, former))


def sentence(workspace: Workspace, former: Path) -> str:
    """What happened, and what to do."""
    if is_copy(workspace, former):
        return (
            f"The workspace {workspace.root} is a copy of {former}, and its registry would write there. For a second "
            f"workspace make one of its own: git clone {former} DIR, or relearn init DIR."
        )
    return (
        f"The workspace was moved from {former} to {workspace.root}, and its registry still names the old place. Let "
        "relearn doctor mend that, then run the same command again."
    )


def follow(workspace: Workspace) -> None:
    """Let MLflow's database, and what a cycle wrote down, name the place where the workspace is now.

    The database comes last, since it tells of the move: a kill in between leaves one that can be mended again.

    Raises:
        OutsideError: the database could not be written, and is as it was.
    """
    database = _database(workspace)
    for known in list(_elsewhere(workspace)) if database is not None else ():
        for file in (workspace.judged, workspace.cycle):
            if file.is_file():
                write_json(file, _renamed(read_json(file), str(_root(known)), str(workspace.root)))
        try:
            with closing(sqlite3.connect(str(database), timeout=WAIT_SECONDS)) as connection, connection:
                _rewrite(connection, known, artifacts(workspace))
        except sqlite3.Error as error:
            raise OutsideError(
                f"{database} could not be written ({error}). Free the disk or end who holds it, then run the same "
                "command again."
            ) from error
    loaded = sys.modules.get("mlflow.tracking._tracking_service.utils")
    if loaded is not None:
        loaded._artifact_repos_cache.clear()  # by run it remembers, in this process, where files went before the move


def _rewrite(connection: sqlite3.Connection, old: str, new: str) -> None:
    """Put ``new`` in the place of ``old`` and of what lies below it; other places stay."""
    for table, column in PLACES:
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608 (names are ours)
            f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
            (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
        )


def _renamed(content: Any, old: str, new: str) -> Any:
    """The same with every path at or below ``old`` at or below ``new``."""
    if isinstance(content, dict):
        return {key: _renamed(value, old, new) for key, value in content.items()}
    if isinstance(content, list):
        return [_renamed(value, old, new) for value in content]
    is_path = isinstance(content, str) and (content == old or content.startswith(f"{old}/"))
    return new + content[len(old) :] if is_path else content


def _elsewhere(workspace: Workspace) -> Iterator[str]:
    """Folders that experiments were made to write into and that are not this workspace's."""
    database, own = _database(workspace), artifacts(workspace)
    if database is None or not database.is_file():
        return
    with suppress(sqlite3.Error):  # locked or damaged
        for (known,) in _ask(database, "SELECT DISTINCT artifact_location FROM experiments"):
            folder = _folder(known or "")
            if known != own and folder is not None and not _is_same(folder.parent, workspace.state):
                yield known


def _folder(address: str) -> Path | None:
    """The folder of MLflow's files that an address names; None: it names something else."""
    parts = urlparse(address)
    path = Path(unquote(parts.path))
    return path if parts.scheme == "file" and path.parts[-2:] == (".relearn", ARTIFACTS) else None


def _root(address: str) -> Path:
    return Path(unquote(urlparse(address).path)).parent.parent


def _is_same(one: Path, other: Path) -> bool:
    """Whether both names lead to one folder, as a second mount of a disk does."""
    with suppress(OSError):
        return one.samefile(other)
    return False


def _database(workspace: Workspace) -> Path | None:
    """MLflow's database, where it is a file in the workspace."""
    uri = mlflow_uri(workspace)
    if not uri.startswith("sqlite"):
        return None
    name = sa.make_url(uri).database
    path = Path(name).resolve() if name else None
    return path if path is not None and path.is_relative_to(workspace.root.resolve()) else None


def _ask(database: Path, question: str, *values: object) -> list[tuple[Any, ...]]:
    """Rows of a database that is only read.

    Raises:
        sqlite3.Error: there is none, it is locked, or it is damaged.
    """
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=WAIT_SECONDS)) as connection:
        return connection.execute(question, values).fetchall()
