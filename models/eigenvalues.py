"""Eigenvalues of W^T W, exactly and with no more memory than needed: of a weight, and of an update in factors.

A weight's are those of its smaller Gram matrix. An update scale * B A with B (out, r) and A (r, in) has those of the
r x r matrix L^T (A A^T) L * scale^2 with L L^T = B^T B (Cholesky), so that its exact spectrum costs two Gram matrices
of the rank's size and never an (out, in) matrix. Where the factors nearly cancel each other, squares would lose the
digits that are left; the triangular factors of both (QR) keep them. A convolution is one matrix per place of its
kernel, pooled.

Squares of float32 leave its range from 1e19 on and below 1e-19: such a matrix is computed in float64, whatever was
asked for.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Small = npt.NDArray[np.floating]
"""A matrix (r, r)."""

_ROUNDED = (torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2)
"""Number types whose rounding a difference of two checkpoints would show."""
_CANCELLED = 1000.0
"""How far the product of two factors may fall short of what their sizes allow before QR takes over."""
_BLOCK_ROWS = 2048
"""Of a factor that are converted at once."""
_BLOCK_ENTRIES = 2**17
"""Of two weights, or of one, that are worked on at once where a result has the size of neither."""
_LANES = 64
"""Columns of a block are a multiple of it, so that a sum down a column is the same, to the bit, as without blocks."""
_CONV_KERNEL = 31
"""A longer last side of a three-dimensional tensor is no kernel: such a tensor is a stack of matrices (experts)."""


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
        """All min(out, in, r) of them, ascending; NaN where a factor is not finite or they overflow.

        In float64 where ``dtype`` cannot hold their squares.
        """
        if self.rank == 0:
            return torch.zeros(0, dtype=dtype)
        most = min(*self.shape, self.rank)
        gram_B, gram_A = (_tall_gram(factor, dtype, device).cpu().numpy() for factor in (self.B, self.A.T))
        core = _core(gram_B, gram_A, self.scale)
        if dtype is not torch.float64 and not _in_range(gram_A, gram_B, core):
            return self.eigenvalues(torch.float64, device)
        if not np.isfinite(core).all():
            return torch.full((1,), math.nan, dtype=dtype)
        values = np.linalg.eigvalsh(core)
        allowed = math.sqrt(np.vdot(gram_A, gram_A)) * math.sqrt(np.vdot(gram_B, gram_B)) * self.scale**2
        if allowed > _CANCELLED * float(values[-1]):
            A, B = (factor.to(device, dtype) for factor in (self.A, self.B))
            return self._singular_values(A, B).square().flip(0)[-most:]
        return torch.from_numpy(values[-most:])

    def _singular_values(self, A: Tensor, B: Tensor) -> Tensor:
        """Descending, as exact as the factors: they are never squared."""
        triangles = (torch.linalg.qr(factor, mode="r").R for factor in (B, A.T))
        core = next(triangles) @ next(triangles).T * self.scale
        values: Tensor = torch.linalg.svdvals(core)
        return values


@dataclass(frozen=True)
class Difference:
    """What made one weight of another, new - old, computed when it is asked for and held by nobody."""

    new: Tensor
    """(out, in)"""
    old: Tensor
    """(out, in)"""

    @property
    def shape(self) -> torch.Size:
        """Rows and columns: (out, in)."""
        return self.new.shape

    def to(self, device: str, dtype: torch.dtype) -> Tensor:
        """The whole change (out, in), computed in float64 a block of rows at a time."""
        change = torch.empty_like(self.new, dtype=torch.float64)
        for start, stop in _blocks(*self.shape):
            change[start:stop] = self.new[start:stop]
            change[start:stop].sub_(self._old(start, stop))
        return change.to(device, dtype)

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop`` of the change, (stop - start, in), float32."""
        return self.new[start:stop].to(torch.float64, copy=True).sub_(self._old(start, stop)).float()

    def _old(self, start: int, stop: int) -> Tensor:
        rows = self.old[start:stop]
        return rows.bfloat16() if rows.dtype.itemsize == 1 else rows  # torch does not subtract eight bits


