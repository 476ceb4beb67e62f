"""The boundary to whoever wants to hear of events: a command, a webhook, or a Prefect notification block.

Every hook has a deadline. A hook that fails is an ``OutsideError`` in one sentence, which never holds the address of
a webhook: it is a secret.
"""

import asyncio
import contextvars
import inspect
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from data.errors import OutsideError
from data.events import Event

if TYPE_CHECKING:
    from data.param_operation import HookParams

_LONGEST_SAID = 200


def name(hook: "HookParams") -> str:
    """A hook as messages name it."""
    if hook.command:
        return f"command {hook.command[0]}"
    return f"webhook {hook.webhook_variable}" if hook.webhook_variable else f"Prefect block {hook.prefect_block}"


def send_all(hooks: Sequence["HookParams"], event: Event) -> list[str]:
    """Call every hook that waits for the event; returns one sentence for each that failed."""
    complaints = []
    for hook in hooks:
        if event.event in hook.on:
            try:
                send(hook, event)
            except OutsideError as error:
                complaints.append(str(error))
    return complaints


def send(hook: "HookParams", event: Event) -> None:
    """Call one hook.

    Raises:
        OutsideError: it failed, or was not done in time; the sentence says what to mend.
    """
    try:
        if hook.command:
            _run(hook.command, event, hook.timeout_seconds)
        elif hook.webhook_variable:
            _within(hook.timeout_seconds, lambda: _post(hook.webhook_variable, event, hook.timeout_seconds))
        else:
            _within(hook.timeout_seconds, lambda: _through_prefect(hook.prefect_block, event))
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        raise OutsideError(
            f"The hook {name(hook)} was not done with {event.event} within {hook.timeout_seconds:g} s and was left. "
            "Mend it, or raise its timeout_seconds."
        ) from error
    except Exception as error:  # whatever another program or library does, the cycle goes on
        raise OutsideError(
            f"The hook {name(hook)} did not take {event.event}: {_said(error)}. Mend it, then try it with "
            "relearn notify test."
        ) from None


def _said(error: Exception) -> str:
    """What went wrong in a few words; of a library's errors only the kind, as they quote addresses."""
    if isinstance(error, _HookError):
        return str(error)
    return (
        (error.strerror or type(error).__name__)
        if type(error).__module__ == "builtins" and isinstance(error, OSError)
        else type(error).__name__
    )


class _HookError(Exception):
    """A failure that is safe to be quoted."""


def _payload(event: Event) -> str:
    return json.dumps(event.model_dump(mode="json", by_alias=True), ensure_ascii=False)


def _run(command: list[str], event: Event, seconds: float) -> None:
    """Run a program without a shell, the event on its standard input; its whole group is ended at the deadline.

    Files stand in for pipes: a program that does not read, or leaves a child behind, then holds nobody up.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as complaints:
        given.write(_payload(event).encode() + b"\n")
        given.seek(0)
        program = subprocess.Popen(  # noqa: S603 (the command is the operator's own)
            command,
            stdin=given,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            cwd=event.workspace,
            start_new_session=True,
        )
        try:
            code = program.wait(timeout=seconds)
        except BaseException:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
            raise
        if code:
            complaints.seek(0)
            text = " ".join(complaints.read(4 * _LONGEST_SAID).decode(errors="replace").split())[:_LONGEST_SAID]
            raise _HookError(f"exit code {code}" + (f", {text}" if text else ""))


def _post(variable: str, event: Event, seconds: float) -> None:
    address = os.environ.get(variable, "").strip()
    if not address:
        raise _HookError(f"the environment variable {variable} is not set")
    if not address.startswith(("http://", "https://")):
        raise _HookError(f"the environment variable {variable} holds no http or https address")
    import requests

    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = requests.post(address, data=_payload(event).encode(), headers=headers, timeout=seconds, stream=True)
    answer.close()
    if answer.status_code >= 400:
        raise _HookError(f"it answered {answer.status_code}")


def _through_prefect(block: str, event: Event) -> None:
    import prefect.blocks.notifications  # noqa: F401 - makes Prefect's own blocks known by their type
    from prefect.blocks.abstract import NotificationBlock
    from prefect.blocks.core import Block

    try:
        loaded = Block.load(block)
    except ValueError as error:
        raise _HookError("Prefect knows no such block") from error
    if not isinstance(loaded, NotificationBlock):
        raise _HookError("the block is not one for notifications")
    with loaded.raise_on_failure():
        sent = loaded.notify(body=event.body(), subject=event.subject())
        if inspect.iscoroutine(sent):
            asyncio.run(sent)


def _within(seconds: float, work: Callable[[], None]) -> None:
    """Do ``work`` beside this thread and wait no longer than ``seconds``; what hangs is left to end by itself.

    Raises:
        TimeoutError: it is not done; otherwise whatever ``work`` raised.
    """
    failed: list[Exception] = []

    def attempt() -> None:
        try:
            work()
        except Exception as error:  # handed to the caller below
            failed.append(error)

    here = contextvars.copy_context()  # where Prefect keeps its settings
    thread = threading.Thread(target=here.run, args=(attempt,), name="relearn hook", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError
    if failed:
        raise failed[0]
