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
        options: by name, underscores for hyphens. What is None, False or empty is left out, True is a flag, a list
            several values of one option, a tuple an option that is repeated. Options that change no number, as
            ``--json``, are for the caller to leave out.
    """
    parts = [program]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        for each in value if isinstance(value, tuple) else [value]:
            if each in (None, False, []):
                continue
            parts.append(option)
            if each is not True:
                parts += [shlex.quote(str(one)) for one in (each if isinstance(each, list) else [each])]
    return " ".join(parts)
