"""The arms of a grid over several processes, or a cluster's: a Prefect flow with one task for each arm and seed.

Each task writes a folder of its own, so that whatever ends the flow, the next one goes on with what is missing.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, wait
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from bench.forgetting_arms import arm
from bench.forgetting_cluster import at_work, dask, loss_said
from bench.forgetting_plans import PLANS, Size
from bench.forgetting_run import folder_of, run
from bench.forgetting_world import Unit, World, world
from data.errors import OutsideError
from data.params import Params
from data.workspace import Workspace
from flows.progress import Lines
from flows.running import prefect_works
from models.device import keep_freed_memory
from models.training import Progress
from tasks.prefect_server import known_to_threads, prefect_server

_Runner = TaskRunner[PrefectFuture[Any]]


def spread(
    workspace: Workspace, root: Path, known: World, units: Sequence[Unit], workers: int, cluster: str | None = None
) -> None:
    """Run every unit, each with ``train.threads`` of the world's settings.

    Args:
        workspace: where Prefect keeps its state.
        root: where the units' folders lie.
        known: what they start from.
        units: what is run.
        workers: processes of this machine; how many units run at a time.
        cluster: address of a Dask scheduler whose workers take the place of those processes.

    Raises:
        InputError: the cluster cannot be used as it is.
        OutsideError: Prefect's server does not come up, a process was ended from outside, the cluster does not
            answer, or its workers keep their folders elsewhere.
    """
    runner = dask(cluster) if cluster else cast(_Runner, ProcessPoolTaskRunner(max_workers=workers))
    root, base = root.resolve(), str(Path(known.base).resolve())
    asked = [(unit.plan.name, unit.size, unit.arm.name, unit.seed) for unit in units]
    working = at_work(cluster) if cluster else contextlib.nullcontext()
    with prefect_server(workspace) as url, known_to_threads(url), prefect_works(own_history=False), working:
        folders = grid.with_options(task_runner=runner)(str(root), base, known.params, asked)
    for unit, folder in zip(units, folders, strict=True):
        _require_here(folder_of(root, known, unit), Path(folder), unit)


def _require_here(expected: Path, kept: Path, unit: Unit) -> None:
    """Raise if a worker of other code, or another machine's disk, kept a unit where nobody here finds it."""
    if kept != expected or not (expected / f"day-{unit.size.days:02d}").is_dir():
        raise OutsideError(
            f"{unit.name} was to be kept in {expected}, and a worker kept it in {kept} of its machine. Let all workers "
            "have this project in this version, and that folder; then run the same command again."
        )


@flow(name="forgetting", persist_result=False, validate_parameters=False)
def grid(root: str, base: str, params: Params, units: list[tuple[str, Size, str, int]]) -> list[str]:
    """All units and where they are kept, those that only ask another's models again after the others.

    What one raises is raised at the end.
    """
    running: dict[int, PrefectFuture[str]] = {}
    for asks_again in (False, True):
        for place, unit in enumerate(units):
            if (arm(unit[2]).closed != arm(unit[2])) is asks_again:
                running[place] = run_arm.submit(root, base, params, *unit)
        wait(list(running.values()))
    with loss_said():
        return [running[place].result() for place in range(len(units))]


@task(name="arm", task_run_name="{plan}/{name}/seed {seed}", persist_result=False, cache_policy=NO_CACHE)
def run_arm(root: str, base: str, params: Params, plan: str, size: Size, name: str, seed: int) -> str:
    """One arm with one seed, and where it is kept."""
    torch.set_num_threads(params.train.threads)
    keep_freed_memory()
    lines = Lines("bench")

    def report(unit: str, progress: Progress | None) -> None:
        if progress is None:  # several at once: their steps would only alternate
            lines.measured(unit, None)

    return str(run(Path(root), world(base, params), Unit(PLANS[plan], size, arm(name), seed), report))
