"""What pages show of a spectral report: its pictures, and the outcome of every check in every layer.

The version's report and the page of ``relearn spectra`` show the same. Checks that decide nothing stand apart from
those that do, and what the checks cannot say stands beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from data.evaluation_records import Check, Outcome
from data.param_stages import GateParams
from data.spectral_records import Calibration, LayerSpectrum
from models.calibration import TOO_FEW, spoken
from models.spectral_checks import CANNOT, layer_checks
from tasks.density_figure import blocks_left_out, density_by_layer
from tasks.spectral_figures import alpha_by_depth, size_by_depth, structure_by_depth, survival_by_depth

MOST_OPEN = 40
"""Layers of the matrix that stand open; of more, only those with a failure or a warning, the gravest of them."""
_GRAVEST = ((True, Outcome.FAIL), (True, Outcome.WARN), (False, Outcome.FAIL), (False, Outcome.WARN))
"""Whether the check decides, and its outcome."""
_PLAIN = len(_GRAVEST)
"""Of a layer in which nothing fails or warns."""
MOST_REASONS = 100
"""Reasons of failures and warnings; the rest are counted."""


@dataclass(frozen=True)
class Column:
    """A check, as the matrix is headed."""

    name: str
    decides: bool


@dataclass(frozen=True)
class LayerRow:
    """One layer's outcomes, in the order of the columns."""

    layer: str
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class WeightsView:
    """The section about weights."""

    layers: tuple[LayerSpectrum, ...]
    columns: tuple[Column, ...]
    open: tuple[LayerRow, ...]
    folded: tuple[LayerRow, ...]
    reasons: tuple[Check, ...]
    """Failures, then warnings."""
    unsaid: int
    """Failures and warnings beyond ``reasons``."""
    density: Markup
    left_out: str
    alpha: Markup
    size: Markup
    survival: Markup
    structure: Markup
    calibrated: str
    """In words."""
    uncalibrated: str
    """Why the defaults hold; empty where they do not."""
    cannot: str = CANNOT


def weights_view(
    layers: Sequence[LayerSpectrum],
    thresholds: GateParams,
    calibration: Calibration | None = None,
    uncalibrated: str = TOO_FEW,
) -> WeightsView:
    """The section of one report.

    Args:
        layers: of the report.
        thresholds: the gate policy.
        calibration: of accepted adapters of the same base and rank; None: the defaults hold.
        uncalibrated: why there is none.
    """
    checks = layer_checks(layers, thresholds, calibration)
    by_layer: dict[str, list[Check]] = {layer.name: [] for layer in layers}
    for check in checks:
        by_layer[check.layer].append(check)
    rows = [LayerRow(name, tuple(found)) for name, found in by_layer.items()]
    shown = rows if len(rows) <= MOST_OPEN else _most_telling(rows)
    told = [check for outcome in (Outcome.FAIL, Outcome.WARN) for check in checks if check.outcome is outcome]
    failed = {check.layer for check in checks if check.outcome is Outcome.FAIL and check.decides}
    decides = {check.check: check.decides for check in checks}
    return WeightsView(
        layers=tuple(layers),
        columns=tuple(Column(name, decides[name]) for name in decides),
        open=tuple(shown),
        folded=tuple(rows) if len(shown) < len(rows) else (),
        reasons=tuple(told[:MOST_REASONS]),
        unsaid=max(0, len(told) - MOST_REASONS),
        density=density_by_layer(layers, failed),
        left_out=blocks_left_out(layers, failed),
        alpha=alpha_by_depth(layers),
        size=size_by_depth(layers, thresholds),
        survival=survival_by_depth(layers, thresholds),
        structure=structure_by_depth(layers),
        calibrated=spoken(calibration),
        uncalibrated=uncalibrated if calibration is None else "",
    )


def _most_telling(rows: Sequence[LayerRow]) -> list[LayerRow]:
    """Rows in their order in which a deciding check fails or warns, then any check; at most ``MOST_OPEN``."""

    def rank(row: LayerRow) -> int:
        judged = [(check.decides, check.outcome) for check in row.checks]
        return next((place for place, one in enumerate(_GRAVEST) if one in judged), _PLAIN)

    telling = [place for place, row in enumerate(rows) if rank(row) < _PLAIN]
    chosen = sorted(telling, key=lambda place: (rank(rows[place]), place))[:MOST_OPEN]
    return [rows[place] for place in sorted(chosen)]
