"""What training lowers: the weighted mean cross-entropy of the labelled tokens of packed rows.

Shapes: B windows, T tokens a window, K labelled tokens, V tokens of the vocabulary.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import cast

import torch

from models.packing import IGNORED, Batch


def labelled_loss(model: torch.nn.Module, batch: Batch, device: torch.device) -> torch.Tensor:
    """Weighted mean cross-entropy over the labelled tokens, nats; a scalar."""
    logits_KV, targets_K = labelled_logits(model, batch, device)
    weights_K = batch.weights_BT.roll(-1, dims=1)[_targets(batch) != IGNORED]
    losses_K = torch.nn.functional.cross_entropy(logits_KV.float(), targets_K, reduction="none")
    return losses_K @ weights_K.to(losses_K.device) / max(float(weights_K.sum()), torch.finfo(torch.float32).tiny)


def labelled_logits(model: torch.nn.Module, batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [K, V] that the K labelled tokens are predicted from, and those tokens [K], window by window.

    The output head, a quarter of a small model's arithmetic, computes the logits of those tokens alone.
    """
    targets_BT = _targets(batch)
    wanted_BT = targets_BT != IGNORED
    with _head_sees_only(model, wanted_BT):
        ids_BT, positions_BT = batch.ids_BT.to(device), batch.positions_BT.to(device)
        logits_1KV = model(input_ids=ids_BT, position_ids=positions_BT, use_cache=False).logits
    return logits_1KV[0], targets_BT[wanted_BT].to(logits_1KV.device)


def _targets(batch: Batch) -> torch.Tensor:
    """Labels at the place they are predicted from: the one before their own."""
    targets_BT = torch.full_like(batch.labels_BT, IGNORED)
    targets_BT[:, :-1] = batch.labels_BT[:, 1:]
    return targets_BT


@contextlib.contextmanager
def _head_sees_only(model: torch.nn.Module, wanted_BT: torch.Tensor) -> Iterator[None]:
    """Hand the output head the K wanted positions as one row: hidden states [1, K, width]."""

    def pick(_: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden_BTD, *rest = arguments
        return (hidden_BTD[wanted_BT.to(hidden_BTD.device)].unsqueeze(0), *rest)

    head = cast(Callable[[], torch.nn.Module], model.get_output_embeddings)()
    handle = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()
