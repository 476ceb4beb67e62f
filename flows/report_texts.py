"""The texts of the documents before and after, which the report compares.

What a collection held is kept (``.relearn/texts/``), because the collection itself is written anew by every cycle and a
report compares with the last accepted snapshot, which may be many cycles old.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.collection import TEXTS_FILE, known_collection, read_texts
from data.errors import InputError
from data.files import read_record, write_bytes
from data.probes import Probe
from data.records import Accepted, DocumentVersion, Snapshot
from data.report_records import DocumentTexts
from data.workspace import Workspace

MOST = 60
"""Texts per kind of change (changed, new, withdrawn) that a report gets; the others it names."""


@dataclass(frozen=True)
class Comparison:
    """What the documents of a report are compared with."""

    before: Snapshot | None
    named: str
    """In words."""
    texts: tuple[DocumentTexts, ...]
    paths: dict[str, str]
    """Path of every document, by id: those in force, those before, and those that the base knows."""


def keep_texts(workspace: Workspace, snapshot: Snapshot) -> None:
    """Keep the texts of a collection, once.

    What is kept is another name (hard link) of the collection's file, which is replaced and never written to again;
    only where the file system knows no such links is it a copy.
    """
    texts, kept = workspace.collection / TEXTS_FILE, workspace.texts_file(snapshot.digest)
    if kept.is_file():
        return
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        os.link(texts, kept)
    except OSError:
        write_bytes(kept, texts.read_bytes())


def comparison(workspace: Workspace, snapshot: Snapshot) -> Comparison:
    """Compare with the last accepted snapshot, or with what the base knows where none was ever accepted."""
    accepted = read_record(workspace.accepted, Accepted).snapshot
    known, sources = known_collection(workspace.base(), workspace.params().ingest, snapshot)
    before = accepted if accepted is not None else known
    named = (
        "the last accepted snapshot"
        if accepted is not None
        else ("what the base knows" if known else "nothing: the base knows no documents")
    )
    versions = [document for one in (known, before, snapshot) if one for document in one.documents]
    known_texts = {source.digest: source.text for source in sources}
    return Comparison(
        before, named, _texts(workspace, before, snapshot, known_texts), {one.id: one.path for one in versions}
    )


def _texts(
    workspace: Workspace, before: Snapshot | None, after: Snapshot, known: dict[str, str]
) -> tuple[DocumentTexts, ...]:
    """The first texts of each kind of change, in the order changed, new, withdrawn."""
    old = {document.id: document for document in before.documents} if before else {}
    now = {document.id: document for document in after.documents}
    changed = [one for one in after.documents if one.id in old and old[one.id].digest != one.digest][:MOST]
    added = [one for one in after.documents if one.id not in old][:MOST]
    gone = [one for one in old.values() if one.id not in now][:MOST]
    new_texts = _read(workspace.collection / TEXTS_FILE, [*changed, *added])
    old_texts = _kept(workspace, before, [*(old[one.id] for one in changed), *gone], known)
    return (
        *(
            DocumentTexts(
                path=one.path,
                old_path=old[one.id].path,
                old=old_texts.get(old[one.id].path),
                new=new_texts.get(one.path),
            )
            for one in changed
        ),
        *(DocumentTexts(path=one.path, old_path=None, old="", new=new_texts.get(one.path)) for one in added),
        *(
            DocumentTexts(path=one.path, old_path=one.path, withdrawn=True, old=old_texts.get(one.path), new="")
            for one in gone
        ),
    )


def _kept(
    workspace: Workspace, before: Snapshot | None, documents: Sequence[DocumentVersion], known: dict[str, str]
) -> dict[str, str]:
    """Path -> text of documents of an earlier snapshot, as far as they were kept; what the base knows comes first."""
    kept = _read(workspace.texts_file(before.digest), documents) if before else {}
    return kept | {one.path: known[one.digest] for one in documents if one.digest in known}  # read by today's readers


def _read(file: Path, documents: Sequence[DocumentVersion]) -> dict[str, str]:
    """Path -> text; nothing where the file is missing or damaged, since a report can do without."""
    try:
        return read_texts(file, {one.path for one in documents})
    except InputError:
        return {}


def probe_documents(probes: Sequence[Probe], paths: dict[str, str], snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    """The ids of the documents that each probe's evidence names, by the probe's id: those in force, else all."""
    ids = {path: id for id, path in paths.items()}
    in_force = {document.id for document in snapshot.documents}
    found = {}
    for probe in probes:
        evidence = [one for answer in probe.answers for one in (answer.evidence or {}).values()]
        named = tuple(dict.fromkeys(ids[one.path] for one in evidence if one.path in ids))
        found[probe.id] = tuple(id for id in named if id in in_force) or named
    return found
