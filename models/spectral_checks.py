"""What a spectral report says about an adapter: one outcome per check and layer, never one score.

Pure functions of the report, the thresholds and a calibration. They recognise broken adapters: too small to survive a
merge, too large for its base, without structure. They cannot recognise bad data: noise that was memorised well has the
spectra of facts that were learned well (docs/spectra.md), and ``CANNOT`` says so wherever the checks are shown.

Thresholds: an update's largest singular value is held against the base's noise edge and its effective rank against that
of random updates of the same shape and rank. alpha is judged only where a tail is long enough to have one, and against
the base layer's own.
"""

import math
from collections.abc import Callable, Sequence

from data.evaluation_records import Check, Outcome
from data.param_stages import GateParams
from data.spectral_records import Calibration, LayerSpectrum
from models.calibration import Deviation, deviations

CANNOT = (
    "These checks recognise broken adapters, not bad data: an adapter that memorised noise well passes them. "
    "What it learned is for the evaluation to say."
)
SOUNDNESS = ("integrity", "not_learned", "exploded")
"""Checks that every adapter can be judged by."""
SHAPE = ("unstructured", "intruders", "alpha", "traps", "determinant", "distance")
"""Checks of the spectrum's shape, which most cannot be judged by; the last three have no threshold."""
ALPHA_BAND = (2.0, 6.0)
"""Where the exponents of well-trained layers lie (Martin, Peng and Mahoney, Nat. Commun. 12, 2021)."""
UPDATES = frozenset({"lora", "prefix", "memory", "delta"})
"""Kinds of layer that are added to a base."""
MIN_TAIL = 50
"""Eigenvalues in a tail below which its alpha is not judged."""
NULL_LEVEL = 0.01
"""An effective rank above this share of random updates' is not told from chance."""
WARN_INTRUDERS = 5
"""Of the ten leading directions of the merged weight."""


def layer_checks(
    layers: Sequence[LayerSpectrum], thresholds: GateParams, calibration: Calibration | None = None
) -> tuple[Check, ...]:
    """Every check of every layer that is not off, check by check, layers in their order.

    Args:
        layers: of one report.
        thresholds: the gate policy.
        calibration: of accepted adapters of the same base and rank; None: the defaults hold.
    """
    found = []
    for name, judge in _JUDGES.items():
        if not thresholds.computes(name):
            continue
        decides = thresholds.enforces(name)
        for layer in layers:
            known = deviations(layer, name, calibration)
            outcome, reason = _calibrated(known, thresholds) if known else judge(layer, thresholds)
            found.append(Check(check=name, outcome=outcome, reason=reason, layer=layer.name, decides=decides))
    return tuple(found)


Judged = tuple[Outcome, str]


def is_sound(layer: LayerSpectrum) -> bool:
    """Whether the layer's numbers are finite, so that they can be judged."""
    figures = [layer.spectrum.norm, layer.spectrum.spectral_norm]
    if layer.update is not None:
        figures += [layer.update.survives_bf16, layer.update.sigma_ratio]
    return layer.finite and all(math.isfinite(figure) for figure in figures)


def _integrity(layer: LayerSpectrum, _: GateParams) -> Judged:
    if not is_sound(layer):
        return Outcome.FAIL, "Update or base holds numbers that are not finite."
    if layer.kind == "lora" and layer.rank == 0:
        return Outcome.FAIL, "The adapter's configuration names this layer, and its file has no factors for it."
    if layer.declared_rank is not None and layer.declared_rank != layer.rank:
        return Outcome.FAIL, f"The factors have rank {layer.rank}, declared is {layer.declared_rank}."
    return Outcome.PASS, f"All numbers are finite, {layer.N} x {layer.M}, rank {layer.rank}."


def _not_learned(layer: LayerSpectrum, thresholds: GateParams) -> Judged:
    if layer.update is None or not is_sound(layer):
        return _no_base(layer)
    share = layer.update.survives_bf16
    outcome = graded(share >= thresholds.min_surviving_share, share >= thresholds.warn_surviving_share)
    return outcome, f"{share:.1%} of the entries change in a bf16 merge."


def _exploded(layer: LayerSpectrum, thresholds: GateParams) -> Judged:
    if layer.update is None or not is_sound(layer):
        return _no_base(layer)
    ratio = layer.update.sigma_ratio
    outcome = graded(ratio <= thresholds.max_sigma_ratio, ratio <= thresholds.warn_sigma_ratio)
    return outcome, f"The update's largest singular value is {ratio:.3g} times the base's noise edge."


def _unstructured(layer: LayerSpectrum, _: GateParams) -> Judged:
    if layer.kind not in UPDATES:
        return Outcome.INSUFFICIENT, "A model's own weight is no update."
    if layer.null_share is None or layer.rank < 2 or not is_sound(layer):
        return Outcome.INSUFFICIENT, "Nothing has two directions above rounding, so there is no structure to look for."
    share = layer.null_share
    reason = f"The effective rank is {layer.spectrum.effective_rank:.2f} of {min(layer.rank, layer.M)}, at or above "
    return graded(share <= NULL_LEVEL), f"{reason}{share:.1%} of random updates of this shape."


