"""Every statistic of every member of the library of failures: what a gate could look at, one record a member.

A statistic of an adapter is a summary over its layers. The records lie beside the members, so that each is measured
once; they carry the digest of the engine's code, and another engine measures anew.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from torch import Tensor

from bench import failure_kinds
from bench.bases_used import BASES
from bench.failure_kinds import Kind, Member, laid_out, weights
from bench.failures import members
from data.files import digest_file, digest_text, read_cached, write_record
from data.fingerprint import code_digest
from data.records import Record
from data.spectral_records import LayerSpectrum, SpectralReport
from models.layer_spectra import weight_spectrum
from models.spectra import layer_spectra
from models.spectrum import Analysis

UPDATE = Analysis(intruders=True)
MERGED = Analysis(randomize=True)
_FILE = "statistics.json"


class Measured(Record):
    """One member: the statistics of its update and of the weights that it makes."""

    code: str
    kind: Kind
    variant: str
    base: str
    rank: int
    seed: int
    steps: int
    values: dict[str, float]
    """By the name of the statistic; one that a spectrum does not have is not there."""
    report: SpectralReport
    """The layers themselves, for checks and calibrations."""


Summary = Callable[[Sequence[float]], float]
Reading = Callable[[LayerSpectrum], float | None]


def _spread(values: Sequence[float]) -> float:
    """Largest over the median: one layer that is unlike the others."""
    middle = statistics.median(values)
    return max(values) / middle if middle > 0 else 0.0


READINGS: dict[str, tuple[Reading, Summary]] = {
    "alpha": (lambda layer: layer.spectrum.alpha, statistics.median),
    "D": (lambda layer: layer.spectrum.D, statistics.median),
    "alpha minus base alpha": (
        lambda layer: _minus(layer.spectrum.alpha, layer.base.alpha if layer.base else None),
        statistics.median,
    ),
    "stable rank": (lambda layer: layer.spectrum.stable_rank, statistics.median),
    "effective rank": (lambda layer: layer.spectrum.effective_rank, statistics.median),
    "rank": (lambda layer: float(layer.spectrum.matrix_rank), statistics.median),
    "null share": (lambda layer: layer.null_share, statistics.median),
    "entropy": (lambda layer: layer.spectrum.entropy, statistics.median),
    "sigma ratio": (lambda layer: layer.update.sigma_ratio if layer.update else None, statistics.median),
    "largest sigma ratio": (lambda layer: layer.update.sigma_ratio if layer.update else None, max),
    "sigma ratio, largest over median": (lambda layer: layer.update.sigma_ratio if layer.update else None, _spread),
    "survives bf16": (lambda layer: layer.update.survives_bf16 if layer.update else None, statistics.median),
    "norm over base norm": (
        lambda layer: (layer.spectrum.norm / layer.base.norm) ** 0.5 if layer.base and layer.base.norm else None,
        statistics.median,
    ),
    "intruders": (lambda layer: layer.update.intruders if layer.update else None, statistics.fmean),
}
"""How each statistic of the update is read from a layer, and summed up over layers."""
PER_RANK = ("stable rank", "effective rank", "rank")
"""Statistics that are shares of the adapter's rank; merged weights keep the rank of the adapter in them."""
MERGED_READINGS: dict[str, tuple[Reading, Summary]] = {
    "merged alpha": (lambda layer: layer.spectrum.alpha, statistics.median),
    "merged stable rank": (lambda layer: layer.spectrum.stable_rank / layer.M, statistics.median),
    "merged traps": (
        lambda layer: float(layer.spectrum.randomised.rand_num_spikes) if layer.spectrum.randomised else None,
        statistics.fmean,
    ),
    "merged distance from random": (
        lambda layer: layer.spectrum.randomised.rand_distance if layer.spectrum.randomised else None,
        statistics.median,
    ),
}
"""The same of the weight with the update in it."""


def measured(root: Path) -> list[Measured]:
    """Every member below ``root``; those that have not been measured with this code are, with a line each."""
    found = []
    for one in members(root):
        known = read_cached(one.folder / _FILE, Measured)
        if known is None or known.code != _code():
            known = measure(one)
            write_record(one.folder / _FILE, known)
            print(f"{one.base}/{one.folder.name}: {len(known.values)} statistics", file=sys.stderr, flush=True)
        found.append(known)
    return found


def measure(one: Member) -> Measured:
    """The statistics of one member."""
    base = BASES[one.base]().folder
    with laid_out(one, base) as folder:
        layers = tuple(layer_spectra(folder, base, UPDATE, base_spectrum=_below(one.base)))
    whole = [weight_spectrum(name, weight.float(), MERGED) for name, weight in weights(one, base).items()]
    values = _summed(READINGS, layers) | _summed(MERGED_READINGS, whole)
    values |= {name: values[name] / one.rank for name in PER_RANK if name in values}
    return Measured(
        code=_code(),
        kind=one.kind,
        variant=one.variant,
        base=one.base,
        rank=one.rank,
        seed=one.seed,
        steps=one.steps,
        values=values,
        report=SpectralReport(adapter=one.folder.name, base=one.base, layers=layers),
    )


class _Below(dict[str, LayerSpectrum]):
    """The spectra of one base's layers, each computed once: they are the same below every member."""

    def __call__(self, name: str, weight: Tensor, how: Analysis) -> LayerSpectrum:
        if name not in self:
            self[name] = weight_spectrum(name, weight, how)
        return self[name]


@cache
def _below(base: str) -> _Below:
    return _Below()


@cache
def _code() -> str:
    """Digest of this file, of what makes the weights, and of the engine."""
    own = (digest_file(Path(__file__)), digest_file(Path(failure_kinds.__file__)))
    return digest_text(*own, code_digest("models.spectra"))


def _summed(readings: dict[str, tuple[Reading, Summary]], layers: Sequence[LayerSpectrum]) -> dict[str, float]:
    found = {}
    for name, (read, summary) in readings.items():
        values = [value for layer in layers if (value := read(layer)) is not None]
        if values:
            found[name] = float(summary(values))
    return found


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
