"""Power-law exponent of a spectrum's tail, p(x) ~ x^-alpha for x >= xmin.

The continuous maximum-likelihood estimate alpha = 1 + n / sum ln(x / xmin), taken at every candidate
xmin, with the xmin whose Kolmogorov-Smirnov distance D to the data is least (Clauset, Shalizi and
Newman, SIAM Review 51, 2009, eqs. 3.1, 3.2 and 3.9). As in the authors' reference code and in
WeightWatcher, D compares with the share of the tail strictly below each point.

Scale has no part in it: nothing is compared with an absolute threshold, so that a spectrum and the
same spectrum times 1e-12 have one exponent.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MIN_EIGENVALUES = 8
"""Fewer positive eigenvalues are not fitted: alpha's standard error would pass a third of alpha - 1."""

_MAX_ENTRIES = 4_000_000
"""Entries of the candidates-by-eigenvalues table held at once (32 MB)."""

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PowerLawFit:
    """A fitted tail."""

    alpha: float
    """Exponent of the density."""
    xmin: float
    """Smallest eigenvalue of the tail, in the unit of the eigenvalues."""
    D: float
    """Kolmogorov-Smirnov distance of the tail from the fit."""
    sigma: float
    """Standard error of alpha, (alpha - 1) / sqrt(tail), for a given xmin."""
    tail: int
    """Eigenvalues at or above xmin."""


def fit_power_law(eigenvalues: npt.ArrayLike) -> PowerLawFit | None:
    """Fit the tail of ``eigenvalues`` (any order, shape (n,), float64 inside).

    Eigenvalues that are zero up to rounding (below n * machine epsilon * the largest) are left out.
    None when fewer than ``MIN_EIGENVALUES`` are left, when they are equal up to rounding, or when any
    is not finite.
    """
    values = _positive(np.asarray(eigenvalues, dtype=np.float64).ravel())
    if values.size < MIN_EIGENVALUES:
        return None
    logs = np.log(values / values[-1])
    starts = np.flatnonzero(np.diff(logs, prepend=-np.inf) > 0)  # ties are one candidate
    # A tail of values that are equal up to rounding has no slope.
    starts = starts[logs[starts] < -logs.size * np.finfo(np.float64).eps]
    if starts.size == 0:
        return None
    counts = logs.size - starts
    tail_sums = np.cumsum(logs[::-1])[::-1][starts]
    alphas = 1.0 + counts / (tail_sums - counts * logs[starts])
    distances = _distances(logs, starts, alphas)
    best = int(np.argmin(distances))
    alpha, tail = float(alphas[best]), int(counts[best])
    xmin = float(values[starts[best]])
    return PowerLawFit(alpha, xmin, float(distances[best]), (alpha - 1.0) / tail**0.5, tail)


def _positive(values: Vector) -> Vector:
    """The positive ones, ascending; empty if any value is not finite."""
    if values.size == 0 or not np.isfinite(values).all():
        return np.empty(0)
    floor = max(values.max(), 0.0) * values.size * np.finfo(np.float64).eps
    return np.sort(values[values > floor])


def _distances(logs: Vector, starts: npt.NDArray[np.int64], alphas: Vector) -> Vector:
    """KS distance of each candidate, shape of ``starts``; a block of candidates at a time."""
    block = max(1, _MAX_ENTRIES // logs.size)
    pieces = range(0, starts.size, block)
    return np.concatenate([_block(logs, starts[i : i + block], alphas[i : i + block]) for i in pieces])


def _block(logs: Vector, starts: npt.NDArray[np.int64], alphas: Vector) -> Vector:
    places = np.arange(logs.size)[None, :] - starts[:, None]  # (candidates, n): rank within the tail
    inside = places >= 0
    above = np.where(inside, logs[None, :] - logs[starts, None], 0.0)
    expected = -np.expm1((1.0 - alphas)[:, None] * above)
    observed = places / (logs.size - starts)[:, None]
    distances: Vector = np.where(inside, np.abs(expected - observed), 0.0).max(axis=1)
    return distances
