"""The watch: a schedule and a folder that changes, turned into one event, and the event into a cycle.

``relearn watch`` serves two deployments. ``look`` (by the clock) and the watch's own eye on the documents folder
both send ``relearn.documents.changed``, unless a cycle already stands in line; ``update`` answers it with a cycle.
Nothing rests on events alone: whether there is anything to do is decided again from the files, under the
workspace's lock, when ``update`` runs, so that a lost event is made up for at the next look and a doubled one does
nothing. ``prefect.yaml`` deploys the same two flows to any Prefect server, where ``look`` runs every few minutes
instead of the eye.
"""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runner import Runner
from prefect.states import Completed

from data.cycle_records import CycleResult
from data.errors import InputError, OutsideError, RelearnError, quoted
from data.workspace import Workspace, open_workspace
from flows import attempts
from flows.inputs import Now, look_at
from flows.notices import failure_told, make_event, notify, tell_of_failure
from flows.running import run_cycle
from tasks import orchestration
from tasks.prefect_outage import outage_said
from tasks.prefect_server import SERVED_BY

QUERY_SECONDS = 2.0
"""Between two questions to the server whether a run is due."""
ECHO_SECONDS = 60.0
"""An event becomes a run within seconds; the same one is not sent again before."""
SILENT_SECONDS = 120.0
"""A server that has not answered for this long is gone."""
SERVED_ROOT = "RELEARN_SERVED_ROOT"
"""Workspace of the watch, in the environment of the runs it starts."""


# --- what is deployed ------------------------------------------------------------------------------


@flow(name=orchestration.UPDATE, flow_run_name="update {digest:.8}", persist_result=False, validate_parameters=False)
def update(root: str, digest: str = "") -> State[Any]:
    """One cycle, if there is anything to do; its state is named after the verdict, or ``Unchanged``.

    Args:
        root: the workspace.
        digest: of the documents folder when the event was sent; what counts is what lies there now.
    """
    _end_with_the_watch()
    workspace = _served(root)
    with failure_told(workspace):
        attempt = attempts.begin(workspace, look_at(workspace))
    try:
        result = run_cycle(workspace.root, quick=False, loss_reason=None, wait=True)
    except Exception as error:
        attempts.end(workspace, attempt, error)
        raise
    attempts.end(workspace, attempt)
    return _state(result)


def _state(result: CycleResult) -> State[Any]:
    from flows.cycle import STATE_NAMES

    if not result.changed:
        return Completed(name="Unchanged", message="Nothing changed since the last cycle.")
    message = f"Version {result.version}: {' '.join(result.reasons)}"
    return Completed(name=STATE_NAMES[result.verdict], message=message)


@flow(name=orchestration.LOOK, persist_result=False, validate_parameters=False)
def look(root: str, due: bool = False) -> State[Any]:
    """Look at the documents folder until it lies still, and send the event if a cycle is wanted.

    Args:
        root: the workspace.
        due: by the daily schedule; other settings count too then, and what failed is tried again.
    """
    _end_with_the_watch()
    workspace = _served(root)
    with failure_told(workspace) if due else contextlib.nullcontext():  # once a day, not every few minutes
        return _looked(workspace, due)


def _looked(workspace: Workspace, due: bool) -> State[Any]:
    params = workspace.params().watch
    still = Stillness(params.settle_seconds, params.restless_seconds)
    now = look_at(workspace)
    while not still.lies(now.documents):
        time.sleep(params.poll_seconds)
        now = look_at(workspace)
    sent = asyncio.run(announce(workspace, now, due))
    get_run_logger().info("The documents are %.8s; %s", now.documents, "a cycle was asked for" if sent else "no cycle")
    return Completed(name="Announced" if sent else "Nothing to do")


