"""The checks are pure functions of the figures: thresholds hold to the digit, and shadows decide nothing."""

import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.evaluation_records import Check, Outcome, Verdict
from data.spectral_records import (
    Calibration,
    Determinant,
    LayerSpectrum,
    ModuleNorm,
    Randomised,
)
from models.spectral_checks import MIN_TAIL, NULL_LEVEL, SHAPE, SOUNDNESS, WARN_INTRUDERS, layer_checks
from models.spectral_verdict import adapter_checks
from tests.judgements import THRESHOLDS
from tests.spectral_judgements import (
    ENFORCEABLE,
    FAIL,
    INSUFFICIENT,
    PASS,
    WARN,
    enforced,
    is_sentence,
    judged,
    outcome,
    weight,
)
from tests.spectral_miniature import layer, spectrum

JUST = 1e-9
"""One step past a threshold."""


# --- each check at its threshold -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "changes", "expected"),
    [
        ("integrity", {}, PASS),
        ("integrity", {"finite": False}, FAIL),
        ("integrity", {"rank": 15}, FAIL),
        ("integrity", {"declared_rank": None, "rank": 15}, PASS),
        ("integrity", {"norm": math.inf}, FAIL),
        ("integrity", {"spectral_norm": math.nan}, FAIL),
        ("integrity", {"survives_bf16": math.nan}, FAIL),
        ("not_learned", {"survives_bf16": THRESHOLDS.min_surviving_share}, WARN),
        ("not_learned", {"survives_bf16": THRESHOLDS.min_surviving_share - JUST}, FAIL),
        ("not_learned", {"survives_bf16": THRESHOLDS.warn_surviving_share}, PASS),
        ("not_learned", {"survives_bf16": THRESHOLDS.warn_surviving_share - JUST}, WARN),
        ("not_learned", {"finite": False}, INSUFFICIENT),
        ("exploded", {"sigma_ratio": THRESHOLDS.warn_sigma_ratio}, PASS),
        ("exploded", {"sigma_ratio": THRESHOLDS.warn_sigma_ratio + JUST}, WARN),
        ("exploded", {"sigma_ratio": THRESHOLDS.max_sigma_ratio}, WARN),
        ("exploded", {"sigma_ratio": THRESHOLDS.max_sigma_ratio + JUST}, FAIL),
        ("exploded", {"sigma_ratio": math.inf}, INSUFFICIENT),
        ("unstructured", {"null_share": 0.0}, PASS),
        ("unstructured", {"null_share": NULL_LEVEL}, PASS),
        ("unstructured", {"null_share": NULL_LEVEL + JUST}, FAIL),
        ("unstructured", {"null_share": 1.0}, FAIL),
        ("unstructured", {"null_share": None}, INSUFFICIENT),
        ("unstructured", {"rank": 1, "declared_rank": 1}, INSUFFICIENT),
        ("intruders", {"intruders": None}, INSUFFICIENT),
        ("intruders", {"intruders": 0}, PASS),
        ("intruders", {"intruders": WARN_INTRUDERS - 1}, PASS),
        ("intruders", {"intruders": WARN_INTRUDERS}, WARN),
        ("intruders", {"intruders": 10}, WARN),
        ("traps", {}, INSUFFICIENT),
        ("determinant", {}, INSUFFICIENT),
        ("distance", {}, INSUFFICIENT),
    ],
)
def test_thresholds_of_a_layer(check: str, changes: dict[str, Any], expected: Outcome) -> None:
    assert outcome(check, layer(**changes)) is expected


def shaped(
    alpha: float | None, tail: int = MIN_TAIL, half: float = 0.5, base: tuple[float, float] | None = None
) -> Any:
    """A layer with this exponent, on a base whose own lies between these, or that has none."""
    below = spectrum(None) if base is None else spectrum(sum(base) / 2, half_width=(base[1] - base[0]) / 2)
    return layer(spectrum=spectrum(alpha, tail, half), base=below)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (shaped(4.0), PASS),
        (shaped(1.4), FAIL),  # 0.9 to 1.9: the whole of it lies below 2
        (shaped(1.5), PASS),  # 1.0 to 2.0 touches the band
        (shaped(1.6), PASS),
        (shaped(6.5), PASS),
        (shaped(6.6), FAIL),
        (shaped(9.0, half=3.0), PASS),
        (shaped(9.0, half=2.9), FAIL),
        (shaped(9.0, tail=MIN_TAIL - 1), INSUFFICIENT),
        (shaped(1.1, tail=MIN_TAIL - 1, half=0.01), INSUFFICIENT),
        (shaped(None), INSUFFICIENT),
        (shaped(9.0, base=(8.0, 8.5)), PASS),  # the base layer is no other
        (shaped(9.0, base=(8.0, 8.4)), FAIL),
        (shaped(1.4, base=(1.8, 2.2)), PASS),
        (shaped(1.4, base=(2.5, 3.0)), FAIL),  # a narrow base narrows no band
        (shaped(5.5, base=(2.5, 3.0)), PASS),
    ],
)
def test_alpha_is_judged_by_its_whole_interval_beside_the_base(one: LayerSpectrum, expected: Outcome) -> None:
    assert outcome("alpha", one) is expected


