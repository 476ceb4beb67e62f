"""The arms of a grid over several processes: a Prefect flow with one task for each arm and seed.

Each task writes a folder of its own, so that whatever ends the flow, the next one goes on with what is missing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, wait
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from bench.forgetting_arms import arm
from bench.forgetting_plans import PLANS, Size
from bench.forgetting_run import run
from bench.forgetting_world import Unit, World, world
from data.params import Params
from data.workspace import Workspace
from flows.progress import Lines
from flows.running import prefect_works
from models.device import keep_freed_memory
from models.training import Progress
from tasks.prefect_server import prefect_server


def spread(workspace: Workspace, root: Path, known: World, units: Sequence[Unit], workers: int) -> None:
    """Run every unit, ``workers`` at a time, each with ``train.threads`` of the world's settings.

    Raises:
        OutsideError: Prefect's server does not come up, or a process was ended from outside.
    """
    asked = [(unit.plan.name, unit.size, unit.arm.name, unit.seed) for unit in units]
    with prefect_server(workspace), prefect_works(own_history=False):
        runner = cast(TaskRunner[PrefectFuture[Any]], ProcessPoolTaskRunner(max_workers=workers))
        grid.with_options(task_runner=runner)(str(root), known.base, known.params, asked)


@flow(name="forgetting", persist_result=False, validate_parameters=False)
def grid(root: str, base: str, params: Params, units: list[tuple[str, Size, str, int]]) -> None:
    """All units, those that only ask another's models again after the others; what one raises is raised at the end."""
    running: list[PrefectFuture[None]] = []
    for asks_again in (False, True):
        wave = [unit for unit in units if (arm(unit[2]).closed != arm(unit[2])) is asks_again]
        running += [run_arm.submit(root, base, params, *unit) for unit in wave]
        wait(running)
    for one in running:
        one.result()


@task(name="arm", task_run_name="{plan}/{name}/seed {seed}", persist_result=False, cache_policy=NO_CACHE)
def run_arm(root: str, base: str, params: Params, plan: str, size: Size, name: str, seed: int) -> None:
    """One arm with one seed."""
    torch.set_num_threads(params.train.threads)
    keep_freed_memory()
    lines = Lines("bench")

    def report(unit: str, progress: Progress | None) -> None:
        if progress is None:  # several at once: their steps would only alternate
            lines.measured(unit, None)

    run(Path(root), world(base, params), Unit(PLANS[plan], size, arm(name), seed), report)
