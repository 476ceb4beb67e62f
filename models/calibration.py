"""What adapters of one base and rank usually look like, module by module, so that the next can be held against it.

For every module and statistic: the median over accepted adapters and a robust spread, 1.4826 times the median absolute
deviation (Rousseeuw and Croux 1993), both of logarithms. The rate of false alarms is counted by leaving one out: each
accepted adapter is judged by what the others say, as the gate would.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.spectral_records import Calibration, LayerSpectrum, ModuleNorm, SpectralReport

MIN_ADAPTERS = 20
"""Accepted adapters from which on they are a norm."""
MAX_FALSE_ALARMS = 0.05
"""Share of accepted adapters that the norm may reject when each is left out; above it the defaults hold."""
_NORMAL = 1.4826
"""Median absolute deviation to standard deviation, for a normal distribution."""
_LEAST_SPREAD = 0.02
"""Spreads below it (of logarithms: 2 %) count as this: equal adapters would make any other an outlier."""

_ZERO = math.log(1e-12)
"""Logarithm of what counts as nothing."""

TOO_FEW = (
    f"Fewer than {MIN_ADAPTERS} accepted adapters of this base have the same modules, each of the same rank, so the "
    "defaults of params.yaml hold."
)
"""Why ``calibrate`` finds no norm."""

STATISTICS = {"not_learned": ("survives_bf16",), "exploded": ("sigma_ratio",)}
"""Statistics by the check whose defaults they replace. ``unstructured`` has none: what chance alone would make is known
for every shape and rank, and a norm of effective ranks lets random adapters pass (docs/results.md)."""
ONE_DECIDES = frozenset({"integrity", "exploded"})
"""Checks that one module decides; any other takes more than half of the modules that could be judged."""
_CHECK = {name: check for check, names in STATISTICS.items() for name in names}
_NAMES = tuple(_CHECK)

Values = npt.NDArray[np.float64]


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
    value = getattr(layer.update, name, None) if layer.update is not None else None
    return float(value) if value is not None else None


def calibrate(
    reports: Sequence[SpectralReport], limit: float, like: SpectralReport | None = None
) -> Calibration | None:
    """The norm of accepted adapters; None with fewer than ``MIN_ADAPTERS`` of one base, rank and set of modules.

    Args:
        reports: of accepted adapters of any base and rank.
        limit: robust standard deviations beyond which a module is rejected.
        like: whose base, rank and modules count; None: those of the last report.
    """
    wanted = like or (reports[-1] if reports else None)
    alike = [report for report in reports if wanted is not None and _shape(report) == _shape(wanted)]
    if len(alike) < MIN_ADAPTERS or not alike[-1].layers:
        return None
    values = np.stack([_values(report) for report in alike])
    reaches = tuple(_reach(one, np.delete(values, place, 0)) for place, one in enumerate(values))
    return Calibration(
        base=alike[-1].base,
        rank=alike[-1].layers[0].rank,
        adapters=len(alike),
        false_alarms=sum(reach > limit for reach in reaches),
        reaches=reaches,
        modules=_norms(alike[-1], values),
    )


def limited(calibration: Calibration, limit: float) -> Calibration:
    """The norm with the false alarms of another limit; one of an earlier release keeps those that were counted."""
    if not calibration.reaches:
        return calibration
    return calibration.model_copy(update={"false_alarms": sum(reach > limit for reach in calibration.reaches)})


def usable(calibration: Calibration) -> bool:
    """Whether there are enough adapters, and its leave-one-out false-alarm rate lets it replace the defaults."""
    enough = calibration.adapters >= MIN_ADAPTERS
    return enough and calibration.false_alarms <= MAX_FALSE_ALARMS * calibration.adapters


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


def _values(report: SpectralReport) -> Values:
    """Statistics on the scale of the calibration, (modules, statistics); NaN where a module has none."""
    rows = [[_scaled(statistic(layer, name)) for name in _NAMES] for layer in report.layers]
    return np.array(rows)


def _scaled(value: float | None) -> float:
    """Logarithm; what is zero is as small as a number can be, and what there is not is NaN."""
    return math.nan if value is None else max(math.log(value), _ZERO) if value > 0.0 else _ZERO


def _usual(values: Values) -> tuple[Values, Values]:
    """Median and robust spread over adapters, (modules, statistics) each.

    NaN where one adapter has no value, and where modules lie idle: beside nothing, anything would be an outlier.
    """
    median = np.median(values, axis=0)
    median = np.where(median > _ZERO, median, np.nan)
    spread = _NORMAL * np.median(np.abs(values - median), axis=0)
    return median, np.maximum(spread, _LEAST_SPREAD)


def _norms(report: SpectralReport, values: Values) -> dict[str, dict[str, ModuleNorm]]:
    median, spread = _usual(values)
    return {
        layer.name: {
            name: ModuleNorm(median=float(median[row, column]), spread=float(spread[row, column]))
            for column, name in enumerate(_NAMES)
            if not math.isnan(median[row, column])
        }
        for row, layer in enumerate(report.layers)
    }


def _reach(one: Values, others: Values) -> float:
    """The limit below which a check rejects the adapter by the norm of the others, with as many modules as it takes."""
    median, spread = _usual(others)
    reached = 0.0
    for column, name in enumerate(_NAMES):
        z = (np.abs(one - median) / spread)[:, column]
        farthest = np.sort(z[~np.isnan(z)])[::-1]
        needed = 1 if _CHECK[name] in ONE_DECIDES else len(farthest) // 2 + 1
        if len(farthest) >= needed:
            reached = max(reached, float(farthest[needed - 1]))
    return reached


def spoken(calibration: Calibration | None) -> str:
    """What the checks are held against, in words."""
    if calibration is None:
        return "uncalibrated"
    said = (
        f"calibrated on {calibration.adapters} adapters (false alarms {calibration.false_alarms} of "
        f"{calibration.adapters} left one out)"
    )
    return said if usable(calibration) else f"{said}, more than {MAX_FALSE_ALARMS:.0%}, so that the defaults hold"
