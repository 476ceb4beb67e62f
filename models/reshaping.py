"""Weights with part of their spectrum taken away: smoothing and sharpening.

Smoothing keeps the leading singular directions of a weight and drops the rest, as noise. Sharpening removes what makes
correlation traps: the leading directions of the matrix with its entries in random places, where only entries that are
large by themselves can stand out; then the entries go back to their places (Martin, WeightWatcher). Both are what
WeightWatcher offers; docs/spectra.md says where it does something else than it says.

A convolution (out, in, *kernel) is one matrix per place of its kernel, each reshaped by itself.
"""

import zlib
from collections.abc import Callable, Mapping
from enum import StrEnum

import torch
from torch import Tensor

from models import random_matrix
from models.eigenvalues import kind_of, matrices
from models.powerlaw import fit_power_law, positive
from models.spectrum import sides


class Keep(StrEnum):
    """By what smoothing decides how many directions of a matrix are kept."""

    DETERMINANT = "determinant"
    """The tail whose product is below 1 (the determinant condition)."""
    POWER_LAW = "power_law"
    """The tail that follows a power law; none if there is none."""
    SPIKES = "spikes"
    """What lies beyond the noise edge."""
    SHARE = "share"
    """A given share."""


def smoothed(weight: Tensor, keep: Keep = Keep.DETERMINANT, share: float = 0.8) -> Tensor:
    """``weight`` with its leading singular directions alone; a matrix for which none are told apart stays as it is.

    Args:
        weight: (out, in) or (out, in, *kernel).
        keep: what decides how many are kept.
        share: of the smaller side, for ``Keep.SHARE``.

    Raises:
        ValueError: the weight is not finite, or the share lies outside 0 to 1.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"The share to keep is {share}; it must lie above 0 and not above 1.")
    return _reshaped(weight, lambda matrix, _: leading(matrix, kept(matrix, keep, share)))


def kept(matrix: Tensor, keep: Keep = Keep.DETERMINANT, share: float = 0.8) -> int:
    """How many singular directions of a matrix (out, in) smoothing keeps; 0: nothing tells them apart."""
    if keep is Keep.SHARE:
        return max(1, int(share * min(matrix.shape)))
    values = torch.linalg.svdvals(matrix.double()).square().numpy(force=True)
    if keep is Keep.POWER_LAW:
        fit = fit_power_law(values)
        return fit.tail if fit is not None else 0
    if keep is Keep.SPIKES:
        return random_matrix.traps(values, *sides(matrix))
    return random_matrix.determinant_tail(positive(values))[0]


def leading(matrix: Tensor, count: int) -> Tensor:
    """The best approximation of ``matrix`` (out, in) of rank ``count`` (Eckart and Young 1936); itself for 0."""
    if count < 1:
        return matrix
    left, sizes, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    product: Tensor = (left[:, :count] * sizes[:count]) @ right[:count]
    return product.to(matrix.dtype)


def sharpened(weight: Tensor, seed: int = 0) -> Tensor:
    """``weight`` without its correlation traps: what stands out when the entries are in random places is taken away.

    A weight without traps is returned as it is. The same seed, the same result.

    Args:
        weight: (out, in) or (out, in, *kernel).
        seed: of the random places.

    Raises:
        ValueError: the weight is not finite.
    """
    return _reshaped(weight, lambda matrix, place: _without_traps(matrix, seed + place))


def _without_traps(matrix: Tensor, seed: int) -> Tensor:
    places = random_matrix.places(matrix.numel(), seed).to(matrix.device)
    left, sizes, right = torch.linalg.svd(
        matrix.reshape(-1)[places].reshape(matrix.shape).double(), full_matrices=False
    )
    count = random_matrix.traps(sizes.square().numpy(force=True), *sides(matrix))
    if count == 0:
        return matrix
    rest = (left[:, count:] * sizes[count:]) @ right[count:]
    back = torch.empty_like(matrix.reshape(-1))
    back[places] = rest.reshape(-1).to(matrix.dtype)
    return back.reshape(matrix.shape)


def _reshaped(weight: Tensor, change: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Every matrix of a weight changed; ``change`` gets the matrix and its place in the kernel."""
    if not torch.isfinite(weight).all():
        raise ValueError(
            f"A weight of shape {tuple(weight.shape)} holds NaN or infinity and has no singular directions."
        )
    changed = [change(matrix, place) for place, matrix in enumerate(matrices(weight))]
    return changed[0] if weight.ndim == 2 else torch.stack(changed, dim=2).reshape(weight.shape)


def smoothed_state(state: Mapping[str, Tensor], keep: Keep = Keep.DETERMINANT, share: float = 0.8) -> dict[str, Tensor]:
    """A state dict with each of its weights (embeddings included) smoothed; the rest as it is."""
    return {name: smoothed(tensor, keep, share) if _taken(name, tensor) else tensor for name, tensor in state.items()}


def sharpened_state(state: Mapping[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """A state dict with each of its weights sharpened, each with random places of its own; the rest as it is."""
    return {
        name: sharpened(tensor, zlib.crc32(name.encode()) ^ seed) if _taken(name, tensor) else tensor
        for name, tensor in state.items()
    }


def _taken(name: str, tensor: Tensor) -> bool:
    return name.endswith("weight") and tensor.is_floating_point() and kind_of(name, tuple(tensor.shape)) is not None
