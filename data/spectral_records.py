"""The typed records of what a spectrum says: of one matrix, of one layer, of a whole adapter or model.

Field names that WeightWatcher has mean what they mean there (docs/spectra.md lists where they do not).
"""

from enum import StrEnum
from typing import Literal

from pydantic import Field, model_validator

from data.records import Record


class SpectrumStatus(StrEnum):
    """Whether a power law was fitted to a spectrum's tail, and why not."""

    SUCCESS = "success"
    """Fitted."""
    FEW = "few"
    """Fewer eigenvalues than a fit needs are left above rounding."""
    EQUAL = "equal"
    """All eigenvalues are equal up to rounding, so that there is no tail."""
    ZERO = "zero"
    """The matrix is zero."""
    NOISE = "noise"
    """Nothing rises above what rounding the weights would have made by itself."""
    NOT_FINITE = "not_finite"
    """The matrix holds NaN or infinity, or its eigenvalues overflow."""


class Histogram(Record):
    """Eigenvalues above rounding, counted in bins of equal width in log10."""

    low: float
    """log10 of the first bin's lower edge."""
    high: float
    """log10 of the last bin's upper edge."""
    counts: tuple[int, ...]


class Randomised(Record):
    """The spectrum of the same entries in random places, against the noise edge."""

    rand_num_spikes: int
    """Correlation traps: eigenvalues beyond the Marchenko-Pastur edge although nothing is where it was."""
    rand_distance: float
    """Jensen-Shannon distance, in sqrt(nats), of the two spectra as shares of their sums; 0 to 0.83."""
    max_rand_eval: float
    ww_softrank: float
    """Largest eigenvalue of the randomised matrix over that of the matrix."""


class Determinant(Record):
    """Where the product of the largest eigenvalues, rescaled to a mean of 1, falls below 1."""

    detX_num: int
    """Eigenvalues in that tail."""
    detX_val: float
    """The smallest of them, in the unit of the eigenvalues."""
    ERG_gap: int | None
    """detX_num minus the power law's tail; None where none was fitted."""


class Spectrum(Record):
    """Eigenvalues of W^T W (squared singular values of W) in numbers; no division by N."""

    status: SpectrumStatus
    num_evals: int
    """Eigenvalues there are, zeros included."""
    norm: float = 0.0
    """Their sum: the squared Frobenius norm of W."""
    spectral_norm: float = 0.0
    """The largest: the squared spectral norm of W."""
    smallest: float = 0.0
    stable_rank: float = 0.0
    """Sum over largest."""
    effective_rank: float = 0.0
    """exp of the entropy of the singular values as shares of their sum (Roy and Vetterli 2007)."""
    entropy: float = 0.0
    """Entropy of the eigenvalues as shares of their sum, over the logarithm of the rank."""
    matrix_rank: int = 0
    alpha: float | None = None
    """Exponent of the density of the tail; None where none was fitted."""
    alpha_low: float | None = None
    """95 % interval."""
    alpha_high: float | None = None
    xmin: float | None = None
    """Smallest eigenvalue of the tail."""
    D: float | None = None
    """Kolmogorov-Smirnov distance of the tail from its fit."""
    sigma: float | None = None
    """Standard error of alpha for this xmin."""
    num_pl_spikes: int | None = None
    """Eigenvalues in the tail."""
    log_alpha_norm: float | None = None
    """log10 of the sum of eigenvalue^alpha."""
    noise_edge: float = 0.0
    """Where the eigenvalues of a matrix of independent entries of this variance end (Marchenko and Pastur)."""
    rounding_edge: float = 0.0
    """Below it lies what rounding the weights makes by itself, which neither fit nor ranks count; 0: no rounding."""
    histogram: Histogram | None = None
    randomised: Randomised | None = None
    determinant: Determinant | None = None


class Update(Record):
    """What an update is beside the base's weight of the same layer."""

    survives_bf16: float
    """Share of the weight's entries that differ after W + update in bfloat16."""
    sigma_ratio: float
    """Largest singular value of the update over the base's noise edge sigma_W (sqrt N + sqrt M)."""
    intruders: int | None = None
    """Leading directions of the merged weight without a counterpart in the base; None: not looked for."""


class LayerSpectrum(Record):
    """One layer: the spectrum of what was analysed (an update or a weight) and of the base's weight below it."""

    name: str
    kind: str
    """What the matrix is: linear, conv1d, conv2d or embedding; of an update lora, prefix, memory or delta."""
    N: int
    """Larger side."""
    M: int
    """Smaller side."""
    rank: int
    """Of the update's factors; M where it has none, and 0 where they should be there and are not."""
    declared_rank: int | None = None
    """What the adapter's configuration says; None where it says nothing."""
    finite: bool
    """Whether update and base are free of NaN and infinity; where not, numbers are 0."""
    spectrum: Spectrum
    base: Spectrum | None = None
    update: Update | None = None
    """None: there is no base to compare with."""
    null_share: float | None = None
    """Share of random updates of this shape and rank whose effective rank is at most this one's."""

    @model_validator(mode="after")
    def _compared_with_something(self) -> "LayerSpectrum":
        if self.update is not None and self.base is None:
            raise ValueError("an update is compared with a base, and there is none")
        return self


class SpectralReport(Record):
    """Per-layer statistics of an adapter's update and of its base.

    Schema 2 keeps the whole spectrum of both; older reports are written anew by the stage that makes them.
    """

    schema_: Literal[2] = Field(default=2, alias="schema")
    adapter: str
    """Digest of the adapter folder."""
    base: str
    layers: tuple[LayerSpectrum, ...]


class Look(Record):
    """An adapter's update in mid-training, over all its layers; the figures are those of a report at that step."""

    step: int
    """Optimiser steps made."""
    finite: bool
    """Whether all factors are; figures are over the layers whose factors are."""
    sigma_ratio: float
    """Largest singular value of any layer's update over its base's noise edge, the largest there is."""
    layer: str
    """Whose it is, or the first that is not finite."""
    stable_rank: float
    """Median over the layers, as are the next two."""
    effective_rank: float
    """As a share of the rank."""
    null_share: float
    """Share of random updates whose effective rank is at most the layer's."""
    norm: float
    """Frobenius norm of the whole update."""
    outside: str = ""
    """How it left the band, one sentence; empty: it did not."""


class ModuleNorm(Record):
    """What is usual for one statistic of one module, on a logarithmic scale."""

    median: float
    spread: float
    """Robust standard deviation."""


class Calibration(Record):
    """What accepted adapters of one base and rank look like."""

    base: str
    rank: int
    """Of the first module; modules of other ranks (a rank pattern) are held against their own."""
    adapters: int
    false_alarms: int
    """Accepted adapters that the others would have rejected."""
    reaches: tuple[float, ...] = ()
    """Of each, the ``max_robust_z`` below which the others reject it; earlier releases kept none."""
    modules: dict[str, dict[str, ModuleNorm]]
    """By module and statistic."""
