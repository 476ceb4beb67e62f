"""Running a cycle or one stage: the lock, the environment of the libraries, and whether there is anything to do."""

import asyncio
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from data.actor import current_actor
from data.cycle_records import Cycle, CycleResult
from data.errors import HeldError, InputError, OutsideError, RelearnError
from data.files import refused_writes, shortened, write_json
from data.records import Record
from data.workspace import Workspace, open_workspace
from flows.advice import next_command
from flows.inputs import fix_accepted, fix_inputs, last_cycle, look_at, unchanged
from flows.notices import failure_told, tell_of_switch, tell_of_withdrawal
from flows.progress import Lines
from flows.stages import perform

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from flows.switch import Switched
    from flows.withdraw import Withdrawal

ONE_WATCH = "One watch is enough for it; to begin another, end that process first."
WAIT = "Wait for it, then run the same command again."
POLL_SECONDS = 0.5
"""Between two tries to get the lock."""


def run_cycle(root: Path, quick: bool, loss_reason: str | None, wait: bool = False) -> CycleResult:
    """One cycle in the workspace at ``root``, or the last result if nothing changed since.

    Args:
        root: the workspace.
        quick: fewer steps and questions.
        loss_reason: why a person accepts that documents were lost.
        wait: for another process that holds the workspace, instead of leaving.

    Raises:
        RelearnError: whatever stopped it; the next call goes on from the last finished stage.
    """
    from flows.people import acting
    from tasks.relocation import require_own_place

    workspace = open_workspace(root)
    with locked(workspace, "a cycle", wait), failure_told(workspace):
        require_own_place(workspace)
        acting(workspace, "operator", "A cycle")
        changed_gates = _follow_gates(workspace)
        left = _is_left(workspace, quick)
        key = look_at(workspace, quick).key if left else fix_inputs(workspace, quick)
        known = _without_stages(workspace, key) if loss_reason is None and not left else None
        if known is not None:
            return _told(workspace, known, changed_gates)
        from tasks.prefect_server import has_own_history, prefect_server

        own = has_own_history(workspace)
        with prefect_server(workspace, meanwhile=partial(_get_ready, workspace)):
            if left:
                _conclude(workspace, key, own)
                key = fix_inputs(workspace, quick)
            finished = _finish(workspace, key, loss_reason, own)
        if finished.result is None:
            raise OutsideError("Prefect ended the cycle without a result. Run the same command again.")
        return _told(workspace, finished.result, changed_gates)


def _follow_gates(workspace: Workspace) -> str:
    """What a changed gate policy did to the champion, one sentence; empty: nothing."""
    from flows.succession import follow_gates

    done = follow_gates(workspace)
    if done is None:
        return ""
    tell_of_switch(workspace, done)
    return f"Version {done.to_version} serves now: {done.reason}"


def _without_stages(workspace: Workspace, key: str) -> CycleResult | None:
    """The result for inputs that were seen before; None: the stages have to run."""
    known = unchanged(workspace, key)
    if known is not None:
        return known.model_copy(update={"next_command": next_command(workspace, known.version, known.verdict)})
    cycle = last_cycle(workspace)
    if cycle is not None and cycle.result is None and cycle.key == key:
        return None  # a killed cycle goes on
    from flows.comeback import come_back

    return come_back(workspace, key)


def _told(workspace: Workspace, result: CycleResult, changed_gates: str) -> CycleResult:
    """The result as people get it: under the gates in force, with what they have to put right, and what to look at."""
    from tasks import ledger
    from tasks.mirrors import that_differ
    from tasks.places import ledger_uri

    state, verdict, reasons = ledger.state(ledger_uri(workspace)), result.verdict, result.reasons
    if state.verdict(result.version) not in (None, verdict):  # the gates were edited since
        verdict, reasons = state.rulings[result.version].verdict, state.rulings[result.version].reasons
    switched = " ".join(filter(None, (changed_gates, result.switched if result.changed else "")))
    update = {
        "verdict": verdict,
        "reasons": reasons,
        "switched": switched,
        "warnings": tuple(that_differ(workspace)),
    }
    return result.model_copy(update=update)


def _get_ready(workspace: Workspace) -> None:
    """Import what every cycle needs, and make what a new workspace lacks, which takes seconds."""
    import flows.cycle
    import flows.ingest  # noqa: F401
    from tasks.tracking import load_mlflow, make_store
    from tasks.validation import load_expectations

    load_mlflow()
    with suppress(RelearnError):  # the cycle comes to it again, and says it where its other failures stand
        make_store(workspace)
    load_expectations()


