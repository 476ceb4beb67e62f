"""One spectrum in numbers: its size, its shape, its tail, and how it stands against chance.

What is compared is relative to the largest eigenvalue or to the noise edge, never absolute: a matrix times 1e-6 has the
same exponents, ranks and counts.
"""

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.errors import InputError, quoted
from data.spectral_records import Determinant, Histogram, Randomised, Spectrum, SpectrumStatus
from models import random_matrix
from models.eigenvalues import dense_eigenvalues
from models.powerlaw import MIN_EIGENVALUES, PowerLawFit, Vector, above, fit_tail

_BINS = 40
"""Of the histogram that reports draw."""
_LN10 = math.log(10.0)
_SEEDS = 2**32
"""Different ones: of a larger seed torch reads the last 32 bits alone."""


@dataclass(frozen=True)
class Analysis:
    """What is computed, and how."""

    randomize: bool = False
    """Look for correlation traps: a second spectrum, of the entries in random places."""
    determinant: bool = False
    """Look for the determinant condition."""
    intruders: bool = False
    """Look for directions that the base does not know: eigenvectors of base and merged weight."""
    dtype: torch.dtype = torch.float64
    """Of the Gram matrices and their eigenvalues: float64 or float32."""
    device: str = "cpu"
    seed: int = 0
    """Of the random places."""

    def __post_init__(self) -> None:
        if type(self.seed) is not int or not 0 <= self.seed < _SEEDS:
            raise InputError(f"seed is {quoted(repr(self.seed))}. Give a whole number from 0 to {_SEEDS - 1:,}.")
        if self.dtype not in (torch.float32, torch.float64):
            raise InputError(f"Eigenvalues in {self.dtype} were asked for. Ask for torch.float64 or torch.float32.")
        try:
            torch.zeros(1, dtype=self.dtype, device=self.device).item()
        except (RuntimeError, AssertionError, TypeError) as error:
            said = quoted(error).split(". ")[0]
            raise InputError(
                f"device {self.device!r} cannot be used here ({said}). Name cpu, or try float32."
            ) from error


DEFAULT = Analysis()


def sides(weight: Tensor) -> tuple[int, int]:
    """N and M: the larger and the smaller of the first two sides."""
    rows, columns = weight.shape[:2]
    return max(rows, columns), min(rows, columns)


def describe(
    eigenvalues: Tensor, N: int, M: int, *, rounding: float = 0.0, determinant: bool = False
) -> tuple[Spectrum, Vector]:
    """The statistics of a spectrum, and its eigenvalues above rounding, ascending.

    Args:
        eigenvalues: of a matrix (N, M), any order; a single NaN where they could not be computed. Their number type
            says how exact they are.
        N: larger side.
        M: smaller side.
        rounding: largest eigenvalue that rounding the matrix's entries makes by itself.
        determinant: look for the determinant condition.
    """
    values = np.sort(eigenvalues.double().cpu().numpy())
    if values.size == 0:
        return Spectrum(status=SpectrumStatus.ZERO, num_evals=0), values
    if not (math.isfinite(values[0]) and math.isfinite(values[-1])):  # NaN is sorted to the end
        return Spectrum(status=SpectrumStatus.NOT_FINITE, num_evals=min(N, M)), np.empty(0)
    largest = float(values[-1])
    kept = above(values, max(largest, 0.0) * values.size * torch.finfo(eigenvalues.dtype).eps)
    if kept.size == 0:
        return Spectrum(status=SpectrumStatus.ZERO, num_evals=values.size), kept
    norm = float(kept.sum())
    fit = fit_tail(kept, rounding)
    signal = above(kept, rounding)
    found = Spectrum(
        status=SpectrumStatus.SUCCESS if fit else _why_not(kept, rounding),
        num_evals=values.size,
        norm=norm,
        spectral_norm=largest,
        smallest=float(kept[0]),
        stable_rank=norm / largest,
        effective_rank=random_matrix.effective_rank(signal),
        entropy=_entropy(signal),
        matrix_rank=signal.size,
        noise_edge=random_matrix.noise_edge(norm / max(values.size, M), N, M),
        rounding_edge=rounding,
        histogram=_histogram(kept),
        determinant=_determinant(kept, fit.tail if fit else None) if determinant else None,
        **(_fitted(kept, fit) if fit else {}),
    )
    return found, kept


def _fitted(values: Vector, fit: PowerLawFit) -> dict[str, Any]:
    """The fields of a spectrum that has a tail."""
    return {
        "alpha": fit.alpha,
        "alpha_low": fit.low,
        "alpha_high": fit.high,
        "xmin": fit.xmin,
        "D": fit.D,
        "sigma": fit.sigma,
        "num_pl_spikes": fit.tail,
        "log_alpha_norm": _log_alpha_norm(values, fit.alpha),
    }


def _entropy(values: Vector) -> float:
    """Of the eigenvalues as shares of their sum, over the logarithm of their number; 0 for one or none."""
    if values.size < 2:
        return 0.0
    shares = values / values.sum()
    return float(-(shares * np.log(shares)).sum() / math.log(values.size))


def _why_not(kept: Vector, edge: float) -> SpectrumStatus:
    signal = above(kept, edge)
    if signal.size == 0:
        return SpectrumStatus.NOISE
    return SpectrumStatus.FEW if signal.size < MIN_EIGENVALUES else SpectrumStatus.EQUAL


def _log_alpha_norm(values: Vector, alpha: float) -> float:
    """log10 of the sum of eigenvalue^alpha; the largest is taken out, so that no power overflows."""
    powers = alpha * np.log(values / values[-1])
    return float(alpha * np.log(values[-1]) + np.log(np.exp(powers).sum())) / _LN10


def _histogram(values: Vector) -> Histogram:
    """Of ascending values; each bin but the last is open above."""
    logs = np.log10(values)
    low, high = float(logs[0]), float(logs[-1])
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    bins = max(1, min(_BINS, values.size))
    places = ((logs - low) * (bins / (high - low))).astype(np.intp)
    counts = np.bincount(np.minimum(places, bins - 1), minlength=bins)
    return Histogram(low=low, high=high, counts=tuple(counts.tolist()))


def _determinant(values: Vector, tail: int | None) -> Determinant | None:
    count, smallest = random_matrix.determinant_tail(values)
    if count == 0:
        return None
    return Determinant(detX_num=count, detX_val=smallest, ERG_gap=None if tail is None else count - tail)


def randomised(weight: Tensor, values: Vector, how: Analysis, name: str) -> Randomised | None:
    """The spectrum of the same entries in other places; None where the matrix has no spectrum to compare with."""
    if values.size == 0 or min(sides(weight)) < 2:  # one row keeps its one eigenvalue wherever its entries stand
        return None
    places = random_matrix.shuffled(weight, zlib.crc32(name.encode()) ^ how.seed)
    found = dense_eigenvalues(places, how.dtype, how.device).double().cpu().numpy()
    N, M = sides(weight)
    count = min(found.size, values.size)
    return Randomised(
        rand_num_spikes=random_matrix.traps(found, N, M),
        rand_distance=random_matrix.distance(values[-count:], np.sort(found)[-count:]),
        max_rand_eval=float(found.max()),
        ww_softrank=float(found.max() / values[-1]),
    )
