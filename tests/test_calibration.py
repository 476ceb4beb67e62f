"""The norm of accepted adapters: robust, module by module, and honest about its false alarms."""

import math
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.evaluation_records import Outcome
from data.spectral_records import Calibration, LayerSpectrum, ModuleNorm, SpectralReport
from models.calibration import (
    MAX_FALSE_ALARMS,
    MIN_ADAPTERS,
    STATISTICS,
    calibrate,
    deviations,
    limited,
    statistic,
    usable,
)
from models.spectral_checks import layer_checks
from tests.judgements import THRESHOLDS
from tests.spectral_miniature import layer

LIMIT = THRESHOLDS.max_robust_z


def report(*layers: LayerSpectrum, base: str = "base") -> SpectralReport:
    return SpectralReport(adapter="adapter", base=base, layers=layers)


def accepted(count: int, seed: int = 0, outliers: int = 0, modules: int = 3) -> list[SpectralReport]:
    """Reports of good adapters, of which some are far from the rest."""
    random = np.random.default_rng(seed)
    found = []
    for place in range(count):
        size = math.exp(2.0 * (place + 1)) if place < outliers else 1.0
        found.append(
            report(
                *(
                    layer(
                        f"layers.{module}",
                        sigma_ratio=float(size * np.exp(0.1 * random.standard_normal()) * (module + 1)),
                        survives_bf16=float(random.uniform(0.85, 0.95)),
                    )
                    for module in range(modules)
                )
            )
        )
    return found


def naive_norm(reports: list[SpectralReport], module: int, name: str) -> tuple[float, float]:
    """Median and spread of one statistic of one module, written out."""
    values = [math.log(max(statistic(one.layers[module], name) or 0.0, 1e-12)) for one in reports]
    middle = median(values)
    return middle, max(1.4826 * median(abs(value - middle) for value in values), 0.02)


def naive_alarms(reports: list[SpectralReport], limit: float) -> int:
    """Adapters that are too far from what all the others say: in the size of one module, or in most modules."""
    alarms = 0
    for left_out in range(len(reports)):
        others = [one for place, one in enumerate(reports) if place != left_out]
        far = dict.fromkeys(("survives_bf16", "sigma_ratio"), 0)
        for module, one in enumerate(reports[left_out].layers):
            for name in far:
                middle, spread = naive_norm(others, module, name)
                value = math.log(max(statistic(one, name) or 0.0, 1e-12))
                far[name] += abs(value - middle) / spread > limit
        most = len(reports[left_out].layers) / 2
        alarms += far["sigma_ratio"] > 0 or far["survives_bf16"] > most
    return alarms


def test_adapters_of_mixed_ranks_have_a_norm_of_those_with_the_same_rank_in_each_module() -> None:
    def ranked(one: SpectralReport, ranks: tuple[int, ...]) -> SpectralReport:
        changed = [layer.model_copy(update={"rank": rank}) for layer, rank in zip(one.layers, ranks, strict=True)]
        return one.model_copy(update={"layers": tuple(changed)})

    mixed = [ranked(one, (8, 32, 8)) for one in accepted(MIN_ADAPTERS)]
    found = calibrate(mixed, LIMIT)
    assert found is not None
    assert found.modules == getattr(calibrate(accepted(MIN_ADAPTERS), LIMIT), "modules", None)
    assert calibrate(mixed, LIMIT, like=ranked(mixed[0], (8, 32, 32))) is None, "one module of another rank"


def test_twenty_adapters_are_a_norm_and_nineteen_are_none() -> None:
    assert calibrate([], LIMIT) is None
    assert calibrate(accepted(MIN_ADAPTERS - 1), LIMIT) is None
    found = calibrate(accepted(MIN_ADAPTERS), LIMIT)
    assert found is not None
    assert (found.adapters, found.base, found.rank, found.false_alarms) == (20, "base", 16, 0)
    assert usable(found)


@settings(max_examples=12, deadline=None)
@given(st.integers(20, 30), st.integers(0, 1000), st.integers(0, 4), st.floats(1.0, 12.0))
def test_norms_and_false_alarms_are_those_written_out(count: int, seed: int, outliers: int, limit: float) -> None:
    reports = accepted(count, seed, outliers)
    found = calibrate(reports, limit)
    assert found is not None
    assert found.false_alarms == naive_alarms(reports, limit)
    assert limited(found, 2 * limit).false_alarms == naive_alarms(reports, 2 * limit)
    assert limited(found, limit) == found
    assert usable(found) is (found.false_alarms / count <= 0.05)
    for module in range(3):
        for names in STATISTICS.values():
            for name in names:
                norm = found.modules[f"layers.{module}"][name]
                assert (norm.median, norm.spread) == pytest.approx(naive_norm(reports, module, name))
    assert calibrate(list(reports), limit) == found


