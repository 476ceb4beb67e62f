"""What answers to the harness's tasks say: shares with intervals, and the adapter against the base in pairs.

Each question is one cluster of its own, as the harness does not say which belong together: where several ask about one
text, the intervals are too narrow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.measured import Figure
from models.clusters import Clusters, Values, bootstrap
from models.statistics import holm, mcnemar, paired_difference, wilson_interval

_SAME = 1e-9


@dataclass(frozen=True)
class Score:
    """One metric of one task, by model."""

    task: str
    metric: str
    """The harness's name: metric and filter."""
    values: dict[str, Values]
    """By model, one number per question, in the order of the questions."""


@dataclass(frozen=True)
class Compared:
    """The adapter against the base on one metric."""

    task: str
    metric: str
    difference: float
    """Adapter minus base."""
    low: float
    high: float
    gained: int
    """Questions on which the adapter has more than the base."""
    lost: int
    p: float
    """McNemar's exact p-value that gains and losses are equally likely, adjusted for all comparisons (Holm)."""
    n: int


def scores(
    rows: Sequence[dict[str, Any]], results: dict[str, dict[str, dict[str, Any]]]
) -> tuple[list[Score], tuple[str, ...]]:
    """Metrics that are the mean of a number per question, and the names of those that are not.

    Args:
        rows: every answer (``bench.harness.SCHEMA``).
        results: what the harness made of them, by model and task.
    """
    by_name: dict[tuple[str, str], dict[str, list[tuple[int, float | None]]]] = {}
    for row in rows:
        name = (row["task"], f"{row['metric']},{row['filter']}")
        by_name.setdefault(name, {}).setdefault(row["model"], []).append((row["number"], row["value"]))
    found, left_out = [], []
    for (task, metric), by_model in by_name.items():
        values = {model: _values(answers) for model, answers in by_model.items()}
        if all(_is_mean(mine, results[model][task].get(metric)) for model, mine in values.items()):
            found.append(Score(task, metric, values))
        else:
            left_out.append(f"{task}/{metric}")
    return found, tuple(left_out)


def _values(answers: Sequence[tuple[int, float | None]]) -> Values:
    """In the order of the questions; NaN where a metric has no number."""
    return np.array([math.nan if value is None else value for _, value in sorted(answers)], dtype=np.float64)


def _is_mean(values: Values, said: object) -> bool:
    return isinstance(said, float | int) and abs(float(values.mean()) - said) <= _SAME


def figures(known: Sequence[Score], seed: int, command: str) -> list[Figure]:
    """Each model's mean of each metric and, of two models, the difference."""
    found = []
    for one in known:
        for model, values in one.values.items():
            low, high = _interval(values)
            name = f"{one.task}/{one.metric}/{model}"
            found.append(Figure(name, float(values.mean()), low, high, len(values), (seed,), command))
    for pair in compared(known):
        name = f"{pair.task}/{pair.metric}/difference"
        found.append(Figure(name, pair.difference, pair.low, pair.high, pair.n, (seed,), command))
    return found


def compared(known: Sequence[Score]) -> list[Compared]:
    """The adapter against the base, on every metric that both have."""
    pairs = [_compared(one, one.values["base"], one.values["adapter"]) for one in known if "adapter" in one.values]
    return [replace(pair, p=p) for pair, p in zip(pairs, holm([pair.p for pair in pairs]), strict=True)]


def _compared(one: Score, base: Values, adapter: Values) -> Compared:
    differences = adapter - base
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    if _is_binary(base) and _is_binary(adapter):
        _, low, high = paired_difference((base == 1).tolist(), (adapter == 1).tolist())
    else:
        low, high = bootstrap(differences, _each_alone(differences))
    value, p = float(differences.mean()), mcnemar(gained, lost)
    return Compared(one.task, one.metric, value, low, high, gained, lost, p, len(differences))


def _interval(values: Values) -> tuple[float, float]:
    """Wilson's of a share; of other numbers that of a bootstrap."""
    if _is_binary(values):
        return wilson_interval(float(values.mean()), len(values))
    return bootstrap(values, _each_alone(values))


def _is_binary(values: Values) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _each_alone(values: Values) -> Clusters:
    return Clusters(np.arange(len(values), dtype=np.int64))


def table(found: Sequence[Figure], pairs: Sequence[Compared]) -> list[str]:
    """One line per task, metric and model; below it the difference."""
    p_values = {f"{one.task}/{one.metric}/difference": one for one in pairs}
    lines = []
    for one in sorted(found, key=lambda figure: figure.name.rsplit("/", 1)[0]):
        line = f"{one.name:<50} {one.value:7.3f} [{one.low:.3f}, {one.high:.3f}]  n={one.n}"
        if one.name in p_values:
            pair = p_values[one.name]
            line += f"  gained {pair.gained}, lost {pair.lost}, p {pair.p:.3g}"
        lines.append(line)
    return lines
