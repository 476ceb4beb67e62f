"""What a bench has run: folders of days or years with answers and what each cost, whole or not there.

One process at a time writes those of an arm with a seed, whichever command started it.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from data.errors import InputError, quoted
from data.files import leftovers, read_json, refused_writes, remove
from models.training import Progress

ANSWERS, COST = "answers.parquet", "cost.json"
Report = Callable[[str, Progress | None], None]
"""Hears what is run, and how far its training is."""


@contextlib.contextmanager
def held(folder: Path, name: str, report: Report) -> Iterator[None]:
    """Hold ``folder``, or wait until its holder is done or gone; what a kill left half-written there is taken away.

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
        for left in leftovers(folder):
            remove(left)
        yield
    finally:
        lock.release()


def is_whole(place: Path) -> bool:
    """Whether a day or year has its answers and its cost."""
    return (place / ANSWERS).is_file() and (place / COST).is_file()


def read_answers(folders: Sequence[Path]) -> pa.Table:
    """Every answer of all days or years below some folders.

    Raises:
        InputError: a file is damaged.
    """
    return pa.concat_tables([read_table(place) for folder in folders for place in _places(folder)])


def read_costs(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """What each day or year below some folders cost.

    Raises:
        InputError: a file is damaged.
    """
    return [read_cost(place) for folder in folders for place in _places(folder)]


def read_table(place: Path) -> pa.Table:
    """The answers of one day or year.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return pq.read_table(place / ANSWERS)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{place / ANSWERS} cannot be read ({quoted(error)}). Delete the folder {place}, then run the same command "
            "again."
        ) from error


def read_cost(place: Path) -> dict[str, Any]:
    """What one day or year cost.

    Raises:
        InputError: the file is damaged.
    """
    content = read_json(place / COST)
    if not isinstance(content, dict) or "steps" not in content:
        raise InputError(
            f"{place / COST} does not say what was trained. Delete the folder {place}, then run the same command again."
        )
    return content


def _places(folder: Path) -> list[Path]:
    return sorted(place for place in folder.glob("[!.]*") if is_whole(place))
