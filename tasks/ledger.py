"""The append-only ledger: who decided what, why, from which version to which, on which evidence.

The ledger is the authority; MLflow's alias and the serving pointer mirror it. Three things make it hard
to rewrite unnoticed: each entry's digest covers its content and the digest of the entry before (a hash
chain, Haber and Stornetta 1991), triggers refuse UPDATE, DELETE and any entry that is not the next one,
and writers take the database's write lock before they read the last entry. A chain cannot show that its
last entries were cut off together with the triggers; the database's backup can.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data.actor import current_actor
from data.addresses import without_passwords
from data.cycle_records import LedgerEntry
from data.decisions import Action, Decisions, decisions, require_may_follow
from data.errors import InputError, PersonNeededError
from data.files import digest_text
from tasks.ledger_database import LEDGER, reading, writing


def append(
    uri: str,
    *,
    action: Action,
    reason: str,
    from_version: int | None = None,
    to_version: int | None = None,
    evidence: dict[str, Any] | None = None,
    actor: str | None = None,
) -> LedgerEntry:
    """Write the next entry and return it, where the entries before allow it; two processes get two numbers.

    ``actor`` is ``$RELEARN_ACTOR`` or the user of the operating system where none is given.

    Raises:
        InputError: no reason, evidence that JSON cannot hold, or the end of a switch that nobody intended.
        PersonNeededError: the barrier (data/decisions.py), or the ledger was tampered with.
        OutsideError: the database does not answer.
    """
    if not reason.strip():
        raise InputError(f"The ledger entry {action!r} has no reason. Say why with --reason.")
    content: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "actor": actor or current_actor(),
        "action": action.value,
        "from_version": from_version,
        "to_version": to_version,
        "reason": reason.strip(),
        "evidence": _as_json(evidence or {}),
    }
    with writing(uri) as connection:
        before = _intact(*_read_from(connection))
        require_may_follow(before, content)
        entry = _next_entry(before, content)
        connection.execute(sa.insert(LEDGER).values(**entry.model_dump(exclude={"schema_"})))
    return entry


def entries(uri: str) -> list[LedgerEntry]:
    """All entries in order; none where the ledger was never written to.

    Raises:
        PersonNeededError: an entry cannot be read.
        OutsideError: the database does not answer.
    """
    found, torn = _read(uri)
    if torn is not None:
        raise _tampered(torn)
    return found


def state(uri: str) -> Decisions:
    """What all entries amount to.

    Raises:
        PersonNeededError: the ledger was tampered with.
        OutsideError: the database does not answer.
    """
    return decisions(intact_entries(uri))


def broken_at(uri: str) -> int | None:
    """Number of the first entry that does not follow from the ones before; None: the ledger is intact."""
    found, torn = _read(uri)
    return first_broken(found) or torn


def intact_entries(uri: str) -> list[LedgerEntry]:
    """All entries of an intact ledger, for whoever acts on them.

    Raises:
        PersonNeededError: an entry was altered, inserted or taken away.
    """
    return _intact(*_read(uri))


def _intact(found: list[LedgerEntry], torn: int | None) -> list[LedgerEntry]:
    broken = first_broken(found) or torn
    if broken is not None:
        raise _tampered(broken)
    return found


def _tampered(number: int) -> PersonNeededError:
    return PersonNeededError(
        f"Ledger entry {number} does not follow from the entries before it: somebody changed the "
        "ledger's database. Restore its backup, then run the same command again."
    )


def _read(uri: str) -> tuple[list[LedgerEntry], int | None]:
    """The entries in order up to the first that cannot be read, and the number of that one."""
    with reading(uri) as connection:
        return _read_from(connection) if connection is not None else ([], None)


def _read_from(connection: Connection) -> tuple[list[LedgerEntry], int | None]:
    columns = [column for column in LEDGER.c if column is not LEDGER.c.evidence]
    evidence = sa.cast(LEDGER.c.evidence, sa.Text).label("evidence")  # read by us: the driver would fail for all rows
    rows = connection.execute(sa.select(*columns, evidence).order_by(LEDGER.c.number)).mappings().all()
    found = list[LedgerEntry]()
    for number, row in enumerate(rows, start=1):
        try:
            found.append(LedgerEntry.model_validate({**row, "evidence": json.loads(row["evidence"])}))
        except (ValueError, TypeError):
            return found, number
    return found, None


def require_champion(uri: str, version: int) -> LedgerEntry:
    """The entry by which ``version`` is the champion, or is to be; what mirrors the ledger asks here first.

    Raises:
        PersonNeededError: the ledger's champion is another version, and no switch to this one is under way.
    """
    found = state(uri)
    for entry in (found.intent, found.champion):
        if entry is not None and entry.to_version == version:
            return entry
    raise PersonNeededError(
        f"Version {version} is not the ledger's champion ({found.version or 'none'}). "
        f"Promote it with: relearn promote {version} --reason WHY."
    )


def lost(uri: str, version: int, number: int) -> PersonNeededError:
    """What to say where a version serves by an entry of which the ledger knows nothing."""
    return PersonNeededError(
        f"Version {version} serves by ledger entry {number}, but the ledger at {without_passwords(uri)} holds no "
        "promotion. Restore the ledger from its backup."
    )


def first_broken(found: Sequence[LedgerEntry]) -> int | None:
    """Number of the first of these entries that does not follow from the ones before; None: all do."""
    previous = ""
    for number, entry in enumerate(found, start=1):
        if entry.number != number or entry.previous != previous or entry.digest != _digest(entry.model_dump()):
            return number
        previous = entry.digest
    return None


def _next_entry(before: Sequence[LedgerEntry], content: dict[str, Any]) -> LedgerEntry:
    previous = before[-1].digest if before else ""
    content = {**content, "number": len(before) + 1, "previous": previous}
    return LedgerEntry(**content, digest=_digest(content))


def canonical(content: dict[str, Any]) -> str:
    """An entry, or what becomes one, as JSON of which no two spellings are possible."""
    kept = {name: value for name, value in content.items() if name != "schema_"}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _digest(content: dict[str, Any]) -> str:
    """SHA-256 over the digest before and the canonical JSON of everything but the digest itself."""
    kept = {name: value for name, value in content.items() if name != "digest"}
    return digest_text(str(content["previous"]), canonical(kept))


def _as_json(evidence: dict[str, Any]) -> Any:
    try:
        return json.loads(json.dumps(evidence, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"The evidence is not plain JSON ({error}). Give texts, finite numbers and lists.") from error
