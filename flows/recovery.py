"""What a kill left of a switch is finished or undone, and whether anything is left.

A switch is open from its intent to its commit, and unfinished until the serving pointer names the commit. Every command
that decides, every cycle and ``relearn doctor`` ask here first.
"""

import os
import socket
import time
from datetime import UTC, datetime

import psutil

from data.cycle_records import LedgerEntry
from data.decisions import Decisions, passes, told
from data.errors import PersonNeededError, RelearnError
from data.workspace import Workspace
from flows.switch import carry_out, follow_commit, target_of, undo
from tasks import ledger, serving
from tasks.places import ledger_uri

ELSEWHERE_SECONDS = 600
"""So long a switch that another machine began counts as under way."""


def recover(workspace: Workspace) -> list[str]:
    """Finish or undo what a kill left of a switch; returns what was done, one sentence each.

    Raises:
        PersonNeededError: the ledger was tampered with or lost, or another machine is at it.
        InputError: the champion's files were exchanged.
        OutsideError: MLflow, the ledger or the disk is out of reach.
    """
    done = end_open_switch(workspace)
    champion = ledger.state(ledger_uri(workspace)).champion
    if champion is None or champion.to_version is None:
        require_no_pointer(workspace)
    elif not _follows(serving.pointer(workspace), champion):
        follow_commit(workspace, champion)
        done.append(f"The serving pointer follows ledger entry {champion.number} to version {champion.to_version}.")
    return done


def end_open_switch(workspace: Workspace) -> list[str]:
    """Finish a switch that was begun and not committed, or undo it where it cannot be finished.

    Whoever calls holds the workspace, so that a switch begun in it is one that was killed.

    Raises:
        PersonNeededError: another machine may still be at it.
        OutsideError: it can neither be finished nor undone now.
    """
    state = ledger.state(ledger_uri(workspace))
    intent = state.intent
    if intent is None:
        return []
    _require_dead(workspace, intent)
    if not _is_still_allowed(state, intent):
        undo(workspace, intent, "its verdict changed meanwhile")
        return [f"The switch to version {intent.to_version}, begun by {told(intent)}, was undone: its verdict changed."]
    try:
        carry_out(workspace, intent, time.monotonic())
    except RelearnError as error:
        if ledger.state(ledger_uri(workspace)).intent is not None:
            raise
        return [f"The switch to version {intent.to_version}, begun by {told(intent)}, was undone: {error}"]
    return [f"The switch to version {intent.to_version}, begun by {told(intent)}, was finished."]


def is_settled(workspace: Workspace) -> bool:
    """Whether no switch is open and the serving pointer stands where the ledger put it; MLflow is not asked.

    Raises:
        PersonNeededError: the ledger was tampered with.
    """
    state, pointer = ledger.state(ledger_uri(workspace)), serving.pointer(workspace)
    if state.champion is None:
        return state.intent is None and pointer is None
    return state.intent is None and _follows(pointer, state.champion)


def require_no_pointer(workspace: Workspace) -> None:
    """Refuse to begin anew where a version serves and the ledger knows of none.

    Raises:
        PersonNeededError: it was lost.
    """
    pointer = serving.pointer(workspace)
    if pointer is not None:
        raise ledger.lost(ledger_uri(workspace), pointer.version, pointer.entry)


def _follows(pointer: serving.ServingPointer | None, champion: LedgerEntry) -> bool:
    return pointer is not None and (pointer.entry, pointer.version) == (champion.number, champion.to_version)


def _is_still_allowed(state: Decisions, intent: LedgerEntry) -> bool:
    return passes(state, target_of(intent)) or bool(intent.evidence.get("overridden"))


def _require_dead(workspace: Workspace, intent: LedgerEntry) -> None:
    """A switch may be going on: in another process here, or on another machine with the same ledger."""
    host, place, process = (intent.evidence.get(name) for name in ("host", "workspace", "pid"))
    began = datetime.fromisoformat(intent.time)
    if host == socket.gethostname():
        alive = process != os.getpid() and _lives(int(process or 0), began.timestamp())
        remedy = "Wait for it"
    else:
        alive = (datetime.now(UTC) - began).total_seconds() < ELSEWHERE_SECONDS
        remedy = (
            f"Wait for it; if {host} is gone, any command finishes or undoes it after {ELSEWHERE_SECONDS // 60} minutes"
        )
    if alive:
        raise PersonNeededError(
            f"A switch to version {intent.to_version} is under way on {host} in {place}, begun by {told(intent)}. "
            f"{remedy}, then look at relearn status and decide again."
        )


def _lives(process: int, since: float) -> bool:
    """Whether a process is still the one that it was at that time."""
    try:
        return bool(psutil.Process(process).create_time() <= since)
    except psutil.Error:
        return False
