"""Running a cycle or one stage: the lock, the environment of the libraries, and whether there is anything to do."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from data.errors import OutsideError, RelearnError
from data.files import write_json
from data.records import Record
from data.report_records import Cycle, CycleResult
from data.workspace import Workspace, open_workspace
from flows.inputs import fix_accepted, fix_inputs, last_cycle, unchanged

if TYPE_CHECKING:
    from flows.promote import Promotion


def run_cycle(root: Path, quick: bool, loss_reason: str | None) -> CycleResult:
    """One cycle in the workspace at ``root``, or the last result if nothing changed since.

    Raises:
        RelearnError: whatever stopped it; the next call goes on from the last finished stage.
    """
    workspace = open_workspace(root)
    with locked(workspace, "a cycle"):
        key = fix_inputs(workspace, quick)
        known = unchanged(workspace, key) if loss_reason is None else None
        if known is not None:
            return known
        fix_accepted(workspace, key, loss_reason)
        use_prefect_of(workspace)
        from flows.cycle import cycle

        for name in ("prefect.flow_runs", "prefect.task_runs"):
            logging.getLogger(name).addFilter(_is_not_said_by_us)
        state = cycle(str(workspace.root), key, return_state=True)
        if state.is_failed() or state.is_crashed():
            state.result()
        finished = last_cycle(workspace) or Cycle(key=key)
        if finished.result is None:
            raise OutsideError("Prefect ended the cycle without a result. Run the same command again.")
        return finished.result


def run_stage_alone(root: Path, stage: str) -> Record:
    """One stage, as ``dvc.yaml`` calls it."""
    workspace = open_workspace(root)
    from importlib import import_module

    from flows.progress import Lines

    lines = Lines(stage)
    reports = {"synthesize": (lines.asked, lines.warn), "train": (lines.trained,), "assess": (lines.answered,)}
    work = getattr(import_module(f"flows.{stage}"), stage)
    with locked(workspace, f"stage {stage}"):
        record: Record = work(workspace, *reports.get(stage, ()))
    return record


def promote_version(root: Path, version: int, reason: str, override: bool) -> "Promotion":
    """Let a registered version serve."""
    from flows.promote import promote

    workspace = open_workspace(root)
    with locked(workspace, "a promotion"):
        return promote(workspace, version, reason, override=override)


@contextmanager
def locked(workspace: Workspace, purpose: str) -> Iterator[None]:
    """Hold the workspace's lock; the kernel frees it when the process dies.

    Raises:
        OutsideError: another process holds it; it says which, and since when.
    """
    workspace.state.mkdir(parents=True, exist_ok=True)
    note = workspace.lock.with_suffix(".json")
    lock = FileLock(workspace.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutsideError(f"{_holder(note)} Wait for it, then run the same command again.") from error
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(note, {"pid": os.getpid(), "purpose": purpose, "since": since})
        yield
    finally:
        lock.release()


def _holder(note: Path) -> str:
    try:
        holder = json.loads(note.read_text())
        return f"The workspace is held by {holder['purpose']} (process {holder['pid']}) since {holder['since']}."
    except (OSError, ValueError, KeyError):
        return "The workspace is held by another process."


def _is_not_said_by_us(record: logging.LogRecord) -> bool:
    """Our failures are one sentence, said once at the end; Prefect keeps them as the run's state."""
    ours = record.exc_info is not None and isinstance(record.exc_info[1], RelearnError)
    return not ours and not record.getMessage().startswith("Finished in state")


def use_prefect_of(workspace: Workspace) -> None:
    """Keep Prefect's database in the workspace, unless a server is configured; set before Prefect is imported."""
    os.environ.setdefault("PREFECT_HOME", str(workspace.state / "prefect"))
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    # what runs say is kept for Prefect's pages and not repeated on the terminal
    for runs in ("FLOW_RUNS", "TASK_RUNS"):
        os.environ.setdefault(f"PREFECT_LOGGING_LOGGERS_PREFECT_{runs}_LEVEL", "INFO")
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    os.environ.setdefault("PREFECT_RESULTS_PERSIST_BY_DEFAULT", "false")
    # a first start makes the database, which takes longer than Prefect waits by default
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
