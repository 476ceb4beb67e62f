"""The estimator recovers known exponents, whatever the unit of the eigenvalues."""

import math
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import powerlaw
from models.powerlaw import INTERVAL_Z, MIN_EIGENVALUES, fit_power_law


def _sample(alpha: float, n: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """n draws of p(x) ~ x^-alpha above 1."""
    return (1.0 - np.random.default_rng(seed).random(n)) ** (-1.0 / (alpha - 1.0))


@pytest.mark.parametrize("alpha", [1.7, 2.0, 2.5, 3.5, 6.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_recovers_a_known_exponent(alpha: float, seed: int) -> None:
    fit = fit_power_law(_sample(alpha, 1500, seed))
    assert fit is not None
    assert abs(fit.alpha - alpha) < 3.0 * fit.sigma
    assert fit.sigma == pytest.approx((fit.alpha - 1.0) / fit.tail**0.5)
    assert fit.sigma < 0.3 * (alpha - 1.0), "the tail is so short that any exponent would pass"


def test_finds_where_the_tail_begins() -> None:
    body = np.random.default_rng(5).random(600) * 10.0  # flat below 10
    fit = fit_power_law(np.concatenate([body, 10.0 * _sample(2.5, 900, 6)]))
    assert fit is not None
    assert 8.0 < fit.xmin < 16.0
    assert abs(fit.alpha - 2.5) < 3.0 * fit.sigma


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 7.0, 1e12])
@pytest.mark.parametrize("n", [16, 400])
def test_scale_has_no_part_in_the_exponent(scale: float, n: int) -> None:
    sample = _sample(2.4, n, 9)
    fit, scaled = fit_power_law(sample), fit_power_law(sample * scale)
    assert fit is not None
    assert scaled is not None
    assert scaled.alpha == pytest.approx(fit.alpha, rel=1e-9)
    assert scaled.xmin == pytest.approx(fit.xmin * scale, rel=1e-9)
    assert scaled.tail == fit.tail
    assert pytest.approx(fit.D, abs=1e-9) == scaled.D


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=MIN_EIGENVALUES, max_size=40), st.randoms(use_true_random=False))
def test_equals_the_plain_definition_and_ignores_order(values: list[int], random: Random) -> None:
    fit = fit_power_law(values)
    shuffled = list(values)
    random.shuffle(shuffled)
    assert fit_power_law(shuffled) == fit
    if len(set(values)) == 1:
        assert fit is None
        return
    assert fit is not None
    best = min(_distance(sorted(values), xmin) for xmin in sorted(set(values))[:-1])
    assert abs(fit.D - best) < 1e-9
    assert _distance(sorted(values), fit.xmin) == pytest.approx(fit.D, abs=1e-9)
    tail = [value for value in values if value >= fit.xmin]
    assert fit.tail == len(tail)
    assert fit.alpha == pytest.approx(1.0 + len(tail) / sum(np.log(np.array(tail) / fit.xmin)), rel=1e-6)


def _distance(values: list[int], xmin: float) -> float:
    """The KS distance at one xmin, written out."""
    tail = [value for value in values if value >= xmin]
    alpha = 1.0 + len(tail) / sum(math.log(value / xmin) for value in tail)
    expected = [1.0 - math.exp((1.0 - alpha) * math.log(value / xmin)) for value in tail]
    return max(abs(share - place / len(tail)) for place, share in enumerate(expected))


def test_a_large_spectrum_is_fitted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = _sample(3.0, 300)
    whole = fit_power_law(sample)
    monkeypatch.setattr("models.powerlaw._MAX_ENTRIES", 1000)
    assert fit_power_law(sample) == whole


@pytest.mark.parametrize(
    "values",
    [
        [],
        [1.0] * 50,
        [1.0] * 25 + [1.0 + 1e-16, 1.0 - 1e-16] * 10,
        [0.0] * 50,
        list(range(1, MIN_EIGENVALUES)),
        [*range(1, 40), float("nan")],
        [*range(1, 40), float("inf")],
        [*range(1, MIN_EIGENVALUES), *[1e-18] * 40],
    ],
    ids=["empty", "equal", "equal up to rounding", "zero", "few", "nan", "inf", "rounding noise"],
)
def test_what_cannot_be_fitted_is_none(values: list[float]) -> None:
    assert fit_power_law(values) is None


# --- the interval, and the pruned search -----------------------------------------------------------


@pytest.mark.parametrize("alpha", [1.8, 2.5, 4.0])
def test_the_interval_holds_the_truth_at_its_rate(alpha: float) -> None:
    """95 % with the choice of xmin counted in; fewer than 275 of 300 would have a chance of 1 in 100."""
    fits = [fit_power_law(_sample(alpha, 200, seed)) for seed in range(300)]
    held = sum(fit is not None and fit.low <= alpha <= fit.high for fit in fits)
    assert held >= 275
    assert held < 300, "an interval that always holds the truth is too wide to say anything"


def test_the_interval_lies_around_alpha_and_narrows() -> None:
    widths = []
    for n in (50, 500, 5000):
        fit = fit_power_law(_sample(2.5, n, 4))
        assert fit is not None
        assert 1.0 < fit.low < fit.alpha < fit.high
        widths.append((fit.high - fit.low) / (2.0 * INTERVAL_Z * fit.sigma))
    assert widths == pytest.approx([1.0] * 3, abs=0.05)


SPECTRA = st.one_of(
    st.lists(st.floats(1e-30, 1e30), min_size=MIN_EIGENVALUES, max_size=120),
    st.lists(st.sampled_from([1.0, 2.0, 2.0 + 1e-12, 3.0, 1e9]), min_size=MIN_EIGENVALUES, max_size=120),
    st.builds(lambda alpha, n, seed: _sample(alpha, n, seed).tolist(), st.floats(1.05, 8.0),
              st.integers(MIN_EIGENVALUES, 400), st.integers(0, 10_000)),
    st.builds(lambda n, digits: np.round(_sample(2.0, n, n), digits).tolist(), st.integers(20, 400), st.integers(0, 2)),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(SPECTRA)
def test_leaving_candidates_out_changes_no_bit(values: list[float]) -> None:
    pruned = fit_power_law(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.powerlaw._FIRST", len(values))
        assert fit_power_law(values) == pruned


def test_candidates_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = []
    whole = powerlaw._distance

    def counted(logs: powerlaw.Vector, start: int, alpha: float) -> float:
        judged.append(start)
        return whole(logs, start, alpha)

    monkeypatch.setattr(powerlaw, "_distance", counted)
    assert fit_power_law(_sample(2.5, 2000, 3)) is not None
    assert len(judged) < 400


@settings(max_examples=60, deadline=None)
@given(st.floats(-6.0, 6.0), st.integers(0, 1000))
def test_a_million_times_larger_or_smaller_is_the_same_tail(power: float, seed: int) -> None:
    sample = _sample(2.2, 150, seed)
    fit, scaled = fit_power_law(sample), fit_power_law(sample * 10.0**power)
    assert fit is not None
    assert scaled is not None
    assert scaled.tail == fit.tail
    assert [scaled.alpha, scaled.low, scaled.high] == pytest.approx([fit.alpha, fit.low, fit.high], rel=1e-9)


def test_what_lies_below_the_floor_is_left_out() -> None:
    sample = np.sort(_sample(2.5, 300, 8))
    fit = fit_power_law(sample, float(sample[99]))
    assert fit == fit_power_law(sample[100:])
    assert fit_power_law(sample, float(sample[-MIN_EIGENVALUES])) is None
