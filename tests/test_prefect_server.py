"""Prefect's server is a child that ends with its parent, however that ends."""

import os
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from data.workspace import Workspace
from tasks.prefect_server import SERVED_BY, prefect_server

PARENT = """
import sys, time
from pathlib import Path
from data.workspace import Workspace
from tasks.prefect_server import prefect_server
with prefect_server(Workspace(Path(sys.argv[1]))) as url:
    print(url, flush=True)
    time.sleep(600)
"""

SPEAKER = """
import sys
from pathlib import Path
from data.workspace import Workspace
from tasks.prefect_server import prefect_server
with prefect_server(Workspace(Path(sys.argv[1]))):
    from prefect import flow, get_run_logger
    flow(lambda: get_run_logger().info("the last word"), name="speaker")()
"""

KILLED = """
import os, signal, sys
from pathlib import Path
from data.workspace import Workspace
from tasks.prefect_server import prefect_server
with prefect_server(Workspace(Path(sys.argv[1]))):
    from prefect import flow
    flow(lambda: flow(lambda: os.kill(os.getpid(), signal.SIGKILL), name="cycle")(), name=sys.argv[2])()
"""

NEXT = """
import asyncio, sys
from pathlib import Path
from data.workspace import Workspace
from tasks.orchestration import sweep_alone
from tasks.prefect_server import prefect_server
with prefect_server(Workspace(Path(sys.argv[1]))):
    asyncio.run(sweep_alone())
"""


def test_a_killed_parent_leaves_no_server(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, tmp_path], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith("http://127.0.0.1:")
        children = psutil.Process(parent.pid).children(recursive=True)
        assert children
        parent.kill()
        assert not psutil.wait_procs(children, 30)[1]


def test_what_works_for_a_killed_watch_ends_however_far_it_has_come(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, tmp_path], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith("http://127.0.0.1:")
        sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
        other = subprocess.Popen(sleeper, env={**os.environ, SERVED_BY: "1"})
        servant = subprocess.Popen(sleeper, env={**os.environ, SERVED_BY: str(parent.pid)})
        parent.kill()
        try:
            assert servant.wait(30) == -signal.SIGKILL
            assert other.poll() is None, "it works for somebody else"
        finally:
            for process in (other, servant):
                process.kill()
                process.wait()


def test_a_server_that_is_configured_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with prefect_server(Workspace(tmp_path)) as first:
        urllib.request.urlopen(f"{first}/health").close()
        with prefect_server(Workspace(tmp_path / "other")) as second:
            assert second == first


def test_what_runs_said_last_is_kept_before_the_server_ends(tmp_path: Path) -> None:
    program, home = [sys.executable, "-c", SPEAKER, str(tmp_path)], {**os.environ, "PREFECT_HOME": str(tmp_path)}
    done = subprocess.run(program, env=home, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    with sqlite3.connect(tmp_path / "prefect.db") as database:
        assert ("the last word",) in database.execute("SELECT message FROM log").fetchall()


def test_a_killed_cycle_is_ended_by_the_next_unless_a_watch_began_it(tmp_path: Path) -> None:
    home = {**os.environ, "PREFECT_HOME": str(tmp_path)}
    for program in ((KILLED, "conclude"), (KILLED, "update"), (NEXT,)):
        done = subprocess.run([sys.executable, "-c", program[0], tmp_path, *program[1:]], env=home, check=False)
        assert done.returncode == (0 if program == (NEXT,) else -signal.SIGKILL)
    with sqlite3.connect(tmp_path / "prefect.db") as database:
        found = database.execute(
            "SELECT flow.name, flow_run.state_type FROM flow_run JOIN flow ON flow.id = flow_run.flow_id"
            " ORDER BY flow_run.created"
        ).fetchall()
    assert found == [("conclude", "CRASHED"), ("cycle", "RUNNING"), ("update", "RUNNING"), ("cycle", "RUNNING")]
