"""Many small networks at once, trained far beyond the point where they know their examples by heart.

Networks without biases, W_k of shape (S, in, out) stacked over S seeds, so that one thread trains all with one batched
product per layer.
"""

import contextlib
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor

from bench.grokking_lessons import Lessons, Setup, lessons
from bench.grokking_spectra import Reading, read_matrix
from data.errors import InputError
from data.files import read_record, write_bytes, write_record
from data.records import Record

PER_OCTAVE = 6
"""Checkpoints between a step and its double."""
FIRST = 16
"""Step of the first checkpoint."""


class Checkpoint(Record):
    """All networks at one step; each tuple has one entry per network."""

    step: int
    train_accuracy: tuple[float, ...]
    """On the labels it is taught."""
    test_accuracy: tuple[float, ...]
    """On the true labels of the other examples."""
    train_loss: tuple[float, ...]
    test_loss: tuple[float, ...]
    matrices: tuple[tuple[Reading, ...], ...]
    """Per layer, per network."""
    norms: tuple[tuple[float, ...], ...]
    """Frobenius norms, per layer, per network."""


class Run(Record):
    """The record of a run."""

    setup: Setup
    checkpoints: tuple[Checkpoint, ...] = ()


class State(NamedTuple):
    """Where training stands."""

    weights: list[Tensor]
    optimizer: torch.optim.Optimizer
    draws: torch.Generator


def begin(setup: Setup, inputs: int, classes: int) -> State:
    """Fresh weights; network k's are the same however many stand beside it."""
    sides = list(itertools.pairwise([inputs, *setup.hidden, classes]))
    members = []
    for member in range(setup.stack):
        draws = torch.Generator().manual_seed(setup.seed * 1000 + 500 + member)
        members.append([(torch.rand(i, o, generator=draws) * 2 - 1) * setup.scale / math.sqrt(i) for i, o in sides])
    weights = [torch.stack(layer).requires_grad_() for layer in zip(*members, strict=True)]
    return _state(setup, weights)


def _state(setup: Setup, weights: list[Tensor]) -> State:
    optimizer = torch.optim.AdamW(weights, lr=setup.rate, weight_decay=setup.decay, fused=True)
    return State(weights, optimizer, torch.Generator().manual_seed(setup.seed))


def forward(weights: list[Tensor], inputs_SBD: Tensor, squares: bool) -> list[Tensor]:
    """What enters each layer, and last what leaves the network."""
    seen = [inputs_SBD]
    for weight in weights[:-1]:
        reached = torch.bmm(seen[-1], weight)
        seen.append(reached.square() if squares else reached.relu_())
    return [*seen, torch.bmm(seen[-1], weights[-1])]


@torch.no_grad()
def step(state: State, taught: Lessons, setup: Setup) -> None:
    """One step of every network on a batch of its own, its gradients written out: autograd costs more than they do."""
    S, N = taught.taught_SN.shape
    drawn = (torch.rand(S, setup.batch, generator=state.draws) * taught.sizes_S[:, None]).long()
    places = (drawn + torch.arange(S)[:, None] * N).flatten()
    inputs, targets = (
        table.flatten(0, 1).index_select(0, places).view(S, setup.batch, -1)
        for table in (taught.inputs_SND, taught.targets)
    )
    squares = setup.task == "modular"
    *seen, said = forward(state.weights, inputs, squares)
    slope = (said - targets).mul_(2.0 / (setup.batch * taught.classes))
    for place in reversed(range(len(state.weights))):
        weight = state.weights[place]
        weight.grad = torch.bmm(seen[place].transpose(1, 2), slope)
        if place:
            slope = torch.bmm(slope, weight.transpose(1, 2))
            # d(z^2) = 2 z dz, and z is known from its square up to a sign: it is computed again.
            gain = torch.bmm(seen[place - 1], state.weights[place - 1]).mul_(2.0) if squares else seen[place] > 0
            slope.mul_(gain)
    state.optimizer.step()


