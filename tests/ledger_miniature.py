"""A ledger in miniature: how a version becomes champion in it, and what people do behind its back."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from data.cycle_records import LedgerEntry
from data.decisions import Action
from data.evaluation_records import Verdict
from data.workspace import PROJECT_ROOT
from tasks import ledger


def enthroned(
    uri: str, version: int, *, overridden: bool = True, reason: str = "it answers what we ask", actor: str | None = None
) -> LedgerEntry:
    """Make a version the champion in the ledger alone, without alias or pointer: an intent and its promotion."""
    before, evidence = ledger.state(uri).version, {"overridden": overridden}
    for action in (Action.INTEND, Action.PROMOTE):
        entry = ledger.append(
            uri, action=action, reason=reason, from_version=before, to_version=version, evidence=evidence, actor=actor
        )
    return entry


def judged(uri: str, version: int, verdict: Verdict = Verdict.PROMOTE, policy: str = "p") -> LedgerEntry:
    """A version's verdict under a gate policy."""
    evidence = {"policy": policy, "verdict": verdict.value, "evidence": "e"}
    return ledger.append(uri, action=Action.JUDGE, reason="measured", to_version=version, evidence=evidence)


def noted(uri: str, count: int) -> list[LedgerEntry]:
    """Entries that make no champion."""
    return [
        ledger.append(uri, action=Action.ACCEPT_LOSS, reason=f"to {n}", to_version=n, evidence={"share": 0.1})
        for n in range(1, count + 1)
    ]


@contextmanager
def behind_its_back(uri: str) -> Iterator[Connection]:
    """The database, each statement a transaction of its own."""
    engine = sa.create_engine(uri, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


def unprotect(connection: Connection) -> None:
    """Take the triggers away."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ALTER TABLE ledger DISABLE TRIGGER USER")
        return
    for name in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars().all():
        connection.exec_driver_sql(f"DROP TRIGGER {name}")


def at_once(script: str, arguments: Sequence[Sequence[str]]) -> list[subprocess.CompletedProcess[str]]:
    """One process for each list of arguments; all have imported the ledger before any begins."""
    prelude = "import sys; from data.decisions import Action; from tasks import ledger; print(flush=True); input()\n"
    environment = {**os.environ, "RELEARN_ACTOR": "writer", "PYTHONPATH": str(PROJECT_ROOT)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", prelude + script, *given],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for given in arguments
    ]
    for one in running:
        assert one.stdout is not None
        one.stdout.readline()
    for one in running:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    ended = [one.communicate(timeout=60) for one in running]
    return [
        subprocess.CompletedProcess(one.args, one.returncode, *said) for one, said in zip(running, ended, strict=True)
    ]
