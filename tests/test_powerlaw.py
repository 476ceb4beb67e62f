"""The estimator recovers known exponents, whatever the unit of the eigenvalues."""

import math
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.powerlaw import MIN_EIGENVALUES, fit_power_law


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
