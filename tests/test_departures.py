"""Where we give other numbers than WeightWatcher 0.7.7 on purpose: each test shows both (docs/spectra.md says why)."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.spectra_inputs import lora_factors, write_adapter
from bench.watcher import linear_model, lora_state, package, quiet, traps, watch
from data.spectral_records import SpectrumStatus
from models import random_matrix
from models.eigenvalues import dense_eigenvalues
from models.powerlaw import fit_power_law
from models.random_matrix import determinant_tail, shuffled
from models.reshaping import Keep, sharpened, smoothed
from models.spectra import analyze, layer_spectra
from tests.parity_miniature import matrix, with_traps

pytestmark = pytest.mark.parity


def _weight(model: torch.nn.Sequential) -> torch.Tensor:
    """Of the first layer, as it is now."""
    weight = model[0].weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach()


def test_the_scaling_of_an_adapter(tmp_path: Path) -> None:
    """It analyses B A; what is added to the weight is scale * B A, with another spectral norm and another edge."""
    factors = lora_factors([(96, 64)], 16, 1)
    theirs = watch(lora_state(factors), peft=True).iloc[0]
    ((A, B),) = factors.values()
    (ours,) = layer_spectra(write_adapter(tmp_path, factors, 16, alpha=64.0))
    bare = float(torch.linalg.matrix_norm(B.double() @ A.double(), 2)) ** 2
    assert theirs.spectral_norm == pytest.approx(bare, rel=1e-5)
    assert ours.spectrum.spectral_norm == pytest.approx(bare * (64 / 16) ** 2, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-4, 1e-5])
def test_the_absolute_cut(scale: float) -> None:
    """Eigenvalues up to 1e-5 are cut off before its fit, so that the unit of the weights decides on alpha."""
    weight = matrix("trained", 300, 200, 1)
    theirs = [watch(linear_model(weight * one)).iloc[0] for one in (1.0, scale)]
    ours = [analyze(linear_model(weight * one)).iloc[0] for one in (1.0, scale)]
    assert theirs[0].alpha == pytest.approx(ours[0].alpha, abs=1e-9)
    assert theirs[1].alpha != pytest.approx(theirs[0].alpha, rel=0.05)
    assert ours[1].alpha == pytest.approx(ours[0].alpha, rel=1e-5)
    assert ours[1].num_pl_spikes == ours[0].num_pl_spikes


def test_fewer_than_twenty_eigenvalues() -> None:
    """It switches to 1 + (n - 1) / sum and to another criterion for xmin; we keep one estimator and its interval."""
    values = matrix("power law", 19, 19, 3).double().square().sum(0).sort().values.numpy()
    with quiet():
        theirs = package().WW_powerlaw.pl_fit(data=values)
    ours = fit_power_law(values)
    assert ours is not None
    n, excess = ours.tail, (np.log(values[-ours.tail :] / ours.xmin)).sum()
    assert ours.alpha == pytest.approx(1 + n / excess)
    tail = values[values >= theirs.xmin]
    assert theirs.alpha == pytest.approx(1 + (tail.size - 1) / np.log(tail / theirs.xmin).sum())
    assert theirs.alpha != pytest.approx(ours.alpha, rel=0.01)
    assert ours.low < theirs.alpha < ours.high, "the interval says how little so few values can tell"


@pytest.mark.parametrize("count", [4500, 12_000])
def test_the_determinant_of_many_eigenvalues(count: int) -> None:
    """Its product leaves the range of 64 bits: the small ones' share of it becomes 0, and the count ends too early."""
    values = np.sort(np.random.default_rng(1).chisquare(1.5, count))
    with quiet():
        theirs, _ = package().RMT_Util.detX_constraint(values)
    ours, _ = determinant_tail(values)
    logs = np.log10(values / values.mean())
    assert logs[-ours:].sum() < 0 < logs[-ours + 1 :].sum(), "the first product below 1"
    assert theirs < ours
    assert logs[-theirs:].sum() > 2, "a product above 100 was taken for one below 1"


