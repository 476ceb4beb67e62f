"""The append-only ledger: who decided what, why, from which version to which, on which evidence.

The ledger is the authority; MLflow's alias and the serving pointer mirror it. Three things make it hard
to rewrite unnoticed: each entry's digest covers its content and the digest of the entry before (a hash
chain, Haber and Stornetta 1991), triggers refuse UPDATE, DELETE and any entry that is not the next one,
and writers take the database's write lock before they read the last entry. A chain cannot show that its
last entries were cut off together with the triggers; the database's backup can.
"""

import contextlib
import getpass
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from data.addresses import without_passwords
from data.errors import InputError, OutsideError, PersonNeededError, quoted
from data.files import digest_text, refusal
from data.report_records import LedgerEntry
from tasks.places import connect_args, database_url

PROMOTE = "promote"
"""The action that changes which version serves; every other entry leaves the champion as it is."""
ACCEPT_LOSS = "accept-loss"
"""A person agreed to a snapshot although it lacks much of the one accepted before."""
DAMAGED = ("malformed", "file is not a database")
"""What SQLite says of a file that only a backup can mend."""
ADVISORY_LOCK = 0x72656C6561726E
"""PostgreSQL advisory lock of the ledger's writers: the letters of the project's name."""

METADATA = sa.MetaData()
LEDGER = sa.Table(
    "ledger",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time", sa.String(40), nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("action", sa.String(40), nullable=False),
    sa.Column("from_version", sa.Integer),
    sa.Column("to_version", sa.Integer),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False, unique=True),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
)

_REFUSE = "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
_NEXT = "(SELECT COALESCE(MAX(number), 0) + 1 FROM ledger)"
TRIGGERS = {
    "sqlite": (
        f"CREATE TRIGGER ledger_update BEFORE UPDATE ON ledger {_REFUSE}",
        f"CREATE TRIGGER ledger_delete BEFORE DELETE ON ledger {_REFUSE}",
        # INSERT OR REPLACE would take a row away without firing BEFORE DELETE
        f"CREATE TRIGGER ledger_insert BEFORE INSERT ON ledger WHEN NEW.number IS NOT {_NEXT} {_REFUSE}",
    ),
    "postgresql": (
        """CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$""",
        # two appends are kept apart by the writers' lock, one by hand is not
        """CREATE FUNCTION ledger_next() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN
            IF NEW.number <> (SELECT COALESCE(MAX(number), 0) + 1 FROM ledger) THEN
                RAISE EXCEPTION 'the ledger is append-only';
            END IF;
            RETURN NEW;
        END $$""",
        "CREATE TRIGGER ledger_insert BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION ledger_next()",
        """CREATE TRIGGER ledger_change BEFORE UPDATE OR DELETE ON ledger
        FOR EACH ROW EXECUTE FUNCTION ledger_refuse()""",
        """CREATE TRIGGER ledger_truncate BEFORE TRUNCATE ON ledger
        FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()""",
    ),
}


@sa.event.listens_for(LEDGER, "after_create")
def _protect(_table: sa.Table, connection: Connection, **_: Any) -> None:
    for statement in TRIGGERS.get(connection.dialect.name, ()):
        connection.execute(sa.text(statement))


def append(
    uri: str,
    *,
    action: str,
    reason: str,
    from_version: int | None = None,
    to_version: int | None = None,
    evidence: dict[str, Any] | None = None,
    actor: str | None = None,
) -> LedgerEntry:
    """Write the next entry and return it; two processes that write at once get two numbers.

    ``actor`` is ``$RELEARN_ACTOR`` or the user of the operating system where none is given.

    Raises:
        InputError: no reason, or evidence that JSON cannot hold.
        OutsideError: the database does not answer.
    """
    if not reason.strip():
        raise InputError(f"The ledger entry {action!r} has no reason. Say why with --reason.")
    content: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "actor": actor or current_actor(),
        "action": action,
        "from_version": from_version,
        "to_version": to_version,
        "reason": reason.strip(),
        "evidence": _as_json(evidence or {}),
    }
    with _writing(uri) as connection:
        METADATA.create_all(connection)
        entry = _next_entry(connection, content)
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


def broken_at(uri: str) -> int | None:
    """Number of the first entry that does not follow from the ones before; None: the ledger is intact."""
    found, torn = _read(uri)
    return _first_broken(found) or torn


def intact_entries(uri: str) -> list[LedgerEntry]:
    """All entries of an intact ledger, for whoever acts on them.

    Raises:
        PersonNeededError: an entry was altered, inserted or taken away.
    """
    found = entries(uri)
    broken = _first_broken(found)
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
    if _is_absent(uri):
        return [], None
    columns = [column for column in LEDGER.c if column is not LEDGER.c.evidence]
    evidence = sa.cast(LEDGER.c.evidence, sa.Text).label("evidence")  # read by us: the driver would fail for all rows
    with _reading(uri) as connection:
        if not sa.inspect(connection).has_table(LEDGER.name):
            return [], None
        rows = connection.execute(sa.select(*columns, evidence).order_by(LEDGER.c.number)).mappings().all()
    found = list[LedgerEntry]()
    for number, row in enumerate(rows, start=1):
        try:
            found.append(LedgerEntry.model_validate({**row, "evidence": json.loads(row["evidence"])}))
        except (ValueError, TypeError):
            return found, number
    return found, None


