"""What a bench runs one by one, over several processes or over a cluster: arms, each with each seed, or tasks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.params import Params
from data.workspace import Workspace
from tasks.prefect_server import configure


@dataclass(frozen=True)
class Job:
    """One arm with one seed, or one task."""

    name: str
    """Such as ``flips/joint/seed 1``."""
    folder: Path
    """Where it will lie, here as on every worker."""
    last: str
    """Of that folder: what is there once all is done."""
    work: Callable[..., Path]
    """Of a module that every worker has: takes what is ``given``, then whom to report to, and returns the folder."""
    given: tuple[Any, ...]
    turn: int = 0
    """Starts when those of lower turns, which leave what it needs, are done."""


@dataclass(frozen=True)
class Places:
    """Where jobs run."""

    workers: int = 1
    """Processes of this machine that share ``train.threads``."""
    cluster: str | None = None
    """Address of a Dask scheduler; each of its workers has ``train.threads`` of one process for itself."""

    def __post_init__(self) -> None:
        """An address that was meant and is empty would run everything here."""
        if self.cluster == "":
            raise InputError("The cluster's address is empty; give the scheduler's, such as tcp://10.0.0.1:8786.")

    def shared(self, params: Params) -> Params:
        """Of one process. A sum over more threads is rounded otherwise, so that another number has other folders."""
        threads = max(1, params.train.threads // (1 if self.cluster else self.workers))
        return params.model_copy(update={"train": params.train.model_copy(update={"threads": threads})})


ALONE = Places()
"""This process."""


def run_jobs(workspace: Workspace, bench: str, params: Params, jobs: Sequence[Job], places: Places) -> None:
    """Run every job in a process of another place, if there is one; what is there already is not run again.

    Raises:
        InputError: the cluster cannot be used as it is.
        OutsideError: a process was ended from outside, or the cluster does not work; run the same again to go on.
    """
    if places.workers > 1 or places.cluster:
        configure(workspace)  # before Prefect is imported, which reads this once
        from bench.spread import spread

        spread(workspace, bench, params, jobs, places)