def _intruders(layer: LayerSpectrum, _: GateParams) -> Judged:
    count = layer.update.intruders if layer.update is not None else None
    if count is None:
        return Outcome.INSUFFICIENT, "Not looked for: it needs the base and two eigenvector problems."
    return graded(True, count < WARN_INTRUDERS), f"{count} leading directions have no counterpart in the base."


def _alpha(layer: LayerSpectrum, _: GateParams) -> Judged:
    found = layer.spectrum
    if found.alpha is None or found.alpha_low is None or found.alpha_high is None or found.num_pl_spikes is None:
        return Outcome.INSUFFICIENT, f"No power law was fitted: {found.status.value}."
    shown = f"alpha is {found.alpha:.2f} [{found.alpha_low:.2f}, {found.alpha_high:.2f}], tail {found.num_pl_spikes}"
    if found.num_pl_spikes < MIN_TAIL:
        return Outcome.INSUFFICIENT, f"{shown}; a tail of less than {MIN_TAIL} does not tell an exponent from another."
    low, high = _band(layer)
    inside = found.alpha_high >= low and found.alpha_low <= high
    return graded(inside), f"{shown}; the band with the base layer's own is {low:.2f} to {high:.2f}."


def _band(layer: LayerSpectrum) -> tuple[float, float]:
    """Of exponents: that of well-trained layers, widened by the base layer's own interval."""
    low, high = ALPHA_BAND
    if layer.base is None or layer.base.alpha_low is None or layer.base.alpha_high is None:
        return low, high
    return min(low, layer.base.alpha_low), max(high, layer.base.alpha_high)


def _traps(layer: LayerSpectrum, _: GateParams) -> Judged:
    found = layer.spectrum.randomised
    if found is None:
        return Outcome.INSUFFICIENT, "Not looked for."
    return Outcome.PASS, f"{found.rand_num_spikes} eigenvalues stay beyond the noise edge with the entries shuffled."


def _determinant(layer: LayerSpectrum, _: GateParams) -> Judged:
    found = layer.spectrum.determinant
    if found is None or found.ERG_gap is None:
        return Outcome.INSUFFICIENT, "Not looked for, or there is no tail to compare with."
    return Outcome.PASS, f"{found.detX_num} eigenvalues meet the determinant condition, {found.ERG_gap:+d} to the tail."


def _distance(layer: LayerSpectrum, _: GateParams) -> Judged:
    found = layer.spectrum.randomised
    if found is None:
        return Outcome.INSUFFICIENT, "Not looked for."
    return Outcome.PASS, f"The spectrum is {found.rand_distance:.3f} away from that of its shuffled entries."


_JUDGES: dict[str, Callable[[LayerSpectrum, GateParams], Judged]] = {
    "integrity": _integrity,
    "not_learned": _not_learned,
    "exploded": _exploded,
    "unstructured": _unstructured,
    "intruders": _intruders,
    "alpha": _alpha,
    "traps": _traps,
    "determinant": _determinant,
    "distance": _distance,
}


def severity(check: str, layer: LayerSpectrum, thresholds: GateParams, calibration: Calibration | None = None) -> float:
    """How far a layer's statistic lies on the bad side of its threshold; 0 of a check that has none.

    Ratios to the threshold, so that layers with and without a norm can be told apart; of alpha the distance from the
    band.
    """
    known = deviations(layer, check, calibration)
    if known:
        return max(abs(one.z) for one in known) / thresholds.max_robust_z
    if check == "exploded" and layer.update is not None:
        return layer.update.sigma_ratio / thresholds.max_sigma_ratio
    if check == "unstructured" and layer.null_share is not None:
        return layer.null_share / NULL_LEVEL
    if check == "intruders" and layer.update is not None and layer.update.intruders is not None:
        return layer.update.intruders / WARN_INTRUDERS
    if check == "alpha" and layer.spectrum.alpha_low is not None and layer.spectrum.alpha_high is not None:
        low, high = _band(layer)
        return max(low - layer.spectrum.alpha_high, layer.spectrum.alpha_low - high)
    return 0.0


def _calibrated(found: Sequence[Deviation], thresholds: GateParams) -> Judged:
    worst = max(found, key=lambda one: abs(one.z))
    outcome = graded(abs(worst.z) <= thresholds.max_robust_z, abs(worst.z) <= thresholds.warn_robust_z)
    return outcome, (
        f"{worst.statistic} is {worst.value:.3g}, {worst.z:+.1f} robust standard deviations from the median "
        f"{worst.median:.3g} of {worst.adapters} accepted adapters."
    )


def _no_base(layer: LayerSpectrum) -> Judged:
    if not is_sound(layer):
        return Outcome.INSUFFICIENT, "The layer is not finite, so it has no size."
    if layer.kind not in UPDATES:
        return Outcome.INSUFFICIENT, "A model's own weight is no update."
    if layer.base is not None:
        return Outcome.INSUFFICIENT, "The base's entries do not differ, so that nothing says how large is large."
    return Outcome.INSUFFICIENT, "There is no base to compare with; name it with --base."


def graded(acceptable: bool, good: bool = True) -> Outcome:
    """Fail, warn or pass."""
    if not acceptable:
        return Outcome.FAIL
    return Outcome.PASS if good else Outcome.WARN