@pytest.mark.parametrize(("outliers", "holds"), [(0, True), (1, True), (2, False), (5, False)])
def test_a_norm_with_too_many_false_alarms_leaves_the_defaults(outliers: int, holds: bool) -> None:
    """1 of 20 is 5 %, which is allowed; 2 are not."""
    found = calibrate(accepted(20, outliers=outliers), LIMIT)
    assert found is not None
    assert found.false_alarms == outliers
    assert usable(found) is holds
    odd = layer("layers.0", sigma_ratio=0.2)
    assert bool(deviations(odd, "exploded", found)) is holds
    (check,) = [one for one in layer_checks([odd], THRESHOLDS, found) if one.check == "exploded"]
    assert check.outcome is (Outcome.FAIL if holds else Outcome.PASS)


def test_the_allowed_share_is_exact() -> None:
    for adapters in (20, 40, 60, 100, 1000):
        most = int(MAX_FALSE_ALARMS * adapters)
        norm = {"base": "b", "rank": 1, "adapters": adapters, "modules": {}}
        assert usable(Calibration(false_alarms=most, **norm))
        assert not usable(Calibration(false_alarms=most + 1, **norm))


def test_only_adapters_of_the_same_base_rank_and_modules_count() -> None:
    mine = accepted(19)
    others = [
        *(one.model_copy(update={"base": "other"}) for one in accepted(30, 1)),
        *(report(*(part.model_copy(update={"rank": 8}) for part in one.layers)) for one in accepted(30, 2)),
        *(report(*one.layers[:2]) for one in accepted(30, 3)),
        *(report(*one.layers[::-1]) for one in accepted(30, 4)),
    ]
    assert calibrate([*others, *mine], LIMIT) is None
    found = calibrate([*others, *mine, *accepted(1, 9)], LIMIT)
    assert found is not None
    assert found == calibrate([*mine, *accepted(1, 9)], LIMIT)
    assert calibrate([*mine, report()], LIMIT) is None
    assert calibrate([report()] * 30, LIMIT) is None, "reports without a layer are no norm"


def test_the_norm_itself_deviates_by_nothing_and_a_zero_by_a_lot() -> None:
    known = Calibration(
        base="base", rank=16, adapters=20, false_alarms=0,
        modules={"layer": {"sigma_ratio": ModuleNorm(median=math.log(3.0), spread=0.5)}},
    )  # fmt: skip
    (usual,) = deviations(layer(sigma_ratio=3.0), "exploded", known)
    assert (usual.statistic, usual.value, usual.adapters) == ("sigma_ratio", 3.0, 20)
    assert (usual.z, usual.median) == pytest.approx((0.0, 3.0))
    (double,) = deviations(layer(sigma_ratio=6.0), "exploded", known)
    assert double.z == pytest.approx(math.log(2.0) / 0.5)
    (zero,) = deviations(layer(sigma_ratio=0.0), "exploded", known)
    assert zero.z < -50.0
    for unknown in (layer("other"), layer(finite=False), layer(update=None)):
        assert deviations(unknown, "exploded", known) == ()
    assert deviations(layer(), "integrity", known) == ()
    assert deviations(layer(), "alpha", known) == ()
    assert deviations(layer(), "unstructured", known) == ()


def test_equal_adapters_make_no_outlier_of_a_nearly_equal_one() -> None:
    same = [report(layer("layers.0"))] * 20
    found = calibrate(same, LIMIT)
    assert found is not None
    near, far = layer("layers.0", sigma_ratio=1.3 * 1.1), layer("layers.0", sigma_ratio=1.3 * 1.3)
    outcomes = [
        next(one.outcome for one in layer_checks([part], THRESHOLDS, found) if one.check == "exploded")
        for part in (near, far)
    ]
    assert outcomes == [Outcome.PASS, Outcome.FAIL]


def test_a_module_without_a_statistic_has_no_norm_of_it() -> None:
    reports = accepted(20)
    bare = [report(one.layers[0].model_copy(update={"update": None}), *one.layers[1:]) for one in reports]
    found = calibrate(bare, LIMIT)
    assert found is not None
    assert found.modules["layers.0"] == {}
    assert set(found.modules["layers.1"]) == {"survives_bf16", "sigma_ratio"}
    assert found.modules["layers.1"] == (calibrate(reports, LIMIT) or found).modules["layers.1"]
