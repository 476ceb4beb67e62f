"""Traps, areas and announcements on cases whose answer is known, and runs that repeat to the bit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.grokking import SETUPS, figures
from bench.grokking_announcers import Rule, fixed, held_out
from bench.grokking_lessons import Setup, lessons
from bench.grokking_roc import Array, area
from bench.grokking_series import Event, Series, collapse, grokking
from bench.grokking_spectra import eigenvalues, read_matrix
from bench.grokking_training import begin, checkpoint_steps, step, train
from data.errors import InputError
from models.random_matrix import shuffled, traps

DIGITS = SETUPS["digits"].model_copy(update={"seeds": 3, "controls": 1, "examples": (60, 80), "hidden": (48, 40)})
MODULAR = Setup(
    task="modular", seeds=2, controls=1, seed=1, examples=(60,), hidden=(32,), scale=1.0, rate=5e-3, decay=0.1,
    batch=32, modulus=11,
)  # fmt: skip


def gaussian(N: int, M: int, seed: int) -> torch.Tensor:
    return torch.randn(N, M, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- one matrix ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("N", "M"), [(64, 64), (300, 80)])
def test_gaussian_noise_has_no_trap_in_most_draws(N: int, M: int) -> None:
    counts = [read_matrix(gaussian(N, M, seed), 1).traps for seed in range(20)]
    assert sum(counts) <= 1


@pytest.mark.parametrize("planted", [1, 3])
def test_each_huge_entry_is_a_trap(planted: int) -> None:
    weight = gaussian(200, 100, 3)
    for place in range(planted):
        weight[17 * place, 11 * place] = 60.0
    found = read_matrix(weight, 5)
    assert found.traps == planted
    assert found.excess > 3.0


def test_a_strong_direction_is_no_trap() -> None:
    """A spike that a whole row and column bear falls apart where entries change places."""
    signs = gaussian(200, 1, 1).sign() @ gaussian(1, 100, 2).sign()
    weight = gaussian(200, 100, 3) + 0.8 * signs
    assert traps(eigenvalues(weight), 200, 100) == 1, "the spike is there before the entries change places"
    assert read_matrix(weight, 5).traps == 0


def test_the_same_seed_gives_the_same_places() -> None:
    weight = gaussian(30, 20, 1)
    assert torch.equal(shuffled(weight, 4), shuffled(weight, 4))
    assert not torch.equal(shuffled(weight, 4), shuffled(weight, 5))
    assert torch.equal(shuffled(weight, 4).flatten().sort().values, weight.flatten().sort().values)


# --- training --------------------------------------------------------------------------------------


@pytest.mark.parametrize("setup", [DIGITS, MODULAR], ids=["digits", "modular"])
def test_the_written_out_gradient_is_that_of_autograd(setup: Setup) -> None:
    taught = lessons(setup)
    state = begin(setup, taught.inputs_SND.shape[2], taught.classes)
    before = [weight.detach().clone().requires_grad_() for weight in state.weights]
    draws = torch.Generator().manual_seed(setup.seed)
    places = (torch.rand(setup.stack, setup.batch, generator=draws) * taught.sizes_S[:, None]).long()
    rows = torch.arange(setup.stack)[:, None]
    reached = taught.inputs_SND[rows, places]
    for weight in before[:-1]:
        reached = reached @ weight
        reached = reached**2 if setup.task == "modular" else reached.relu()
    losses = (reached @ before[-1] - taught.targets[rows, places]).square().mean((1, 2))
    expected = torch.autograd.grad(losses.sum(), before)
    step(state, taught, setup)
    for weight, one in zip(state.weights, expected, strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, one, rtol=1e-4, atol=1e-5 * float(one.abs().max()))


def test_a_resumed_run_ends_in_the_bits_of_an_undisturbed_one(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    list(train(DIGITS, 150, whole))
    list(train(DIGITS, 40, parts))
    next(train(DIGITS, 150, parts))
    list(train(DIGITS, 150, parts))
    for name in ("records.json", "state.safetensors"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_a_run_killed_between_its_two_files_is_the_same_run(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    list(train(DIGITS, 60, whole))
    list(train(DIGITS, 40, parts))
    earlier = (parts / "state.safetensors").read_bytes()
    list(train(DIGITS, 50, parts))
    (parts / "state.safetensors").write_bytes(earlier)
    list(train(DIGITS, 60, parts))
    assert (parts / "records.json").read_bytes() == (whole / "records.json").read_bytes()


def test_a_network_is_the_same_however_many_stand_beside_it() -> None:
    alone, among = (lessons(DIGITS.model_copy(update={"seeds": seeds, "controls": 0})) for seeds in (1, 3))
    assert torch.equal(alone.inputs_SND[0], among.inputs_SND[0])
    weights = [begin(DIGITS.model_copy(update={"seeds": seeds, "controls": 0}), 64, 10).weights[0] for seeds in (1, 3)]
    assert torch.equal(weights[0][0], weights[1][0])


def test_controls_learn_other_labels_and_all_are_tested_on_the_true_ones() -> None:
    taught = lessons(DIGITS)
    same = (taught.taught_SN == taught.true_SN).float().mean(1)
    assert same[:3].tolist() == [1.0, 1.0, 1.0]
    assert same[3] < 0.2


def test_another_setups_folder_is_refused(tmp_path: Path) -> None:
    list(train(MODULAR, 16, tmp_path))
    with pytest.raises(InputError, match="another setup"):
        next(train(MODULAR.model_copy(update={"rate": 1.0}), 16, tmp_path))


def test_more_examples_than_the_task_has_are_refused() -> None:
    with pytest.raises(InputError, match="121"):
        lessons(MODULAR.model_copy(update={"examples": (121,)}))


def test_checkpoints_are_evenly_spaced_and_never_doubled() -> None:
    steps = list(checkpoint_steps(4096))
    assert steps[0] == 16
    assert steps[-1] == 4096
    assert steps == sorted(set(steps))
    assert [one for one in steps if one in (32, 64, 1024)] == [32, 64, 1024]


# --- what happened ---------------------------------------------------------------------------------


def doubling(T: int) -> Array:
    """Steps 1, 2, 4, ... of T checkpoints."""
    return np.array([2.0**place for place in range(T)])


def made(test: list[list[float]], control: int = 0) -> Series:
    """Networks that have memorised from the second checkpoint on."""
    test_ST = np.array(test)
    S, T = test_ST.shape
    train_ST = np.ones((S, T))
    train_ST[:, 0] = 0.5
    return Series(doubling(T), {}, test_ST, train_ST, np.arange(S) >= S - control, np.full(S, 10.0))


def test_grokking_and_collapse_are_found_where_they_are() -> None:
    found = made(
        [
            [0.1, 0.1, 0.1, 0.9, 1.0, 1.0, 1.0, 1.0],  # grokks and holds
            [0.1, 0.1, 0.2, 0.3, 1.0, 1.0, 0.2, 0.1],  # collapses
            [0.1, 0.1, 0.2, 0.9, 1.0, 0.2, 1.0, 1.0],  # a single dip is no collapse
            [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
        ]
    )
    grokked, middle = grokking(found)
    assert grokked.at_S.tolist() == [3, 4, 3, -1]
    assert grokked.since_S.tolist() == [1, 1, 1, 1]
    assert middle[0] == pytest.approx(0.55)
    assert collapse(found, grokked, middle).at_S.tolist() == [-1, 6, -1, -1]


# --- what tells of it ------------------------------------------------------------------------------

YES = np.array([[False, False, True, True]] * 8 + [[False] * 4] * 8)
GROUPS = np.array([0.0] * 8 + [1.0] * 8)
ONE = np.zeros((16, 4))
PLACES = np.broadcast_to(np.arange(4.0), (16, 4))


def test_a_perfect_statistic_has_area_one_whichever_way_it_points() -> None:
    for sign in (1.0, -1.0):
        found = area(sign * YES.astype(float), YES, ~YES, ONE, GROUPS, 1)
        assert found is not None
        assert (found.value, found.low, found.high, found.networks) == (1.0, 1.0, 1.0, 16)


def test_the_step_tells_much_at_any_steps_and_nothing_at_equal_ones() -> None:
    anywhere, equal = (area(PLACES, YES, ~YES, strata, GROUPS, 1) for strata in (ONE, PLACES))
    assert anywhere is not None
    assert anywhere.value > 0.7
    assert equal is not None
    assert (equal.value, equal.low, equal.high) == (0.5, 0.5, 0.5)


def test_noise_has_an_area_near_a_half_and_its_interval_says_so() -> None:
    random = np.random.default_rng(0)
    yes = random.random((40, 30)) < 0.5
    found = area(random.random((40, 30)), yes, ~yes, np.zeros((40, 30)), np.zeros(40), 1)
    assert found is not None
    assert abs(found.value - 0.5) < 0.05
    assert found.low <= 0.5 <= found.high or abs(found.value - 0.5) < 0.02


def test_a_direction_that_differs_between_the_halves_counts_against_the_statistic() -> None:
    """Networks take the halves in turn: what points up in one half and down in the other tells nothing."""
    turned = YES * np.where(np.arange(16) % 2 == 0, 1.0, -1.0)[:, None]
    found = area(turned, YES, ~YES, ONE, GROUPS, 1)
    assert found is not None
    assert found.value == 0.0


def test_too_few_pairs_give_no_area() -> None:
    assert area(PLACES, YES, np.zeros_like(YES), ONE, GROUPS, 1) is None


def test_an_announcer_is_timely_before_its_event_and_an_alarm_without_one() -> None:
    steps = doubling(8)
    event = Event(np.array([5, 5, 5, -1, -1]), np.array([1, 1, 1, 1, 1]))
    scores = np.zeros((5, 8))
    scores[0, 4:] = 1.0  # one octave before
    scores[1, 5:] = 1.0  # only as it happens
    scores[2, 0] = scores[2, 1] = 1.0  # four octaves before: further than counts
    scores[3, 7] = 1.0
    found = fixed(scores, steps, event, Rule(1.0, below=False))
    assert found.timely is not None
    assert found.alarms is not None
    assert (found.timely.hits, found.timely.n) == (1, 3)
    assert (found.alarms.hits, found.alarms.n) == (1, 2)
    assert found.leads == (2.0,)


def test_a_level_found_on_one_half_is_judged_on_the_other() -> None:
    steps = doubling(8)
    event = Event(np.array([6, 4, 6, 4, 6, 4, -1, -1]), np.full(8, 1))
    places = np.arange(8)[None, :]
    ahead = np.where(event.at_S[:, None] >= 0, places - event.at_S[:, None], -9.0)
    found = held_out(ahead, steps, event)
    assert found is not None
    assert found.timely is not None
    assert found.alarms is not None
    assert (found.timely.value, found.alarms.value) == (1.0, 0.0)
    clock = held_out(np.broadcast_to(places, (8, 8)).astype(float), steps, event)
    assert clock is not None
    assert clock.alarms is not None
    assert clock.alarms.value == 1.0, "a step count fires in every network"


def test_figures_name_their_networks_and_their_command(tmp_path: Path) -> None:
    found = figures("digits", 2, 1, 20, tmp_path)
    assert {"name", "value", "low", "high", "n", "seeds", "command"} == set(found[0])
    assert found[0]["seeds"] == [1000, 1001, 1002]
    assert found[0]["command"] == "python -m bench.grokking --task digits --seeds 2 --controls 1 --steps 20 --out DIR"
    assert (tmp_path / "grokking.png").read_bytes().startswith(b"\x89PNG")
    assert figures("digits", 2, 1, 20, tmp_path) == found, "a finished run is only read again"
