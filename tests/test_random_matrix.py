"""What chance makes is where random matrix theory says, and what is planted is found."""

import math
import time
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import random_matrix
from models.eigenvalues import dense_eigenvalues
from models.powerlaw import Vector
from models.random_matrix import (
    determinant_tail,
    distance,
    effective_rank,
    noise_edge,
    null_effective_ranks,
    null_share,
    shuffled,
    singular_edge,
    traps,
)

SHAPES = [(200, 200), (300, 100), (400, 50), (1000, 64)]


def gaussian(N: int, M: int, seed: int) -> Vector:
    return np.random.default_rng([N, M, seed]).standard_normal((N, M))


def spectrum(matrix: Vector) -> Vector:
    values: Vector = np.asarray(np.linalg.svd(matrix, compute_uv=False)[::-1] ** 2, dtype=np.float64)
    return values


# --- the edge of noise, and what lies beyond -------------------------------------------------------


@pytest.mark.parametrize(("N", "M"), SHAPES)
def test_noise_ends_at_its_edge(N: int, M: int) -> None:
    """The largest eigenvalue lies within the law of Tracy and Widom (-5 to 3 in all but 1 of 5,000 draws)."""
    size = (math.sqrt(N) + math.sqrt(M)) * (1.0 / math.sqrt(N) + 1.0 / math.sqrt(M)) ** (1 / 3)
    off = []
    for seed in range(20):
        values = 7.0 * spectrum(gaussian(N, M, seed))
        off.append((values[-1] - noise_edge(values.mean(), N, M)) / (7.0 * size))
    assert min(off) > -5.0
    assert max(off) < 3.0
    assert np.mean(off) == pytest.approx(-1.2, abs=1.0)  # the law's mean, with 20 draws of deviation 1.3


@pytest.mark.parametrize(("N", "M"), SHAPES)
def test_noise_has_no_traps(N: int, M: int) -> None:
    """At most 1 in 30 draws may have one."""
    found = [traps(spectrum(gaussian(N, M, seed)), N, M) for seed in range(30)]
    assert sum(found) <= 1


@pytest.mark.parametrize("planted", [1, 2, 5, 9])
@pytest.mark.parametrize(("N", "M"), [(200, 200), (300, 100)])
def test_every_large_entry_is_a_trap(N: int, M: int, planted: int) -> None:
    matrix = gaussian(N, M, 3)
    matrix[np.arange(planted), np.arange(planted)] = 2.0 * (math.sqrt(N) + math.sqrt(M)) * np.arange(1, planted + 1)
    places = shuffled(torch.from_numpy(matrix), 5)
    large = int(torch.linalg.matrix_rank(places * (places.abs() > math.sqrt(N) + math.sqrt(M))))  # two in a row are one
    assert planted - 1 <= large <= planted
    assert traps(dense_eigenvalues(places).numpy(), N, M) == large
    assert traps(1e-6 * spectrum(matrix), N, M) == traps(1e6 * spectrum(matrix.T), N, M) == planted


def test_shuffling_keeps_the_entries_and_obeys_its_seed() -> None:
    weight = torch.arange(60.0).reshape(5, 12).T
    places = shuffled(weight, 1)
    assert places.shape == weight.shape
    assert torch.equal(places.flatten().sort().values, torch.arange(60.0))
    assert torch.equal(places, shuffled(weight, 1))
    assert not torch.equal(places, shuffled(weight, 2))


def test_the_spread_is_taken_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = (torch.from_numpy(gaussian(90, 40, 1)) * 0.05 + 3.0).float()
    expected = float(weight.double().std(correction=0)) * (math.sqrt(90) + math.sqrt(40))
    assert singular_edge(weight) == pytest.approx(expected, rel=1e-12)
    monkeypatch.setattr(random_matrix, "_BLOCK_ENTRIES", 100)
    assert singular_edge(weight) == pytest.approx(expected, rel=1e-12)
    assert singular_edge(torch.full((90, 40), 0.1)) is None
    assert singular_edge(torch.full((90, 40), math.inf)) is None
    assert singular_edge(weight * 1e-30) == pytest.approx(expected * 1e-30, rel=1e-6)


# --- the determinant condition ---------------------------------------------------------------------


def naive_tail(values: list[float]) -> int:
    """The definition, with as many digits as it takes."""
    with localcontext() as context:
        context.prec = 60
        mean = sum(map(Decimal, values), Decimal(0)) / len(values)
        product = Decimal(1)
        for count, value in enumerate(sorted(values, reverse=True)[:-1], start=1):
            product *= Decimal(value) / mean
            if product < 1:
                return count
    return len(values)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=60, unique=True))
