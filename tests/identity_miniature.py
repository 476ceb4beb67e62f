"""Documents as the identification of documents sees them."""

from data.identity import Candidate, version
from data.params import load_params
from data.records import DocumentVersion
from data.workspace import PROJECT_ROOT

THRESHOLD = load_params(PROJECT_ROOT / "params.yaml").ingest.similarity


def versions(documents: list[Candidate], ids: dict[str, str]) -> list[DocumentVersion]:
    """The documents with their ids, which stand by path."""
    return [version(document, ids[document.path]) for document in documents]
