"""What the small networks learn, and from how much of it: the tasks, and their examples dealt out.

Two tasks, each with a setup known to show grokking:

- ``digits``: scikit-learn's bundled 8 x 8 digits, few examples, ReLU, mean squared error on one-hot targets, weights
  that begin far too large, Adam without weight decay (after Liu, Michaud and Tegmark, "Omnigrok", 2022, and the
  setting of Prakash and Martin, arXiv 2506.04434, whose MNIST is not at hand).
- ``modular``: a + b mod p from two one-hot vectors, one hidden layer of squares (Gromov, arXiv 2301.02679), AdamW.

The last ``controls`` of the stack learn labels dealt out at random: they memorise and can never generalise.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from data.errors import InputError
from data.records import Record


class Setup(Record):
    """Everything that a run follows from."""

    task: Literal["digits", "modular"]
    seeds: int
    """Networks that learn the true labels."""
    controls: int
    """Networks that learn labels dealt out at random."""
    seed: int
    examples: tuple[int, ...]
    """Training examples; the networks take these numbers in turn."""
    hidden: tuple[int, ...]
    scale: float
    """Weights begin uniform in scale / sqrt(inputs) of either sign."""
    rate: float
    decay: float
    batch: int
    modulus: int = 43

    @property
    def stack(self) -> int:
        return self.seeds + self.controls


@dataclass(frozen=True)
class Lessons:
    """Each network's examples in its own order, those for training first."""

    inputs_SND: Tensor
    taught_SN: Tensor
    """Classes as they are taught."""
    true_SN: Tensor
    sizes_S: Tensor
    """Training examples of each network."""
    classes: int

    @cached_property
    def targets(self) -> Tensor:
        return torch.nn.functional.one_hot(self.taught_SN, self.classes).float()

    @cached_property
    def training(self) -> Tensor:
        return torch.arange(self.taught_SN.shape[1]) < self.sizes_S[:, None]


def lessons(setup: Setup) -> Lessons:
    """Deal the task's examples out to the networks, by the setup's seed."""
    inputs, labels, classes = _digits() if setup.task == "digits" else _modular(setup.modulus)
    if max(setup.examples) >= len(labels):
        raise InputError(
            f"{max(setup.examples)} training examples were asked for; the task has {len(labels)}, and some have to be "
            "left for the test. Ask for fewer."
        )
    order, taught = [], []
    for member in range(setup.stack):
        draws = torch.Generator().manual_seed(setup.seed * 1000 + member)
        order.append(torch.randperm(len(labels), generator=draws))
        mine = labels[order[-1]]
        taught.append(mine[torch.randperm(len(labels), generator=draws)] if member >= setup.seeds else mine)
    places_SN = torch.stack(order)
    sizes = list(itertools.islice(itertools.cycle(setup.examples), setup.stack))
    return Lessons(inputs[places_SN], torch.stack(taught), labels[places_SN], torch.tensor(sizes), classes)


def _digits() -> tuple[Tensor, Tensor, int]:
    from sklearn.datasets import load_digits  # seconds to import, and only this task needs it

    found = load_digits()
    return torch.tensor(found.data / 16.0, dtype=torch.float32), torch.tensor(found.target), 10


def _modular(modulus: int) -> tuple[Tensor, Tensor, int]:
    numbers = torch.arange(modulus)
    a, b = (side.flatten() for side in torch.meshgrid(numbers, numbers, indexing="ij"))
    one_hot = torch.eye(modulus)
    return torch.cat([one_hot[a], one_hot[b]], dim=1), (a + b) % modulus, modulus
