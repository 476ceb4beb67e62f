"""One measured number as every bench prints it: what ``relearn bench NAME --json`` and its like consist of."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.files import write_bytes

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Figure:
    """A number with what it rests on."""

    name: str
    value: float
    low: float
    high: float
    n: int
    """What was counted: rounds, networks, adapters that were judged; of a ROC area, the failed ones."""
    seeds: tuple[int, ...]
    command: str
    """With the options that it ran with (``typed``)."""


@dataclass(frozen=True)
class Row:
    """One figure of everything that stands side by side; None where it was not measured."""

    name: str
    figures: tuple[Figure | None, ...]


def side_by_side(found: Sequence[Figure], prefixes: Sequence[str]) -> tuple[Row, ...]:
    """A row for each figure that has one of the prefixes, a column for each prefix; a row's name is the rest."""
    by_name = {one.name: one for one in found}
    rest = dict.fromkeys(
        name.removeprefix(prefix) for name in by_name for prefix in prefixes if name.startswith(prefix)
    )
    return tuple(Row(name, tuple(by_name.get(prefix + name) for prefix in prefixes)) for name in rest)


def write_answers(path: Path, answers: "pa.Table") -> Path:
    """Write every answer as Parquet, atomically, and return ``path``.

    Raises:
        OutsideError: the disk refused it; what was there stays.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = pa.BufferOutputStream()
    pq.write_table(answers, written)
    write_bytes(path, written.getvalue().to_pybytes())
    return path


def typed(program: str, **options: object) -> str:
    """A command as it was run: ``program`` and its options.

    Args:
        program: for example ``relearn bench spectra``.
        options: by name, underscores for hyphens. What is None, False or empty is left out, True is a flag, a list
            several values of one option, a tuple an option that is repeated. Options that change no number, as
            ``--json``, are for the caller to leave out.
    """
    parts = [program]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        for each in value if isinstance(value, tuple) else [value]:
            if each is None or each is False or each == []:
                continue
            parts.append(option)
            if each is not True:
                parts += [shlex.quote(str(one)) for one in (each if isinstance(each, list) else [each])]
    return " ".join(parts)
