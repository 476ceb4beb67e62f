"""One process at a time writes a folder of a bench, whichever command started it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from data.files import refused_writes
from models.training import Progress

Report = Callable[[str, Progress | None], None]
"""Hears what is run, and how far its training is."""


@contextlib.contextmanager
def held(folder: Path, name: str, report: Report) -> Iterator[None]:
    """Hold ``folder``, or wait until its holder is done or gone; what that left is there then.

    Args:
        folder: need not be there; the lock lies beside it.
        name: what it is of, as people know it.
        report: hears whom is waited for.

    Raises:
        OutsideError: the disk refused the lock.
    """
    with refused_writes(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f".{folder.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report(f"{name}: waiting for another process that runs it", None)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
