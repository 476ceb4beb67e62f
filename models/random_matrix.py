"""What a matrix of independent entries would look like, and how far a weight is from it.

Eigenvalues are those of W^T W for W of shape (N, M), N >= M, not divided by N. Independent entries of variance s^2
have theirs between s^2 (sqrt N - sqrt M)^2 and s^2 (sqrt N + sqrt M)^2 (Marchenko and Pastur 1967); as the mean of the
eigenvalues is s^2 N, the edge needs no fit: it is mean * (1 + sqrt(M / N))^2.

An eigenvalue of the matrix with its entries in random places that lies beyond the edge is a correlation trap (Martin,
WeightWatcher): single entries are so large that their place does not matter. How far beyond is counted as in
WeightWatcher 0.7.7, with its margin for the fluctuation of the largest eigenvalue (after Tracy and Widom).
"""

import bisect
import functools
import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.powerlaw import Vector

_BLOCK_ENTRIES = 2**17
"""Entries of a weight held at once in float64 (1 MiB)."""
_NULL_DRAWS = 400
_NULL_SIDE = 256
"""Larger square cores are simulated at this size with the same N / M: shares depend on that alone, but for some 0.001,
by which the simulated ones are lower."""
_NULL_ENTRIES = 2_000_000
"""Entries of the simulated cores of one null (16 MB); fewer draws where they are larger, at least 30."""
_NULL_SEED = 20240601


def noise_edge(mean: float, N: int, M: int) -> float:
    """Upper edge of the eigenvalues of a matrix (N, M) of independent entries whose eigenvalues have this mean."""
    return mean * (1.0 + math.sqrt(M / N)) ** 2


def singular_edge(weight: Tensor) -> float | None:
    """Where singular values of a matrix of independent entries as spread as those of ``weight`` (rows, columns) end.

    In float64, a block of rows at a time. None where the entries do not differ, or are not finite, so that there is no
    measure.
    """
    blocks = torch.split(weight, max(1, _BLOCK_ENTRIES // max(1, weight.shape[1])))
    mean = sum(float(block.sum(dtype=torch.float64)) for block in blocks) / max(1, weight.numel())
    squares = sum(float(block.to(torch.float64, copy=True).sub_(mean).square_().sum()) for block in blocks)
    spread = math.sqrt(squares / max(1, weight.numel())) if math.isfinite(squares) else 0.0
    if spread <= abs(mean) * 1e-12:
        return None
    return spread * (math.sqrt(weight.shape[0]) + math.sqrt(weight.shape[1]))


def shuffled(weight: Tensor, seed: int) -> Tensor:
    """The entries of ``weight`` in random places; the same seed, the same places."""
    return weight.reshape(-1)[places(weight.numel(), seed).to(weight.device)].reshape(weight.shape)


def places(count: int, seed: int) -> Tensor:
    """A random permutation of 0 .. ``count`` - 1."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def traps(eigenvalues: Vector, N: int, M: int) -> int:
    """Correlation traps: eigenvalues of a randomised (N, M) matrix beyond the edge and its margin.

    Those found are taken out and the edge is drawn anew from the rest until no more are found: a trap's own size
    would otherwise raise the edge that it is held against.
    """
    values = np.sort(eigenvalues)[::-1]
    found = 0
    while found < values.size:
        bulk = values[found:]
        more = int((bulk > _trap_edge(float(bulk.mean()), N, M)).sum())
        if more == 0:
            break
        found += more
    return found


def _trap_edge(mean: float, N: int, M: int) -> float:
    """Edge plus margin, for eigenvalues of this mean."""
    aspect = math.sqrt(M / N)
    edge = (1.0 + aspect) ** 2
    margin: float = aspect * edge ** (2 / 3) * M ** (-2 / 3)
    return mean * (edge + math.sqrt(margin))


def distance(eigenvalues: Vector, others: Vector) -> float:
    """Jensen-Shannon distance, in sqrt(nats), of two spectra of one length as shares of their sums, in order."""
    p, q = (np.sort(np.maximum(values, 0.0)) for values in (eigenvalues, others))
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2.0
    return math.sqrt(max(0.0, (_divergence(p, middle) + _divergence(q, middle)) / 2.0))


def _divergence(p: Vector, q: Vector) -> float:
    """Kullback and Leibler's, nats."""
    some = p > 0.0
    return float((p[some] * np.log(p[some] / q[some])).sum())


def determinant_tail(eigenvalues: Vector) -> tuple[int, float]:
    """How many of the largest eigenvalues, rescaled to a mean of 1, have a product below 1, and the smallest of them.

    The product is a sum of logarithms: of a few hundred eigenvalues it would overflow. As in WeightWatcher the
    count begins at one end and takes the first product below 1; without any it is all of them.

    Args:
        eigenvalues: positive ones, ascending. Where no two differ there is no tail: 0 of them, and NaN.
    """
    if eigenvalues.size < 2 or eigenvalues[0] >= eigenvalues[-1]:
        return 0, math.nan
    logs = np.log(eigenvalues / eigenvalues.mean())
    products = np.cumsum(logs[::-1])[:-1]  # of the largest, the two largest, ...; the smallest one is never reached
    below = np.flatnonzero(products < 0.0)
    count = int(below[0]) + 1 if below.size else eigenvalues.size
    return count, float(eigenvalues[-count])


def effective_rank(eigenvalues: Vector) -> float:
    """Exponential of the entropy of the singular values as shares of their sum (Roy and Vetterli 2007).

    0 without any that is positive.
    """
    values = np.sqrt(eigenvalues[eigenvalues > 0.0])
    if values.size == 0:
        return 0.0
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


@functools.lru_cache(maxsize=4096)
def null_effective_ranks(N: int, M: int, rank: int, factors: bool = True) -> tuple[float, ...]:
    """Effective ranks of random updates of this shape and rank, as shares of the largest there can be, ascending.

    A random update is B A with independent Gaussian factors (N, rank) and (rank, M), or one Gaussian matrix (N, M)
    where there are no factors. Their triangular factors are drawn by themselves (Bartlett 1933: chi on the diagonal,
    normal above), so that the null of any shape costs matrices of the rank's size.
    """
    side = min(rank, M, _NULL_SIDE)
    scale = side / min(rank, M)
    draws = min(_NULL_DRAWS, _NULL_ENTRIES // side**2)
    random = np.random.default_rng([_NULL_SEED, N, M, rank])
    core = _bartlett(random, draws, round(max(N, M) * scale), side)
    if factors:  # the second one is square where the rank is above M: what is left of it is (M, rank)
        core = core @ _bartlett(random, draws, round(max(rank, M) * scale), side).transpose(0, 2, 1)
    values = np.linalg.eigvalsh(core.transpose(0, 2, 1) @ core)
    return tuple(sorted(effective_rank(one) / side for one in values))


def _bartlett(random: np.random.Generator, draws: int, rows: int, side: int) -> npt.NDArray[np.float64]:
    """Triangular factors R of Gaussian matrices (rows, side), shape (draws, side, side)."""
    above = np.triu(random.standard_normal((draws, side, side)), 1)
    degrees = rows - np.arange(side)
    diagonal = np.sqrt(random.chisquare(np.maximum(degrees, 1), (draws, side)))
    above[:, np.arange(side), np.arange(side)] = diagonal
    return above


def null_share(effective: float, N: int, M: int, rank: int, factors: bool = True) -> float:
    """Share of random updates of this shape and rank whose effective rank is at most ``effective``."""
    null = null_effective_ranks(N, M, rank, factors)
    return bisect.bisect_right(null, effective / min(rank, M)) / len(null)