def test_what_has_no_threshold_is_reported() -> None:
    randomised = Randomised(rand_num_spikes=999, rand_distance=0.8, max_rand_eval=9.0, ww_softrank=50.0)
    determinant = Determinant(detX_num=60, detX_val=0.1, ERG_gap=-999)
    odd = layer(spectrum=spectrum(randomised=randomised, determinant=determinant))
    for check in ("traps", "determinant", "distance"):
        assert outcome(check, odd) is PASS
    reasons = {entry.check: entry.reason for entry in layer_checks([odd], THRESHOLDS)}
    assert "999 eigenvalues" in reasons["traps"]
    assert "-999 to the tail" in reasons["determinant"]
    assert "0.800" in reasons["distance"]


@pytest.mark.parametrize("kind", ["prefix", "memory", "linear"])
def test_without_a_base_size_is_not_judged(kind: str) -> None:
    """Prefixes and models have none: insufficient, which asks a person where it decides."""
    one = weight().model_copy(update={"kind": kind})
    assert [outcome(check, one) for check in SOUNDNESS] == [PASS, INSUFFICIENT, INSUFFICIENT]
    assert judged(one).verdict is Verdict.HOLD
    said = "own weight is no update" if kind == "linear" else "base"
    assert all(said in reason for reason in judged(one).reasons)


# --- whatever the figures --------------------------------------------------------------------------

FIGURES = st.one_of(st.floats(0.0, 20.0), st.sampled_from([0.0, math.inf, math.nan, 1e300, 1e-300]))


@st.composite
def layers(draw: st.DrawFn) -> LayerSpectrum:
    alpha = draw(st.one_of(st.none(), st.floats(1.01, 30.0)))
    seen = spectrum(
        alpha, draw(st.integers(2, 200)), draw(st.floats(0.01, 5.0)),
        randomised=draw(st.sampled_from([None, Randomised(rand_num_spikes=2, rand_distance=0.1, max_rand_eval=1.0,
                                                          ww_softrank=0.5)])),
        determinant=draw(st.sampled_from([None, Determinant(detX_num=3, detX_val=0.1, ERG_gap=-2)])),
    )  # fmt: skip
    changes: dict[str, Any] = {"finite": draw(st.sampled_from([True, True, False])), "spectrum": seen}
    if draw(st.booleans()):
        return weight(**changes)
    rank = draw(st.integers(1, 20))
    return layer(
        draw(st.sampled_from(["a", "layers.3.mlp", "b c"])), rank=rank, declared_rank=draw(st.sampled_from([None, 16])),
        survives_bf16=draw(FIGURES), sigma_ratio=draw(FIGURES), intruders=draw(st.sampled_from([None, 0, 10])),
        null_share=draw(st.sampled_from([None, 0.0, 0.5])), **changes,
    )  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.lists(layers(), min_size=1, max_size=4))
def test_every_layer_has_every_outcome_with_a_reason(some: list[LayerSpectrum]) -> None:
    found = layer_checks(some, THRESHOLDS)
    assert [(one.check, one.layer) for one in found] == [(c, one.name) for c in (*SOUNDNESS, *SHAPE) for one in some]
    assert found == layer_checks(list(some), THRESHOLDS), "not a pure function"
    overall = adapter_checks(some, THRESHOLDS)
    assert [one.check for one in overall] == [*SOUNDNESS, *SHAPE]
    for check in (*found, *overall):
        assert is_sentence(check.reason), check.reason
        assert check.decides is (check.check in SOUNDNESS)
    for name in SHAPE:
        mine, (whole,) = ([one for one in some_checks if one.check == name] for some_checks in (found, overall))
        assert whole.outcome is majority(mine)


