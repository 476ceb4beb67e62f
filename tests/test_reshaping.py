"""Smoothing keeps the leading directions and nothing else; sharpening takes away what stands out in any place."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models import random_matrix
from models.eigenvalues import dense_eigenvalues
from models.random_matrix import shuffled
from models.reshaping import Keep, kept, leading, sharpened, sharpened_state, smoothed, smoothed_state
from tests.parity_miniature import matrix, with_traps


def _rank(weight: Tensor) -> int:
    return int(torch.linalg.matrix_rank(weight, rtol=1e-6))


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 60), st.integers(8, 60), st.sampled_from(Keep), st.integers(0, 99))
def test_the_rank_after_smoothing_is_what_was_kept(rows: int, columns: int, keep: Keep, seed: int) -> None:
    weight = matrix("power law", rows, columns, seed).double()
    count, found = kept(weight, keep, 0.4), smoothed(weight, keep, 0.4)
    assert found.shape == weight.shape
    if count == 0:
        assert torch.equal(found, weight)
        return
    assert _rank(found) == count
    sizes = torch.linalg.svdvals(weight)
    assert torch.allclose(torch.linalg.svdvals(found)[:count], sizes[:count], rtol=1e-9)
    lost = sizes[count:].square().sum().sqrt()
    assert float((weight - found).norm()) == pytest.approx(float(lost), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("keep", Keep)
def test_smoothing_ignores_orientation_and_scale(keep: Keep) -> None:
    weight = matrix("spiked", 90, 60, 1).double()
    found = smoothed(weight, keep)
    assert torch.allclose(smoothed(weight.T, keep).T, found, atol=1e-9)
    assert torch.allclose(smoothed(weight * 1e-7, keep) * 1e7, found, atol=1e-9)


def test_spikes_beyond_the_noise_are_what_is_kept() -> None:
    weight = matrix("spiked", 200, 100, 2)
    assert kept(weight, Keep.SPIKES) == 5
    assert kept(matrix("gaussian", 200, 100, 2), Keep.SPIKES) == 0


def test_equal_directions_are_not_told_apart() -> None:
    weight = torch.eye(20)
    for keep in (Keep.DETERMINANT, Keep.POWER_LAW):
        assert torch.equal(smoothed(weight, keep), weight)


def test_sharpening_takes_the_traps_and_little_else() -> None:
    weight = with_traps(120, 90, 3, 4).double()
    traps = weight.abs() > 20
    assert int(traps.sum()) == 3
    found = sharpened(weight, 7)
    assert random_matrix.traps(dense_eigenvalues(shuffled(found, 1)).numpy(), 120, 90) == 0
    assert float(found[traps].abs().max()) < 2.0
    assert float((found - weight)[~traps].abs().mean()) < 0.2
    assert torch.equal(sharpened(weight, 7), found)


def test_what_has_no_traps_stays_to_the_bit() -> None:
    weight = matrix("spiked", 120, 90, 5)
    assert torch.equal(sharpened(weight), weight)


def test_structure_is_no_trap() -> None:
    """A strong direction spread over all entries is learned; sharpening leaves it where it takes the trap."""
    left, right = (torch.linspace(-1.0, 1.0, side).sign().double() / side**0.5 for side in (120, 90))
    weight = with_traps(120, 90, 1, 6).double() + 90.0 * torch.outer(left, right)
    found = sharpened(weight, 1)
    assert float(left @ found @ right) == pytest.approx(float(left @ weight @ right), rel=0.05)
    assert float(found.abs().max()) < float(weight.abs().max()) / 4


def test_a_convolution_is_reshaped_place_by_place() -> None:
    weight = torch.randn(16, 12, 3, 2, generator=torch.Generator().manual_seed(1))
    found = smoothed(weight, Keep.SHARE, 0.25)
    assert found.shape == weight.shape
    for row in range(3):
        for column in range(2):
            assert torch.allclose(found[:, :, row, column], leading(weight[:, :, row, column], 3), atol=1e-6)


def test_of_a_state_dict_only_weights_change() -> None:
    state = {
        "layer.weight": matrix("power law", 40, 30, 1),
        "layer.bias": torch.ones(40),
        "places.position_ids": torch.arange(12).reshape(1, 12),
        "norm.weight": torch.ones(30),
    }
    found = smoothed_state(state, Keep.SHARE, 0.5)
    assert list(found) == list(state)
    assert _rank(found["layer.weight"]) == 15
    for name in list(state)[1:]:
        assert found[name] is state[name]
    assert torch.equal(sharpened_state(state)["layer.weight"], state["layer.weight"])


@pytest.mark.parametrize("change", [smoothed, sharpened])
def test_what_is_not_finite_is_refused(change: object) -> None:
    weight = torch.ones(9, 9)
    weight[0, 0] = float("nan")
    assert callable(change)
    with pytest.raises(ValueError, match="NaN or infinity"):
        change(weight)
    with pytest.raises(ValueError, match="share"):
        smoothed(torch.ones(9, 9), Keep.SHARE, 0.0)