def _is_left(workspace: Workspace, quick: bool) -> bool:
    """Whether a killed cycle with other inputs left its candidate to be registered."""
    if not workspace.judged.is_file():
        return False
    from flows.judged import left_by_another

    return left_by_another(workspace, look_at(workspace, quick).key) is not None


def _conclude(workspace: Workspace, key: str, own_history: bool) -> None:
    """Do what a killed cycle had left to do, before the inputs of the one with ``key`` are written down."""
    from flows.cycle import conclude

    with prefect_works(own_history):
        _require_success(conclude(str(workspace.root), key, return_state=True))


def _finish(workspace: Workspace, key: str, loss_reason: str | None, own_history: bool) -> Cycle:
    """Run the flow and read what it wrote down.

    Once a cycle has written its result down it is finished, even if Prefect's server is gone and never hears of it.
    """
    from flows.cycle import cycle

    try:
        with prefect_works(own_history):
            fix_accepted(workspace, key, loss_reason)
            _require_success(cycle(str(workspace.root), key, return_state=True))
    except OutsideError:
        done = last_cycle(workspace)
        if done is None or done.result is None or done.key != key:
            raise
    return last_cycle(workspace) or Cycle(key=key)


@contextmanager
def prefect_works(own_history: bool) -> Iterator[None]:
    """Flows may run: Prefect's voice is down, an outage is one sentence, and what a kill left running is ended."""
    from tasks.orchestration import sweep_alone
    from tasks.prefect_outage import is_news, outage_said

    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_is_not_said_by_us)
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.events.clients", "prefect._internal.concurrency"):
        logging.getLogger(name).addFilter(is_news)
    with outage_said():
        if own_history:
            asyncio.run(sweep_alone())
        yield


def _require_success(state: "State[Any]") -> None:
    """Raise what ended a flow run."""
    if state.is_failed() or state.is_crashed():
        state.result()


def run_stage_alone(root: Path, stage: str) -> Record:
    """One stage, as ``dvc.yaml`` calls it.

    Raises:
        InputError: no cycle was ever begun here.
    """
    workspace = open_workspace(root)
    if not workspace.accepted.is_file():
        raise InputError(
            f"No cycle was begun in {workspace.root}, so that nothing says what a stage follows from. Begin "
            "with relearn run."
        )
    with locked(workspace, f"stage {stage}"):
        return perform(workspace, stage)


def promote_version(root: Path, version: int, reason: str, override: bool) -> "Switched":
    """Let a registered version serve, and tell of it; one that served already is no news."""
    from flows.promote import promote

    workspace = open_workspace(root)
    with locked(workspace, f"the promotion of version {version}", why=reason):
        return _told_of(workspace, version, lambda: promote(workspace, version, reason, override=override))


def roll_back(root: Path, reason: str, to: int | None, override: bool) -> "Switched":
    """Let another version serve than the champion, and tell of it."""
    from flows.rollback import rollback

    workspace = open_workspace(root)
    with locked(workspace, "a rollback", why=reason):
        return _told_of(workspace, to, lambda: rollback(workspace, reason, to, override=override))


def _told_of(workspace: Workspace, version: int | None, act: Callable[[], "Switched"]) -> "Switched":
    """A switch that the hooks hear of; what a kill kept from them is told by the same command."""
    cut_off = workspace.switch.is_file() and json.loads(workspace.switch.read_bytes()).get("version") == version
    write_json(workspace.switch, {"version": version})
    done = act()
    if done.entered or cut_off:  # twice after a kill rather than never
        tell_of_switch(workspace, done)
    workspace.switch.unlink()
    if done.entered and workspace.params().versioning.commit:
        from tasks import revisions

        revisions.commit(workspace, f"Version {done.to_version} serves\n\n{done.reason}")
    return done


def reject_version(root: Path, version: int, reason: str) -> dict[str, Any]:
    """Let a version never become champion but by an override."""
    from flows.reject import reject

    workspace = open_workspace(root)
    with locked(workspace, f"the rejection of version {version}", why=reason):
        return reject(workspace, version, reason)


