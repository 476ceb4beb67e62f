"""Versions of the whole collection: their digest, what changed between two, and a fast look at the folder.

A snapshot's digest covers the sorted paths and content digests and nothing else: no times, no ids and no
history, so that a collection that returns to an earlier state has the earlier digest.

The fast look reads only files whose times, size or inode differ from the last look. A file that was
touched within two seconds of the look is read again the next time, because an edit in the same tick of
the file system's clock would leave the same times (git's "racy" rule, Documentation/technical/racy-git).

A file that cannot be read is part of the collection, under a digest that stands for its path alone, here as in
stage ``ingest``: so it is set aside once, and news again when it can be read.
"""

import errno
import json
import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data.errors import InputError, OutsideError
from data.files import digest_file, digest_text, shortened, write_text
from data.records import Snapshot, SnapshotDiff
from data.withheld import HEAD_BYTES, Withheld, effective_in

RACY_NS = 2_000_000_000
CACHE_SCHEMA = 3

Entry = list[int | str]
"""Times of modification and change (ns), size (bytes), inode, date from which on it holds, content digest."""
VANISHED = (FileNotFoundError, NotADirectoryError)
"""How the operating system says that a file, or a folder above it, is no longer there."""
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What is wrong with this process or machine, and says nothing of the file."""


@dataclass(frozen=True)
class Look:
    """What a look at the documents folder found."""

    digest: str
    """As a snapshot's."""
    unreadable: tuple[str, ...]
    """Paths of the files that could not be read, sorted."""
    effective: dict[str, str]
    """Path -> date in the front matter from which on a document holds, where there is one."""


def why_unreadable(path: str, error: OSError) -> str:
    """Why a file cannot be read, in a few words.

    Raises:
        OutsideError: this machine has no room to read any file.
    """
    said = error.strerror or type(error).__name__
    if error.errno in _OURS:
        raise OutsideError(
            f"{shortened(path)} could not be read ({said}). End other programs or raise the limit, then run the same "
            "command again."
        ) from error
    return said


def unreadable_digest(path: str) -> str:
    """What stands for the content of a file that cannot be read; no two such files are equal."""
    return digest_text("unreadable", path)


def snapshot_digest(pairs: Iterable[tuple[str, str]]) -> str:
    """Digest of a collection, given as pairs of path and content digest in any order."""
    return digest_text(*(part for pair in sorted(pairs) for part in pair))


def diff(before: Snapshot | None, after: Snapshot) -> SnapshotDiff:
    """What changed from ``before`` (None: there was nothing) to ``after``, documents matched by id."""
    old = {document.id: document for document in before.documents} if before else {}
    new = {document.id: document for document in after.documents}
    kept = [(old[id], new[id]) for id in old.keys() & new.keys()]
    return SnapshotDiff(
        added=tuple(sorted(new[id].path for id in new.keys() - old.keys())),
        changed=tuple(sorted(b.path for a, b in kept if a.digest != b.digest)),
        moved=tuple(sorted((a.path, b.path) for a, b in kept if a.path != b.path)),
        withdrawn=tuple(sorted(old[id].path for id in old.keys() - new.keys())),
    )


def losses(before: Snapshot | None, after: Snapshot, withheld: Withheld) -> SnapshotDiff:
    """``diff`` as losses are counted: by what lies in the folder, left out or not.

    Nothing is lost that was withdrawn, by a decision or by itself, and then taken away.
    """
    documents = before.documents if before else ()
    expected = [one for one in documents if one.id not in after.retired and not withheld.names(one.id, one.digest)]
    lying = Snapshot(digest="", documents=(*after.documents, *after.withheld))
    return diff(Snapshot(digest="", documents=tuple(expected)), lying)


