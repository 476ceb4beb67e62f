"""The ledger: it only grows, it shows tampering, and two writers never share a number."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from data.addresses import without_passwords
from data.errors import InputError, OutsideError, PersonNeededError
from data.workspace import PROJECT_ROOT
from tasks import ledger

COPY = (
    "INSERT {} INTO ledger SELECT {}, time, 'other', action, from_version, to_version, reason, evidence, "
    "{}, {} FROM ledger WHERE number = 2"
)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/state/ledger.db"


@pytest.fixture
def database(uri: str) -> sqlite3.Connection:
    """Three entries, opened behind the ledger's back."""
    for version in (1, 2, 3):
        ledger.append(uri, action="promote", reason=f"to {version}", to_version=version, evidence={"share": 0.1})
    return sqlite3.connect(uri.removeprefix("sqlite:///"), isolation_level=None)


def test_what_was_appended_is_read_back_in_order_and_chained(uri: str) -> None:
    written = [
        ledger.append(uri, action="promote", reason="é first", to_version=1, evidence={"a": [1, 0.1, None]}),
        ledger.append(uri, action="note", reason="second", actor="somebody"),
    ]
    assert ledger.entries(uri) == written
    assert [entry.number for entry in written] == [1, 2]
    assert written[1].previous == written[0].digest
    assert written[1].actor == "somebody"
    assert ledger.broken_at(uri) is None


def test_an_unwritten_ledger_is_empty_and_reading_creates_nothing(uri: str, tmp_path: Path) -> None:
    assert ledger.entries(uri) == []
    assert ledger.broken_at(uri) is None
    assert ledger.last_promotion(uri) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET reason = 'another' WHERE number = 2",
        "DELETE FROM ledger WHERE number = 3",
        "DELETE FROM ledger",
        COPY.format("OR REPLACE", "number", "previous", "digest"),
        COPY.format("", "7", "'p'", "'d'"),
    ],
)
def test_the_database_refuses_everything_but_the_next_entry(
    uri: str, database: sqlite3.Connection, statement: str
) -> None:
    before = ledger.entries(uri)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute(statement)
    assert ledger.entries(uri) == before


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE ledger SET reason = 'another' WHERE number = 2", 2),
        ("UPDATE ledger SET to_version = 9 WHERE number = 1", 1),
        ("UPDATE ledger SET evidence = '{\"share\": 0.2}' WHERE number = 3", 3),
        ("DELETE FROM ledger WHERE number = 1", 1),
        ("DELETE FROM ledger WHERE number = 2", 2),
    ],
)
def test_a_tampered_entry_is_found_once_the_triggers_are_gone(
    uri: str, database: sqlite3.Connection, statement: str, broken: int
) -> None:
    for trigger in ("ledger_update", "ledger_delete"):
        database.execute(f"DROP TRIGGER {trigger}")
    database.execute(statement)
    assert ledger.broken_at(uri) == broken
    with pytest.raises(PersonNeededError, match=f"entry {broken} "):
        ledger.last_promotion(uri)


def test_only_a_promotion_makes_a_champion(uri: str) -> None:
    ledger.append(uri, action="promote", reason="first", to_version=4)
    ledger.append(uri, action="reject", reason="not this one", to_version=5)
    assert ledger.require_champion(uri, 4).to_version == 4
    with pytest.raises(PersonNeededError, match="relearn promote 5"):
        ledger.require_champion(uri, 5)