def withdraw_document(root: Path, document: str, reason: str, back: bool = False) -> "Withdrawal":
    """Withdraw a document, or reinstate it (``back``), and tell of a champion that goes with it."""
    from flows.withdraw import reinstate, withdraw

    workspace = open_workspace(root)
    with locked(workspace, f"the {'reinstatement' if back else 'withdrawal'} of a document", why=reason):
        done = (reinstate if back else withdraw)(workspace, document, reason)
        tell_of_withdrawal(workspace, done)
        return done


def watch_workspace(root: Path) -> None:
    """Schedule and data-change triggers, until SIGTERM or Ctrl-C.

    Raises:
        InputError: the settings cannot be read, or the workspace was moved or copied.
        OutsideError: another process watches already, or Prefect's server does not answer.
    """
    from tasks.prefect_server import configured_server, prefect_server
    from tasks.relocation import require_own_place

    workspace = open_workspace(root)
    require_own_place(workspace)
    shared = configured_server(workspace) is not None
    say = partial(Lines("watch").show, done=True)
    with (
        _held(workspace, workspace.watch_lock, "relearn watch", False, ONE_WATCH),
        prefect_server(workspace, services=True) as url,
    ):
        from flows.watch import watch

        say(f"Prefect's pages: {url.removesuffix('/api')}")
        watch(workspace, say, shared)
        say("Stopped. A cycle under way goes on when the watch, or relearn run, starts again.")


@contextmanager
def locked(workspace: Workspace, purpose: str, wait: bool = False, why: str = "") -> Iterator[None]:
    """Hold the workspace; two cycles at once would write into one another's files.

    Args:
        workspace: what is held.
        purpose: what for, as it is told to whoever finds it held.
        wait: for another process that holds it, instead of leaving.
        why: a decision's reason, told with it.

    Raises:
        HeldError: another process holds it, and ``wait`` is not set; it says which, since when, for whom and why.
    """
    with _held(workspace, workspace.lock, purpose, wait, why=why):
        yield


@contextmanager
def _held(
    workspace: Workspace, file: Path, purpose: str, wait: bool, remedy: str = WAIT, why: str = ""
) -> Iterator[None]:
    """Hold a lock file; the kernel frees it when the process dies."""
    note = file.with_suffix(".json")
    lock = _acquired(file, note, wait, remedy)
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        with suppress(RelearnError):  # the kernel's lock holds without it, and gc has to begin on a full disk
            who = {"pid": os.getpid(), "actor": _actor(workspace)}
            write_json(note, {**who, "purpose": purpose, "since": since, "why": why})
        yield
    finally:
        with suppress(OSError):  # as where somebody put a folder in its place
            note.unlink()
        lock.release()


def _actor(workspace: Workspace) -> str:
    """Who holds it; settings that cannot be read are told of by what is done while it is held."""
    try:
        return current_actor(workspace.params().people.actor)
    except RelearnError:
        return current_actor()


def _acquired(file: Path, note: Path, wait: bool, remedy: str) -> FileLock:
    """The lock, held.

    Raises:
        HeldError: another process holds it, and ``wait`` is not set.
        InputError: its place is taken by something else than a file.
        OutsideError: the operating system refuses the file.
    """
    if file.is_dir() or (file.parent.exists() and not file.parent.is_dir()):
        taken = file if file.is_dir() else file.parent
        kinds = ("folder", "file") if file.is_dir() else ("file", "folder")
        raise InputError(
            f"{taken} is a {kinds[0]}, but a {kinds[1]} belongs there. Take it away, then run the same command again."
        )
    lock = FileLock(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        if not wait:
            raise HeldError(f"{_holder(note)} {remedy}") from error
        Lines("waiting").show(_holder(note), done=True)
        lock.acquire(poll_interval=POLL_SECONDS)
    except OSError:
        with refused_writes(file):
            raise
    return lock


def _holder(note: Path) -> str:
    try:
        holder = json.loads(note.read_text())
        who = f", begun by {holder['actor']}" if holder.get("actor") else ""
        why = f' because: "{shortened(holder["why"])}"' if holder.get("why") else ""
        return (
            f"The workspace is held by {holder['purpose']} (process {holder['pid']}) since {holder['since']}{who}{why}."
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "The workspace is held by another process."


def _is_not_said_by_us(record: logging.LogRecord) -> bool:
    """Our failures are one sentence, said once at the end; Prefect keeps them as the run's state."""
    ours = record.exc_info is not None and isinstance(record.exc_info[1], RelearnError)
    return not ours and not record.getMessage().startswith(("Finished in state", "Crash detected!"))
