"""The programs that tests call, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from data.workspace import Workspace

RELEARN = Path(sys.executable).with_name("relearn")


def relearn(*arguments: str, workspace: Workspace | None = None) -> "subprocess.CompletedProcess[str]":
    """Call the command line in a process of its own, from the root folder; it never ends in a traceback.

    Nobody chose a Prefect server there, so that a cycle has one of its own.
    """
    command = [str(RELEARN), *arguments, *(["--workspace", str(workspace.root)] if workspace else [])]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, cwd="/", env=without_prefect()
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def without_prefect() -> dict[str, str]:
    """The environment of somebody who chose no Prefect server and no home for it."""
    return {name: value for name, value in os.environ.items() if name not in ("PREFECT_HOME", "PREFECT_API_URL")}


def relearn_json(workspace: Workspace, *arguments: str) -> tuple[int, Any]:
    """The exit code, and the one JSON object or what was said instead."""
    done = relearn(*arguments, "--json", workspace=workspace)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def git(place: Workspace, *arguments: str) -> str:
    """What git says in a workspace."""
    return _said("git", *arguments, cwd=place.root)


def dvc(place: Workspace, *arguments: str) -> str:
    """What DVC says in a workspace."""
    return _said(sys.executable, "-m", "dvc", *arguments, cwd=place.root)


def _said(*command: str, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout.strip()
