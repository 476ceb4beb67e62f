"""What a matrix of shares says of learning and forgetting, and how many bits a share of right answers is worth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.continual import (
    backward_transfer,
    base_lost,
    bits_known,
    final_average,
    learned_when_taught,
    worst_drop,
)

NAN = math.nan
R = np.array([[1.0, 0.1, 0.0], [0.9, 1.0, NAN], [0.95, 0.7, 0.8]])


def test_hand_counted_matrix() -> None:
    assert final_average(R) == pytest.approx((0.95 + 0.7 + 0.8) / 3)
    assert backward_transfer(R) == pytest.approx(0.7 - 1.0)
    assert worst_drop(R) == pytest.approx(0.3)
    assert learned_when_taught(R) == pytest.approx((1.0 + 0.8) / 2)
    assert base_lost(R) == pytest.approx(0.05)


def test_a_dip_in_between_counts_as_a_drop() -> None:
    dipped = np.array([[1.0, 0.0], [0.6, 0.9]])
    later = np.vstack([np.column_stack([dipped, [NAN, NAN]]), [1.0, 0.9, 0.9]])
    assert worst_drop(later) == pytest.approx(0.4)
    assert backward_transfer(later) == pytest.approx(0.0)


def test_what_only_grows_neither_drops_nor_transfers_below_zero() -> None:
    grown = np.array([[0.5, 0.0, 0.0], [0.6, 0.7, NAN], [0.9, 0.8, 0.9]])
    assert worst_drop(grown) == 0.0
    assert backward_transfer(grown) > 0


@given(st.integers(2, 500))
def test_all_right_is_worth_the_entropy_and_guessing_nothing(pool: int) -> None:
    assert bits_known(1.0, pool) == pytest.approx(math.log2(pool))
    assert bits_known(1 / pool, pool) == 0.0
    assert bits_known(0.0, pool) == 0.0


@given(st.integers(2, 500), st.floats(0, 1), st.floats(0, 1))
def test_more_right_answers_are_never_worth_less(pool: int, one: float, other: float) -> None:
    assert bits_known(min(one, other), pool) <= bits_known(max(one, other), pool) + 1e-9


@given(st.integers(2, 6), st.floats(0.05, 0.95))
def test_the_bound_is_the_information_of_a_symmetric_channel(pool: int, right: float) -> None:
    """Fano is exact where wrong answers are spread evenly: mutual information of the symmetric channel."""
    if right <= 1 / pool:
        return
    wrong = (1 - right) / (pool - 1)
    conditional = -right * math.log2(right) - (pool - 1) * wrong * math.log2(wrong)
    assert bits_known(right, pool) == pytest.approx(math.log2(pool) - conditional, abs=1e-9)
