"""What adapters of one base and rank usually look like, module by module, so that the next can be held against it.

For every module and statistic: the median over accepted adapters and a robust spread, 1.4826 times the median absolute
deviation (Rousseeuw and Croux 1993), on a logarithmic scale where the statistic is a size. The rate of false alarms is
counted by leaving one out: each accepted adapter is judged by what the others say.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.spectral_records import Calibration, LayerSpectrum, ModuleNorm, SpectralReport

MIN_ADAPTERS = 20
"""Accepted adapters from which on they are a norm."""
MAX_FALSE_ALARMS = 0.05
"""Share of accepted adapters that the norm may reject when each is left out; above it the defaults hold."""
_NORMAL = 1.4826
"""Median absolute deviation to standard deviation, for a normal distribution."""
_LEAST_SPREAD = 0.02
"""Spreads below it (of logarithms: 2 %) count as this: equal adapters would make any other an outlier."""

STATISTICS = {"not_learned": ("survives_bf16",), "exploded": ("sigma_ratio",), "unstructured": ("effective_rank",)}
"""Statistics by the check whose defaults they replace."""


@dataclass(frozen=True)
class Deviation:
    """How far one statistic of a module lies from what is usual."""

    statistic: str
    value: float
    median: float
    z: float
    """In robust standard deviations, on the scale of the calibration."""
    adapters: int
    """Accepted adapters that say what is usual."""


def statistic(layer: LayerSpectrum, name: str) -> float | None:
    """A statistic of a layer by name; None where it has none."""
    if name == "effective_rank":
        return layer.spectrum.effective_rank if layer.null_share is not None else None
    value = getattr(layer.update, name, None) if layer.update is not None else None
    return float(value) if value is not None else None


def calibrate(reports: Sequence[SpectralReport], limit: float) -> Calibration | None:
    """The norm of accepted adapters; None with fewer than ``MIN_ADAPTERS`` of one base, rank and set of modules.

    Args:
        reports: of accepted adapters of any base and rank; those like the last one count.
        limit: robust standard deviations beyond which an adapter is rejected.
    """
    alike = [report for report in reports if _shape(report) == _shape(reports[-1])] if reports else []
    if len(alike) < MIN_ADAPTERS or not alike[-1].layers:
        return None
    alarms = sum(
        _rejects(_norms(alike[:place] + alike[place + 1 :]), report, limit) for place, report in enumerate(alike)
    )
    return Calibration(
        base=alike[-1].base,
        rank=alike[-1].layers[0].rank,
        adapters=len(alike),
        false_alarms=alarms,
        modules=_norms(alike),
    )


def usable(calibration: Calibration) -> bool:
    """Whether there are enough adapters, and its leave-one-out false-alarm rate lets it replace the defaults."""
    enough = calibration.adapters >= MIN_ADAPTERS
    return enough and calibration.false_alarms <= MAX_FALSE_ALARMS * calibration.adapters


def fits(calibration: Calibration, report: SpectralReport) -> bool:
    """Whether the calibration is of this adapter's base and rank."""
    ranks = {layer.rank for layer in report.layers}
    return calibration.base == report.base and ranks == {calibration.rank}


def deviations(layer: LayerSpectrum, check: str, calibration: Calibration | None) -> tuple[Deviation, ...]:
    """How far the statistics of a check lie from what is usual for this module; empty where nothing says what is."""
    if calibration is None or check not in STATISTICS or not usable(calibration):
        return ()
    found = []
    for name in STATISTICS[check]:
        norm = calibration.modules.get(layer.name, {}).get(name)
        value = statistic(layer, name)
        if norm is not None and value is not None and layer.finite:
            z = (_scaled(value) - norm.median) / norm.spread
            found.append(Deviation(name, value, math.exp(norm.median), z, calibration.adapters))
    return tuple(found)


def _shape(report: SpectralReport) -> tuple[str, tuple[tuple[str, int], ...]]:
    return report.base, tuple((layer.name, layer.rank) for layer in report.layers)


def _norms(reports: Sequence[SpectralReport]) -> dict[str, dict[str, ModuleNorm]]:
    names = [name for names in STATISTICS.values() for name in names]
    columns = zip(*(report.layers for report in reports), strict=True)
    return {module[0].name: {name: norm for name in names if (norm := _norm(module, name))} for module in columns}


def _norm(module: Sequence[LayerSpectrum], name: str) -> ModuleNorm | None:
    values = [statistic(layer, name) for layer in module]
    if any(value is None for value in values):
        return None
    scaled = np.array([_scaled(value) for value in values if value is not None])
    median = float(np.median(scaled))
    spread = _NORMAL * float(np.median(np.abs(scaled - median)))
    return ModuleNorm(median=median, spread=max(spread, _LEAST_SPREAD))


def _scaled(value: float) -> float:
    """Logarithm; what is zero is as small as a number can be."""
    return math.log(max(value, 1e-12))


def _rejects(norms: dict[str, dict[str, ModuleNorm]], report: SpectralReport, limit: float) -> bool:
    for layer in report.layers:
        for name, norm in norms[layer.name].items():
            value = statistic(layer, name)
            if value is not None and abs(_scaled(value) - norm.median) > limit * norm.spread:
                return True
    return False


def spoken(calibration: Calibration | None) -> str:
    """What the checks are held against, in words."""
    if calibration is None:
        return "uncalibrated"
    said = (
        f"calibrated on {calibration.adapters} adapters (false alarms {calibration.false_alarms} of "
        f"{calibration.adapters} left one out)"
    )
    return said if usable(calibration) else f"{said}, more than {MAX_FALSE_ALARMS:.0%}, so that the defaults hold"