async def announce(workspace: Workspace, now: Now, due: bool) -> bool:
    """Send the event if a cycle is wanted and none stands in line; whether it was sent."""
    if not attempts.is_wanted(workspace, now, due):
        return False
    name = workspace.params().watch.name
    last = attempts.last_attempt(workspace)
    begun = last is not None and last.key == now.key and last.exit_code is None
    if await orchestration.is_in_line(name) or (begun and await orchestration.is_running(name)):
        return False
    await orchestration.say_changed(name, now.documents)
    return True


class Stillness:
    """Whether a folder has had one digest for long enough: a file half written changes at the next look.

    One that never lies still counts as still once in a long while, so that it does not stop the line.
    """

    def __init__(self, seconds: float, restless: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.restless, self.clock = seconds, restless, clock
        self.digest: str | None = None
        self.since = self.moved = clock()

    def lies(self, digest: str) -> bool:
        """Take a look's digest into account."""
        now = self.clock()
        if digest != self.digest:
            self.digest, self.since = digest, now
        still = now - self.since >= self.seconds or now - self.moved >= self.restless
        self.moved = now if still else self.moved
        return still


def _served(root: str) -> Workspace:
    """The workspace of a run; whoever reaches the server must not point a watch's run to a folder of theirs.

    Raises:
        InputError: it is not the one that is watched.
    """
    watched = os.environ.get(SERVED_ROOT)
    workspace = open_workspace(Path(root))
    if watched is not None and workspace.root != Path(watched):
        raise InputError(f"This run is for {root}, but {watched} is watched here. Run relearn watch in that workspace.")
    return workspace


def _end_with_the_watch() -> None:
    """A run whose watch was killed would go on without a server, beside its own second try; it ends instead."""
    watch = os.environ.get(SERVED_BY)
    if watch is None:
        return

    def wait() -> None:
        while os.getppid() == int(watch):  # at once where the watch was killed while this process came up
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


# --- the process that serves it --------------------------------------------------------------------


async def serve(workspace: Workspace, say: Callable[[str], None], shared: bool) -> None:
    """Serve both deployments and watch the folder until SIGTERM or Ctrl-C.

    Args:
        workspace: what is watched.
        say: tells people what happens.
        shared: whether other workspaces may use the same Prefect server.

    Raises:
        InputError: another workspace has this one's name there.
        OutsideError: Prefect's server does not answer.
    """
    params = workspace.params().watch
    os.environ[SERVED_BY], os.environ[SERVED_ROOT] = str(os.getpid()), str(workspace.root)
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")  # of libraries among themselves
    with outage_said():
        if shared:
            await orchestration.require_own(params.name, str(workspace.root))
        swept = await orchestration.sweep(params.name)
    for said in _told(swept):
        say(said)
    if swept.missed:
        missed = make_event(workspace, "missed", reasons=(_told(swept)[-1],))
        await asyncio.to_thread(notify, workspace, missed)
    stopped, leave = _on_signals()
    runner = Served(leave, name=params.name, query_seconds=QUERY_SECONDS, limit=1, pause_on_shutdown=False)
    with outage_said():
        for deployment in await orchestration.deployments(params, str(workspace.root), update, look):
            await runner.aadd_deployment(deployment)
    serving = asyncio.create_task(runner.start())
    while not (runner.started or serving.done()):
        await asyncio.sleep(0.05)
    watching = asyncio.create_task(Eye(workspace, say).watch())
    say(f"{workspace.documents} is watched; a cycle is due at {params.cron!r} ({params.timezone}). Ctrl-C ends it.")
    done, _ = await asyncio.wait({serving, watching, stopped}, return_when=asyncio.FIRST_COMPLETED)
    watching.cancel()
    if runner.started:
        await runner.astop()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    for task in done - {stopped}:
        task.result()


def _told(swept: orchestration.Swept) -> list[str]:
    said = []
    if swept.crashed:
        said.append(f"{swept.crashed} runs were left unfinished; one cycle goes on with them.")
    if swept.missed:
        said.append(f"{swept.missed} scheduled runs were missed; one makes up for them.")
    return said


class Served(Runner):
    """Prefect's runner, which leaves it to the watch what SIGTERM does: its own way blocks the loop."""

    def __init__(self, leave: Callable[..., None], **settings: Any) -> None:
        super().__init__(**settings)
        self.leave = leave

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        """What the runner lets SIGTERM do once it starts."""
        self.leave(*args, **kwargs)


def _on_signals() -> tuple["asyncio.Task[None]", Callable[..., None]]:
    """A task that is done once SIGTERM or SIGINT came, and what they call."""
    loop, came = asyncio.get_running_loop(), asyncio.Event()

    def leave(*_: object) -> None:
        if not loop.is_closed():  # while the server is being ended, there is nothing left to stop
            loop.call_soon_threadsafe(came.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)

    async def wait() -> None:
        await came.wait()

    return asyncio.create_task(wait()), leave


@dataclass(frozen=True)
class Trouble:
    """What keeps the eye from looking."""

    said: str
    since: float
    """On the monotonic clock."""
    told: bool = False
    """To the hooks."""


class Eye:
    """Looks at the documents folder every few seconds."""

    def __init__(self, workspace: Workspace, say: Callable[[str], None]) -> None:
        self.workspace = workspace
        self.params = workspace.params().watch
        """As they were last readable."""
        self.say = say
        self.due = True
        """Once, at the start: whatever happened while nobody watched counts."""
        self.still = Stillness(self.params.settle_seconds, self.params.restless_seconds)
        self.sent: tuple[str, float] | None = None
        self.trouble: Trouble | None = None
        self.silent = ""
        """Why Prefect's server did not answer the last time; empty: it did."""
        self.answered = time.monotonic()

    async def watch(self) -> None:
        """Look until cancelled.

        Raises:
            OutsideError: Prefect's server has not answered for long.
        """
        while True:
            await self.look_once()
            await asyncio.sleep(self.params.poll_seconds)

    async def look_once(self) -> None:
        """One look; trouble with files is said once and looked at again, so that mending it is enough."""
        try:
            self.params = self.workspace.params().watch
            now = look_at(self.workspace)
            if self.still.lies(now.documents) and not self._just_sent(now):
                await self._announce(now)
            self.trouble = None
        except (RelearnError, OSError) as error:  # a file may vanish while it is looked at
            await self._say_once(error)
        if self.silent and time.monotonic() - self.answered > SILENT_SECONDS:
            raise OutsideError(
                f"Prefect's server has not answered for {SILENT_SECONDS:.0f} seconds ({self.silent}). Start it "
                "again, then run the same command."
            )

    async def _say_once(self, error: Exception) -> None:
        """On the terminal at once; to the hooks, as a cycle would tell of it, if it stays."""
        if self.trouble is None or self.trouble.said != str(error):
            self.say(str(error))
            self.trouble = Trouble(str(error), time.monotonic())
        elif not self.trouble.told and time.monotonic() - self.trouble.since >= self.params.settle_seconds:
            self.trouble = replace(self.trouble, told=True)
            await asyncio.to_thread(tell_of_failure, self.workspace, error)

    async def _announce(self, now: Now) -> None:
        try:
            if await announce(self.workspace, now, self.due):
                self.sent = (now.documents, time.monotonic())
                self.say(f"The documents are {now.documents[:8]} now; a cycle was asked for.")
            self.due = False
            self.silent, self.answered = "", time.monotonic()
        except RelearnError:
            raise
        except Exception as error:  # whatever Prefect's clients raise where the server is gone
            self.silent = quoted(error)

    def _just_sent(self, now: Now) -> bool:
        return (
            self.sent is not None and self.sent[0] == now.documents and time.monotonic() - self.sent[1] < ECHO_SECONDS
        )


def watch(workspace: Workspace, say: Callable[[str], None], shared: bool) -> None:
    """``serve``, until SIGTERM or Ctrl-C."""
    asyncio.run(serve(workspace, say, shared))
