"""The ledger as a file that anybody can check without its database, and without this project's code.

One entry a line, as canonical JSON (docs/runbook.md, "An auditor wants the ledger"): what the entry's digest covers is
the line itself without the digest, after the digest of the line before.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from data.cycle_records import LedgerEntry
from data.errors import InputError
from data.files import unread, write_text
from tasks.ledger import canonical


def export(entries: Sequence[LedgerEntry], path: Path) -> None:
    """Write the entries to ``path``, atomically.

    Raises:
        OutsideError: the disk is full, or the place must not be written to.
    """
    write_text(path, as_lines(entries))


def as_lines(entries: Sequence[LedgerEntry]) -> str:
    """The entries as such a file holds them."""
    return "".join(f"{canonical(entry.model_dump())}\n" for entry in entries)


def exported(path: Path) -> list[LedgerEntry]:
    """The entries of a file that ``export`` wrote; whether they follow from one another is not looked at.

    Raises:
        InputError: no such file, or a line is not an entry as ``export`` writes it.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise unread(path, error) from error
    return [_entry(path, number, line) for number, line in enumerate(lines[:-1] if not lines[-1] else lines, start=1)]


def _entry(path: Path, number: int, line: bytes) -> LedgerEntry:
    try:
        entry = LedgerEntry.model_validate_json(line)
    except ValidationError:
        entry = None
    if entry is None or canonical(entry.model_dump()).encode() != line:
        raise InputError(
            f"{path}, line {number}, is not an entry as relearn history --export writes it: somebody changed the file. "
            "Ask for another export."
        )
    return entry