def majority(checks: list[Check]) -> Outcome:
    """The worst outcome that more than half of the layers that could be judged reach."""
    known = [one.outcome for one in checks if one.outcome is not INSUFFICIENT]
    if not known:
        return INSUFFICIENT
    worst_first = sorted(known, key=[FAIL, WARN, PASS].index)
    return worst_first[len(known) // 2]


def test_one_layer_breaks_an_adapter_and_an_idle_one_does_not() -> None:
    good = [layer(f"layers.{place}") for place in range(9)]
    overall = {one.check: one for one in adapter_checks([*good, layer("last", sigma_ratio=11.0)], THRESHOLDS)}
    assert (overall["exploded"].outcome, overall["exploded"].layer) == (FAIL, "last")
    overall = {one.check: one for one in adapter_checks([*good, layer("last", finite=False)], THRESHOLDS)}
    assert (overall["integrity"].outcome, overall["integrity"].layer) == (FAIL, "last")
    idle = layer("last", survives_bf16=0.0, null_share=1.0)
    overall = {one.check: one for one in adapter_checks([*good, idle], THRESHOLDS)}
    assert overall["not_learned"].outcome is PASS
    assert overall["unstructured"].outcome is PASS


@pytest.mark.parametrize(
    ("check", "ordered"),
    [
        ("exploded", [{"sigma_ratio": ratio} for ratio in (11.0, 40.0, 12.0)]),
        ("unstructured", [{"null_share": share} for share in (0.1, 0.9, 0.5)]),
        ("intruders", [{"intruders": count} for count in (5, 10, 7)]),
        ("alpha", [{"alpha": a, "alpha_low": a - 0.5, "alpha_high": a + 0.5, "num_pl_spikes": 90}
                   for a in (9.0, 30.0, 1.0)]),
    ],
)  # fmt: skip
def test_the_worst_layer_stands_for_all_and_they_are_counted(check: str, ordered: list[dict[str, Any]]) -> None:
    some = [layer(f"layers.{place}", **changes) for place, changes in enumerate([*ordered, {"intruders": 0}])]
    some.append(layer("unsound", finite=False))
    for turned in (some, some[::-1]):
        (overall,) = [one for one in adapter_checks(turned, THRESHOLDS) if one.check == check]
        assert overall.layer == "layers.1"
        assert "worst in layers.1: " in overall.reason
        assert re.match(r"Of \d layers 3 (fail|warn)", overall.reason)


def test_a_norm_says_which_layer_is_the_worst() -> None:
    norm = ModuleNorm(median=math.log(1.3), spread=0.1)
    known = Calibration(base="base", rank=16, adapters=20, false_alarms=1,
                        modules={name: {"sigma_ratio": norm} for name in ("a", "b")})  # fmt: skip
    some = [layer("a", sigma_ratio=9.0), layer("b", sigma_ratio=0.01)]
    (overall,) = [one for one in adapter_checks(some, THRESHOLDS, known) if one.check == "exploded"]
    assert overall.layer == "b", "far smaller than usual, by more than the other is larger"


def test_layers_that_fail_are_said_where_too_few_of_them_decide() -> None:
    some = [layer(f"layers.{place}", null_share=0.9 if place == 2 else 0.0) for place in range(4)]
    (overall,) = [one for one in adapter_checks(some, THRESHOLDS) if one.check == "unstructured"]
    assert (overall.outcome, overall.layer) == (PASS, "layers.2")
    assert overall.reason.startswith("Of 4 layers 1 fail (it takes 3); worst in layers.2: ")


# --- shadows ---------------------------------------------------------------------------------------

FLIPS: dict[str, list[dict[str, Any]]] = {
    "unstructured": [{"null_share": share} for share in (0.0, 0.5, None)],
    "intruders": [{"intruders": count} for count in (0, 10, None)],
    "alpha": [{"alpha": a, "alpha_low": a - 0.5, "alpha_high": a + 0.5, "num_pl_spikes": 90} for a in (3.0, 1.2, 20.0)],
}
SHADOWS = [{key: value for part in (a, b, c) for key, value in part.items()}
           for a in FLIPS["unstructured"] for b in FLIPS["intruders"] for c in FLIPS["alpha"]]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([{}, {"sigma_ratio": 5.0}, {"sigma_ratio": 50.0}, {"survives_bf16": 0.0}]), min_size=1,
             max_size=3),
    st.sampled_from(SHADOWS), st.sampled_from(SHADOWS),
)  # fmt: skip
def test_a_shadow_changes_no_verdict(own: list[dict[str, Any]], one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = (judged(*(layer(**part, **shadow) for part in own)) for shadow in (one, other))
    assert (first.verdict, first.reasons) == (second.verdict, second.reasons)


@pytest.mark.parametrize(("check", "bad"), [("unstructured", {"null_share": 0.5}), ("alpha", FLIPS["alpha"][2])])
def test_what_is_enforced_rejects(check: str, bad: dict[str, Any]) -> None:
    assert judged(layer(**bad)).verdict is Verdict.PROMOTE
    rejected = judged(layer(**bad), thresholds=enforced(check))
    assert rejected.verdict is Verdict.REJECT
    (reason,) = rejected.reasons
    assert reason in {one.reason for one in rejected.checks if one.check == check}
    others = [name for name in ENFORCEABLE if name != check]
    assert judged(layer(**bad), thresholds=enforced(*others)).verdict is Verdict.PROMOTE


def test_enforced_intruders_warn_and_what_cannot_be_judged_asks_nobody() -> None:
    many = judged(layer(intruders=9), thresholds=enforced(*ENFORCEABLE))
    assert many.verdict is Verdict.PROMOTE
    assert "1 of them with a warning" in many.reasons[0]
    nothing = layer(null_share=None, spectrum=spectrum(None))
    assert judged(nothing, thresholds=enforced(*ENFORCEABLE)).verdict is Verdict.PROMOTE