def _blocks(count: int, length: int, of: int = 1) -> Iterator[tuple[int, int]]:
    """Where blocks of rows, or columns, of this length begin and end; each but the last holds a multiple of ``of``."""
    step = max(of, _BLOCK_ENTRIES // max(1, length) // of * of)
    for start in range(0, count, step):
        yield start, min(count, start + step)


def _tall_gram(factor: Tensor, dtype: torch.dtype, device: str) -> Tensor:
    """The Gram matrix (r, r) of a factor (n, r), which is converted by blocks that stay in the processor's cache."""
    first = factor[:_BLOCK_ROWS].to(device, dtype)
    gram = first.T @ first
    for start in range(_BLOCK_ROWS, factor.shape[0], _BLOCK_ROWS):
        block = factor[start : start + _BLOCK_ROWS].to(device, dtype)
        gram.addmm_(block.T, block)
    return gram


def _core(gram_B: Small, gram_A: Small, scale: float) -> Small:
    """A symmetric matrix (r, r) with the eigenvalues of ``scale^2 * gram_B @ gram_A``.

    Not finite where one of them is not. In NumPy, whose calls cost a third of torch's at an adapter's rank.
    """
    for gram in (gram_B, gram_A):  # NaN and infinity show on the diagonal of a Gram matrix
        if not math.isfinite(gram.diagonal().max()):
            return gram
    try:
        root = np.linalg.cholesky(gram_B)
    except np.linalg.LinAlgError:  # B is zero or of lower rank
        values, vectors = np.linalg.eigh(gram_B)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not finite, and said so
        core: Small = root.T @ gram_A @ root * scale**2
    return core


def _in_range(*grams: Small) -> bool:
    """Whether squares neither left the range of their number type nor came so near its end that digits are missing."""
    largest = [float(np.abs(gram.diagonal()).max()) for gram in grams if gram.size]
    kind = np.finfo(grams[0].dtype)
    return all(kind.tiny / kind.eps < one < math.inf for one in largest)


def dense_eigenvalues(weight: Tensor | Difference, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Tensor:
    """All of them, ascending, of every matrix of ``weight``, pooled; NaN where it is not finite or they overflow.

    In float64 where ``dtype`` cannot hold their squares.
    """
    found = []
    for matrix in [weight] if isinstance(weight, Difference) else matrices(weight):
        gram = _gram(matrix.to(device, dtype))
        if dtype is not torch.float64 and not _in_range(gram.cpu().numpy()):
            return dense_eigenvalues(weight, torch.float64, device)
        found.append(_gram_eigenvalues(gram))
    return found[0] if len(found) == 1 else torch.cat(found).sort().values


def _gram(matrix: Tensor) -> Tensor:
    """The smaller of the two."""
    return matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T


def _gram_eigenvalues(gram: Tensor) -> Tensor:
    # No entry is larger than the largest on the diagonal (Cauchy and Schwarz), where NaN and infinity show, too.
    if not torch.isfinite(gram.diagonal()).all():
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
    """What a tensor of a model is, of a stack what each of its matrices is; None where it has no spectrum."""
    sides = shape[1:] if is_stack(name, shape) else shape
    if len(sides) == 2 and (len(shape) == 2 or min(sides) > 1):
        return "embedding" if "embed" in name or name.endswith(("wte.weight", "wpe.weight")) else "linear"
    return f"conv{len(shape) - 2}d" if len(sides) > 2 else None


def is_stack(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor holds one matrix per expert, or several of another kind, and is no convolution."""
    return len(shape) == 3 and ("expert" in name or shape[2] > _CONV_KERNEL)


def rounding_edge(weight: Tensor) -> float:
    """Largest eigenvalue that rounding ``weight`` (rows, columns) to its number type makes by itself; 0 for 64 bits.

    Each error is equally likely within half a unit in the last place either way, so that its variance is unit^2 / 12.
    Independent entries of different variances have singular values up to the root of the largest row's sum of them plus
    the root of the largest column's (Bandeira and van Handel 2016), which is the edge of Marchenko and Pastur where all
    are alike.
    """
    if weight.dtype not in _ROUNDED or not weight.numel():
        return 0.0
    if weight.stride(0) < weight.stride(1):  # which side is which plays no part, and rows are read in one go
        weight = weight.T
    rows, columns = weight.shape
    kind = torch.finfo(weight.dtype)
    highest = max(float(weight[start:stop].float().abs().max()) for start, stop in _blocks(rows, columns))
    largest = float(_units(torch.tensor(highest), kind))
    if largest == 0.0:
        return 0.0

    def variances(block: Tensor) -> Tensor:
        return _units(block.float().abs(), kind).div_(largest).square_().div_(12.0)

    row = max(variances(weight[start:stop]).sum(1).max().sqrt() for start, stop in _blocks(rows, columns))
    columnwise = _blocks(columns, rows, _LANES)
    column = max(variances(weight[:, start:stop]).sum(0).max().sqrt() for start, stop in columnwise)
    return (largest * float(row + column)) ** 2


def _units(entries: Tensor, kind: torch.finfo) -> Tensor:
    """A unit in the last place of each entry, which is not negative; 0 of 0."""
    exponents = torch.frexp(entries.clamp_min(kind.smallest_normal)).exponent
    return (exponents - 1.0).exp2_().mul_(kind.eps).mul_(entries > 0)
