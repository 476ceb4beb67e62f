"""Reading and writing files so that a kill at any moment leaves either the old content or the new.

Every write goes to a temporary file in the same folder, is flushed to the disk and renamed over the
target; whole folders are built beside the target and swapped in (``building``). What a kill leaves is
named so that it can be told from everything else (``leftovers``).
"""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import pwd
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from data.errors import InputError, OutsideError, RelearnError, UndeletedError

M = TypeVar("M", bound=BaseModel)
V = TypeVar("V")

DRAFT = ".tmp"
"""What the name of a file or folder ends in while it is written."""
OLD = ".old"
"""What the name of a folder ends in while its successor takes its place."""
MAX_SHOWN = 160
"""Characters of a name that are shown."""
MANY_FILES = 100
"""From here on one flush of the whole disk is cheaper than one per file."""
REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})
"""How an operating system refuses a write."""
SQLITE_REFUSALS = frozenset(
    {
        "disk I/O error",
        "database or disk is full",
        "attempt to write a readonly database",
        "unable to open database file",
    }
)
"""How SQLite passes such a refusal on."""
_UMASK = os.umask(0o022)
"""What new files are kept from letting others do; it can only be read by setting it."""
os.umask(_UMASK)


def digest_bytes(content: bytes) -> str:
    """SHA-256 of the content, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest_text(*parts: str) -> str:
    """SHA-256 of the parts, each ended by a zero byte so that no two lists of parts share a digest."""
    return digest_bytes(b"".join(part.encode("utf-8", "surrogatepass") + b"\0" for part in parts))


def digest_file(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_tree(root: Path) -> str:
    """SHA-256 over the sorted relative paths and content digests below ``root`` (or of one file)."""
    if root.is_file():
        return digest_file(root)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return digest_text(*(f"{path.relative_to(root).as_posix()}:{digest_file(path)}" for path in files))


def refusal(error: BaseException) -> str | None:
    """What the operating system said when it refused a write; None: ``error`` or its causes tell of none.

    Libraries written in Rust (safetensors, tokenizers) raise errors of their own that end in ``(os error N)``, SQLite
    has sentences of its own, and Great Expectations, SQLAlchemy and MLflow wrap the original.
    """
    known: BaseException | None = error
    while known is not None:
        told = re.search(r"\(os error (\d+)\)", str(known))
        number = known.errno if isinstance(known, OSError) else int(told.group(1)) if told else None
        if number in REFUSALS:
            return os.strerror(number)
        if isinstance(known, sqlite3.OperationalError) and str(known) in SQLITE_REFUSALS:
            return str(known)
        known = known.__cause__ or known.__context__
    return None


@contextlib.contextmanager
def refused_writes(path: Path) -> Iterator[None]:
    """What the disk refuses below this becomes one sentence that names ``path``.

    Raises:
        OutsideError: the disk is full, or ``path`` must not be written.
    """
    try:
        yield
    except RelearnError:
        raise
    except Exception as error:
        said = refusal(error) or (error.strerror or str(error) if isinstance(error, OSError) else None)
        if said is None:
            raise
        raise OutsideError(
            f"{path} could not be written ({said}). Free the disk or mend the permissions, then run the same command "
            "again."
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically.

    Raises:
        InputError: a folder lies there.
        OutsideError: the disk refused it; ``path`` is unchanged.
    """
    _write_pieces(path, [content])


def _write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    if path.is_dir():
        raise InputError(
            f"{path} is a folder, but a file belongs there. Take it away, then run the same command again."
        )
    with refused_writes(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=DRAFT)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.writelines(pieces)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.chmod(0o666 & ~_UMASK)
            temporary.replace(path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Put a file's content, or the names in a folder, onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_below(folder: Path) -> None:
    """Put a folder with all that it holds onto the disk; thousands of files one by one would take minutes."""
    below = folder.rglob("*")
    paths = list(itertools.islice(below, MANY_FILES))
    if len(paths) == MANY_FILES and sys.platform == "linux":
        os.sync()  # waits until all is on the disk, as other systems' does not
        return
    for path in (*paths, *below, folder):
        _sync(path)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with sorted keys, so that equal content is equal bytes."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_record(path: Path, record: BaseModel) -> None:
    """Write a record as JSON atomically."""
    write_json(path, record.model_dump(mode="json", by_alias=True))


def write_long_record(path: Path, record: BaseModel) -> None:
    """Write a record of many megabytes as JSON atomically, on one line, which takes a tenth of the time and memory."""
    write_text(path, record.model_dump_json(by_alias=True) + "\n")


def write_records(path: Path, records: Iterable[BaseModel]) -> None:
    """Write records as JSON lines atomically, in the order given."""
    _write_pieces(path, (record.model_dump_json(by_alias=True).encode() + b"\n" for record in records))


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: there is no such file, it cannot be read, or it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist. Run the stage that writes it first.") from error
    except OSError as error:
        raise unread(path, error) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}). Restore it, or delete it and run again.") from error


