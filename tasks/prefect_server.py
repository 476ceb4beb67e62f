"""Prefect's temporary server: written down while a cycle uses it, so that one that a kill orphaned can be ended.

A process is ended only where this workspace's state names it, by its id, it began when the state says so, and the
cycle that started it is gone.
"""

import contextlib
import logging
import queue
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from pydantic import ValidationError

from data.errors import OutsideError, RelearnError
from data.files import write_record
from data.records import Record
from data.workspace import Workspace

SAME_START = 1.0
"""Seconds by which two readings of one process's start may differ."""
ENDING_SECONDS = 5.0


class Process(Record):
    """A process, told from a later one of the same number by its start."""

    pid: int
    began: float
    """Seconds since 1970."""


class Server(Record):
    """A temporary server and who started it."""

    server: Process
    started_by: Process


@contextlib.contextmanager
def reaching() -> Iterator[None]:
    """A server that went away is one sentence; the client has tried again before.

    Raises:
        OutsideError: Prefect's server does not answer.
    """
    from prefect.settings import PREFECT_API_URL

    try:
        yield
    except RelearnError:
        raise
    except Exception as error:
        cause = outage(error)
        if cause is None:
            raise
        _forget_what_was_not_sent()
        said = " ".join(str(cause).split()) or type(cause).__name__
        address = PREFECT_API_URL.value() or "its temporary address"
        raise OutsideError(
            f"Prefect's server at {address} did not answer ({said}). Start it again, or "
            "unset PREFECT_API_URL, then run the same command again; it goes on from the last finished stage."
        ) from error


def outage(error: BaseException) -> BaseException | None:
    """What tells of a server that does not answer, among an error and its causes; None: it is about something else."""
    import httpx
    from prefect.exceptions import PrefectHTTPStatusError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, httpx.TransportError | PrefectHTTPStatusError) or "Failed to reach API" in str(cause):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def is_news(record: logging.LogRecord) -> bool:
    """Whether a line of Prefect's log says something that a person cannot see in the one sentence at the end."""
    lost = ("Unable to connect to 'ws", "Service 'EventsWorker' failed", "Service 'APILogWorker' failed")
    error = record.exc_info[1] if record.exc_info else None
    return not record.getMessage().startswith(lost) and (error is None or outage(error) is None)


def _forget_what_was_not_sent() -> None:
    """Drop the events and logs that wait for a server that is gone; Prefect would try for minutes before it ended."""
    from prefect._internal.concurrency.services import QueueService

    services: type[Any] = QueueService
    for service in list(services._instances.values()):
        with contextlib.suppress(queue.Empty):
            while True:
                service._queue.get_nowait()


def remember(workspace: Workspace) -> None:
    """Write down the server that Prefect started for this process, if it did, and end an earlier orphan."""
    from prefect.server.api.server import SubprocessASGIServer

    end_orphan(workspace)
    for running in SubprocessASGIServer._instances.values():
        if running.server_process is not None:
            server, starter = _process(running.server_process.pid), _process(psutil.Process().pid)
            if server is not None and starter is not None:
                write_record(_note(workspace), Server(server=server, started_by=starter))


def orphan(workspace: Workspace) -> int | None:
    """Number of a server's process whose cycle is gone."""
    try:
        noted = Server.model_validate_json(_note(workspace).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return noted.server.pid if _lives(noted.server) and not _lives(noted.started_by) else None


def end_orphan(workspace: Workspace) -> int | None:
    """End the orphan, if there is one; returns the number of its process."""
    pid = orphan(workspace)
    if pid is not None:
        try:
            process = psutil.Process(pid)
            process.terminate()
            process.wait(ENDING_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
        except psutil.NoSuchProcess:
            pass
    return pid


def damage(workspace: Workspace) -> str | None:
    """What is wrong with the history of runs in the workspace; None: nothing, or there is none."""
    file = workspace.state / "prefect" / "prefect.db"
    if not file.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            unfinished = "SELECT name FROM sqlite_master WHERE name LIKE '\\_alembic\\_tmp\\_%' ESCAPE '\\'"
            if connection.execute(unfinished).fetchone():
                return "its tables were never finished"
    except sqlite3.DatabaseError as error:
        return None if "locked" in str(error) else str(error)
    return None if said == "ok" else str(said)


def _note(workspace: Workspace) -> Path:
    return workspace.state / "prefect" / "server.json"


def _process(pid: int) -> Process | None:
    try:
        return Process(pid=pid, began=psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def _lives(process: Process) -> bool:
    found = _process(process.pid)
    if found is None or abs(found.began - process.began) > SAME_START:
        return False
    return bool(psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE)