def test_log_alpha_norm_of_a_narrow_spectrum() -> None:
    """Near an orthogonal matrix alpha is large, and its sum of eigenvalue^alpha overflows."""
    weight = 10.0 * torch.linalg.qr(matrix("gaussian", 200, 200, 1)).Q + 0.001 * matrix("gaussian", 200, 200, 2)
    theirs, ours = watch(linear_model(weight)).iloc[0], analyze(linear_model(weight)).iloc[0]
    assert theirs.alpha == pytest.approx(ours.alpha, abs=1e-3)
    assert theirs.log_alpha_norm == math.inf
    assert ours.log_alpha_norm == pytest.approx(2 * ours.alpha, rel=0.05)


@pytest.mark.parametrize(("side", "times"), [(99, 5), (100, 1)])
def test_traps_of_small_matrices(side: int, times: int) -> None:
    """Under 100 eigenvalues it pools five random matrices, and reports their traps together as one matrix's."""
    model = linear_model(with_traps(side, side, 1, 2))
    assert watch(model, randomize=True).iloc[0].rand_num_spikes == times
    assert analyze(model, randomize=True).iloc[0].rand_num_spikes == 1


def test_a_fit_that_failed() -> None:
    """Its alpha of -1 lies below 2, so that a layer without any fit is called over-trained."""
    model = linear_model(matrix("gaussian", 100, 100) * 1e-5)
    theirs = watch(model).iloc[0]
    assert (theirs.alpha, theirs.status, theirs.warning) == (-1, "failed", "over-trained")
    (ours,) = analyze(linear_model(torch.zeros(100, 100))).status
    assert ours is SpectrumStatus.ZERO or ours == "zero"
    assert analyze(model).iloc[0].status == "success"


def test_equal_eigenvalues() -> None:
    """It fits an infinite alpha and calls it a success."""
    theirs, ours = watch(linear_model(torch.eye(100))).iloc[0], analyze(linear_model(torch.eye(100))).iloc[0]
    assert (theirs.alpha, theirs.status, theirs.warning) == (math.inf, "success", "under-trained")
    assert (ours.alpha, ours.status) == (None, "equal")


@pytest.mark.parametrize("rank", [2, 7])
def test_adapters_of_low_rank(rank: int, tmp_path: Path) -> None:
    """It returns an empty frame; everything but the tail can be said of them."""
    factors = lora_factors([(96, 64)], rank, 1)
    assert len(watch(lora_state(factors), peft=True)) == 0
    (ours,) = layer_spectra(write_adapter(tmp_path, factors, rank))
    assert (ours.spectrum.status, ours.spectrum.matrix_rank, ours.spectrum.alpha) == (SpectrumStatus.FEW, rank, None)
    assert ours.spectrum.stable_rank > 1.0
    assert ours.null_share is not None


def test_weights_in_float64() -> None:
    """They are rounded to 32 bits when they are read."""
    weight = matrix("gaussian", 60, 60, 1).double() * (1.0 + 1e-9)
    true = float(torch.linalg.matrix_norm(weight, 2)) ** 2
    rounded = float(torch.linalg.matrix_norm(weight.float().double(), 2)) ** 2
    assert watch(linear_model(weight)).iloc[0].spectral_norm == pytest.approx(rounded, rel=1e-13)
    assert analyze(linear_model(weight)).iloc[0].spectral_norm == pytest.approx(true, rel=1e-13)
    assert rounded != pytest.approx(true, rel=1e-11)


def test_convolutions() -> None:
    """Its weights of a convolution are multiplied with sqrt(1/2), and so its eigenvalues with 1/2."""
    layer = torch.nn.Conv2d(24, 32, 3, bias=False)
    theirs, ours = watch(torch.nn.Sequential(layer)).iloc[0], analyze({"0.weight": layer.weight}).iloc[0]
    assert theirs.num_evals == ours.num_evals == 24 * 9
    assert theirs.spectral_norm == pytest.approx(ours.spectral_norm / 2, rel=1e-6)
    assert theirs.alpha == pytest.approx(ours.alpha, abs=1e-9)


