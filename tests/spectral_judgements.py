"""One check of one layer, a judgement of several, and a norm to hold them against."""

import math
import re
from typing import Any

from data.evaluation_records import Judgement, Outcome
from data.param_stages import GateParams
from data.spectral_records import (
    Calibration,
    LayerSpectrum,
    ModuleNorm,
)
from models.gates import judge
from models.spectral_checks import layer_checks
from tests.judgements import BASE_SERVES, THRESHOLDS, evaluation, spectral, synthesis
from tests.spectral_miniature import layer

PASS, WARN, FAIL, INSUFFICIENT = Outcome.PASS, Outcome.WARN, Outcome.FAIL, Outcome.INSUFFICIENT
ENFORCEABLE = ("unstructured", "intruders", "alpha")


def enforced(*names: str) -> GateParams:
    return THRESHOLDS.model_copy(update={"modes": {**THRESHOLDS.modes, **dict.fromkeys(names, "enforce")}})


def outcome(check: str, one: LayerSpectrum, calibration: Calibration | None = None) -> Outcome:
    (found,) = [entry for entry in layer_checks([one], THRESHOLDS, calibration) if entry.check == check]
    return found.outcome


def judged(*layers: LayerSpectrum, thresholds: GateParams = THRESHOLDS, known: Calibration | None = None) -> Judgement:
    return judge(
        spectral(*layers), evaluation(), synthesis(), thresholds,
        handbook_expected=True, champion=BASE_SERVES, calibration=known,
    )  # fmt: skip


def weight(**changes: Any) -> LayerSpectrum:
    """A layer of a model, without any base."""
    return layer(update=None, base=None, kind="linear", declared_rank=None, null_share=None, **changes)


def is_sentence(reason: str) -> bool:
    """One, with its full stop at the end and nowhere else."""
    return reason.endswith(".") and re.search(r"[.!?]\s", reason) is None and "\n" not in reason


def norms(adapters: int = 20, false_alarms: int = 1, **medians: float) -> Calibration:
    """Layers named "layer" usually have these values, give or take 10 %."""
    known = {name: ModuleNorm(median=math.log(value), spread=0.1) for name, value in medians.items()}
    return Calibration(base="base", rank=16, adapters=adapters, false_alarms=false_alarms, modules={"layer": known})
