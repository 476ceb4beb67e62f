"""A run's record as arrays: what each network shows at each step, and when it generalised or lost that again.

A network *memorised* at the first checkpoint with 99 % of its training examples right. Its *midpoint* lies halfway
between its test accuracy there and the best that any network of the run reached. It *grokked* if the two are ``RISE``
apart, at the first checkpoint from then on at or above the midpoint; it *collapsed* if its test accuracy, once at its
best, is below the midpoint at two checkpoints in a row, at the first of them.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.grokking_spectra import Reading
from bench.grokking_training import Checkpoint, Run

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

RISE = 0.3
"""Test accuracy to be gained after memorisation before a network is said to have grokked."""
FITTED = 40
"""Eigenvalues a matrix must have for its statistics to count: ten of an output layer have no tail."""

SPECTRAL = ("alpha", "least alpha", "traps", "excess", "stable rank")
RIVALS = ("norm", "train loss", "step", "examples")


@dataclass(frozen=True)
class Series:
    """S networks at T checkpoints."""

    steps_T: Array
    statistics: dict[str, Array]
    """Name to (S, T)."""
    test_ST: Array
    train_ST: Array
    control_S: Flags
    examples_S: Array


@dataclass(frozen=True)
class Event:
    """What may happen to each network: checkpoint indices; -1 where it did not."""

    at_S: npt.NDArray[np.int64]
    since_S: npt.NDArray[np.int64]
    """From where on it could; -1 where it never could."""

    @property
    def happened(self) -> Flags:
        return self.at_S >= 0

    @property
    def possible(self) -> Flags:
        return self.since_S >= 0


def series(run: Run) -> Series:
    """The arrays of a run."""
    points, setup = run.checkpoints, run.setup
    steps = np.array([point.step for point in points], dtype=float)
    wide = wide_layers(run)
    examples = np.resize(np.array(setup.examples, dtype=float), setup.stack)
    statistics = {
        "alpha": _of(points, wide, lambda reading: reading.alpha).mean(0),
        "least alpha": _of(points, wide, lambda reading: reading.alpha).min(0),
        "traps": _of(points, wide, lambda reading: reading.traps).sum(0),
        "excess": _of(points, wide, lambda reading: reading.excess).max(0),
        "stable rank": _of(points, wide, lambda reading: reading.stable_rank).mean(0),
        "norm": np.sqrt(np.square([point.norms for point in points]).sum(1)).T,
        "train loss": np.array([point.train_loss for point in points]).T,
        "step": np.broadcast_to(steps, (setup.stack, len(points))).copy(),
        "examples": np.broadcast_to(examples[:, None], (setup.stack, len(points))).copy(),
    }
    test = np.array([point.test_accuracy for point in points]).T
    train = np.array([point.train_accuracy for point in points]).T
    return Series(steps, statistics, test, train, np.arange(setup.stack) >= setup.seeds, examples)


def wide_layers(run: Run) -> list[int]:
    """Layers whose matrix has ``FITTED`` eigenvalues."""
    inputs, outputs = (64, 10) if run.setup.task == "digits" else (2 * run.setup.modulus, run.setup.modulus)
    sides = [inputs, *run.setup.hidden, outputs]
    return [place for place, pair in enumerate(itertools.pairwise(sides)) if min(pair) >= FITTED]


def _of(points: tuple[Checkpoint, ...], layers: list[int], read: Callable[[Reading], float | None]) -> Array:
    """(layers, S, T); a spectrum without a fit has no tail at all, the same as a very steep one."""
    found = [[[read(one) for one in point.matrices[layer]] for point in points] for layer in layers]
    values = np.array(found, dtype=float).transpose(0, 2, 1)
    return np.where(np.isnan(values), 1e6, values)


def grokking(found: Series) -> tuple[Event, Array]:
    """When each network grokked, and its midpoint (S,)."""
    memorised = _first(found.train_ST >= 0.99)
    S, T = found.test_ST.shape
    after = np.arange(T)[None, :] >= np.where(memorised >= 0, memorised, T)[:, None]
    before = found.test_ST[np.arange(S), memorised]
    best = found.test_ST.max()
    middle = (before + best) / 2.0
    at = np.where(best - before >= RISE, _first(after & (found.test_ST >= middle[:, None])), -1)
    return Event(at, memorised), middle


def collapse(found: Series, grokked: Event, middle_S: Array) -> Event:
    """When each network that grokked lost it again."""
    S, T = found.test_ST.shape
    best = np.where(np.arange(T)[None, :] >= grokked.since_S[:, None], found.test_ST, -1.0).argmax(1)
    since = np.where(grokked.happened, best, -1)
    low = found.test_ST < middle_S[:, None]
    lasting = low & np.concatenate([low[:, 1:], np.zeros((S, 1), dtype=bool)], axis=1)
    lasting &= (np.arange(T)[None, :] > since[:, None]) & grokked.happened[:, None]
    return Event(_first(lasting), since)


def _first(flags_ST: Flags) -> npt.NDArray[np.int64]:
    """Index of each row's first True; -1 where there is none."""
    return np.where(flags_ST.any(1), flags_ST.argmax(1), -1)