def test_four_processes_that_write_at_once_leave_one_intact_chain(uri: str) -> None:
    script = (
        "import sys; from tasks import ledger\n"
        "for _ in range(5): ledger.append(sys.argv[1], action='note', reason='at once')"
    )
    environment = {**os.environ, "RELEARN_ACTOR": "writer"}
    writers = [
        subprocess.Popen([sys.executable, "-c", script, uri], cwd=PROJECT_ROOT, env=environment) for _ in range(4)
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    assert [entry.number for entry in ledger.entries(uri)] == list(range(1, 21))
    assert {entry.actor for entry in ledger.entries(uri)} == {"writer"}
    assert ledger.broken_at(uri) is None


def test_an_entry_needs_a_reason_and_plain_evidence(uri: str) -> None:
    with pytest.raises(InputError, match="--reason"):
        ledger.append(uri, action="promote", reason="  ")
    with pytest.raises(InputError, match="finite"):
        ledger.append(uri, action="promote", reason="why", evidence={"share": float("nan")})
    assert ledger.entries(uri) == []


def test_an_entry_that_cannot_be_read_is_broken(uri: str, database: sqlite3.Connection) -> None:
    for trigger in ("update", "delete", "insert"):
        database.execute(f"DROP TRIGGER ledger_{trigger}")
    database.execute("""UPDATE ledger SET evidence = '{"share": ' WHERE number = 2""")
    assert ledger.broken_at(uri) == 2
    with pytest.raises(PersonNeededError, match="entry 2 does not follow"):
        ledger.last_promotion(uri)


def test_a_damaged_file_wants_its_backup(uri: str, database: sqlite3.Connection) -> None:
    database.close()
    file = Path(uri.removeprefix("sqlite:///"))
    file.write_bytes(b"no database at all" * 100)
    with pytest.raises(PersonNeededError, match=r"is damaged .*Restore its backup"):
        ledger.entries(uri)


def test_a_database_that_cannot_be_opened_is_an_outside_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutsideError, match="ledger_uri"):
        ledger.append(f"sqlite:///{tmp_path}/file/ledger.db", action="note", reason="why")


def test_a_driver_that_nobody_knows_is_bad_input() -> None:
    with pytest.raises(InputError, match=r"cannot be spoken to .*nodriver.*registry\.ledger_uri") as failed:
        ledger.entries("postgresql+nodriver://bob:hunter2@127.0.0.1:9/ledger")
    assert "hunter2" not in str(failed.value)


def test_no_password_of_an_address_is_printed() -> None:
    with pytest.raises((InputError, OutsideError)) as failed:  # whether or not the driver is installed
        ledger.entries("postgresql://bob:hunter2@127.0.0.1:9/ledger")
    assert "bob:***@127.0.0.1" in str(failed.value)
    assert "hunter2" not in str(failed.value)


@pytest.mark.parametrize("password", ["hunter2", "a/b", "a@b", "a:b"])
def test_a_password_is_masked_whatever_is_in_it(password: str) -> None:
    said = f"no answer from postgresql://bob:{password}@host:5432/base (see http://host/help)"
    assert without_passwords(said) == "no answer from postgresql://bob:***@host:5432/base (see http://host/help)"


@pytest.mark.parametrize("name", ["password", "sslpassword", "sslkey", "api_key", "token", "PASSWD"])
def test_a_secret_in_a_query_is_masked(name: str) -> None:
    said = f"no answer from postgresql://host/base?user=bob&{name}=hunter2&port=1 (see http://host/help?page=2)"
    assert without_passwords(said) == said.replace("hunter2", "***")


def test_an_address_that_is_none_is_bad_input() -> None:
    for broken in ("postgresql+psycopg://bob:hunter2@host:port/base", "nothing"):
        with pytest.raises(InputError, match=r"registry\.ledger_uri") as failed:
            ledger.entries(broken)
        assert "hunter2" not in str(failed.value)


def test_postgresql_gets_its_triggers() -> None:
    statements: list[str] = []

    engine = sa.create_mock_engine("postgresql://", lambda statement, *_: statements.append(str(statement)))
    ledger.METADATA.create_all(engine, checkfirst=False)
    assert any("BEFORE UPDATE OR DELETE" in statement for statement in statements)
    assert any("BEFORE TRUNCATE" in statement for statement in statements)
    assert not any("RAISE(ABORT" in statement for statement in statements)
