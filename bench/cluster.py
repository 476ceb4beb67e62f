"""A Dask cluster as the place where a grid runs: Prefect's own task runner for it, once its workers are seen to fit.

It comes with the extra ``cluster``. Workers are started by whoever owns the machines (``dask worker ADDRESS --nthreads
1``); they need this project and its base, and the results' folder, under the names that they have here.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner

from data.errors import InputError, OutsideError, quoted
from tasks.prefect_server import hand_over

_PATIENCE = 15
"""Seconds in which a scheduler answers."""


def dask(address: str) -> "TaskRunner[PrefectFuture[Any]]":
    """A runner that hands tasks to the scheduler at ``address``, such as ``tcp://scheduler:8786``.

    Raises:
        InputError: the extra is missing, the address is none, or a worker would train two arms in one process.
        OutsideError: no scheduler answers there, or it has no workers.
    """
    try:
        from distributed import Client
        from prefect_dask import DaskTaskRunner
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed; a cluster is reached through prefect-dask 0.3.7. Run "
            "`make cluster-setup`, or in the environment of relearn: pip install -c requirements.lock -e '.[cluster]'."
        ) from error
    try:
        with Client(address, timeout=_PATIENCE, set_as_default=False) as client:
            workers: dict[str, dict[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
    except ValueError as error:
        raise InputError(
            f"{address} is no address of a scheduler ({quoted(error)}). Expected tcp://HOST:PORT."
        ) from error
    except OSError as error:
        raise OutsideError(
            f"No Dask scheduler answers at {address} ({quoted(error)}). Start it with: dask scheduler; then run the "
            "same command again."
        ) from error
    _require_fit(address, workers)
    runner: TaskRunner[PrefectFuture[Any]] = DaskTaskRunner(address=address)
    return runner


@contextlib.contextmanager
def at_work(address: str) -> Iterator[None]:
    """The cluster works for a flow; afterwards its workers hand over what Prefect's server has not heard yet.

    That server may end with this block's surroundings; workers go on.
    """
    from distributed import Client

    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)  # what it tells of connections that went away is said in one sentence
    try:
        yield
    finally:
        with contextlib.suppress(OSError), Client(address, timeout=_PATIENCE, set_as_default=False) as client:
            client.run(_hand_over)
        logger.setLevel(before)


async def _hand_over() -> None:
    """In a thread: on a worker's own loop Prefect would not wait for what it sends."""
    await asyncio.to_thread(hand_over)


def _require_fit(address: str, workers: dict[str, dict[str, Any]]) -> None:
    if not workers:
        raise OutsideError(
            f"The scheduler at {address} has no workers. Start one: dask worker {address} --nthreads 1; then run the "
            "same command again."
        )
    several = next((name for name, worker in workers.items() if worker["nthreads"] > 1), None)
    if several:
        raise InputError(
            f"The worker {several} takes {workers[several]['nthreads']} tasks at once, and two trainings in one "
            "process draw from the same random numbers. Start workers with --nthreads 1, and more of them."
        )
