"""Which rows, adapters and versions learned from a document, in any version of it: read from what is on record.

MLflow is not imported for it: which versions there are is one look at the registry's table, what they learned from
stands in their evidence folders, and whether these are what was decided on says the ledger.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.evidence_records import LearnedFrom, Provenance, Role
from data.files import shortened
from data.identity import Candidate, assign_ids
from data.records import DocumentVersion, Snapshot
from data.workspace import Workspace, open_workspace
from flows.inputs import known_snapshots
from tasks import ledger, mirrors
from tasks.evidence import read_provenance
from tasks.places import ledger_uri

LEARNED = frozenset({Role.TAUGHT, Role.REPLAYED})
"""What makes a version rest on a document, beside its having been among the documents."""
Known = dict[str, list[DocumentVersion | LearnedFrom]]
"""Versions of each document that is known, by its id, the newest first."""


@dataclass(frozen=True)
class Found:
    """A document that some snapshot held."""

    id: str
    latest: DocumentVersion
    """As it was read last."""
    digests: tuple[str, ...]
    """Of all its versions that are known, sorted."""

    @property
    def path(self) -> str:
        """Where it lay last."""
        return self.latest.path


@dataclass(frozen=True)
class OnRecord:
    """What is on record of the registered versions."""

    made: tuple[Provenance, ...]
    """Oldest first."""
    known_to_bases: tuple[Snapshot, ...]
    """The documents that bases were trained on."""
    unknown: tuple[int, ...]
    """Versions of which nothing is on record."""

    def named(self, ids: frozenset[str], roles: frozenset[Role]) -> Iterator[tuple[Provenance, LearnedFrom]]:
        """What versions learned in these roles of the document with these ids."""
        yield from ((made, one) for made in self.made for one in made.documents if one.id in ids and one.role in roles)


def impact(root: Path, document: str) -> dict[str, Any]:
    """Everything that learned from a document.

    Raises:
        InputError: nothing ever held such a document.
        PersonNeededError: what is on record of a version is not what was decided on.
        OutsideError: MLflow or the ledger is out of reach.
    """
    workspace = open_workspace(root)
    state = ledger.state(ledger_uri(workspace))
    signed = {version: ruling.evidence for version, ruling in state.rulings.items()}
    record = _on_record(workspace, signed)
    known = _known(workspace, record)
    id = _pick(known, document)
    ids = frozenset({id, *(one.id for one in known[id])})
    learned = list(record.named(ids, LEARNED))
    taught = [(made, one) for made, one in learned if one.rows]
    of_rows = {made.digests["rows"]: made for made, _ in taught}  # equal rows make many adapters, and count once
    return {
        "document": {"id": id, "path": known[id][0].path, "digests": sorted({one.digest for one in known[id]})},
        "rows": sum(one.rows or 0 for made, one in taught if of_rows[made.digests["rows"]] is made),
        "adapters": sorted({made.digests["adapter"] for made, _ in taught}),
        "versions": sorted({made.version for made, _ in taught}),
        "rests": [{**_told(made, one), "serves": made.version == state.version} for made, one in learned],
        "refuses": [_told(made, one) for made, one in record.named(ids, frozenset({Role.REFUSED}))],
        "bases": [
            {"version": made.version, "path": one.path, "digest": one.digest, "versions": _on(record, made)}
            for made, one in record.named(ids, frozenset({Role.BASE}))
        ],
        "unknown": list(record.unknown),
    }


def find_document(workspace: Workspace, named: str) -> Found:
    """A document by its id, the beginning of its id (8 characters or more), or a path it has or had.

    Raises:
        InputError: no snapshot ever held such a document, or several fit; the nearest are named.
    """
    known = _in_snapshots(workspace)
    id = _pick(known, named)
    versions = known[id]
    return Found(id, versions[0], tuple(sorted({version.digest for version in versions})))


def _told(made: Provenance, one: LearnedFrom) -> dict[str, Any]:
    return {"version": made.version, "path": one.path, "digest": one.digest, "rows": one.rows, "role": one.role.value}


def _on(record: OnRecord, base: Provenance) -> list[int]:
    """The base itself, and every version on it."""
    return [made.version for made in record.made if made.digests.get("base") == base.digests["base"]]


# --- which document ------------------------------------------------------------------------------------


def _in_snapshots(workspace: Workspace) -> dict[str, list[DocumentVersion]]:
    known: dict[str, list[DocumentVersion]] = {}
    for snapshot in known_snapshots(workspace):
        for document in snapshot.documents:
            known.setdefault(document.id, []).append(document)
    return known


def _known(workspace: Workspace, record: OnRecord) -> Known:
    """Every document of a snapshot that is kept here, of a version, or of a base.

    A document that the base was trained on bears the id of the one that went on from it; where that one is gone, rows
    that teach to refuse it name it by an id of its own.
    """
    in_snapshots = _in_snapshots(workspace)
    known: Known = {id: [*versions] for id, versions in in_snapshots.items()}
    former: dict[str, str] = {}
    newest = [versions[0] for versions in in_snapshots.values()]
    for snapshot in record.known_to_bases:
        ids = _continued(snapshot.documents, newest, workspace.params().ingest.similarity)
        for document in snapshot.documents:
            known.setdefault(ids[document.path], []).append(document)
            if document.id not in in_snapshots:
                former[document.id] = ids[document.path]
    for made in reversed(record.made):
        for one in made.documents:
            if one.path:
                known.setdefault(former.get(one.id, one.id), []).append(one)
    return known


def _continued(
    documents: Sequence[DocumentVersion], newest: Sequence[DocumentVersion], similarity: float
) -> dict[str, str]:
    """Path -> id of a base's documents: that of the document of ours which they are, or their own."""
    texts = [Candidate(one.path, one.digest, one.title, one.sketch, one.characters) for one in documents]
    return assign_ids(texts, newest, similarity)