@torch.no_grad()
def measure(state: State, taught: Lessons, setup: Setup, at: int) -> Checkpoint:
    """Accuracies, losses and spectra of all networks."""
    said_SNC = forward(state.weights, taught.inputs_SND, setup.task == "modular")[-1]
    losses_SN = (said_SNC - taught.targets).square().mean(2)
    answers_SN, training_SN = said_SNC.argmax(2), taught.training
    true_SNC = torch.nn.functional.one_hot(taught.true_SN, taught.classes)
    test_losses_SN = (said_SNC - true_SNC).square().mean(2)
    readings = [
        tuple(read_matrix(layer[member], setup.seed * 1000 + 10 * member + place) for member in range(setup.stack))
        for place, layer in enumerate(state.weights)
    ]
    return Checkpoint(
        step=at,
        train_accuracy=_shares((answers_SN == taught.taught_SN).float(), training_SN),
        test_accuracy=_shares((answers_SN == taught.true_SN).float(), ~training_SN),
        train_loss=_shares(losses_SN, training_SN),
        test_loss=_shares(test_losses_SN, ~training_SN),
        matrices=tuple(readings),
        norms=tuple(tuple(torch.linalg.matrix_norm(layer).tolist()) for layer in state.weights),
    )


def _shares(values_SN: Tensor, chosen_SN: Tensor) -> tuple[float, ...]:
    return tuple(((values_SN * chosen_SN).sum(1) / chosen_SN.sum(1)).tolist())


def checkpoint_steps(last: int) -> Iterator[int]:
    """Steps to measure at, evenly spaced on a logarithmic axis, up to ``last``."""
    before = 0
    for place in itertools.count():
        at = round(FIRST * 2 ** (place / PER_OCTAVE))
        if at > last:
            return
        if at > before:
            yield at
        before = at


def train(setup: Setup, steps: int, folder: Path) -> Iterator[Checkpoint]:
    """Train to the last checkpoint within ``steps``, going on from what lies in ``folder``; yields each new one.

    Raises:
        InputError: the folder holds a run of another setup.
    """
    record, taught = resumed(setup, folder), lessons(setup)
    state = begin(setup, taught.inputs_SND.shape[2], taught.classes)
    at = _restore(state, folder / "state.safetensors") if record.checkpoints else 0
    # A run killed between its two files has one record too many.
    record = Run(setup=setup, checkpoints=tuple(one for one in record.checkpoints if one.step <= at))
    for goal in checkpoint_steps(steps):
        if goal <= at:
            continue
        with _denormals_flushed():
            for _ in range(goal - at):
                step(state, taught, setup)
        at = goal
        record = Run(setup=setup, checkpoints=(*record.checkpoints, measure(state, taught, setup, at)))
        write_record(folder / "records.json", record)
        write_bytes(folder / "state.safetensors", save(_tensors(state, at)))
        yield record.checkpoints[-1]


@contextlib.contextmanager
def _denormals_flushed() -> Iterator[None]:
    """Units that died leave moments that decay into denormal numbers, on which a processor is ten times slower.

    The switch is the whole thread's, so that it is put back for whatever else computes there.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def resumed(setup: Setup, folder: Path) -> Run:
    """The record so far; an empty one if there is none."""
    path = folder / "records.json"
    if not path.exists():
        return Run(setup=setup)
    record = read_record(path, Run)
    if record.setup != setup:
        raise InputError(
            f"{path} is the record of another setup ({record.setup}); expected {setup}. Name another folder."
        )
    return record


def _tensors(state: State, at: int) -> dict[str, Tensor]:
    found = {"step": torch.tensor(at), "draws": state.draws.get_state()}
    for place, weight in enumerate(state.weights):
        found[f"weight.{place}"] = weight.detach()
        found |= {f"{key}.{place}": value for key, value in state.optimizer.state[weight].items()}
    return found


def _restore(state: State, path: Path) -> int:
    found = load(path.read_bytes())
    state.draws.set_state(found["draws"])
    for place, weight in enumerate(state.weights):
        weight.data.copy_(found[f"weight.{place}"])
        state.optimizer.state[weight] = {
            "step": found[f"step.{place}"],
            "exp_avg": found[f"exp_avg.{place}"],
            "exp_avg_sq": found[f"exp_avg_sq.{place}"],
        }
    return int(found["step"])
