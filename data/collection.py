"""Reading a folder of documents, and the collection that stage ``ingest`` makes of it.

The collection holds ``snapshot.json``, the documents' normalised texts in ``texts.jsonl``, in the same order, and
what was noticed in ``report.json``. The texts are one file, because file systems and DVC work per file: with one per
document they take longer than all reading and checking.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Container, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from data.blocks import check_blocks
from data.conversion import KilledError, convert_file, readers_at_once
from data.converter import check_length
from data.documents import CONVERTED, LEGACY, READABLE, Parsed, decode, normalised, parse, size_limit
from data.errors import InputError, OutsideError, UnreadableError
from data.extraction import Source
from data.files import (
    digest_bytes,
    digest_file,
    each_record,
    read_record,
    write_long_record,
    write_record,
    write_records,
)
from data.identity import Candidate, assign_ids, sketch, version
from data.param_stages import IngestParams
from data.plain_formats import csv_to_markdown
from data.records import DocumentText, DocumentVersion, Quarantined, Snapshot
from data.report_records import IngestReport, Lineage
from data.snapshots import VANISHED, scan, snapshot_digest, unreadable_digest, why_unreadable

LINEAGE_FILE = "lineage.json"
TEXTS_FILE = "texts.jsonl"
Converter = Callable[[bytes, str], str]
"""Content and ending of an office file to its text."""
Load = Callable[[Path], "Reading"]
"""Relative path of a file to what was read."""


@dataclass(frozen=True)
class Reading:
    """One file as it was read."""

    path: str
    digest: str
    size: int
    """Bytes."""
    raw: str
    """The text as it stands in the file; empty where it could not be read."""
    parsed: Parsed | None
    """None: it is too large to be read, or unreadable."""
    unreadable: str | None = None
    """Why no text could be had from it, and what to do."""


def read_folder(
    folder: Path, params: IngestParams, conversions: Path | None = None, keep: bool = True
) -> Generator[Reading]:
    """Read every document below ``folder``, sorted by path; those that are converted several at a time.

    One that vanished since the folder was listed is left out. Closed early, it begins no further conversion.

    Args:
        folder: where the documents lie.
        params: what is read, and how much of it.
        conversions: the cache of office files' texts.
        keep: add to that cache.

    Raises:
        OutsideError: a converter was killed, and once more when no other ran beside it.
    """
    paths = scan(folder, params.extensions)
    convert = partial(convert_file, params=params, cache_folder=conversions, keep=keep)
    load = partial(_load, folder, params=params, convert=convert)
    with closing(_loaded(paths, load, readers_at_once(params.convert_megabytes))) as files:
        for loaded in files:
            yield _parsed(loaded, params)


def _loaded(paths: Sequence[Path], load: Load, readers: int) -> Generator[Reading]:
    """Every file, in order; office files are converted a few ahead, and no more of them once nobody asks for more."""
    office = (path for path in paths if path.suffix.lower() in CONVERTED)
    ahead: dict[Path, Future[Reading]] = {}
    pool = ThreadPoolExecutor(readers)
    try:
        for path in paths:
            missing = 2 * readers - len(ahead)
            ahead.update((other, pool.submit(load, other)) for other in islice(office, missing))
            try:
                yield _once_more_if_killed(path, load, ahead)
            except VANISHED:
                continue
    finally:
        pool.shutdown(cancel_futures=True)


def _once_more_if_killed(path: Path, load: Load, ahead: dict[Path, Future[Reading]]) -> Reading:
    """A file's text; where its reader was killed, it is read again once no other reader runs.

    Raises:
        OutsideError: its reader was killed then, too.
    """
    try:
        return ahead.pop(path).result() if path in ahead else load(path)
    except KilledError:
        wait(ahead.values())
    try:
        return load(path)
    except KilledError as error:
        raise OutsideError(
            f"The reader of {path.as_posix()} was killed twice, the second time with no other beside it, as where the "
            "machine's memory does not suffice. Free memory or lower ingest.convert_megabytes, then run the same again."
        ) from error


def _load(folder: Path, path: Path, params: IngestParams, convert: Converter) -> Reading:
    """A file's text, not yet parsed; one that the operating system does not let be read is unreadable."""
    name = path.as_posix()
    try:
        with (folder / path).open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > size_limit(name, params):
                return Reading(name, hashlib.file_digest(stream, "sha256").hexdigest(), size, "", None)
            content = stream.read()
    except VANISHED:
        raise
    except OSError as error:
        says = f"It cannot be read ({why_unreadable(name, error)}). Let this user read it, or take it away."
        return Reading(name, unreadable_digest(name), 0, "", None, says)
    digest = digest_bytes(content)
    try:
        raw = _text(content, path.suffix.lower(), params, convert)
    except UnreadableError as error:
        return Reading(name, digest, len(content), "", None, str(error))
    return Reading(name, digest, len(content), raw, None)