def read_value(path: Path, key: str, kind: type[V]) -> V:
    """What a file with one small JSON object says under ``key``.

    Raises:
        InputError: as ``read_json``, or it is no such object.
    """
    content = read_json(path)
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, kind):
        raise InputError(
            f"{path} does not say {key!r} as it should: a JSON object with that key was expected. Restore it, or "
            "delete it and run again."
        )
    return value


def unread(path: Path, error: OSError) -> InputError:
    """What is said of a file that the operating system does not let this process read, and who that is."""
    return InputError(
        f"{path} cannot be read by {_reader()} ({error.strerror}). A file that this user may read was expected: "
        "restore it, or take it away and run again."
    )


def _reader() -> str:
    """The user whose rights count; in a container it may have no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def read_record(path: Path, kind: type[M]) -> M:
    """Read one record of ``kind``.

    Raises:
        InputError: missing, not JSON, or not of this kind.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        read_json(path)  # says what is wrong where it is missing or not JSON
        raise InputError(
            f"{path} is no {kind.__name__} record ({_first(error)}). Restore it, or delete it and run again."
        ) from error


def _first(error: Exception) -> str:
    """The first thing that is wrong with a record, on one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    entry = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in entry["loc"])
    return f"{place}: {entry['msg']}" if place else entry["msg"]


def read_cached(path: Path, kind: type[M]) -> M | None:
    """A record that a cache may have; a damaged file is as good as none."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def read_records(path: Path, kind: type[M]) -> list[M]:
    """Read JSON lines of ``kind``; errors name the line.

    Raises:
        InputError: missing, or a line is not of this kind.
    """
    return list(each_record(path, kind))


def each_record(path: Path, kind: type[M]) -> Iterator[M]:
    """``read_records``, one by one."""
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield _record(path, number, line, kind)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist. Run the stage that writes it first.") from error
    except OSError as error:
        raise unread(path, error) from error


def _record(path: Path, number: int, line: bytes, kind: type[M]) -> M:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        raise InputError(
            f"{path}, line {number}, is no {kind.__name__} record ({_first(error)}). Mend that line."
        ) from error


@contextlib.contextmanager
def building(target: Path) -> Iterator[Path]:
    """Build a folder beside ``target`` and swap it in at the end; on an error ``target`` is unchanged.

    A kill between the two renames of the swap leaves the old folder beside the target, whence the next call
    takes it back. All that libraries wrote into it is on the disk before it is swapped in.
    """
    with refused_writes(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        old = take_back(target)
        draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=DRAFT))
        try:
            with _named_after(draft, target):
                yield draft
            draft.chmod(0o777 & ~_UMASK)
            _sync_below(draft)
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():
                target.rename(old)
            draft.rename(target)
            _sync(target.parent)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def _named_after(draft: Path, target: Path) -> Iterator[None]:
    """A refusal while a folder is built names the file as people know it."""
    try:
        yield
    except OutsideError as error:
        raise OutsideError(str(error).replace(str(draft), str(target))) from error


def take_back(target: Path) -> Path:
    """Bring back a folder from which a kill between two renames took its name; returns where it would lie."""
    old = target.with_name(f".{target.name}{OLD}")
    if old.exists() and not target.exists():
        old.rename(target)
    return old


def leftovers(folder: Path) -> list[Path]:
    """What a kill left half-written in ``folder``, not below it; nothing else has such a name.

    A folder whose place is empty is no leftover: ``take_back`` mends that.
    """
    if not folder.is_dir():
        return []
    found = []
    for path in folder.iterdir():
        name = path.name
        replaced = name.endswith(OLD) and path.with_name(name[1 : -len(OLD)]).exists()
        if name.startswith(".") and (name.endswith(DRAFT) or replaced):
            found.append(path)
    return sorted(found)


def printable(text: str) -> str:
    """``text`` on one line, without what would steer a terminal: control, format and line-breaking characters."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text)


def printable_lines(text: str) -> str:
    """``printable``, line by line."""
    return "\n".join(map(printable, text.split("\n")))


def shortened(text: str) -> str:
    """``text`` as in ``printable``, its middle left out where it is long: a name in a sentence or a table."""
    shown = printable(text)
    half = MAX_SHOWN // 2
    return shown if len(shown) <= MAX_SHOWN else f"{shown[:half]}…{shown[-half:]}"


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there; of a folder as much as can be.

    Raises:
        UndeletedError: the operating system refuses.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            if path.exists():
                shutil.rmtree(path)  # which says what stopped it
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise UndeletedError(
            f"{path} could not be deleted ({error.strerror or error}). Mend the permissions or delete it yourself, "
            "then run the same command again."
        ) from error
