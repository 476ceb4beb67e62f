"""Threshold-free: how well a statistic tells checkpoints of one kind from those of another, on networks held out.

The area under the ROC curve is the share of pairs (one checkpoint of each kind) that the statistic puts in order, ties
counting half. Networks are split into two halves; which end of the statistic means yes is decided on one half, the area
is that of the other, and both halves' pairs are put together. Intervals come from drawing networks, not checkpoints,
with replacement, the direction kept: those of one network are not independent.

Only pairs of one stratum count. Without strata whatever grows with training separates later checkpoints from earlier
ones; with the step as stratum, networks are compared at equal steps, and the mere step count is worth 0.5.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

DRAWS = 2000
"""Bootstrap draws."""
MIN_PAIRS = 20
"""An area of fewer pairs is not given."""


class Area(NamedTuple):
    """Area under the ROC curve with a 95 % interval."""

    value: float
    low: float
    high: float
    networks: int
    """Networks with a checkpoint in some pair."""


def pairs(scores_ST: Array, yes_ST: Flags, no_ST: Flags, strata_ST: Array) -> tuple[Array, Array]:
    """Won and possible pairs between each network's yes (rows) and each network's no (columns), (S, S)."""
    S = len(scores_ST)
    won, possible = np.zeros((S, S)), np.zeros((S, S))
    for stratum in np.unique(strata_ST[yes_ST]):
        inside = strata_ST == stratum
        (high_of, high), (low_of, low) = (_entries(scores_ST, kind & inside) for kind in (yes_ST, no_ST))
        order = (high[:, None] > low[None, :]) + 0.5 * (high[:, None] == low[None, :])
        won += high_of.T @ order @ low_of
        possible += np.outer(high_of.sum(0), low_of.sum(0))
    return won, possible


def _entries(scores_ST: Array, chosen_ST: Flags) -> tuple[Array, Array]:
    """Whose each chosen score is, one-hot (n, S), and the scores (n,)."""
    return np.eye(len(scores_ST))[np.nonzero(chosen_ST)[0]], scores_ST[chosen_ST]


def area(scores_ST: Array, yes_ST: Flags, no_ST: Flags, strata_ST: Array, groups_S: Array, seed: int) -> Area | None:
    """The held-out area; None where there are too few pairs.

    Args:
        scores_ST: the statistic, (networks, checkpoints).
        yes_ST: checkpoints of the one kind.
        no_ST: checkpoints of the other.
        strata_ST: only pairs of equal value here count.
        groups_S: kinds of networks; each is split into halves by itself.
        seed: of the bootstrap.
    """
    won, possible = pairs(scores_ST, yes_ST, no_ST, strata_ST)
    half_S = halves(groups_S)
    apart = [np.outer(half_S == half, half_S == half) for half in (0, 1)]
    possible = possible * (apart[0] | apart[1])
    if possible.sum() < MIN_PAIRS:
        return None
    fewer = [(won * apart[half]).sum() < (possible * apart[half]).sum() / 2.0 for half in (0, 1)]
    for half in (0, 1):
        if fewer[1 - half]:  # the other half says that low values mean yes
            won = np.where(apart[half], possible - won, won)
    won = np.where(possible > 0, won, 0.0)
    low, high = np.nanquantile(_shares(won, possible, _drawn(half_S, seed)), [0.025, 0.975])
    involved = int((possible.sum(0) + possible.sum(1) > 0).sum())
    return Area(float(won.sum() / possible.sum()), float(low), float(high), involved)


def halves(groups_S: Array) -> npt.NDArray[np.int64]:
    """0 or 1 for each network, in turn within its group."""
    half = np.zeros(len(groups_S), dtype=np.int64)
    for group in np.unique(groups_S):
        members = np.flatnonzero(groups_S == group)
        half[members] = np.arange(members.size) % 2
    return half


def _drawn(half_S: npt.NDArray[np.int64], seed: int) -> Array:
    """How often each network is drawn, (DRAWS, S), where each half is drawn anew with replacement."""
    random = np.random.default_rng(seed)
    weights = np.zeros((DRAWS, len(half_S)))
    for half in np.unique(half_S):
        members = np.flatnonzero(half_S == half)
        weights[:, members] = random.multinomial(members.size, np.full(members.size, 1.0 / members.size), DRAWS)
    return weights


def _shares(won: Array, possible: Array, weights_DS: Array) -> Array:
    """Won of the possible pairs, per draw; NaN where a draw has none."""
    right, total = (((weights_DS @ table) * weights_DS).sum(1) for table in (won, possible))
    shares: Array = np.divide(right, total, out=np.full(len(total), np.nan), where=total > 0)
    return shares
