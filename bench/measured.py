"""One measured number as every bench prints it: what ``relearn bench NAME --json`` and its like consist of."""

import shlex
from dataclasses import dataclass


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


def typed(program: str, **options: object) -> str:
    """A command as it was run: ``program`` and its options.

    Args:
        program: for example ``relearn bench spectra``.
        options: by name, underscores for hyphens. What is None or False is left out, True is a flag, a list several
            values. Options that change no number, as ``--json``, are for the caller to leave out.
    """
    parts = [program]
    for name, value in options.items():
        if value is None or value is False:
            continue
        parts.append(f"--{name.replace('_', '-')}")
        if value is not True:
            parts += [shlex.quote(str(one)) for one in (value if isinstance(value, list | tuple) else [value])]
    return " ".join(parts)
