"""The difference of two weights: held once, computed by blocks, and told from what rounding makes."""

import math
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from data.spectral_records import LayerSpectrum, SpectrumStatus
from models.eigenvalues import Difference, LowRank, rounding_edge
from models.layer_spectra import update_spectrum, weight_spectrum
from models.spectra import layer_spectra
from tests.matrices import drawn, heavy

# --- differences -----------------------------------------------------------------------------------


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every tensor that is made, and how many as large as a whole layer in float64 are held at once."""

    def __init__(self, entries: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.entries, self.most = entries, 0
        self.alive: list[weakref.ref[Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and found.dtype is torch.float64 and found.numel() >= self.entries:
            self.alive.append(weakref.ref(found))
        held = {one.data_ptr() for one in (known() for known in self.alive) if one is not None}
        self.most = max(self.most, len(held))
        return found


def test_one_layer_of_a_difference_is_held_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.random_matrix._BLOCK_ENTRIES", 4000)
    base = {"a.weight": drawn(300, 40).float(), "b.weight": drawn(50, 240).float()}
    tuned = {name: weight * 1.01 for name, weight in base.items()}
    with Largest(300 * 40) as seen:
        assert len(list(layer_spectra(tuned, base))) == 2
    assert seen.most == 1


@pytest.mark.parametrize("shape", [(300, 130), (130, 300), (1, 70), (70, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_a_difference_by_blocks_is_the_whole_one(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    new, old = drawn(*shape, seed=1).to(dtype), drawn(*shape, seed=2).float()
    whole, edges = new.double() - old.double(), [rounding_edge(one) for one in (new, new.T, old)]
    monkeypatch.setattr("models.eigenvalues._BLOCK_ENTRIES", 1000)
    change = Difference(new, old)
    assert torch.equal(change.to("cpu", torch.float64), whole)
    assert torch.equal(change.rows(0, 60), whole[:60].float())
    assert [rounding_edge(one) for one in (new, new.T, old)] == edges
    assert [rounding_edge(one.new_zeros(3, 5)) for one in (new, old)] == [0.0, 0.0]


# --- rounding --------------------------------------------------------------------------------------


def rounded_difference(weight: Tensor, update: Tensor | None, dtype: torch.dtype) -> LayerSpectrum:
    """What ``analyze`` makes of a checkpoint in a smaller number type, beside the base it came from."""
    new = (weight if update is None else weight + update).to(dtype)
    change = new.double() - weight.double()
    return update_spectrum("layer", change, weight, kind="delta", rounding=rounding_edge(new))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
@pytest.mark.parametrize("uneven", [0.0, 0.5, 2.0])
def test_pure_rounding_is_recognised(dtype: torch.dtype, uneven: float) -> None:
    """Even where some rows of the weight are far larger than others, so that they are rounded more coarsely."""
    for seed in range(6):
        weight = (0.05 * drawn(160, 90, seed=seed) * torch.exp(uneven * drawn(160, 1, seed=seed + 50))).float()
        for layer in (rounded_difference(weight, None, dtype), rounded_difference(weight.T, None, dtype)):
            assert layer.spectrum.status is SpectrumStatus.NOISE
            assert layer.spectrum.alpha is None
            assert layer.spectrum.rounding_edge < 9.0 * layer.spectrum.spectral_norm, "an edge that hides everything"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_merged_adapter_has_the_ranks_of_its_factors(dtype: torch.dtype) -> None:
    """The difference of the merged weight and its base is of full rank: what is above rounding is the update."""
    weight = 0.05 * drawn(160, 90).float()
    factors = LowRank(0.1 * drawn(8, 90, seed=1).float(), 0.1 * drawn(160, 8, seed=2).float(), 2.0)
    exact = update_spectrum("layer", factors, weight).spectrum
    merged = rounded_difference(weight, factors.rows(0, 160), dtype).spectrum
    assert merged.matrix_rank == exact.matrix_rank == 8
    assert merged.effective_rank == pytest.approx(exact.effective_rank, rel=1e-3)
    assert merged.alpha == pytest.approx(exact.alpha, rel=2e-2)


def test_an_update_above_the_rounding_is_kept() -> None:
    weight = 0.05 * drawn(160, 90).float()
    update = 3e-2 * heavy(160, 90, 3).float()
    found = rounded_difference(weight, update, torch.bfloat16).spectrum
    exact = weight_spectrum("layer", update).spectrum
    assert found.status is SpectrumStatus.SUCCESS
    assert found.spectral_norm == pytest.approx(exact.spectral_norm, rel=1e-2)
    assert found.xmin is not None
    assert found.xmin > found.rounding_edge > 0.0
    assert found.alpha_low is not None
    assert found.alpha_high is not None
    assert exact.alpha is not None
    assert found.alpha_low < exact.alpha < found.alpha_high


def test_the_rounding_edge_is_the_law_s_where_all_entries_are_alike() -> None:
    weight = (1.0 + 0.9 * torch.rand(400, 300, generator=torch.Generator().manual_seed(1))).bfloat16()
    expected = 2.0**-14 / 12.0 * (math.sqrt(400) + math.sqrt(300)) ** 2
    assert rounding_edge(weight) == pytest.approx(expected, rel=1e-5)  # one unit: 2^-7
    assert rounding_edge(weight.float()) == pytest.approx(expected * 2.0**-32, rel=1e-5)  # one unit: 2^-23
    assert rounding_edge(weight.double()) == rounding_edge(torch.zeros(4, 4).bfloat16()) == 0.0
    assert rounding_edge(torch.empty(0, 4).half()) == 0.0
    assert math.isfinite(rounding_edge(weight * 1e30))
    tiny = torch.full((4, 4), 2.0**-20).half()  # subnormal: their unit is that of the smallest normal number
    assert rounding_edge(tiny) == pytest.approx(2.0**-48 / 12.0 * 16.0)
