"""The ledger's database: made and brought up to date by whoever writes first, all of it or nothing."""

import signal

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from data.cycle_records import LedgerEntry
from data.decisions import Action
from data.errors import InputError
from tasks import ledger
from tasks.ledger_database import LEDGER, METADATA, MIGRATIONS, REVISIONS, VERSION_TABLE
from tests.ledger_miniature import at_once, behind_its_back, noted, unprotect

APPEND = "ledger.append(sys.argv[1], action=Action.REJECT, reason='at once')"
KILLED = (
    "import os, sqlalchemy as sa\n"
    "def kill(_1, _2, statement, *_3):\n"
    "    if statement.strip().startswith(sys.argv[2]): os.kill(os.getpid(), 9)\n"
    "sa.event.listen(sa.engine.Engine, 'after_cursor_execute', kill)\n"
)


def tables(uri: str) -> set[str]:
    with behind_its_back(uri) as database:
        return set(sa.inspect(database).get_table_names())


def revisions(uri: str) -> list[str]:
    with behind_its_back(uri) as database:
        return [*database.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalars()]


def rows(uri: str) -> list[tuple[object, ...]]:
    with behind_its_back(uri) as database:
        return [tuple(row) for row in database.execute(sa.select(LEDGER).order_by(LEDGER.c.number))]


def of_an_earlier_release(uri: str) -> list[LedgerEntry]:
    """A ledger with three entries from before there were migrations; somebody took its triggers away."""
    written = noted(uri, 3)
    with behind_its_back(uri) as database:
        database.exec_driver_sql(f"DROP TABLE {VERSION_TABLE}")
        unprotect(database)
    return written


def test_the_revisions_are_those_of_the_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(found)) == REVISIONS


def test_the_first_entry_makes_the_table_that_the_code_knows(uri: str) -> None:
    noted(uri, 1)
    assert tables(uri) == {LEDGER.name, VERSION_TABLE}
    assert revisions(uri) == [REVISIONS[-1]]
    with behind_its_back(uri) as database:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(database, opts=options), METADATA) == []


def test_tables_of_others_in_the_same_database_stay(uri: str) -> None:
    noted(uri, 1)
    with behind_its_back(uri) as database:
        for name in (LEDGER.name, VERSION_TABLE):
            database.exec_driver_sql(f"DROP TABLE {name}")
        database.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.exec_driver_sql("INSERT INTO alembic_version VALUES ('of mlflow')")
    noted(uri, 1)
    assert tables(uri) == {LEDGER.name, VERSION_TABLE, "alembic_version"}
    with behind_its_back(uri) as database:
        assert database.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "of mlflow"


def test_a_ledger_of_an_earlier_release_is_read_as_it_is_and_adopted_by_the_next_entry(uri: str) -> None:
    written, before = of_an_earlier_release(uri), rows(uri)
    assert ledger.entries(uri) == written
    assert tables(uri) == {LEDGER.name}
    added = noted(uri, 1)
    assert rows(uri)[:-1] == before
    assert ledger.intact_entries(uri) == written + added
    assert revisions(uri) == [REVISIONS[-1]]
    with behind_its_back(uri) as database, pytest.raises(sa.exc.DBAPIError, match="append-only"):
        database.exec_driver_sql("DELETE FROM ledger")


def test_a_ledger_of_a_newer_release_is_neither_read_nor_written(uri: str) -> None:
    noted(uri, 1)
    with behind_its_back(uri) as database:
        database.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    before = rows(uri)
    for use in (ledger.entries, ledger.state, ledger.broken_at, lambda uri: noted(uri, 1)):
        with pytest.raises(InputError, match=r"written by a newer release \(migration 9999; .*Upgrade the code"):
            use(uri)
    assert rows(uri) == before
    assert revisions(uri) == ["9999"]


@pytest.mark.parametrize("earlier", [False, True])
def test_of_several_first_writers_one_makes_the_table(uri: str, earlier: bool) -> None:
    written = of_an_earlier_release(uri) if earlier else []
    assert [(done.returncode, done.stderr) for done in at_once(APPEND, [[uri]] * 4)] == [(0, "")] * 4
    assert [entry.number for entry in ledger.intact_entries(uri)] == list(range(1, len(written) + 5))
    assert revisions(uri) == [REVISIONS[-1]]


@pytest.mark.parametrize("statement", ["CREATE TABLE", "CREATE TRIGGER", f"INSERT INTO {VERSION_TABLE}"])
def test_a_first_writer_that_is_killed_leaves_nothing(uri: str, statement: str) -> None:
    (killed,) = at_once(KILLED + APPEND, [[uri, statement]])
    assert killed.returncode == -signal.SIGKILL
    assert tables(uri) == set()
    assert ledger.entries(uri) == []
    noted(uri, 1)
    assert revisions(uri) == [REVISIONS[-1]]


@pytest.mark.parametrize("statement", ["DROP TRIGGER", "CREATE TRIGGER", f"INSERT INTO {VERSION_TABLE}"])
def test_one_that_is_killed_while_it_adopts_a_ledger_leaves_it_as_it_was(uri: str, statement: str) -> None:
    written = of_an_earlier_release(uri)
    (killed,) = at_once(KILLED + APPEND, [[uri, statement]])
    assert killed.returncode == -signal.SIGKILL
    assert tables(uri) == {LEDGER.name}
    assert ledger.intact_entries(uri) == written
    noted(uri, 1)
    assert len(ledger.intact_entries(uri)) == 4


def test_who_reads_or_appends_to_an_up_to_date_ledger_never_imports_alembic(uri: str) -> None:
    ledger.append(uri, action=Action.REJECT, reason="the first")
    (done,) = at_once(f"ledger.state(sys.argv[1]); {APPEND}; print('alembic' in sys.modules)", [[uri]])
    assert (done.stdout.strip(), done.stderr) == ("False", "")
