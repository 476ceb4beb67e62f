"""The boundary to Prefect's server: the line's deployments, the event that a change is, and the runs in line.

A change of the documents and the daily schedule become one event, and one automation turns it into a run. An
event that comes while a run is waiting already is not sent: that run will find everything there is by then.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from data.deployments import RESOURCE, resource_id
from data.errors import InputError
from data.param_operation import WatchParams

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.filters import FlowRunFilterParentFlowRunId, TaskRunFilter
    from prefect.client.schemas.objects import FlowRun, State, StateType
    from prefect.deployments.runner import RunnerDeployment

CHANGED = "relearn.documents.changed"
UPDATE, LOOK = "update", "look"
"""The flows (and first halves of the names) of the two deployments: a cycle, and the look that may cause one."""
NESTED = ("cycle", "conclude")
"""The flows that an update runs within itself."""
PAGE = 200
"""Runs asked for at once; servers refuse more."""


@dataclass(frozen=True)
class Swept:
    """What a process that was not there left behind."""

    crashed: int
    """Runs that nobody works on any more; those within them are not counted."""
    missed: int
    """Scheduled looks whose time has passed."""


def resource(name: str) -> dict[str, str]:
    """The line, as events name it."""
    return {RESOURCE: resource_id(name), "prefect.resource.name": name}


async def deployments(
    params: WatchParams, root: str, update: "Flow[Any, Any]", look: "Flow[Any, Any]"
) -> "list[RunnerDeployment]":
    """Both deployments of the line, as a process that serves them registers them."""
    from prefect.events.schemas.automations import Posture
    from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    trigger = DeploymentEventTrigger(
        name=f"{params.name}: documents changed",
        expect={CHANGED},
        match={RESOURCE: resource_id(params.name)},
        posture=Posture.Reactive,
        threshold=1,
        parameters={"root": root, "digest": "{{ event.payload.digest }}"},
    )
    common: Mapping[str, Any] = {"name": params.name, "entrypoint_type": EntrypointType.MODULE_PATH}
    return [
        await update.ato_deployment(**common, parameters={"root": root}, triggers=[trigger]),
        await look.ato_deployment(
            **common,
            parameters={"root": root, "due": True},
            schedule=Cron(params.cron, timezone=params.timezone),
        ),
    ]


async def require_own(name: str, root: str) -> None:
    """Refuse a name that another workspace has on this server; both would end each other's cycles.

    Raises:
        InputError: a deployment of this name works in another folder.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    async with get_client() as client:
        with contextlib.suppress(ObjectNotFound):
            other = (await client.read_deployment_by_name(f"{UPDATE}/{name}")).parameters.get("root")
            if other not in (None, ".", root):
                raise InputError(
                    f"The name {name!r} belongs to the workspace {other} on this Prefect server. Choose another one in "
                    "watch.name of params.yaml (and in prefect.yaml), or delete that deployment if the workspace "
                    f"moved: prefect deployment delete {UPDATE}/{name}."
                )


async def say_changed(name: str, digest: str) -> None:
    """Send the event, and return when the server has it."""
    from uuid import uuid4

    from prefect.events import Event
    from prefect.events.clients import get_events_client

    event = Event(
        occurred=datetime.now(UTC),
        event=CHANGED,
        resource=resource(name),
        payload={"digest": digest},
        id=uuid4(),
    )
    async with get_events_client(checkpoint_every=1) as client:
        await client.emit(event)


async def is_in_line(name: str) -> bool:
    """Whether a cycle waits for its turn; one that runs already does not count."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import StateType

    async with get_client() as client:
        return bool(await _runs(client, UPDATE, name, StateType.SCHEDULED, StateType.PENDING))


async def is_running(name: str) -> bool:
    """Whether a cycle is under way."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import StateType

    async with get_client() as client:
        return bool(await _runs(client, UPDATE, name, StateType.RUNNING))


async def sweep(name: str) -> Swept:
    """End what an earlier process left: runs that nobody works on, and looks whose time has passed.

    For the one process that serves the line; nobody else works on its runs.
    """
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled

    crashed = missed = 0
    unfinished = _unfinished()
    async with get_client() as client:
        for flow in (UPDATE, LOOK):
            for run in await _runs(client, flow, name, *unfinished):
                await client.set_flow_run_state(run.id, _gone(), force=True)
                crashed += 1
        for run in await _nested(client, name, *unfinished):
            await client.set_flow_run_state(run.id, _gone(), force=True)
        for run in await _late(client, name):
            state: State[Any] = Cancelled(name="Missed", message="Nothing ran at that time; one run makes up for all.")
            await client.set_flow_run_state(run.id, state, force=True)
            missed += 1
    return Swept(crashed, missed)


async def sweep_alone() -> None:
    """End the cycles that a kill left unfinished in a history of the workspace's own.

    For the one process that holds the workspace; those within a watch's updates are the watch's.
    """
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        for run in await _read(client, NESTED, _unfinished()):
            if run.parent_task_run_id is None:
                await client.set_flow_run_state(run.id, _gone(), force=True)


def _unfinished() -> "tuple[StateType, ...]":
    from prefect.client.schemas.objects import StateType

    return StateType.RUNNING, StateType.PENDING, StateType.CANCELLING


def _gone() -> "State[Any]":
    from prefect.states import Crashed

    return Crashed(message="The process that ran it is gone.")


async def _late(client: "PrefectClient", name: str) -> "list[FlowRun]":
    from prefect.client.schemas.objects import StateType

    waiting = await _runs(client, LOOK, name, StateType.SCHEDULED)
    now = datetime.now(UTC)
    return [run for run in waiting if run.expected_start_time and run.expected_start_time < now]


async def _nested(client: "PrefectClient", name: str, *types: "StateType") -> "list[FlowRun]":
    """Runs within the line's own updates; those of another line on the same server have other parents."""
    from prefect.client.schemas.filters import FlowRunFilterParentFlowRunId, TaskRunFilter, TaskRunFilterId

    # within its parent a run stands as a task run
    places = [run.parent_task_run_id for run in await _read(client, NESTED, types) if run.parent_task_run_id]
    if not places:
        return []
    ours = await _read(client, (UPDATE,), (), name, task_run_filter=TaskRunFilter(id=TaskRunFilterId(any_=places)))
    parents = FlowRunFilterParentFlowRunId(any_=[run.id for run in ours])
    return await _read(client, NESTED, types, parent_flow_run_id=parents) if ours else []


async def _runs(client: "PrefectClient", flow: str, name: str, *types: "StateType") -> "list[FlowRun]":
    return await _read(client, (flow,), types, name)


async def _read(
    client: "PrefectClient",
    flows: Sequence[str],
    types: "Sequence[StateType]",
    name: str | None = None,
    task_run_filter: "TaskRunFilter | None" = None,
    parent_flow_run_id: "FlowRunFilterParentFlowRunId | None" = None,
) -> "list[FlowRun]":
    """Runs of these flows in these states (none: in any), of the deployments of this name (None: of any or none)."""
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterName,
        FlowFilter,
        FlowFilterName,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.sorting import FlowRunSort

    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types))) if types else None
    return await client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=list(flows))),
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[name])) if name is not None else None,
        flow_run_filter=FlowRunFilter(state=state, parent_flow_run_id=parent_flow_run_id),
        task_run_filter=task_run_filter,
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=PAGE,
        offset=0,
    )