def test_a_seed() -> None:
    """Its random places follow from NumPy's global state; the same analysis twice gives two answers."""
    model = linear_model(torch.from_numpy(np.random.default_rng(1).standard_t(3, (120, 110))).float())
    theirs = [watch(model, randomize=True).iloc[0].rand_distance for _ in range(2)]
    ours = [analyze(model, randomize=True, seed=4).iloc[0].rand_distance for _ in range(2)]
    assert theirs[0] != theirs[1]
    assert ours[0] == ours[1]


def test_entries_with_heavy_tails() -> None:
    """It fits the noise's size to a smoothed density, we take it from the mean of what is no trap: two counts."""
    weight = torch.from_numpy(np.random.default_rng(2).standard_t(2.5, (384, 384)))
    eigenvalues = dense_eigenvalues(shuffled(weight, 1))
    theirs, ours = traps(eigenvalues, 384, 384), random_matrix.traps(eigenvalues.numpy(), 384, 384)
    assert 0 < theirs < ours < 20


def test_one_trap_in_a_matrix_that_is_nearly_square() -> None:
    """Its fit of the noise's size can miss altogether: more than a hundred traps for one entry."""
    weight = matrix("gaussian", 256, 250, 0)
    weight[3, 5] = 5.8 * (256**0.5 + 250**0.5)
    eigenvalues = dense_eigenvalues(shuffled(weight, 1))
    assert traps(eigenvalues, 256, 250) > 100
    assert random_matrix.traps(eigenvalues.numpy(), 256, 250) == 1


def test_smoothing_without_a_fit() -> None:
    """The -1 of a failed fit is taken as "drop the largest direction"; we leave such a layer as it is."""
    weight = matrix("spiked", 60, 40, 1) * 1e-5
    watcher, model = package(), linear_model(weight.clone())
    with quiet():
        watcher.WeightWatcher().SVDSmoothing(model=model, method="alpha_min")
    left, sizes, right = torch.linalg.svd(weight.double(), full_matrices=False)
    without_largest = (left[:, 1:] * sizes[1:]) @ right[1:]
    assert torch.allclose(_weight(model).double(), without_largest, atol=1e-4 * float(weight.abs().max()))
    flat = torch.eye(30)
    assert torch.equal(smoothed(flat, Keep.POWER_LAW), flat)


def test_sharpening() -> None:
    """It counts the traps of the permuted matrix and takes as many leading directions off the matrix as it was."""
    left, right = (torch.linspace(-1.0, 1.0, side).sign().double() / side**0.5 for side in (120, 100))
    structure = 90.0 * torch.outer(left, right)
    weight = (with_traps(120, 100, 1, 6).double() + structure).float()
    trap = weight.abs().argmax()
    watcher, model = package(), linear_model(weight.clone())
    with quiet():
        watcher.WeightWatcher().SVDSharpness(model=model)
    theirs, ours = _weight(model).double(), sharpened(weight, 1).double()
    assert float(left @ theirs @ right) < 10, "the structure is gone"
    assert float(theirs.flatten()[trap].abs()) > 0.7 * float(weight.abs().max()), "the trap is still there"
    assert float(left @ ours @ right) == pytest.approx(90, rel=0.1)
    assert float(ours.flatten()[trap].abs()) < 2


def test_smoothing_alike() -> None:
    """Where it keeps what it says it keeps, both agree, but that it approximates with random projections."""
    for method, keep in (("detX", Keep.DETERMINANT), ("alpha_min", Keep.POWER_LAW), ("svd", Keep.SHARE)):
        weight = matrix("trained", 90, 60, 2)
        model = linear_model(weight.clone())
        with quiet():
            package().WeightWatcher().SVDSmoothing(model=model, method=method, percent=0.3)
        theirs, ours = _weight(model), smoothed(weight, keep, 0.3)
        assert int(torch.linalg.matrix_rank(theirs, rtol=1e-5)) == int(torch.linalg.matrix_rank(ours, rtol=1e-5))
        assert float((theirs - ours).norm() / ours.norm()) < 0.01, method
        assert float((weight - ours).norm()) <= float((weight - theirs).norm()) * (1 + 1e-6), "ours is the nearest"
