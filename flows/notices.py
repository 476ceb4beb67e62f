"""Telling people what happened, through the hooks of ``params.yaml``; a hook that fails never fails a cycle."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from data.claims import told
from data.cycle_records import CycleResult
from data.errors import InputError, OutsideError, quoted
from data.evaluation_records import Verdict
from data.events import Event, EventName
from data.files import read_record
from data.param_operation import HookParams
from data.params import load_params
from data.records import Accepted, Snapshot
from data.report_records import SynthesisReport
from data.workspace import Workspace
from tasks.notify import name, send, send_all

if TYPE_CHECKING:
    from flows.switch import Switched
    from flows.withdraw import Withdrawal

_EVENTS: dict[Verdict, EventName] = {Verdict.HOLD: "held", Verdict.REJECT: "rejected"}


def make_event(workspace: Workspace, event: EventName, **what: Any) -> Event:
    """An event of this workspace, now."""
    time = datetime.now(UTC).isoformat(timespec="seconds")
    return Event(event=event, workspace=str(workspace.root), time=time, **what)


def notify(workspace: Workspace, event: Event) -> None:
    """Call the hooks that wait for the event; one that fails is told on standard error and in the run's log."""
    try:
        hooks = load_params(workspace.params_file).notify
    except InputError:
        return  # without parameters there are no hooks; that they cannot be read is said by whoever needed them
    waiting = [hook for hook in hooks if event.event in hook.on]
    try:
        with _reaching_prefect(workspace, waiting):
            complaints = send_all(waiting, event)
    except OutsideError as error:
        complaints = [str(error)]
    for complaint in complaints:
        _say(complaint)


def to_look_at(workspace: Workspace) -> tuple[str, ...]:
    """What the documents that were synthesized last give a person to look at."""
    return tuple(told(read_record(workspace.synthetic / "report.json", SynthesisReport)))


def tell_of_cycle(workspace: Workspace, result: CycleResult, served: int | None) -> None:
    """What a finished cycle has to tell; ``served`` is the version that served before it."""
    from flows.inputs import champion_entry

    about = {
        "version": result.version,
        "verdict": result.verdict.value,
        "report": result.report,
    }
    aside = _newly_quarantined(workspace)
    if aside:
        notify(workspace, make_event(workspace, "quarantined", quarantined=aside, **about))
    entry = champion_entry(workspace)
    promoted = entry is not None and entry.to_version == result.version != served
    event = "promoted" if promoted else _EVENTS.get(result.verdict)
    if event is not None:
        notify(workspace, make_event(workspace, event, reasons=result.reasons, **about))


def tell_of_switch(workspace: Workspace, done: "Switched") -> None:
    """Another version serves; an older one than before is a rollback, whatever command it took."""
    before, now = done.from_version, done.to_version
    event: EventName = "rolled_back" if before is not None and now < before else "promoted"
    about = {"version": now, "from_version": before, "to_version": now, "actor": done.actor}
    notify(workspace, make_event(workspace, event, reasons=(done.reason, *done.notes), **about))


def tell_of_withdrawal(workspace: Workspace, done: "Withdrawal") -> None:
    """A champion that went with a withdrawn document."""
    if done.from_version == done.to_version or done.to_version is None:
        return
    versions = {"version": done.to_version, "from_version": done.from_version, "to_version": done.to_version}
    reasons = (f"{done.path} was withdrawn: {done.reason}", *done.notes)
    notify(workspace, make_event(workspace, "rolled_back", reasons=reasons, actor=done.actor, **versions))


def _newly_quarantined(workspace: Workspace) -> tuple[str, ...]:
    """What was set aside and was not, in the same version, by the cycle before; else every night says the same."""
    now = read_record(workspace.collection / "snapshot.json", Snapshot)
    last = read_record(workspace.accepted, Accepted).newest
    known = {(document.path, document.digest) for document in last.quarantined} if last else set()
    return tuple(one.path for one in now.quarantined if (one.path, one.digest) not in known)


@contextmanager
def failure_told(workspace: Workspace) -> Iterator[None]:
    """Tell of an error that ends the block, and let it go on its way."""
    try:
        yield
    except Exception as error:
        tell_of_failure(workspace, error)
        raise


def tell_of_failure(workspace: Workspace, error: Exception) -> None:
    """What ended a cycle, or keeps one from beginning."""
    notify(workspace, make_event(workspace, "failed", reasons=(quoted(error),)))


def try_hooks(workspace: Workspace) -> list[dict[str, Any]]:
    """Call every hook once with an event that it waits for and that says it is a trial.

    Raises:
        InputError: there is no hook.
    """
    hooks = load_params(workspace.params_file).notify
    if not hooks:
        raise InputError(f"{workspace.params_file} names no hook. Put one into its block notify, then try again.")
    with _reaching_prefect(workspace, hooks):
        return [_tried(workspace, hook) for hook in hooks]


def _tried(workspace: Workspace, hook: HookParams) -> dict[str, Any]:
    event = make_event(workspace, hook.on[0], reasons=("This is a trial of the hook; nothing happened.",))
    reason = ""
    try:
        send(hook, event)
    except OutsideError as error:
        reason = str(error)
    return {"hook": name(hook), "event": event.event, "sent": not reason, "reason": reason}


def _reaching_prefect(workspace: Workspace, hooks: Sequence[HookParams]) -> AbstractContextManager[object]:
    """Prefect's server for the hooks that need one: the cycle's, the configured one, or one for this call."""
    if not any(hook.prefect_block for hook in hooks):
        return nullcontext()
    from tasks.prefect_server import prefect_server

    return prefect_server(workspace)


def _say(complaint: str) -> None:
    """On standard error, and in the log of the run that is under way, if one is.

    There not as a warning, which Prefect would bring to the terminal a second time.
    """
    from flows.progress import Lines

    Lines("notify").show(complaint, done=True)
    if "prefect" in sys.modules:
        from prefect import get_run_logger
        from prefect.exceptions import MissingContextError

        with suppress(MissingContextError):
            get_run_logger().info("%s", complaint)