def _parsed(loaded: Reading, params: IngestParams) -> Reading:
    if loaded.unreadable is not None or loaded.size > size_limit(loaded.path, params):
        return loaded
    try:
        parsed = parse(loaded.raw, loaded.path, params.placeholders)
        check_blocks(parsed.text)
    except UnreadableError as error:
        return replace(loaded, unreadable=str(error))
    return replace(loaded, parsed=parsed)


def _text(content: bytes, ending: str, params: IngestParams, convert: Converter) -> str:
    """The text of a file, converted where it is not one.

    Raises:
        UnreadableError: no text can be had from it, or too much.
    """
    if ending in LEGACY:
        raise UnreadableError("Its format is too old for a reader. Save it as .docx, .xlsx, .pptx or .eml.")
    if ending in CONVERTED:
        text = normalised(convert(content, ending))
    else:
        text = decode(content)
        text = csv_to_markdown(text) if ending == ".csv" else text
    check_length(text, params.max_bytes)
    return text


def candidate(reading: Reading, parsed: Parsed) -> Candidate:
    """What a document is recognised by."""
    return Candidate(reading.path, reading.digest, parsed.title, sketch(parsed.text), len(parsed.text))


def identify(
    candidates: Sequence[Candidate],
    previous: Sequence[DocumentVersion],
    similarity: float,
    quarantined: Sequence[Quarantined] = (),
) -> Snapshot:
    """The snapshot of these documents: every one gets its id, continuing those of ``previous``; sorted by path."""
    ids = assign_ids(candidates, previous, similarity)
    versions = [version(candidate, ids[candidate.path]) for candidate in candidates]
    documents = tuple(sorted(versions, key=lambda one: one.path))
    digest = snapshot_digest((document.path, document.digest) for document in documents)
    return Snapshot(digest=digest, documents=documents, quarantined=tuple(quarantined))


def as_it_lies(
    folder: Path,
    params: IngestParams,
    previous: Sequence[DocumentVersion],
    conversions: Path | None = None,
    take: Callable[[Reading], bool] = lambda reading: True,
) -> Snapshot:
    """The readable documents of a folder, unchecked; stage ``ingest`` checks between reading and identifying.

    Nothing is written: the cache of conversions is read and not added to, so that who only looks changes nothing.

    Args:
        folder: where the documents lie.
        params: how they are read and recognised.
        previous: documents that these may continue, whose ids they then bear.
        conversions: the cache of office files' texts.
        take: gets each readable document once; says whether it counts.
    """
    found = read_folder(folder, params, conversions, keep=False)
    candidates = [candidate(one, one.parsed) for one in found if one.parsed is not None and take(one)]
    return identify(candidates, previous, params.similarity)


def sources_as_they_lie(
    folder: Path, params: IngestParams, previous: Sequence[DocumentVersion], conversions: Path | None = None
) -> tuple[Snapshot, list[Source]]:
    """``as_it_lies``, with the texts that facts are read from, in the snapshot's order."""
    texts: dict[str, str] = {}

    def keep_text(reading: Reading) -> bool:
        texts[reading.path] = reading.parsed.text if reading.parsed else ""
        return True

    snapshot = as_it_lies(folder, params, previous, conversions, keep_text)
    return snapshot, [Source(one.id, one.digest, one.title, texts[one.path]) for one in snapshot.documents]


