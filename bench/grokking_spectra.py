"""What is read from one weight matrix at one step: exponent, tail, distance, traps, stable rank.

Eigenvalues are those of W^T W, float64. A correlation trap is an eigenvalue of the matrix with its entries in random
places beyond the Marchenko-Pastur edge by more than WeightWatcher 0.7.7's margin (Martin; Prakash and Martin, arXiv
2506.04434). Places are drawn once for a matrix and kept, so that a count changes only as the weights do.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.powerlaw import fit_power_law

Vector = npt.NDArray[np.float64]


class Reading(NamedTuple):
    """One matrix; None where no power law could be fitted."""

    alpha: float | None
    sigma: float | None
    """Standard error of alpha."""
    tail: int | None
    D: float | None
    traps: int
    excess: float
    """Largest eigenvalue of the randomised matrix over the noise edge: what the traps are counted by, without a cut."""
    stable_rank: float


def read_matrix(weight: Tensor, seed: int) -> Reading:
    """``weight`` has any shape (n, m); the seed fixes the random places."""
    N, M = max(weight.shape), min(weight.shape)
    values = eigenvalues(weight)
    randomised = eigenvalues(shuffled(weight, seed))
    edge = float(randomised.mean()) * (1.0 + math.sqrt(M / N)) ** 2
    fit = fit_power_law(values)
    top, total = float(values.max()), float(values.sum())
    excess = float(randomised.max()) / edge if edge else 0.0
    return Reading(
        alpha=None if fit is None else fit.alpha,
        sigma=None if fit is None else fit.sigma,
        tail=None if fit is None else fit.tail,
        D=None if fit is None else fit.D,
        traps=traps(randomised, N, M),
        excess=excess,
        stable_rank=total / top if top else 0.0,
    )


def eigenvalues(weight: Tensor) -> Vector:
    """Those of W^T W, descending, as many as the shorter side."""
    return np.asarray(torch.linalg.svdvals(weight.detach().double()).square().numpy())


def shuffled(weight: Tensor, seed: int) -> Tensor:
    """The entries of ``weight`` in random places; the same seed, the same places."""
    places = torch.randperm(weight.numel(), generator=torch.Generator().manual_seed(seed))
    return weight.reshape(-1)[places].reshape(weight.shape)


def traps(values: Vector, N: int, M: int) -> int:
    """Eigenvalues of a randomised (N, M) matrix, N >= M, beyond the edge and its margin.

    Those found are taken out and the edge is drawn anew from the rest until no more are found, as a trap's own size
    raises the edge that it is held against.
    """
    aspect = math.sqrt(M / N)
    edge = (1.0 + aspect) ** 2
    limit = edge + math.sqrt(aspect * edge ** (2 / 3) * M ** (-2 / 3))
    rest = np.sort(values)
    while rest.size and rest[-1] > limit * rest.mean():
        rest = rest[rest <= limit * rest.mean()]
    return int(values.size - rest.size)
