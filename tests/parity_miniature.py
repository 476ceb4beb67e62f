"""Matrices whose spectra are of many kinds, for comparisons with WeightWatcher."""

import torch
from torch import Tensor

from bench.spectra_inputs import trained_like

KINDS = ("gaussian", "uniform", "spiked", "trained", "power law")


def matrix(kind: str, rows: int, columns: int, seed: int = 0) -> Tensor:
    """A float32 matrix (rows, columns) of one of ``KINDS``."""
    draw = torch.Generator().manual_seed(seed)
    if kind == "trained":
        return trained_like(rows, columns, seed)
    if kind == "uniform":
        return torch.rand(rows, columns, generator=draw) - 0.5
    weight = torch.randn(rows, columns, generator=draw)
    if kind == "gaussian":
        return weight
    left, right = (torch.linalg.qr(torch.randn(side, 5, generator=draw)).Q for side in (rows, columns))
    if kind == "spiked":
        strength = torch.tensor([6.0, 5.0, 4.0, 3.5, 3.0]) * max(rows, columns) ** 0.5
        weight += (left * strength) @ right.T
        return weight
    assert kind == "power law"
    left, _, right = torch.linalg.svd(weight, full_matrices=False)
    sizes = (1.0 - torch.rand(min(rows, columns), generator=draw)) ** -0.35
    product: Tensor = (left * sizes) @ right
    return product


def with_traps(rows: int, columns: int, count: int, seed: int = 0) -> Tensor:
    """Noise with a few entries so large that their place does not matter."""
    weight = matrix("gaussian", rows, columns, seed)
    for place in range(count):
        weight[(7 * place + 3) % rows, (11 * place + 5) % columns] = (3.0 + place / 4) * (rows**0.5 + columns**0.5)
    return weight