def write_collection(
    folder: Path, snapshot: Snapshot, text: Callable[[DocumentVersion], str], report: IngestReport
) -> None:
    """Write a collection into an empty ``folder``; ``text`` gives that of each document, one after the other."""
    write_record(folder / "report.json", report)
    texts = (DocumentText(path=document.path, text=text(document)) for document in snapshot.documents)
    write_records(folder / TEXTS_FILE, texts)
    write_long_record(folder / "snapshot.json", snapshot)


def read_collection(folder: Path) -> tuple[Snapshot, list[Source]]:
    """A collection as facts are read from it, in the snapshot's order.

    Raises:
        InputError: a file of it is missing or damaged.
    """
    snapshot = read_record(folder / "snapshot.json", Snapshot)
    texts = read_texts(folder / TEXTS_FILE, {document.path for document in snapshot.documents})
    if len(texts) != len(snapshot.documents):
        raise InputError(f"{folder} does not hold the text of every document. Delete it, then run relearn run.")
    return snapshot, [Source(one.id, one.digest, one.title, texts[one.path]) for one in snapshot.documents]


def read_texts(file: Path, paths: Container[str]) -> dict[str, str]:
    """Path -> text of the documents of a collection that have one of these paths.

    Raises:
        InputError: the file is missing or damaged.
    """
    return {one.path: one.text for one in each_record(file, DocumentText) if one.path in paths}


def as_collection(
    folder: Path, params: IngestParams, others: Sequence[DocumentVersion] = ()
) -> tuple[Snapshot, list[Source]]:
    """Read a folder of trusted documents straight into what a collection holds.

    Every readable file counts, whatever this workspace takes in; unreadable ones are left out. A document that
    continues one of ``others`` bears its id.
    """
    everything = params.model_copy(update={"extensions": list(READABLE), "max_bytes": sys.maxsize})
    return sources_as_they_lie(folder, everything, others)


def read_lineage(base: str) -> Lineage:
    """What a base was trained on; a base that does not say knows nothing of ours."""
    file = Path(base) / LINEAGE_FILE
    return read_record(file, Lineage) if file.is_file() else Lineage()


def paths_of(base: str) -> dict[str, str]:
    """Content digest -> path of the documents that a base was trained on; none where their folder is gone."""
    documents = read_lineage(base).documents
    folder = (Path(base) / documents).resolve() if documents is not None else None
    if folder is None or not folder.is_dir():
        return {}
    return {digest_file(folder / path): path.as_posix() for path in scan(folder, READABLE)}


def collection_of(
    base: str, params: IngestParams, others: Sequence[DocumentVersion] = ()
) -> tuple[Snapshot | None, list[Source]]:
    """The documents that a base was trained on, as ``as_collection`` reads them; None: it knows none.

    Raises:
        InputError: the documents that its lineage names are gone or are not the same.
    """
    lineage = read_lineage(base)
    if lineage.documents is None:
        return None, []
    folder = (Path(base) / lineage.documents).resolve()
    snapshot, sources = as_collection(folder, params, others)
    if snapshot.digest != lineage.snapshot:
        raise InputError(
            f"{folder} has the digest {snapshot.digest[:12]}, but the base {base} was trained on "
            f"{str(lineage.snapshot)[:12]}. Restore the folder, or train the base anew with relearn base build."
        )
    return snapshot, sources


def known_collection(base: str, params: IngestParams, current: Snapshot) -> tuple[Snapshot | None, list[Source]]:
    """The documents a base knows, read by today's readers; those that live on bear their current ids, withheld or not.

    A known document that is quarantined in ``current`` is left out: whether it still holds cannot be told, so
    nothing of it is taught as withdrawn.

    Raises:
        InputError: the documents that its lineage names are gone or are not the same.
    """
    snapshot, sources = collection_of(base, params, (*current.documents, *current.withheld))
    if snapshot is None:
        return None, []
    aside = {document.path for document in current.quarantined}
    aside -= {document.path for document in current.documents}
    unknown = {document.id for document in snapshot.documents if document.path in aside}
    unknown -= {document.id for document in current.documents}
    return snapshot, [source for source in sources if source.id not in unknown]
