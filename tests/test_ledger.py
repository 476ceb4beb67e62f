"""The ledger: it only grows, it shows tampering, and two writers never share a number; on SQLite and on PostgreSQL."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from data.addresses import without_passwords
from data.decisions import Action
from data.errors import InputError, OutsideError, PersonNeededError
from tasks import ledger
from tests.ledger_miniature import at_once, behind_its_back, enthroned, noted, unprotect

COPY = (
    "INSERT {} INTO ledger SELECT {}, time, 'other', action, from_version, to_version, reason, evidence, "
    "{}, {} FROM ledger WHERE number = 2"
)
REFUSED = {
    "": (
        "UPDATE ledger SET reason = 'another' WHERE number = 2",
        "DELETE FROM ledger WHERE number = 3",
        "DELETE FROM ledger",
        COPY.format("", "7", "'p'", "'d'"),
        COPY.format("", "3", "'p'", "'d'"),
    ),
    "sqlite": (COPY.format("OR REPLACE", "number", "previous", "digest"),),
    "postgresql": (
        "TRUNCATE ledger",
        COPY.format("", "number", "'p'", "'d'") + " ON CONFLICT (number) DO UPDATE SET actor = 'other'",
    ),
}


def test_what_was_appended_is_read_back_in_order_and_chained(uri: str) -> None:
    evidence = {"a": [1, 0.1, None, 1e-9, 10**20], "é": {"b": '\u2028\\"', "a": True}}
    written = [
        ledger.append(uri, action=Action.ACCEPT_LOSS, reason="é first", to_version=1, evidence=evidence),
        ledger.append(uri, action=Action.REJECT, reason="second", actor="somebody"),
    ]
    assert ledger.entries(uri) == written
    assert written[0].evidence == evidence
    assert [entry.number for entry in written] == [1, 2]
    assert written[1].previous == written[0].digest
    assert written[1].actor == "somebody"
    assert ledger.broken_at(uri) is None


def test_an_unwritten_ledger_is_empty_and_reading_creates_nothing(uri: str, tmp_path: Path) -> None:
    assert ledger.entries(uri) == []
    assert ledger.broken_at(uri) is None
    assert ledger.state(uri).champion is None
    assert list(tmp_path.iterdir()) == []


def test_the_database_refuses_everything_but_the_next_entry(uri: str) -> None:
    before = noted(uri, 3)
    with behind_its_back(uri) as database:
        for statement in REFUSED[""] + REFUSED[database.dialect.name]:
            with pytest.raises(sa.exc.DBAPIError, match="append-only"):
                database.exec_driver_sql(statement)
            assert ledger.entries(uri) == before, statement


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
def test_a_tampered_entry_is_found_once_the_triggers_are_gone(uri: str, statement: str, broken: int) -> None:
    noted(uri, 3)
    with behind_its_back(uri) as database:
        unprotect(database)
        database.exec_driver_sql(statement)
    assert ledger.broken_at(uri) == broken
    with pytest.raises(PersonNeededError, match=f"entry {broken} "):
        ledger.state(uri)
    with pytest.raises(PersonNeededError, match=f"entry {broken} "):
        noted(uri, 1)


def test_only_a_promotion_makes_a_champion_and_an_intent_one_to_be(uri: str) -> None:
    enthroned(uri, 4)
    ledger.append(uri, action=Action.REJECT, reason="not this one", to_version=5)
    assert ledger.require_champion(uri, 4).to_version == 4
    with pytest.raises(PersonNeededError, match="relearn promote 5"):
        ledger.require_champion(uri, 5)
    intent = ledger.append(
        uri, action=Action.INTEND, reason="after all", from_version=4, to_version=5, evidence={"overridden": True}
    )
    assert ledger.require_champion(uri, 5) == intent
    assert ledger.state(uri).version == 4


def test_four_processes_that_write_at_once_leave_one_intact_chain(uri: str) -> None:
    script = "for _ in range(5): ledger.append(sys.argv[1], action=Action.REJECT, reason='at once')"
    assert [(done.returncode, done.stderr) for done in at_once(script, [[uri]] * 4)] == [(0, "")] * 4
    assert [entry.number for entry in ledger.entries(uri)] == list(range(1, 21))
    assert {entry.actor for entry in ledger.entries(uri)} == {"writer"}
    assert ledger.broken_at(uri) is None


def test_of_two_switches_begun_at_once_one_is_told_of_the_other(uri: str) -> None:
    enthroned(uri, 1)
    script = (
        "try: ledger.append(sys.argv[1], action=Action.INTEND, reason='mine', from_version=1,"
        " to_version=int(sys.argv[2]), actor='person ' + sys.argv[2], evidence={'overridden': True})\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = {
        version: done.stdout.strip()
        for version, done in zip((2, 3), at_once(script, [[uri, "2"], [uri, "3"]]), strict=True)
    }
    (won,) = [version for version, told in said.items() if not told]
    intent = ledger.state(uri).intent
    assert intent is not None
    assert (intent.number, intent.to_version, intent.actor) == (3, won, f"person {won}")
    assert f"PersonNeededError A switch to version {won} is under way, begun by person {won} at " in said[5 - won]


def test_an_entry_needs_a_reason_and_plain_evidence(uri: str) -> None:
    with pytest.raises(InputError, match="--reason"):
        ledger.append(uri, action=Action.REJECT, reason="  ")
    with pytest.raises(InputError, match="finite"):
        ledger.append(uri, action=Action.REJECT, reason="why", evidence={"share": float("nan")})
    assert ledger.entries(uri) == []


def test_an_entry_that_cannot_be_read_is_broken(sqlite_uri: str) -> None:
    noted(sqlite_uri, 3)
    with behind_its_back(sqlite_uri) as database:
        unprotect(database)
        database.exec_driver_sql("""UPDATE ledger SET evidence = '{"share": ' WHERE number = 2""")
    assert ledger.broken_at(sqlite_uri) == 2
    with pytest.raises(PersonNeededError, match="entry 2 does not follow"):
        ledger.state(sqlite_uri)


def test_a_damaged_file_wants_its_backup(sqlite_uri: str) -> None:
    noted(sqlite_uri, 1)
    file = Path(sqlite_uri.removeprefix("sqlite:///"))
    file.write_bytes(b"no database at all" * 100)
    with pytest.raises(PersonNeededError, match=r"is damaged .*Restore its backup"):
        ledger.entries(sqlite_uri)


def test_a_database_that_cannot_be_opened_is_an_outside_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutsideError, match="ledger_uri"):
        ledger.append(f"sqlite:///{tmp_path}/file/ledger.db", action=Action.REJECT, reason="why")


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