def _pick(known: Mapping[str, Sequence[DocumentVersion | LearnedFrom]], named: str) -> str:
    """The id of the document that is meant.

    Raises:
        InputError: none or several fit; the nearest are named.
    """
    fitting = [id for id, versions in known.items() if _is_named(id, versions, named)]
    if len(fitting) == 1:
        return fitting[0]
    paths = sorted({version.path for versions in known.values() for version in versions})
    if fitting:
        listed = ", ".join(f"{id[:12]} ({shortened(known[id][0].path)})" for id in fitting)
        raise InputError(f"Several documents are called {shortened(named)}: {listed}. Name one by its id.")
    near = difflib.get_close_matches(named, paths, n=3, cutoff=0.3)
    hint = f"the nearest: {', '.join(map(shortened, near))}" if near else "relearn diff shows what lies in the folder"
    raise InputError(
        f"No cycle ever read a document {shortened(named)}. Name its id, the beginning of it, or its path; {hint}."
    )


def _is_named(id: str, versions: Iterable[DocumentVersion | LearnedFrom], named: str) -> bool:
    ids = {id, *(version.id for version in versions)}
    if len(named) >= 8 and any(one.startswith(named) for one in ids):
        return True
    return named in {version.path for version in versions}


# --- what is on record ---------------------------------------------------------------------------------


def _on_record(workspace: Workspace, signed: Mapping[int, str]) -> OnRecord:
    """Read every version's provenance, as the ledger signed it.

    Raises:
        PersonNeededError: it is not what was decided on.
        OutsideError: MLflow is out of reach.
    """
    made, bases, unknown = [], [], []
    for version in mirrors.registered(workspace):
        try:
            found, documents = read_provenance(workspace, version, signed.get(version))
        except InputError:
            unknown.append(version)
            continue
        made.append(found)
        if documents is not None:
            bases.append(documents)
        elif found.kind == "base" and found.snapshot is not None:
            unknown.append(version)  # an earlier release kept no more than the digest of what the base knows
    return OnRecord(tuple(made), tuple(bases), tuple(unknown))