def test_the_determinant_tail_is_that_of_the_product(values: list[float]) -> None:
    ascending = np.sort(values)
    count, smallest = determinant_tail(ascending)
    assert count == naive_tail(values)
    assert smallest == ascending[-count]


def test_where_the_product_overflows_the_tail_is_right() -> None:
    values = np.sort(np.random.default_rng(2).random(4000))
    with np.errstate(over="ignore"):
        assert np.isinf(np.cumprod((values / values.mean())[::-1])).any()
    assert determinant_tail(values)[0] == naive_tail(values.tolist())


@pytest.mark.parametrize("values", [[], [3.0], [2.0, 2.0, 2.0]])
def test_where_no_eigenvalues_differ_there_is_no_determinant_tail(values: list[float]) -> None:
    count, smallest = determinant_tail(np.array(values))
    assert count == 0
    assert math.isnan(smallest)


# --- distance, effective rank and its null ---------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 50), st.integers(0, 1000), st.floats(1e-6, 1e6))
def test_distance_is_a_distance_of_shapes(n: int, seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    one, other = random.pareto(1.5, n) + 1e-9, random.random(n) + 1e-9
    assert distance(one, one * scale) == pytest.approx(0.0, abs=1e-7)
    assert distance(one, other) == pytest.approx(distance(other * scale, random.permutation(one)), abs=1e-9)
    assert 0.0 <= distance(one, other) <= math.sqrt(math.log(2.0))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(0, 1000), st.floats(1e-6, 1e6))
def test_effective_rank_lies_between_one_and_the_rank(n: int, seed: int, scale: float) -> None:
    values = np.random.default_rng(seed).pareto(1.5, n) + 1e-9
    assert 1.0 - 1e-9 <= effective_rank(values) <= n * (1.0 + 1e-9)
    assert effective_rank(values * scale) == pytest.approx(effective_rank(values))
    assert effective_rank(np.full(n, scale)) == pytest.approx(n)


@pytest.mark.parametrize("factors", [True, False])
@pytest.mark.parametrize(("N", "M", "rank"), [(48, 32, 8), (60, 40, 2), (30, 20, 20), (24, 24, 24), (20, 12, 30)])
def test_the_null_is_that_of_drawn_updates(N: int, M: int, rank: int, factors: bool) -> None:
    """Two samples of 400, Kolmogorov and Smirnov: a distance above 0.138 has a chance of 1 in 1,000."""
    random = np.random.default_rng(11)
    drawn = []
    rank = rank if factors else M
    for _ in range(400):
        whole = random.standard_normal((N, M))
        if factors:
            whole = random.standard_normal((N, rank)) @ random.standard_normal((rank, M))
        drawn.append(effective_rank(spectrum(whole)[-min(rank, M) :]) / min(rank, M))
    null = np.asarray(null_effective_ranks(N, M, rank, factors))
    assert null.size == 400
    everything = np.concatenate([null, drawn])
    shares = [np.searchsorted(np.sort(one), everything, side="right") / 400 for one in (null, drawn)]
    assert np.abs(shares[0] - shares[1]).max() < 0.138


def test_the_null_of_large_cores_is_simulated_smaller() -> None:
    """A random update of 700 x 500 is not taken for a structured one, though its null has 256 columns."""
    for seed in range(3):
        share = null_share(effective_rank(spectrum(gaussian(700, 500, seed))), 700, 500, 500, factors=False)
        assert share > 0.01
    flattened = effective_rank(spectrum(gaussian(700, 500, 4)) ** 2)
    assert null_share(flattened, 700, 500, 500, factors=False) == 0.0


def test_the_null_is_cheap_and_made_once() -> None:
    null_effective_ranks.cache_clear()
    started = time.process_time()
    for rank in (4096, 16, 64):
        first = null_effective_ranks(11008, 4096, rank)
        assert len(first) >= 30
        assert null_effective_ranks(11008, 4096, rank) is first
    assert time.process_time() - started < 6.0  # some 1.2 s on an idle core
    assert null_effective_ranks.cache_info().misses == 3


@pytest.mark.parametrize(("N", "M", "rank"), [(512, 64, 128), (128, 128, 128), (256, 256, 255)])
def test_random_factors_of_any_rank_look_random(N: int, M: int, rank: int) -> None:
    """Also where the rank reaches the smaller side: a product of two is less even than one matrix."""
    random = np.random.default_rng(5)
    shares = [
        null_share(
            effective_rank(spectrum(random.standard_normal((N, rank)) @ random.standard_normal((rank, M)))[-M:]),
            N, M, rank,
        )
        for _ in range(8)
    ]  # fmt: skip
    assert 0.02 < float(np.mean(shares)) < 0.98