def last_promotion(uri: str) -> LedgerEntry | None:
    """The entry that made the version that serves now the champion.

    Raises:
        PersonNeededError: the ledger was tampered with.
    """
    found = [entry for entry in intact_entries(uri) if entry.action == PROMOTE]
    return found[-1] if found else None


def require_champion(uri: str, version: int) -> LedgerEntry:
    """The entry that promoted ``version``; what mirrors the ledger asks here before it switches.

    Raises:
        PersonNeededError: the ledger's champion is another version.
    """
    entry = last_promotion(uri)
    if entry is None or entry.to_version != version:
        champion = "none" if entry is None else str(entry.to_version)
        raise PersonNeededError(
            f"Version {version} is not the ledger's champion ({champion}). "
            f"Promote it with: relearn promote {version} --reason WHY."
        )
    return entry


def current_actor() -> str:
    """``$RELEARN_ACTOR``, or the user of the operating system."""
    try:
        return os.environ.get("RELEARN_ACTOR") or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"


def _first_broken(found: list[LedgerEntry]) -> int | None:
    previous = ""
    for number, entry in enumerate(found, start=1):
        if entry.number != number or entry.previous != previous or entry.digest != _digest(entry.model_dump()):
            return number
        previous = entry.digest
    return None


def _next_entry(connection: Connection, content: dict[str, Any]) -> LedgerEntry:
    query = sa.select(LEDGER.c.number, LEDGER.c.digest).order_by(LEDGER.c.number.desc()).limit(1)
    last = connection.execute(query).one_or_none()
    number, previous = (last.number, last.digest) if last else (0, "")
    content = {**content, "number": number + 1, "previous": previous}
    return LedgerEntry(**content, digest=_digest(content))


def _digest(content: dict[str, Any]) -> str:
    """SHA-256 over the digest before and the canonical JSON of everything but the digest itself."""
    kept = {name: value for name, value in content.items() if name not in ("digest", "schema_")}
    canonical = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return digest_text(str(content["previous"]), canonical)


def _as_json(evidence: dict[str, Any]) -> Any:
    try:
        return json.loads(json.dumps(evidence, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"The evidence is not plain JSON ({error}). Give texts, finite numbers and lists.") from error


def _is_absent(uri: str) -> bool:
    url = database_url(uri, "registry.ledger_uri")
    return url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file()


def _engine(uri: str) -> Engine:
    url = database_url(uri, "registry.ledger_uri")
    return sa.create_engine(url, poolclass=sa.NullPool, connect_args=connect_args(uri))


@contextlib.contextmanager
def _reading(uri: str) -> Iterator[Connection]:
    with _clear_errors(uri), _engine(uri).connect() as connection:
        yield connection


@contextlib.contextmanager
def _writing(uri: str) -> Iterator[Connection]:
    """A transaction that holds the write lock from its beginning, so that reading the last entry is safe."""
    with _clear_errors(uri):
        engine = _engine(uri)
        if engine.dialect.name == "sqlite":
            Path(str(engine.url.database)).parent.mkdir(parents=True, exist_ok=True)
            sa.event.listen(engine, "connect", _leave_transactions_to_us)
            sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
            yield connection


def _leave_transactions_to_us(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver would begin a deferred transaction at the first INSERT


@contextlib.contextmanager
def _clear_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"The ledger at {without_passwords(uri)} needs the Python package {error.name}. Install it into .venv, or "
            "set registry.ledger_uri in params.yaml to an SQLite file."
        ) from error
    except sa.exc.ArgumentError as error:
        raise InputError(
            f"The ledger at {without_passwords(uri)} cannot be spoken to ({without_passwords(str(error))}). Set "
            "registry.ledger_uri in params.yaml to an SQLite file or to postgresql+psycopg://HOST/NAME."
        ) from error
    except (sa.exc.DBAPIError, OSError) as error:
        said = refusal(error)
        if said is not None:
            raise OutsideError(
                f"The ledger at {without_passwords(uri)} could not be written ({said}). Free the disk or mend the "
                "permissions, then run the same command again."
            ) from error
        if any(sign in str(error) for sign in DAMAGED):
            raise PersonNeededError(
                f"The ledger at {without_passwords(uri)} is damaged ({quoted(getattr(error, 'orig', None) or error)}). "
                "Restore its backup, then run the same command again."
            ) from error
        cause = quoted(without_passwords(str(getattr(error, "orig", None) or error)))
        raise OutsideError(
            f"The ledger at {without_passwords(uri)} did not answer ({cause}). Check "
            "registry.ledger_uri in params.yaml and that its database runs, then run the same command again."
        ) from error
