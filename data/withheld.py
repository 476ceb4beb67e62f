"""What no stage may draw on, though it may lie in the folder: withdrawn documents, and such as hold only later.

A cycle writes it down before its first stage (``data/inputs/withheld.json``). Stage ``ingest`` leaves these documents
out; stages that read rows and questions refuse one that names them all the same, wherever it came from. Two things may
name them: a row that teaches to refuse, and the question whether it is refused, for that is how a withdrawal is
taught and measured.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from data.errors import InputError
from data.files import read_record, shortened
from data.records import DocumentVersion, Question, Record, Row

BY_ITSELF = "it says of itself that it is withdrawn"
"""Why a document is left out that no decision withdrew."""
REFUSAL = "refusal"
"""Purpose of the rows that teach that something no longer holds."""
HEAD_BYTES = 64 * 2**10
"""Front matter with a date is no longer."""
_FRONT_MATTER = re.compile(rb"\A(?:\xef\xbb\xbf){0,2}---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_EFFECTIVE = re.compile(rb"^effective:[ \t]*(['\"]?)(\d{4}-\d{2}-\d{2})\1[ \t]*(?:[ \t]#[^\n]*)?$", re.MULTILINE)


class Tombstone(Record):
    """A document that a decision withdrew."""

    latest: DocumentVersion
    """Its last known version, by which it is recognised where it lies under another name or edited."""
    digests: tuple[str, ...]
    """Of the contents of all its known versions, sorted."""
    entry: int
    """Number of the ledger's entry."""


class Withheld(Record):
    """What is withheld from one cycle."""

    tombstones: tuple[Tombstone, ...] = ()
    not_yet: dict[str, str] = Field(default_factory=dict)
    """Path -> date (ISO 8601) from which on a document holds."""

    def why(self, document: DocumentVersion) -> str | None:
        """Why a document is left out; None: it is not."""
        if document.path in self.not_yet:
            return f"it holds from {self.not_yet[document.path]} on"
        for stone in self.tombstones:
            if document.id == stone.latest.id or document.digest in stone.digests:
                return f"withdrawn by ledger entry {stone.entry}"
        return None

    def names(self, document: str, digest: str = "") -> bool:
        """Whether a document is tombstoned, by its id or by the digest of its content."""
        return any(document == stone.latest.id or digest in stone.digests for stone in self.tombstones)


def read_withheld(file: Path) -> Withheld:
    """What a cycle was told to leave out; nothing where no cycle has said so."""
    return read_record(file, Withheld) if file.is_file() else Withheld()


def effective_in(head: bytes) -> str:
    """The date in a text's front matter from which on it holds; empty: there is none.

    Stage ``ingest`` sets a document aside whose date is written in another way that YAML allows (data/documents.py).

    Args:
        head: the beginning of the file.
    """
    matter = _FRONT_MATTER.match(head.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
    found = _EFFECTIVE.search(matter[1]) if matter else None
    return found[2].decode() if found else ""


def require_rows_in_force(rows: Iterable[Row], withheld: Withheld) -> None:
    """Refuse rows that were drawn from a withdrawn document, unless they teach to refuse.

    Raises:
        InputError: there is one; it says which, and of which document.
    """
    for number, row in enumerate(rows, start=1):
        if row.purpose != REFUSAL and withheld.names(row.document, row.digest):
            raise _drawn(f"Row {number} ({row.purpose})", row.document, row.completion)


def require_questions_in_force(questions: Iterable[Question], withheld: Withheld) -> None:
    """Refuse questions that count a withdrawn document's answer as right; whether it is refused may be asked.

    Raises:
        InputError: there is one; it says which, and of which document.
    """
    for question in questions:
        if question.answers and withheld.names(question.document):
            raise _drawn(f"Question {question.id}", question.document, question.question)


def _drawn(what: str, document: str, text: str) -> InputError:
    return InputError(
        f"{what} rests on document {document[:12]}, which is withdrawn: {shortened(text.strip())!r}. Nothing was made "
        "of it. Let relearn run write rows and questions anew; if the document holds again: relearn reinstate "
        f"{document[:12]} --reason WHY."
    )
