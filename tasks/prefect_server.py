"""Prefect's own server as a child of this process: it ends when its parent does, however that ends.

Prefect's temporary server outlives a parent that is killed. This one reads its standard input, whose other end
the parent holds and the kernel closes with it, so that no process is left behind. Where a server is configured
(``PREFECT_API_URL`` or a profile), that one is used and none is started.

``python -m tasks.prefect_server PORT`` is the child.
"""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from data.errors import OutsideError
from data.files import refusal
from data.workspace import Workspace

HOST = "127.0.0.1"
START_SECONDS = 180
"""The first start makes the database."""
STOP_SECONDS = 10
SEND_SECONDS = 5
"""For the last of the runs' logs, and of their events."""
SERVED_BY = "RELEARN_SERVED_BY"
"""In the environment of what works for a watch: the watch's process id."""
CLIENT_RETRIES = 3
"""A server that restarts is waited for, some 15 seconds per request; one that is gone ends the cycle."""
SERVER_LOG = "server.log"
"""What the child says, in Prefect's home."""


def configure(workspace: Workspace) -> None:
    """Keep Prefect's state in the workspace and its voice down; before Prefect is imported, which reads this once."""
    settings = {
        "PREFECT_HOME": str(_home(workspace)),
        "PREFECT_LOGGING_LEVEL": "WARNING",
        # what runs say is kept for Prefect's pages and not repeated on the terminal
        "PREFECT_LOGGING_LOGGERS_PREFECT_FLOW_RUNS_LEVEL": "INFO",
        "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "INFO",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
        "PREFECT_CLIENT_MAX_RETRIES": str(CLIENT_RETRIES),
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)


def configured_server(workspace: Workspace) -> str | None:
    """Address of the API that a person has configured; None: each process that needs one starts its own."""
    configure(workspace)
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value() or None


def has_own_history(workspace: Workspace) -> bool:
    """Whether nobody but the workspace's own runs stand in the database that a cycle reports to."""
    home = os.environ["PREFECT_HOME"] if configured_server(workspace) is None else ""
    return home == str(_home(workspace))


def _home(workspace: Workspace) -> Path:
    return workspace.state / "prefect"


@contextlib.contextmanager
def prefect_server(
    workspace: Workspace, services: bool = False, meanwhile: Callable[[], None] | None = None
) -> Iterator[str]:
    """Address of the API to work with: the configured one, or that of a child that ends with this block.

    Args:
        workspace: where the child keeps its database.
        services: whether the child also schedules runs, follows events and shows its pages.
        meanwhile: what can be done while the child comes up, which takes seconds.

    Raises:
        OutsideError: the child does not come up.
    """
    configured = configured_server(workspace)
    if configured is not None:
        yield configured
        return
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    port = _free_port()
    with _child(port, services) as child:
        url = f"http://{HOST}:{port}/api"
        if meanwhile is not None:
            meanwhile()
        _wait_for(url, child)
        # heartbeats tell a lasting server of a crash; they delay the end of a run by up to a second
        lone = {} if services else {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        with temporary_settings(updates={PREFECT_API_URL: url, **lone}):
            try:
                yield url
            finally:
                hand_over()


@contextlib.contextmanager
def known_to_threads(url: str) -> Iterator[None]:
    """Threads that Prefect starts without a context of settings, as its process pool does, find the API, too.

    They would start a temporary server of their own, which outlives a parent that is killed.
    """
    from prefect.context import refresh_global_settings_context

    name = "PREFECT_API_URL"
    before = os.environ.get(name)
    os.environ[name] = url
    refresh_global_settings_context()
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
        refresh_global_settings_context()


def hand_over() -> None:
    """Logs and events that Prefect would send by and by; it complains where the server is gone by then."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=SEND_SECONDS, at_exit=False)


@contextlib.contextmanager
def _child(port: int, services: bool) -> Iterator["subprocess.Popen[bytes]"]:
    # services that only a lasting server needs, and its pages, are left out for one run
    alone = {} if services else {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"}
    with (Path(os.environ["PREFECT_HOME"]) / SERVER_LOG).open("wb") as log:
        child = subprocess.Popen(  # noqa: S603 (this interpreter, and a number)
            [sys.executable, "-m", "tasks.prefect_server", str(port)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the parent, which still reports to it
            env={**os.environ, **alone, "PREFECT__SERVER_FINAL": "1"},
        )
    try:
        yield child
    finally:
        assert child.stdin is not None, "it was asked for"
        child.stdin.close()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


def _wait_for(url: str, child: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(f"{url}/health", timeout=2).close()  # noqa: S310 (http on loopback)
            return
        time.sleep(0.1)
    raise OutsideError(
        f"Prefect's server did not start at {url} within {START_SECONDS} seconds. Run the same command again; if it "
        f"stays, read {SERVER_LOG} in {os.environ['PREFECT_HOME']}."
    )


def damage(workspace: Workspace) -> str | None:
    """What is wrong with the history of runs in the workspace; None: nothing, or there is none.

    Raises:
        OutsideError: the operating system does not let this user read it.
    """
    file = (_home(workspace) / "prefect.db").absolute()
    try:
        if not file.is_file():
            return None
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except (OSError, sqlite3.DatabaseError) as error:
        refused = refusal(error)
        if refused is not None:
            raise OutsideError(
                f"{file} could not be read ({refused}). Mend the permissions, then run the same command again."
            ) from error
        return None if "locked" in str(error) else str(error)
    return None if said == "ok" else str(said)


def _end_servants(watch: int) -> None:
    """End the runs of a watch that is gone; one that was just coming up would look for its server for half a minute."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(SERVED_BY) == str(watch):
                process.kill()


def _serve(port: int) -> None:
    """The child: serve until the parent lets go of standard input."""
    import uvicorn

    parent = os.getppid()

    def leave_with_parent() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            _end_servants(parent)
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    uvicorn.run(
        "prefect.server.api.server:create_app", factory=True, host=HOST, port=port, log_level="error", lifespan="on"
    )


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
