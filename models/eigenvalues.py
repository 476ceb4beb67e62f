"""Eigenvalues of W^T W, exactly and with no more memory than needed: of a weight, and of an update in factors.

A weight's are those of its smaller Gram matrix. An update scale * B A with B (out, r) and A (r, in) has those of the
r x r matrix L^T (A A^T) L * scale^2 with L L^T = B^T B (Cholesky), so that its exact spectrum costs two Gram matrices
of the rank's size and never an (out, in) matrix. A convolution is one matrix per place of its kernel, pooled.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_DIGITS = {torch.bfloat16: 8, torch.float16: 11, torch.float32: 24}
"""Significant bits of the number types whose rounding a difference of two checkpoints would show."""
_CONV_KERNEL = 31
"""A longer last side of a three-dimensional tensor is no kernel: such a tensor is a stack of matrices."""


@dataclass(frozen=True)
class LowRank:
    """One layer's update, scale * B A, in factors."""

    A: Tensor
    """(r, in)"""
    B: Tensor
    """(out, r)"""
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the update: (out, in)."""
        return self.B.shape[0], self.A.shape[1]

    @property
    def rank(self) -> int:
        """Of the factors; the update's may be lower."""
        return self.A.shape[0]

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop`` of the update, (stop - start, in), float32."""
        product: Tensor = self.B[start:stop].float() @ self.A.float() * self.scale
        return product

    def eigenvalues(self, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Tensor:
        """All min(out, in, r) of them, ascending; NaN where a factor is not finite or they overflow."""
        A, B = (factor.to(device, dtype) for factor in (self.A, self.B))
        core = _core(B.T @ B, A @ A.T) * self.scale**2
        if not torch.isfinite(core).all():
            return core.new_full((1,), math.nan)
        values: Tensor = torch.linalg.eigvalsh(core)
        return values[-min(*self.shape, self.rank) :]


def _core(gram_B: Tensor, gram_A: Tensor) -> Tensor:
    """A symmetric matrix (r, r) with the eigenvalues of ``gram_B @ gram_A``."""
    root, failed = torch.linalg.cholesky_ex(gram_B)
    if failed:  # B is zero or of lower rank, or not finite
        if not torch.isfinite(gram_B).all():
            return gram_B
        values, vectors = torch.linalg.eigh(gram_B)
        root = vectors * values.clamp_min(0.0).sqrt()
    core: Tensor = root.T @ gram_A @ root
    return core


def dense_eigenvalues(weight: Tensor, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Tensor:
    """All of them, ascending, of every matrix of ``weight``, pooled; NaN where it is not finite or they overflow."""
    found = [_gram_eigenvalues(matrix.to(device, dtype)) for matrix in matrices(weight)]
    return found[0] if len(found) == 1 else torch.cat(found).sort().values


def _gram_eigenvalues(matrix: Tensor) -> Tensor:
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    if not torch.isfinite(gram).all():
        return gram.new_full((1,), math.nan)
    values: Tensor = torch.linalg.eigvalsh(gram)
    return values


def matrices(weight: Tensor) -> list[Tensor]:
    """The matrices of a weight: itself, or of a convolution (out, in, *kernel) one per place of the kernel.

    Raises:
        ValueError: a vector or a scalar, which has no spectrum.
    """
    if weight.ndim < 2:
        raise ValueError(f"A tensor of shape {tuple(weight.shape)} is no matrix and has no spectrum.")
    if weight.ndim == 2:
        return [weight]
    flat = weight.flatten(2)
    return [flat[:, :, place] for place in range(flat.shape[2])]


def kind_of(name: str, shape: tuple[int, ...]) -> str | None:
    """What a tensor of a model is; None where it has no spectrum or is a stack of matrices."""
    if len(shape) == 2:
        return "embedding" if "embed" in name or name.endswith(("wte.weight", "wpe.weight")) else "linear"
    if len(shape) == 3 and shape[2] <= _CONV_KERNEL:
        return "conv1d"
    return "conv2d" if len(shape) == 4 else None


def rounding_variance(weight: Tensor) -> float:
    """Variance of one entry's error when weights like these are rounded to their own number type; 0 for 64 bits.

    Half a unit in the last place either way, each error equally likely: unit^2 / 12, averaged over the entries.
    """
    digits = _DIGITS.get(weight.dtype)
    if digits is None:
        return 0.0
    entries = weight.float().abs().flatten()
    entries = entries[entries > 0]
    if entries.numel() == 0:
        return 0.0
    units = torch.exp2(torch.floor(torch.log2(entries)) - (digits - 1))
    return float((units.double() ** 2).mean()) / 12.0
