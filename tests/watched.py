"""``relearn watch`` as a process of its own, and what Prefect's server says of its runs."""

import json
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import psutil

from data.workspace import Workspace
from tests.programs import RELEARN, without_prefect

PATIENCE = 180.0
"""Seconds; far more than anything here takes on a busy machine."""


def until(what: str, holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come about within {seconds:.0f} s"
        time.sleep(0.1)


def runs(api: str, flow: str = "update") -> list[dict[str, Any]]:
    """The flow's runs on a server, oldest first."""
    wanted = {"flows": {"name": {"any_": [flow]}}, "sort": "EXPECTED_START_TIME_ASC", "limit": 200}
    request = urllib.request.Request(
        f"{api}/flow_runs/filter", json.dumps(wanted).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)
    return found


def names(api: str, flow: str = "update") -> list[str]:
    """The states of the flow's runs, oldest first."""
    return [str(run["state_name"]) for run in runs(api, flow)]


class Watched:
    """A watch that ends with the block."""

    def __init__(self, workspace: Workspace, ended_by: signal.Signals = signal.SIGTERM) -> None:
        self.workspace = workspace
        self.ended_by = ended_by
        self.killed = False
        self.log = workspace.root / "watch.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [RELEARN, "watch", "--workspace", workspace.root],
                stdout=log,
                stderr=log,
                env=without_prefect(),
                cwd=workspace.root,
            )
        self.api = ""

    def __enter__(self) -> Self:
        try:
            until("the watch", lambda: "is watched" in self.said() or self.process.poll() is not None)
            found = re.search(r"pages: (http://\S+)", self.said())
            assert found, self.said()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.api = f"{found[1]}/api"
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        family = self.family()
        if self.killed:
            return
        try:
            self.process.send_signal(self.ended_by)
            assert self.process.wait(60) == 0, self.said()
            assert "Traceback" not in self.said(), self.said()
            assert not psutil.wait_procs(family, 20)[1]
        finally:
            for process in (self.process, *family):
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def said(self) -> str:
        """All it printed."""
        return self.log.read_text()

    def family(self) -> list[psutil.Process]:
        """The processes below it, which are to end with it."""
        if self.process.poll() is not None:
            return []
        children: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return children

    def kill(self) -> None:
        """Kill it, and wait for what must end with it."""
        family = self.family()
        self.killed = True
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert not psutil.wait_procs(family, 30)[1], "what it started outlives it"

    def is_busy(self) -> bool:
        """Whether a cycle runs or stands in line."""
        return any(run["state_type"] in ("RUNNING", "PENDING", "SCHEDULED") for run in runs(self.api))

    def until_runs(self, count: int) -> list[str]:
        """Wait until so many cycles have ended and nothing follows for a while; their states."""
        until(f"run {count}", lambda: len(runs(self.api)) >= count and not self.is_busy())
        quiet = time.monotonic() + 5
        until("quiet", lambda: self.is_busy() or time.monotonic() > quiet)
        if self.is_busy():
            return self.until_runs(count)
        return names(self.api)
