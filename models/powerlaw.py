"""Power-law exponent of a spectrum's tail, p(x) ~ x^-alpha for x >= xmin.

The continuous maximum-likelihood estimate alpha = 1 + n / sum ln(x / xmin), taken at every candidate
xmin, with the xmin whose Kolmogorov-Smirnov distance D to the data is least (Clauset, Shalizi and
Newman, SIAM Review 51, 2009, eqs. 3.1, 3.2 and 3.9). As in the authors' reference code and in
WeightWatcher, D compares with the share of the tail strictly below each point.

Scale has no part in it: nothing is compared with an absolute threshold, so that a spectrum and the
same spectrum times 1e-12 have one exponent.

Every candidate is judged, but of many few in full: D over some points of a tail is a lower bound of D over all, so that
a candidate whose bound lies above another's D is out. The result is that of judging all in full, to the bit.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MIN_EIGENVALUES = 8
"""Fewer positive eigenvalues are not fitted; the tail of those that are may be shorter still."""

INTERVAL_Z = 2.3
"""Normal quantile of the 95 % interval. For a given xmin it would be 1.96, which holds the truth in 91 % of Pareto
spectra, as xmin is chosen from the same values; with 2.3 it is 95 % (docs/spectra.md)."""

_BOUND_POINTS = 32
"""Points of each tail that give the lower bound of its D."""
_FIRST = 8
"""Candidates judged in full before any is left out."""
_FEW = 64
"""Candidates that are all judged at once and in full: finding bounds would take longer."""
_MAX_ENTRIES = 1_000_000
"""Entries of a table held at once (8 MB)."""
_EPS = float(np.finfo(np.float64).eps)

Vector = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


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
    low: float
    """Lower end of alpha's 95 % interval."""
    high: float


def positive(eigenvalues: npt.ArrayLike) -> Vector:
    """Eigenvalues above rounding (n * machine epsilon * the largest), ascending; none if any is not finite.

    Args:
        eigenvalues: any order, any shape; n is how many there are.
    """
    values = np.asarray(eigenvalues, dtype=np.float64).ravel()
    if values.size == 0 or not np.isfinite(values).all():
        return np.empty(0)
    floor = max(values.max(), 0.0) * values.size * _EPS
    return above(np.sort(values), floor)


def above(values: Vector, floor: float) -> Vector:
    """Those of ascending values that are larger."""
    return values[values.searchsorted(floor, side="right") :]


def fit_power_law(eigenvalues: npt.ArrayLike, floor: float = 0.0) -> PowerLawFit | None:
    """Fit the tail of ``eigenvalues`` (any order, shape (n,), float64 inside).

    Eigenvalues that are zero up to rounding, and those up to ``floor``, are left out. None when fewer than
    ``MIN_EIGENVALUES`` are left, when they are equal up to rounding, or when any is not finite.
    """
    return fit_tail(positive(eigenvalues), floor)


def fit_tail(values: Vector, floor: float = 0.0) -> PowerLawFit | None:
    """``fit_power_law`` of what ``positive`` returned."""
    values = above(values, floor)
    if values.size < MIN_EIGENVALUES:
        return None
    logs = np.log(values / values[-1])
    begins = logs < -logs.size * _EPS  # a tail of values that are equal up to rounding has no slope
    begins[1:] &= logs[1:] > logs[:-1]  # ties are one candidate
    starts = begins.nonzero()[0]
    if starts.size == 0:
        return None
    counts = logs.size - starts
    tail_sums = logs[::-1].cumsum()[::-1][starts]
    excess = tail_sums - counts * logs[starts]
    alphas = 1.0 + counts / excess
    best, distance = _nearest(logs, starts, alphas)
    alpha, tail = float(alphas[best]), int(counts[best])
    low, high = interval(tail, float(excess[best]))
    xmin, sigma = float(values[starts[best]]), (alpha - 1.0) / tail**0.5
    return PowerLawFit(alpha, xmin, distance, sigma, tail, low, high)


def interval(tail: int, excess: float, quantile: float = INTERVAL_Z) -> tuple[float, float]:
    """95 % interval of alpha for a tail of ``tail`` values whose sum of ln(x / xmin) is ``excess``.

    For a given xmin, itself one of the values, 2 (alpha - 1) * excess is chi-squared with 2 (tail - 1) degrees of
    freedom; its quantiles by Wilson and Hilferty (1931), widened for the choice of xmin (``INTERVAL_Z``).
    """
    freedom = 2.0 * (tail - 1)
    spread = 2.0 / (9.0 * freedom)
    low, high = (freedom * (1.0 - spread + z * spread**0.5) ** 3 for z in (-quantile, quantile))
    return 1.0 + low / (2.0 * excess), 1.0 + high / (2.0 * excess)


def _nearest(logs: Vector, starts: Places, alphas: Vector) -> tuple[int, float]:
    """The candidate with the least D, the first of equals, and that D."""
    if starts.size <= _FEW:
        exact = _distances(logs, starts, alphas)
        best = int(exact.argmin())
        return best, float(exact[best])
    bounds = _bounds(logs, starts, alphas)
    order = np.argsort(bounds, kind="stable")
    first = np.sort(order[:_FIRST])
    exact = np.full(starts.size, np.inf)
    exact[first] = [_distance(logs, starts[one], alphas[one]) for one in first]
    least = exact.min()
    for one in order[_FIRST:]:
        if bounds[one] > least:
            break
        exact[one] = _distance(logs, starts[one], alphas[one])
        least = min(least, exact[one])
    best = int(exact.argmin())
    return best, float(exact[best])


def _distance(logs: Vector, start: int, alpha: float) -> float:
    """Kolmogorov-Smirnov distance of one tail."""
    tail = logs[start:]
    expected = -np.expm1((1.0 - alpha) * (tail - tail[0]))
    return float(np.abs(expected - np.arange(tail.size) / tail.size).max())


def _distances(logs: Vector, starts: Places, alphas: Vector) -> Vector:
    """Distances of a few tails, (candidates,), from one table (candidates, values): 0 before a tail begins."""
    first = starts[:, None]
    beyond = np.maximum(logs - logs[first], 0.0)
    ranks = np.maximum(np.arange(logs.size) - first, 0) / (logs.size - first)
    distances: Vector = np.abs(np.expm1((1.0 - alphas)[:, None] * beyond) + ranks).max(axis=1)
    return distances


def _bounds(logs: Vector, starts: Places, alphas: Vector) -> Vector:
    """Lower bound of each candidate's D, from points spread over its tail; a block of candidates at a time.

    Shaved by some roundings: a vectorised exponential may end in another last bit than ``_distance``'s.
    """
    block = max(1, _MAX_ENTRIES // _BOUND_POINTS)
    pieces = [slice(i, i + block) for i in range(0, starts.size, block)]
    found = np.concatenate([_bound_block(logs, starts[piece], alphas[piece]) for piece in pieces])
    bounds: Vector = found - 8.0 * _EPS
    return bounds


def _bound_block(logs: Vector, starts: Places, alphas: Vector) -> Vector:
    sizes = logs.size - starts
    shares = np.arange(1, _BOUND_POINTS + 1) / (_BOUND_POINTS + 1)
    places = (shares[:, None] * sizes).astype(np.intp)  # (points, candidates): rank within the tail
    table = logs[starts + places]
    table -= logs[starts]
    table *= 1.0 - alphas
    np.expm1(table, out=table)
    table += places / sizes
    distances: Vector = np.abs(table, out=table).max(axis=0)
    return distances
