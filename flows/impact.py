"""Which rows, adapters and versions learned from a document, in any version of it: read from what is on record."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.evidence_records import LearnedFrom, Provenance
from data.files import read_cached, shortened
from data.records import DocumentVersion
from data.workspace import Workspace, open_workspace
from flows.inputs import known_snapshots
from tasks import ledger, registry
from tasks.evidence import PROVENANCE, read_provenance
from tasks.places import ledger_uri


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


def impact(root: Path, document: str) -> dict[str, Any]:
    """Everything that learned from a document.

    Raises:
        InputError: nothing ever held such a document.
        OutsideError: MLflow or the ledger is out of reach.
    """
    workspace = open_workspace(root)
    found = find_document(workspace, document)
    champion = ledger.state(ledger_uri(workspace)).version
    learned = list(_learned(workspace, found.id))
    taught = [(made, one) for made, one in learned if one.rows]
    return {
        "document": {"id": found.id, "path": found.path, "digests": list(found.digests)},
        "rows": sum({made.digests["rows"]: one.rows for made, one in taught}.values()),
        "adapters": sorted({made.digests["adapter"] for made, _ in taught}),
        "versions": [made.version for made, _ in taught],
        "rests": [
            {
                "version": made.version,
                "path": one.path,
                "digest": one.digest,
                "rows": one.rows,
                "serves": made.version == champion,
            }
            for made, one in learned
        ],
    }


def find_document(workspace: Workspace, named: str) -> Found:
    """A document by its id, the beginning of its id (8 characters or more), or a path it has or had.

    Raises:
        InputError: nothing ever held such a document, or several fit; the nearest are named.
    """
    known: dict[str, list[DocumentVersion]] = {}
    for snapshot in known_snapshots(workspace):
        for document in snapshot.documents:
            known.setdefault(document.id, []).append(document)
    fitting = [id for id, versions in known.items() if _is_named(id, versions, named)]
    if len(fitting) == 1:
        versions = known[fitting[0]]
        return Found(fitting[0], versions[0], tuple(sorted({version.digest for version in versions})))
    paths = sorted({version.path for versions in known.values() for version in versions})
    if fitting:
        listed = ", ".join(f"{id[:12]} ({shortened(known[id][0].path)})" for id in fitting)
        raise InputError(f"Several documents are called {shortened(named)}: {listed}. Name one by its id.")
    near = difflib.get_close_matches(named, paths, n=3, cutoff=0.3)
    hint = f"the nearest: {', '.join(map(shortened, near))}" if near else "relearn diff shows what lies in the folder"
    raise InputError(
        f"No cycle ever read a document {shortened(named)}. Name its id, the beginning of it, or its path; {hint}."
    )


def _is_named(id: str, versions: Iterable[DocumentVersion], named: str) -> bool:
    return (len(named) >= 8 and id.startswith(named)) or named in {version.path for version in versions}


def _learned(workspace: Workspace, id: str) -> Iterator[tuple[Provenance, LearnedFrom]]:
    """Versions whose documents held it, oldest first."""
    for info in registry.get_versions(workspace):
        kept = read_cached(workspace.evidence(info.version) / PROVENANCE, Provenance)
        try:
            made = kept if kept is not None else read_provenance(workspace, info)
        except InputError:
            continue  # it was registered by a release that wrote no provenance down
        yield from ((made, one) for one in made.documents if one.id == id)
