"""One measured number as every bench prints it: what ``relearn bench NAME --json`` and its like consist of."""

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
