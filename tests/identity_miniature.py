"""Documents as the identification of documents sees them."""

from data.identity import Candidate
from data.records import DocumentVersion

THRESHOLD = 0.5
"""As shipped in params.yaml (ingest.similarity)."""


def version(document: Candidate, id: str) -> DocumentVersion:
    return DocumentVersion(
        id=id,
        path=document.path,
        digest=document.digest,
        title=document.title,
        characters=document.characters,
        sketch=document.sketch,
    )


def versions(documents: list[Candidate], ids: dict[str, str]) -> list[DocumentVersion]:
    return [version(document, ids[document.path]) for document in documents]
