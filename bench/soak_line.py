"""The line under soak: a production workspace in miniature, and everything that runs on it as real processes.

Whatever they print goes into one file, so that nothing that was said is lost to a kill.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from data.workspace import Workspace
from flows.init import make_workspace
from tests import miniature
from tests.local_server import free_port

RELEARN = Path(sys.executable).with_name("relearn")
PATIENCE = 180.0
"""Seconds in which a process must have come up; far more than it takes on a busy machine."""
DYING = 30.0
"""Seconds in which everything that a killed process had started must be gone."""
LENIENT = {
    "min_new_right": 0.0, "max_held_drop": 1.0, "max_handbook_drop": 1.0, "max_stale_share": 1.0, "min_coverage": 0.0,
    "max_champion_drop": 1.0,
    "min_withdrawn_refused": 0.0, "min_surviving_share": 0.0, "max_sigma_ratio": 1e9,
    "warn_sigma_ratio": 1e9,
    "max_robust_z": 1e9,
    "warn_robust_z": 1e9,
}  # fmt: skip
FAST: dict[str, dict[str, Any]] = {
    "train": {"steps": 60},
    "ingest": {"max_bytes": 20_000},
    "gates": LENIENT,
    "gc": {"keep_versions": 3},
    "watch": {
        "cron": "* * * * *", "poll_seconds": 0.5, "settle_seconds": 2.0, "retry_seconds": 2.0, "max_retry_seconds": 8.0,
    },
}  # fmt: skip
"""A day is a minute, and a base of one layer is taught in seconds."""


def environment(place: Path) -> dict[str, str]:
    """Of every process: no telemetry, one thread, and no trace outside ``place``."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RELEARN_"))}
    return own | {
        "DO_NOT_TRACK": "1",
        "DVC_SITE_CACHE_DIR": str(place / "dvc-site"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
    }


def turn(workspace: Workspace, **blocks: dict[str, Any]) -> None:
    """Edit ``params.yaml``, whole at once."""
    params = yaml.safe_load(workspace.params_file.read_text(encoding="utf-8"))
    for block, values in blocks.items():
        params[block].update(values)
    draft = workspace.root.parent / "params.yaml"
    draft.write_text(yaml.safe_dump(params), encoding="utf-8")
    draft.replace(workspace.params_file)


def until(what: str, holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: it does not in time.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come about within {seconds:.0f} seconds.")
        time.sleep(0.2)


class Line:
    """A workspace with its watch, its MLflow server and the commands that people type beside them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.log = place / "line.log"
        self.wrong: list[str] = []
        """What must not be and was seen on the way, one sentence each."""
        self.environment = environment(place)
        os.environ.update(self.environment)  # what this process asks of DVC leaves no trace outside either
        self.workspace = self._make()
        self.watch: subprocess.Popen[bytes] | None = None
        self.begun = 0
        """Where in the file the watch began to print."""
        self.server: subprocess.Popen[bytes] | None = None
        self.typed: tuple[str, subprocess.Popen[bytes]] | None = None
        self.codes: dict[str, list[int]] = {}
        """Exit codes of what was typed, by command."""

    def _make(self) -> Workspace:
        trained = miniature.with_base(miniature.make_workspace(self.place / "base"))
        workspace = make_workspace(self.place / "line", str(trained.root / "base"), remote=str(self.place / "remote"))
        small: dict[str, Any] = miniature.SMALL
        turn(workspace, **small)
        self.port = free_port()
        registry: dict[str, Any] = {"mlflow_uri": f"http://127.0.0.1:{self.port}", "retries": 1, "retry_seconds": 1.0}
        turn(workspace, **FAST, registry=registry)
        deployments = workspace.root / "prefect.yaml"  # relearn doctor compares both
        deployments.write_text(deployments.read_text().replace('"0 2 * * *"', f'"{FAST["watch"]["cron"]}"'))
        as_person = ("-c", "user.name=A person", "-c", "user.email=person@relearn.invalid")
        subprocess.run(  # noqa: S603 (ours)
            ["git", *as_person, "commit", "--quiet", "--all", "--message", "A fast clock"],  # noqa: S607
            cwd=workspace.root,
            check=True,
        )
        shutil.rmtree(self.place / "base" / ".relearn", ignore_errors=True)
        return workspace

    def said(self, since: int = 0) -> str:
        """What all processes printed, from a place in the file on."""
        if not self.log.is_file():
            return ""
        with self.log.open("rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")

    def _start(self, *command: str, into: Path | None = None) -> "subprocess.Popen[bytes]":
        with (into or self.log).open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own command and MLflow's
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )

    # --- the watch -----------------------------------------------------------------------------------

    def start_watch(self) -> None:
        """Start it; it comes up within seconds."""
        self.begun = len(self.said().encode())
        self.watch = self._start(str(RELEARN), "watch", "--workspace", str(self.workspace.root))

    def is_watching(self) -> bool:
        """Whether the watch has come up."""
        return self.watch is not None and "is watched" in self.said(self.begun)

    def end_watch(self, number: signal.Signals) -> None:
        """Kill or end the watch alone, and see that all it had started ends with it."""
        assert self.watch is not None, "it was started"
        came_up = self.is_watching()
        family = self.family()
        self.watch.send_signal(number)
        try:
            code = self.watch.wait(60)
        except subprocess.TimeoutExpired:
            self.wrong.append(f"The watch did not end within 60 seconds of {number.name}.")
            self.watch.kill()
            code = self.watch.wait()
        if number is signal.SIGTERM and code and (came_up or code not in (-number, 128 + number)):
            self.wrong.append(f"The watch ended with {code} after SIGTERM.")
        left = psutil.wait_procs(family, DYING)[1]
        for process in left:
            self.wrong.append(f"Process {process.pid} outlived its watch by {DYING:.0f} seconds ({number.name}).")
            process.kill()

    def family(self) -> list[psutil.Process]:
        """All that the watch has started."""
        with suppress(psutil.NoSuchProcess):
            if self.watch is not None:
                return list(psutil.Process(self.watch.pid).children(recursive=True))
        return []

    def kill_cycle(self) -> bool:
        """Kill the process that works on a cycle, and it alone; False where none does."""
        with suppress(OSError, psutil.NoSuchProcess):
            found = re.search(r'"pid": ?(\d+)', self.workspace.lock.with_suffix(".json").read_text())
            working = [process for process in self.family() if found and process.pid == int(found[1])]
            for process in working:
                process.kill()
            return bool(working)
        return False

    # --- the database of versions --------------------------------------------------------------------

    def start_server(self) -> None:
        """Start MLflow's server over its SQLite database; it answers within seconds."""
        home = self.place / "mlflow"
        home.mkdir(exist_ok=True)
        self.server = self._start(
            str(RELEARN.with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(self.port),
            "--workers", "1", "--backend-store-uri", f"sqlite:///{home}/mlflow.db",
            "--artifacts-destination", str(home / "artifacts"), into=home / "log",
        )  # fmt: skip

    def kill_server(self) -> None:
        """Kill the server and its workers."""
        if self.server is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()
            self.server = None

    def answers(self) -> bool:
        """Whether MLflow's server does."""
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2).close()
        except OSError:
            return False
        return True

    # --- what people type ----------------------------------------------------------------------------

    def type(self, *arguments: str) -> bool:
        """Type a command beside the watch; False while the one before still runs."""
        if self.is_typing():
            return False
        self.typed = arguments[0], self._start(str(RELEARN), *arguments, "--workspace", str(self.workspace.root))
        return True

    def is_typing(self) -> bool:
        """Whether the last command still runs; its exit code is noted once."""
        if self.typed is None:
            return False
        name, process = self.typed
        if process.poll() is None:
            return True
        self.codes.setdefault(name, []).append(process.returncode)
        self.typed = None
        return False
