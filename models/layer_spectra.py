"""One layer: the spectrum of its weight, or of an update beside the weight that it is added to.

An update in factors never becomes an (N, M) matrix, with two exceptions: what a merge in bfloat16 would leave of it, a
block of rows at a time, and, where intruders are looked for, the merged weight itself.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from data.spectral_records import LayerSpectrum, Spectrum, SpectrumStatus, Update
from models.eigenvalues import Difference, LowRank, dense_eigenvalues
from models.intruders import intruders
from models.powerlaw import Vector
from models.random_matrix import null_share, singular_edge
from models.spectrum import DEFAULT, Analysis, describe, randomised, sides

_BLOCK_ENTRIES = 4_000_000
"""Entries of the merged weight held at once in float32 (16 MB)."""
_WHOLE_ENTRIES = 250_000
"""Where the update is no product, whose rounding may depend on the block."""

Below = Callable[[str, Tensor, Analysis], LayerSpectrum]
"""How a base layer's spectrum is come by: its name, its weight, and what is computed."""


def weight_spectrum(name: str, weight: Tensor, how: Analysis = DEFAULT, kind: str = "linear") -> LayerSpectrum:
    """Statistics of a weight (out, in), or of a convolution (out, in, *kernel)."""
    N, M = sides(weight)
    found, values = _dense(weight, how)
    if how.randomize:
        found = found.model_copy(update={"randomised": randomised(weight, values, how, name)})
    finite = found.status is not SpectrumStatus.NOT_FINITE
    return LayerSpectrum(name=name, kind=kind, N=N, M=M, rank=M, finite=finite, spectrum=found)


def update_spectrum(
    name: str,
    update: LowRank | Difference | Tensor,
    weight: Tensor | None,
    how: Analysis = DEFAULT,
    *,
    kind: str = "lora",
    declared_rank: int | None = None,
    rounding: float = 0.0,
    below: Below = weight_spectrum,
) -> LayerSpectrum:
    """Statistics of an update (out, in), in factors or whole, and of its base weight of the same shape.

    Args:
        name: of the layer.
        update: what is added to the weight; of a difference no layer's is held longer than its Gram matrix takes.
        weight: None where there is none, or none was given.
        how: what is computed.
        kind: lora, prefix, memory or delta.
        declared_rank: what the adapter's configuration says.
        rounding: largest eigenvalue that rounding makes by itself (models.eigenvalues.rounding_edge).
        below: gives the weight's own spectrum; one who knows it already spares the eigenvalue problem.
    """
    rows, columns = update.shape
    N, M = max(rows, columns), min(rows, columns)
    if isinstance(update, LowRank):
        rank = update.rank
        found, values = describe(update.eigenvalues(how.dtype, how.device), N, M, determinant=how.determinant)
    else:
        rank = M
        found, values = _dense(update, how, rounding)
        if how.randomize:
            found = found.model_copy(update={"randomised": randomised(_whole(update), values, how, name)})
    base = below(name, weight, how) if weight is not None else None
    sound = found.status is not SpectrumStatus.NOT_FINITE and (base is None or base.finite)
    measured = _measured(update, weight, found, how) if weight is not None and sound else None
    return LayerSpectrum(
        name=name,
        kind=kind,
        N=N,
        M=M,
        rank=rank,
        declared_rank=declared_rank,
        finite=sound,
        spectrum=found,
        base=base.spectrum if base is not None else None,
        update=measured,
        null_share=null_share(found.effective_rank, N, M, rank, factors=isinstance(update, LowRank))
        if found.matrix_rank
        else None,
    )


def _dense(weight: Tensor | Difference, how: Analysis, rounding: float = 0.0) -> tuple[Spectrum, Vector]:
    """The spectrum of a whole matrix; in float64 where float32 hides what the tail begins in.

    In float32 all below 1e-7 of the largest eigenvalue, times their number, is rounding. If the fitted tail begins at
    that cut, or nothing is left to fit, the true one may begin below it.
    """
    N, M = sides(weight.new if isinstance(weight, Difference) else weight)
    found, values = describe(
        dense_eigenvalues(weight, how.dtype, how.device), N, M, rounding=rounding, determinant=how.determinant
    )
    is_cut = how.dtype is torch.float32 and found.matrix_rank < found.num_evals
    if is_cut and found.num_pl_spikes in (None, found.matrix_rank):
        return _dense(weight, replace(how, dtype=torch.float64), rounding)
    return found, values


def _measured(update: LowRank | Difference | Tensor, weight: Tensor, found: Spectrum, how: Analysis) -> Update | None:
    """The update beside its base; None where the base's entries do not differ, so that there is no measure."""
    edge = singular_edge(weight)
    if edge is None:
        return None
    return Update(
        survives_bf16=_survives_bf16(update, weight),
        sigma_ratio=math.sqrt(found.spectral_norm) / edge,
        intruders=intruders(weight, weight.double() + _whole(update)) if how.intruders else None,
    )


def _whole(update: LowRank | Difference | Tensor) -> Tensor:
    """In float64, where no product overflows that has a finite spectrum."""
    if isinstance(update, LowRank):
        return update.B.double() @ update.A.double() * update.scale
    return update.to("cpu", torch.float64) if isinstance(update, Difference) else update.double()


def _rows(update: LowRank | Difference | Tensor, start: int, stop: int) -> Tensor:
    return update[start:stop].float() if isinstance(update, Tensor) else update.rows(start, stop)


def _survives_bf16(update: LowRank | Difference | Tensor, weight: Tensor) -> float:
    """Share of the bfloat16 weight's entries that differ after adding the update in float32 and rounding."""
    entries = _BLOCK_ENTRIES if isinstance(update, LowRank) else _WHOLE_ENTRIES
    rows = max(1, entries // weight.shape[1])
    changed = 0
    for start in range(0, weight.shape[0], rows):
        before = weight[start : start + rows].bfloat16()
        after = (before.float() + _rows(update, start, start + rows)).bfloat16()
        changed += int((after != before).sum())
    return changed / weight.numel()
