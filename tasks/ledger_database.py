"""Where the ledger rests: its table, the release that its database has, and the writers' lock.

Table and triggers are made by migrations (tasks/migrations/, Alembic). The first writer of a release runs those that
the database lacks, inside its own transaction and under the writers' lock: two first writers do it once, and a kill
in the middle leaves none of it, since SQLite and PostgreSQL both take back what a transaction created. Everybody else
reads one row and never imports Alembic. Reading creates nothing.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from data.addresses import without_passwords
from data.errors import InputError, OutsideError, PersonNeededError, quoted
from data.files import refusal
from tasks.places import connect_args, database_url

DAMAGED = ("malformed", "file is not a database")
"""What SQLite says of a file that only a backup can mend."""
ADVISORY_LOCK = 0x72656C6561726E
"""PostgreSQL advisory lock of the ledger's writers: the letters of the project's name."""
MIGRATIONS = Path(__file__).parent / "migrations"
REVISIONS = ("0001",)
"""The migrations in order; with the last one a database is up to date."""
VERSION_TABLE = "ledger_version"
"""Not Alembic's usual name, which MLflow's tables take in a database that is shared with them."""

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
"""As the last migration leaves it."""
_REVISION = sa.table(VERSION_TABLE, sa.column("version_num", sa.String))


@contextlib.contextmanager
def reading(uri: str) -> Iterator[Connection | None]:
    """A connection to a ledger that was written to; None: there is none yet.

    Raises:
        InputError: the address is none, or a newer release wrote to this ledger.
        PersonNeededError: the database is damaged.
        OutsideError: the database does not answer.
    """
    if _is_absent(uri):
        yield None
        return
    with _clear_errors(uri), _engine(uri).connect() as connection:
        _revision(connection, uri)
        yield connection if sa.inspect(connection).has_table(LEDGER.name) else None


@contextlib.contextmanager
def writing(uri: str) -> Iterator[Connection]:
    """A transaction on an up-to-date ledger; it holds the write lock from its beginning, so that reading is safe.

    Raises:
        InputError: the address is none, or a newer release wrote to this ledger.
        PersonNeededError: the database is damaged.
        OutsideError: the database does not answer.
    """
    with _clear_errors(uri):
        engine = _engine(uri)
        if engine.dialect.name == "sqlite":
            Path(str(engine.url.database)).parent.mkdir(parents=True, exist_ok=True)
            sa.event.listen(engine, "connect", _leave_transactions_to_us)
            sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
            if _revision(connection, uri) != REVISIONS[-1]:
                _migrate(connection)
            yield connection


def _revision(connection: Connection, uri: str) -> str | None:
    """The last migration that this database has had; None: it is new, or from before there were any."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(sa.select(_REVISION)).scalar()
    if found is not None and found not in REVISIONS:
        raise InputError(
            f"The ledger at {without_passwords(uri)} was written by a newer release (migration {quoted(found)}; this "
            f"one knows {', '.join(REVISIONS)}). Upgrade the code, then run the same command again."
        )
    return found


def _migrate(connection: Connection) -> None:
    """Run the migrations that are missing, in the transaction that is open."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection, "version_table": VERSION_TABLE})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")


def _is_absent(uri: str) -> bool:
    url = database_url(uri, "registry.ledger_uri")
    return url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists()


def _engine(uri: str) -> Engine:
    url = database_url(uri, "registry.ledger_uri")
    return sa.create_engine(url, poolclass=sa.NullPool, connect_args=connect_args(uri))


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
