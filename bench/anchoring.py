"""Holding a model to what its base says, where others rehearse with labels: KL(base || model) on anchor rows.

A batch that is taught goes with a batch of anchors, rows on what the base knows, of which the base's own predictions
are wanted and not the labels (after Li and Hoiem 2016, "Learning without Forgetting", who take the new task's inputs).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from models.likelihood import divergence
from models.loss import labelled_loss
from models.packing import Batch
from models.training import Loss


@dataclass(frozen=True)
class Anchored(Batch):
    """What a step teaches, and what holds it; ``tokens`` are those of both."""

    anchor: Batch


def anchored(batches: Iterable[Batch], anchors: Iterable[Batch]) -> Iterator[Anchored]:
    """Each batch with an anchor."""
    for batch, anchor in zip(batches, anchors, strict=False):
        taught = batch.ids_BT, batch.labels_BT, batch.positions_BT, batch.weights_BT
        yield Anchored(*taught, batch.tokens + anchor.tokens, anchor)


def anchored_loss(weight: float, base: torch.nn.Module | None) -> Loss:
    """The labelled loss of what is taught plus ``weight`` times the mean divergence per labelled token of its anchor.

    ``base``: None: the model with its adapter switched off.
    """

    def loss(model: torch.nn.Module, batch: Batch, device: torch.device) -> torch.Tensor:
        if not isinstance(batch, Anchored):
            raise TypeError("A batch without an anchor; make the batches with anchored().")
        return labelled_loss(model, batch, device) + weight * divergence(model, batch.anchor, base).mean()

    return loss
