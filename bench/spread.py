"""Units of a bench over several processes, or a cluster's: a Prefect flow with one task for each.

Each task writes a folder of its own, so that whatever ends the flow, the next one goes on with what is missing.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, cast

import torch
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, wait
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from bench.cluster import at_work, dask
from bench.jobs import Job, Places
from data.errors import OutsideError, quoted
from data.params import Params
from data.workspace import Workspace
from flows.progress import Lines
from flows.running import prefect_works
from models.device import keep_freed_memory
from models.training import Progress
from tasks.prefect_server import known_to_threads, prefect_server

_Runner = TaskRunner[PrefectFuture[Any]]


def spread(workspace: Workspace, bench: str, params: Params, jobs: Sequence[Job], places: Places) -> None:
    """Run every job, each with ``train.threads`` of ``params``.

    Args:
        workspace: where Prefect keeps its state.
        bench: what the flow is called.
        params: of the bench.
        jobs: what is run.
        places: processes of this machine, or a cluster's workers in their place.

    Raises:
        InputError: the cluster cannot be used as it is.
        OutsideError: Prefect's server does not come up, a process was ended from outside, the cluster does not
            answer, or its workers keep their folders elsewhere.
    """
    cluster = places.cluster
    runner = dask(cluster) if cluster else cast(_Runner, _pool(places.workers))
    working = at_work(cluster) if cluster else contextlib.nullcontext()
    asked = [(job.name, job.work, job.given, job.turn) for job in jobs]
    with prefect_server(workspace) as url, known_to_threads(url), prefect_works(own_history=False), working:
        folders = grid.with_options(name=bench, task_runner=runner)(params.train.threads, asked)
    for job, folder in zip(jobs, folders, strict=True):
        _require_here(job, folder)


def _pool(workers: int) -> ProcessPoolTaskRunner:
    return ProcessPoolTaskRunner(max_workers=workers, initializer=_follow_the_parent)


def _follow_the_parent() -> None:
    """A process of the pool leaves Ctrl-C to the command that started it, and ends when that is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_after, args=(parent.sentinel,), daemon=True).start()


def _leave_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)  # what was written is whole or not there, and nobody waits for the rest


def _require_here(job: Job, kept: Path) -> None:
    """Raise if a worker of other code, or another machine's disk, kept a job where nobody here finds it."""
    if kept != job.folder or not (job.folder / job.last).is_dir():
        raise OutsideError(
            f"{job.name} was to be kept in {job.folder}, and a worker kept it in {kept} of its machine. Let all "
            "workers have this project in this version, and that folder; then run the same command again."
        )


@flow(persist_result=False, validate_parameters=False)
def grid(threads: int, jobs: list[tuple[str, Callable[..., Path], tuple[Any, ...], int]]) -> list[Path]:
    """All jobs and where they are kept, turn after turn. What one raises is raised once its turn is over.

    The turns after it are not begun: they need what it was to leave.
    """
    folders: dict[int, Path] = {}
    for now in sorted({turn for *_, turn in jobs}):
        with loss_said():
            running = {
                place: one.submit(threads, name, work, given)
                for place, (name, work, given, turn) in enumerate(jobs)
                if turn == now
            }
            wait(list(running.values()))
            folders |= {place: future.result() for place, future in running.items()}
    return [folders[place] for place in range(len(jobs))]


@contextlib.contextmanager
def loss_said() -> Iterator[None]:
    """A process or a cluster that went away is one sentence; where no cluster is used, nothing of Dask is imported.

    Ctrl-C and SIGTERM end the processes of the pool at once.

    Raises:
        OutsideError: a process was ended, the scheduler went away, or workers did so again and again.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception):  # Ctrl-C, or what Prefect makes of SIGTERM
            for process in multiprocessing.active_children():  # it would wait until they are done
                process.kill()
            raise
        if isinstance(error, BrokenProcessPool):
            lost = "A process was ended from outside, perhaps for want of memory: fewer --workers take less"
        elif type(error).__module__.startswith("distributed."):
            lost = f"The Dask cluster stopped working ({quoted(error)}); start it again"
        else:
            raise
        raise OutsideError(f"{lost}. Run the same command again; it goes on with what is missing.") from error


@task(name="job", task_run_name="{name}", persist_result=False, cache_policy=NO_CACHE)
def one(threads: int, name: str, work: Callable[..., Path], given: tuple[Any, ...]) -> Path:
    """One job, in a process of its own, and where it is kept."""
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries among themselves
    torch.set_num_threads(threads)
    keep_freed_memory()
    lines = Lines("bench")

    def report(unit: str, progress: Progress | None) -> None:
        if progress is None:  # several at once: their steps would only alternate
            lines.measured(unit, None)

    return work(*given, report)
