"""Eigenvalues are exact, whatever the shape, the scale or the number type, and equal input gives equal bits."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data.errors import InputError
from data.spectral_records import LayerSpectrum, SpectrumStatus
from data.workspace import PROJECT_ROOT
from models.eigenvalues import LowRank, dense_eigenvalues, is_stack, kind_of, matrices
from models.layer_spectra import update_spectrum, weight_spectrum
from models.spectra import analyze, layer_spectra
from models.spectrum import Analysis, describe
from tests.matrices import ALL, conditioned, drawn, heavy, rotation
from tests.spectral_miniature import as_bits


def eigenvalues_of(update: LowRank) -> Tensor:
    """Those of the product, without any core, ascending."""
    whole = update.scale * update.B.double() @ update.A.double()
    values: Tensor = torch.linalg.svdvals(whole).square().flip(0)
    return values[-min(*update.shape, update.rank) :]


# --- an update in factors --------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 48)),
    st.sampled_from([1.0, 1e3, 1e6]),
    st.sampled_from([1e-6, -1.0, 2.0, 1e6]),
    st.integers(0, 10_000),
)
def test_the_core_has_the_eigenvalues_of_the_product(
    shape: tuple[int, int, int], condition: float, scale: float, seed: int
) -> None:
    out, into, rank = shape
    update = LowRank(conditioned(rank, into, condition, seed), conditioned(out, rank, condition, seed + 2), scale)
    found, expected = update.eigenvalues(), eigenvalues_of(update)
    assert found.shape == expected.shape
    allowed = float(update.A.norm() * update.B.norm() * scale) ** 2 / float(
        expected[-1]
    )  # what the product itself loses
    assert float((found - expected).abs().max() / expected[-1]) < max(1e-12, 1e-15 * math.sqrt(allowed))


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6])
def test_factors_that_cancel_each_other_keep_their_digits(condition: float) -> None:
    """The large directions of one meet the small ones of the other: in squares the result would drown in rounding."""
    sizes = torch.logspace(0.0, -math.log10(condition), 16, dtype=torch.float64)
    inner = rotation(16, 3)
    B = rotation(60, 1)[:, :16] * sizes @ inner.T
    A = inner * sizes.flip(0) @ rotation(40, 2)[:16]
    found = LowRank(A, B, 3.0).eigenvalues()
    assert found.numpy() == pytest.approx(np.full(16, (3.0 / condition) ** 2), rel=1e-14 * condition)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_factors_of_lower_rank(rank: int) -> None:
    B = drawn(30, rank, seed=1) @ drawn(rank, 8, seed=2)
    update = LowRank(drawn(8, 20), B, 2.0)
    found, expected = update.eigenvalues(), eigenvalues_of(update)
    assert torch.allclose(found, expected, rtol=0.0, atol=1e-12 * max(float(expected[-1]), 1e-300))
    described = update_spectrum("layer", update, None)
    assert described.spectrum.matrix_rank == rank
    assert described.spectrum.status is (SpectrumStatus.ZERO if rank == 0 else SpectrumStatus.FEW)


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e20, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_size_of_weights_is_too_large_or_small_to_square(size: float, dtype: torch.dtype) -> None:
    weight = heavy(60, 40)
    how, plain = Analysis(dtype=dtype), weight_spectrum("layer", weight).spectrum
    found = weight_spectrum("layer", (weight * size).float(), how)
    assert found.finite
    assert found.spectrum.num_pl_spikes == plain.num_pl_spikes
    assert found.spectrum.alpha == pytest.approx(plain.alpha, rel=1e-5)
    assert found.spectrum.spectral_norm == pytest.approx(plain.spectral_norm * size**2, rel=1e-5)
    factors = LowRank(drawn(6, 40).float() * size, drawn(60, 6).float() / size, 1.0)
    assert factors.eigenvalues(dtype).numpy() == pytest.approx(eigenvalues_of(factors).numpy(), rel=1e-4)


# --- what changes nothing --------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(9, 40), st.integers(9, 40), st.integers(0, 1000))
def test_turning_a_matrix_changes_nothing(rows: int, columns: int, seed: int) -> None:
    weight = heavy(max(rows, columns), min(rows, columns), seed)
    values = dense_eigenvalues(weight)
    turned = rotation(weight.shape[0], seed + 5) @ weight @ rotation(weight.shape[1], seed + 6)
    for other in (weight.T, turned, turned.T.contiguous()):
        assert torch.allclose(dense_eigenvalues(other), values, rtol=0.0, atol=1e-13 * float(values[-1]))
        found, plain = (weight_spectrum("layer", one).spectrum for one in (other, weight))
        assert (found.num_pl_spikes, found.matrix_rank) == (plain.num_pl_spikes, plain.matrix_rank)
        assert found.alpha == pytest.approx(plain.alpha, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scale_changes_no_shape_and_no_count(scale: float) -> None:
    weight = heavy(120, 80)
    weight[3, 4] = 40.0
    one, other = (weight_spectrum("layer", matrix, ALL).spectrum for matrix in (weight, weight * scale))
    assert (one.randomised, one.determinant, other.randomised, other.determinant).count(None) == 0
    for name in ("alpha", "alpha_low", "alpha_high", "D", "stable_rank", "effective_rank", "entropy"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-9), name
    assert [other.num_pl_spikes, other.matrix_rank] == [one.num_pl_spikes, one.matrix_rank]
    assert one.randomised is not None
    assert other.randomised is not None
    assert one.determinant is not None
    assert other.determinant is not None
    assert other.randomised.rand_num_spikes == one.randomised.rand_num_spikes == 1
    assert other.randomised.rand_distance == pytest.approx(one.randomised.rand_distance, rel=1e-9)
    assert other.determinant.detX_num == one.determinant.detX_num


def test_a_matrix_need_not_be_contiguous() -> None:
    whole = heavy(90, 60)
    part = whole[::3, ::2]
    assert not part.is_contiguous()
    assert as_bits(weight_spectrum("layer", part, ALL)) == as_bits(weight_spectrum("layer", part.clone(), ALL))


def test_half_as_many_digits_give_nearly_the_same() -> None:
    for seed in range(5):
        weight = heavy(200, 150, seed).float()
        exact, quick = (weight_spectrum("l", weight, Analysis(dtype=kind)) for kind in (torch.float64, torch.float32))
        assert quick.spectrum.num_pl_spikes == exact.spectrum.num_pl_spikes
        assert quick.spectrum.alpha == pytest.approx(exact.spectrum.alpha, rel=1e-3)
        for name in ("norm", "spectral_norm", "stable_rank", "effective_rank", "log_alpha_norm"):
            assert getattr(quick.spectrum, name) == pytest.approx(getattr(exact.spectrum, name), rel=1e-3), name


def seeded_report() -> str:
    draw = torch.Generator().manual_seed(4)
    state = {f"layers.{i}.weight": torch.randn(60, 40, generator=draw) for i in range(3)}
    return "".join(as_bits(layer) for layer in layer_spectra(state, how=ALL))


def test_equal_input_gives_equal_bits_in_any_process() -> None:
    program = f"from tests import conftest; import {__name__} as me; print(me.seeded_report(), end='')"
    there = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert len(there.stdout) > 1000
    assert there.stdout == seeded_report() == seeded_report()
    weight = heavy(60, 40)
    twice = [as_bits(weight_spectrum("layer", weight, ALL)) for _ in range(2)]
    assert twice[0] == twice[1]
    assert as_bits(weight_spectrum("layer", weight, Analysis(randomize=True, determinant=True, seed=1))) != twice[0]


# --- convolutions, stacks and names ----------------------------------------------------------------


@pytest.mark.parametrize("kernel", [(3,), (3, 3), (1, 1), (2, 3, 2)])
def test_a_convolution_is_its_matrices_pooled(kernel: tuple[int, ...]) -> None:
    weight = drawn(12, 9, *kernel)
    flat = weight.reshape(12, 9, -1)
    apart = torch.cat([torch.linalg.svdvals(flat[:, :, place]).square() for place in range(flat.shape[2])])
    assert torch.allclose(dense_eigenvalues(weight), apart.sort().values)
    found = weight_spectrum("layer", weight).spectrum
    assert found.num_evals == 9 * flat.shape[2]
    assert found.norm == pytest.approx(float(weight.norm()) ** 2)


@pytest.mark.parametrize("shape", [(), (5,)])
def test_a_vector_has_no_spectrum(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no spectrum"):
        matrices(torch.ones(shape))
    assert kind_of("a.weight", shape) is None


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("layers.0.mlp.up_proj.weight", (8, 4), "linear"),
        ("model.embed_tokens.weight", (8, 4), "embedding"),
        ("transformer.wte.weight", (8, 4), "embedding"),
        ("conv.weight", (8, 4, 3), "conv1d"),
        ("conv.weight", (8, 4, 3, 3), "conv2d"),
        ("visual.patches.weight", (8, 4, 2, 3, 3), "conv3d"),
        ("mlp.experts.gate_up_proj", (4, 8, 16), "linear"),
        ("mlp.stacked", (4, 8, 64), "linear"),
        ("cls_token", (1, 1, 64), None),
    ],
)
def test_kinds(name: str, shape: tuple[int, ...], kind: str | None) -> None:
    assert kind_of(name, shape) == kind
    assert is_stack(name, shape) is ((kind == "linear" and len(shape) == 3) or name == "cls_token")


def test_experts_are_analysed_one_by_one() -> None:
    stack = torch.stack([heavy(40, 24, seed) for seed in range(12)])
    frame = analyze({"mlp.experts.gate_up_proj": stack, "mlp.router.weight": heavy(40, 24, 99)})
    names = [f"mlp.experts.gate_up_proj[{place}]" for place in range(12)]
    assert list(frame["longname"]) == [*names, "mlp.router"]
    for place in (0, 11):
        alone = weight_spectrum("x", stack[place]).spectrum
        assert frame["alpha"][place] == alone.alpha
    moved = stack.clone()
    moved[3] += 0.1
    changed = analyze({"mlp.experts.gate_up_proj": moved}, {"mlp.experts.gate_up_proj": stack})
    assert list(changed["longname"]) == names
    assert [norm > 0.0 for norm in changed["norm"]] == [place == 3 for place in range(12)]


# --- small, empty and odd --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (7, 7), (7, 30), (200, 7)])
def test_few_eigenvalues_are_said_to_be_few(shape: tuple[int, int]) -> None:
    found = weight_spectrum("layer", drawn(*shape), ALL)
    assert found.finite
    assert found.spectrum.status is SpectrumStatus.FEW
    assert found.spectrum.alpha is None
    assert found.spectrum.num_evals == found.spectrum.matrix_rank == min(shape)
    assert found.spectrum.norm == pytest.approx(float(drawn(*shape).norm()) ** 2)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_an_empty_matrix_is_zero(shape: tuple[int, int]) -> None:
    found = weight_spectrum("layer", torch.empty(shape), ALL)
    assert (found.spectrum.status, found.spectrum.num_evals) == (SpectrumStatus.ZERO, 0)
    frame = analyze({"a.weight": torch.empty(shape), "b.weight": drawn(5, 5)})
    assert list(frame["status"]) == ["zero", "few"]


@pytest.mark.parametrize(
    ("weight", "status"),
    [
        (torch.zeros(30, 20), SpectrumStatus.ZERO),
        (torch.eye(30), SpectrumStatus.EQUAL),
        (torch.full((30, 20), math.nan), SpectrumStatus.NOT_FINITE),
        (torch.eye(30) * math.inf, SpectrumStatus.NOT_FINITE),
        (torch.full((30, 20), 1e200, dtype=torch.float64), SpectrumStatus.NOT_FINITE),
        (torch.ones(30, 20), SpectrumStatus.FEW),
    ],
    ids=["zero", "identity", "nan", "inf", "overflow", "rank one"],
)
def test_what_has_no_tail_says_why(weight: Tensor, status: SpectrumStatus) -> None:
    found = weight_spectrum("layer", weight, ALL)
    assert found.spectrum.status is status
    assert found.spectrum.alpha is None
    assert found.finite is (status is not SpectrumStatus.NOT_FINITE)
    assert LayerSpectrum.model_validate_json(found.model_dump_json(by_alias=True)) == found


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_every_number_type_of_weights_is_read_as_it_is(dtype: torch.dtype) -> None:
    weight = (drawn(40, 30) * 0.5).to(dtype)
    found = weight_spectrum("layer", weight).spectrum
    assert found.alpha == weight_spectrum("layer", weight.double()).spectrum.alpha
    assert found.norm == pytest.approx(float(weight.double().norm()) ** 2)
    update = LowRank(drawn(4, 30).to(dtype), drawn(40, 4).to(dtype), 1.0)
    beside = update_spectrum("layer", update, weight, Analysis(intruders=True))
    assert beside.update is not None
    assert beside.update.sigma_ratio > 0.0


@pytest.mark.parametrize("seed", [1.5, "7", None, True, math.nan, -1, 2**32, [3], "x" * 5000])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    """Of a larger one torch would read a part, so that two seeds were one."""
    with pytest.raises(InputError, match=r"^seed is .*\. Give a whole number from 0 to 4,294,967,295\.$") as caught:
        analyze({"a.weight": drawn(12, 9)}, randomize=True, seed=seed)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("wrong", [{"dtype": torch.float16}, {"dtype": torch.int32}, {"device": "nowhere"}])
def test_what_cannot_be_computed_with_is_said(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"asked for|cannot be used"):
        Analysis(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [(1.0, math.nan, 2.0), (math.inf, 1.0), (1.0, -math.inf)])
def test_one_number_that_is_not_finite_is_enough(values: tuple[float, ...]) -> None:
    found, kept = describe(torch.tensor(values, dtype=torch.float64), 9, 3)
    assert (found.status, found.num_evals, kept.size) == (SpectrumStatus.NOT_FINITE, 3, 0)


def test_eigenvalues_in_any_order_are_one_spectrum() -> None:
    values = torch.arange(1.0, 31.0, dtype=torch.float64) ** 2
    assert describe(values, 40, 30)[0] == describe(values.flip(0), 40, 30)[0]
