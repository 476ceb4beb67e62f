"""From the outcomes of every layer to one outcome per check, as the gate policy takes it.

One layer that is broken or exploded breaks an adapter. Whether anything was learned, and whether it has structure, is
asked of the adapter as a whole: a layer that had nothing to learn may lie idle.
"""

from collections.abc import Sequence

from data.evaluation_records import Check, Outcome
from data.files import shortened
from data.param_stages import GateParams
from data.spectral_records import Calibration, LayerSpectrum, Update
from models.calibration import ONE_DECIDES, deviations
from models.spectral_checks import graded, is_sound, layer_checks, severity

_WORST = (Outcome.FAIL, Outcome.WARN, Outcome.PASS, Outcome.INSUFFICIENT)


def adapter_checks(
    layers: Sequence[LayerSpectrum], thresholds: GateParams, calibration: Calibration | None = None
) -> tuple[Check, ...]:
    """One outcome per check over all layers, each with the layer that stands for it.

    Args:
        layers: of one report; at least one.
        thresholds: the gate policy.
        calibration: of accepted adapters of the same base and rank; None: the defaults hold.
    """
    by_check: dict[str, list[Check]] = {}
    for check in layer_checks(layers, thresholds, calibration):
        by_check.setdefault(check.check, []).append(check)
    found = []
    for name, checks in by_check.items():
        calibrated = any(deviations(layer, name, calibration) for layer in layers)
        measured = [(layer, layer.update) for layer in layers if is_sound(layer) and layer.update is not None]
        whole = name == "not_learned" and measured and not calibrated
        if whole:
            found.append(_survives(measured, thresholds))
        else:
            far = [severity(name, layer, thresholds, calibration) for layer in layers]
            found.append(_overall(checks, far))
    return tuple(found)


def _overall(checks: Sequence[Check], far: Sequence[float]) -> Check:
    """The worst outcome of any layer, or the worst that more than half of those judged reach; it names the worst layer.

    Args:
        checks: one per layer.
        far: how far each layer's statistic lies on the bad side of its threshold.
    """
    first, known = checks[0], list(zip(checks, far, strict=True))
    known = [(check, distance) for check, distance in known if check.outcome is not Outcome.INSUFFICIENT]
    judged = [check for check, _ in known]
    if not judged:
        return first.model_copy(update={"reason": f"Judged in no layer: {_lower(first.reason)}", "layer": ""})
    needed = 1 if first.check in ONE_DECIDES else len(judged) // 2 + 1
    outcome = next(one for one in _WORST if sum(_as_bad(check, one) for check in judged) >= needed)
    worst = min(known, key=lambda one: (_WORST.index(one[0].outcome), -one[1]))[0]
    takes = "" if worst.outcome is outcome else f" (it takes {needed})"
    named = shortened(worst.layer)
    where = f"worst in {named}" if any(distance for _, distance in known) else f"{named}, for one"
    said = f"{_counted(judged)}{takes}; {where}: {_lower(worst.reason)}"
    return worst.model_copy(update={"outcome": outcome, "reason": said})


def _counted(judged: Sequence[Check]) -> str:
    """How many layers fail and warn, or that all of them pass."""
    outcomes = [check.outcome for check in judged]
    bad = [f"{outcomes.count(one)} {one.value}" for one in (Outcome.FAIL, Outcome.WARN) if one in outcomes]
    n = len(judged)
    return f"Of {n} layers {' and '.join(bad)}" if bad else f"{n} of {n} layers pass"


def _as_bad(check: Check, outcome: Outcome) -> bool:
    return _WORST.index(check.outcome) <= _WORST.index(outcome)


def _lower(sentence: str) -> str:
    return sentence if sentence.startswith("alpha") else sentence[0].lower() + sentence[1:]


def _survives(measured: Sequence[tuple[LayerSpectrum, Update]], thresholds: GateParams) -> Check:
    """The share over the entries of all layers: one idle layer does not mean that nothing was learned."""
    entries = sum(layer.N * layer.M for layer, _ in measured)
    share = sum(round(update.survives_bf16 * layer.N * layer.M) for layer, update in measured) / entries
    outcome = graded(share >= thresholds.min_surviving_share, share >= thresholds.warn_surviving_share)
    reason = (
        f"{share:.1%} of {entries:,} base entries change in a bf16 merge (fail "
        f"below {thresholds.min_surviving_share:.1%}, warn below {thresholds.warn_surviving_share:.1%})."
    )
    return Check(check="not_learned", outcome=outcome, reason=reason, decides=thresholds.enforces("not_learned"))
