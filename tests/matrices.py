"""Random matrices with a seed."""

import math

import numpy as np
import torch
from torch import Tensor

from models.spectrum import Analysis

ALL = Analysis(randomize=True, determinant=True)


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def single(*shape: int, seed: int = 0) -> Tensor:
    """In float32, as most checkpoints hold them."""
    return drawn(*shape, seed=seed, dtype=torch.float32)


def rotation(n: int, seed: int) -> Tensor:
    turned: Tensor = torch.linalg.qr(drawn(n, n, seed=seed)).Q
    return turned


def conditioned(rows: int, columns: int, condition: float, seed: int) -> Tensor:
    """A matrix whose singular values fall from 1 to 1 / condition."""
    rank = min(rows, columns)
    falling = torch.logspace(0.0, -math.log10(condition), rank, dtype=torch.float64)
    return (rotation(rows, seed)[:, :rank] * falling) @ rotation(columns, seed + 1)[:rank]


def heavy(N: int, M: int, seed: int = 0) -> Tensor:
    """A matrix whose spectrum has a heavy tail."""
    sizes = torch.from_numpy(np.random.default_rng(seed).pareto(2.0, M) + 0.05).sqrt()
    return (rotation(N, seed)[:, :M] * sizes) @ rotation(M, seed + 1)
