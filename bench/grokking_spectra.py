"""What is read from one weight matrix at one step: exponent, tail, distance, traps, stable rank.

Eigenvalues are those of W^T W, float64. A correlation trap is an eigenvalue of the matrix with its entries in random
places beyond the Marchenko-Pastur edge by more than WeightWatcher 0.7.7's margin (Martin; Prakash and Martin, arXiv
2506.04434). Places are drawn once for a matrix and kept, so that a count changes only as the weights do.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.powerlaw import Vector, fit_power_law
from models.random_matrix import noise_edge, shuffled, traps


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
    edge = noise_edge(float(randomised.mean()), N, M)
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