def scan(folder: Path, extensions: Sequence[str]) -> list[Path]:
    """Files below ``folder`` with one of these endings (any case), relative to it, sorted.

    Hidden files and folders and editors' temporary files are ignored. A link to a file inside counts as a
    file; a folder that is also reached by a link is listed once, where it lies.

    Raises:
        InputError: the folder or one below it is missing or unreadable, a link leads out of it or nowhere, or a
            name is not UTF-8.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist. Put documents there, or run make setup for the demonstration.")
    endings = tuple(extension.casefold() for extension in extensions)
    names = [name for name in _walk(folder) if name.casefold().endswith(endings)]
    for name in names:
        if name.encode("utf-8", "replace") != name.encode("utf-8", "surrogateescape"):
            raise InputError(f"The file name {shortened(repr(name))} in {folder} is not UTF-8. Rename the file.")
    return [Path(name) for name in sorted(names)]


def unread_endings(folder: Path, extensions: Sequence[str]) -> dict[str, int]:
    """How many visible files below ``folder`` ``scan`` leaves out, by ending, the commonest first.

    Raises:
        InputError: as ``scan``.
    """
    endings = tuple(extension.casefold() for extension in extensions)
    others = (PurePosixPath(name) for name in _walk(folder) if not name.casefold().endswith(endings))
    counts = Counter(path.suffix.casefold() or "no ending" for path in others)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _walk(folder: Path) -> Iterator[str]:
    """Paths of the visible files; linked folders come last, so that each is met first where it lies."""
    root = folder.resolve()
    waiting, linked, seen = deque([root]), deque[Path](), set[Path]()
    while waiting or linked:
        place = (waiting or linked).popleft()
        if place.resolve() in seen:
            continue
        seen.add(place.resolve())
        for entry in _entries(place, top=place == root):
            if entry.is_symlink():
                _check_link(folder, root, Path(entry.path))
            if entry.is_dir():
                (linked if entry.is_symlink() else waiting).append(Path(entry.path))
            elif entry.is_file():
                yield entry.path[len(str(root)) + 1 :]


def _entries(place: Path, top: bool) -> list[os.DirEntry[str]]:
    """Visible entries of a folder, sorted by name; one that vanished since it was listed has none."""
    try:
        with os.scandir(place) as entries:
            visible = [entry for entry in entries if not _is_temporary(entry.name)]
    except OSError as error:
        if isinstance(error, VANISHED) and not top:
            return []
        raise InputError(
            f"The folder {place} cannot be read ({error.strerror}). Let this user read it, or take it away."
        ) from error
    return sorted(visible, key=lambda entry: entry.name)


def _is_temporary(name: str) -> bool:
    """Hidden files, office programs' locks (``~$…``) and editors' backups (``…~``)."""
    return name.startswith((".", "~$")) or name.endswith("~")


def _check_link(folder: Path, root: Path, link: Path) -> None:
    target, name = Path(os.path.realpath(link)), shortened(link.relative_to(root).as_posix())
    if not link.is_symlink():
        return  # it vanished since it was listed
    if not target.is_relative_to(root):
        raise InputError(f"The link {name} leads out of {folder}, to {target}. Put a copy of the document there.")
    if not target.exists():
        raise InputError(f"The link {name} in {folder} leads to {target}, which does not exist. Mend or delete it.")


def look_through(folder: Path, extensions: Sequence[str], cache_file: Path) -> Look:
    """Look at the raw files below ``folder``; unchanged files are not read again.

    Raises:
        InputError: as ``scan``.
        OutsideError: the cache cannot be written, or this machine has no room to read any file.
    """
    known = _read_cache(cache_file)
    settled: dict[str, Entry] = {}
    pairs: list[tuple[str, str]] = []
    unreadable, effective = [], {}
    for path in scan(folder, extensions):
        name = path.as_posix()
        now = time.time_ns()
        try:
            entry = _entry(folder / path, known.get(name))
        except VANISHED:
            continue  # deleted since the scan: it is no longer part of the collection
        except OSError as error:
            why_unreadable(name, error)
            unreadable.append(name)
            pairs.append((name, unreadable_digest(name)))
            continue
        pairs.append((name, str(entry[-1])))
        if entry[-2]:
            effective[name] = str(entry[-2])
        if max(int(entry[0]), int(entry[1])) < now - RACY_NS:
            settled[name] = entry
    if settled != known:
        _write_cache(cache_file, settled)
    return Look(snapshot_digest(pairs), tuple(unreadable), effective)


def forget(cache_file: Path, names: Iterable[str]) -> None:
    """Let the next look read these files, which stage ``ingest`` could not, whatever their times say."""
    known, gone = _read_cache(cache_file), frozenset(names)
    kept = {name: entry for name, entry in known.items() if name not in gone}
    if kept != known:
        _write_cache(cache_file, kept)


def _write_cache(cache_file: Path, entries: dict[str, Entry]) -> None:
    content = {"schema": CACHE_SCHEMA, "files": entries}
    write_text(cache_file, json.dumps(content, separators=(",", ":")))


def _entry(file: Path, known: Entry | None) -> Entry:
    """Entry of a file: the known one where it still fits, otherwise a fresh one.

    The times are taken before the content is read, so that an edit in between shows the next time.
    """
    stat = file.stat()
    key: Entry = [stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino]
    return known if known and known[:-2] == key else [*key, _effective(file), digest_file(file)]


def _effective(file: Path) -> str:
    with file.open("rb") as stream:
        return effective_in(stream.read(HEAD_BYTES))


def _read_cache(cache_file: Path) -> dict[str, Entry]:
    """Entries of the last look; none where the cache is missing, damaged or of another schema."""
    try:
        content = json.loads(cache_file.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("schema") != CACHE_SCHEMA:
        return {}
    files = content.get("files")
    if not isinstance(files, dict):
        return {}
    return {name: entry for name, entry in files.items() if isinstance(entry, list) and len(entry) == 6}
