"""The training loop: one for the base and for every adapter.

AdamW with warm-up and cosine decay, gradient clipping, bf16 autocast. Everything a step does follows from
the seed and its number, and a checkpoint holds the trained parameters and the optimiser's moments, so that
a resumed run ends in the same bits as an uninterrupted one (same machine, same thread count).
Checkpoints are safetensors; nothing is pickled.
"""

import contextlib
import itertools
import json
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from data.files import building
from models.packing import IGNORED, Batch


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    steps: int
    learning_rate: float
    """Peak."""
    warmup_share: float
    weight_decay: float
    clip: float
    """Largest gradient norm."""
    seed: int
    log_every: int
    checkpoint_every: int
    dtype: torch.dtype
    """Of the autocast; float32 switches it off."""
    final_share: float = 0.05
    """Learning rate at the end, as a share of the peak."""

    def __post_init__(self) -> None:
        """A checkpoint lies at the end of a logged interval, so that no loss is counted twice or lost."""
        if self.checkpoint_every % self.log_every:
            raise ValueError(
                f"checkpoint_every ({self.checkpoint_every}) is not a multiple of log_every ({self.log_every})."
            )

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0: linear warm-up, then cosine."""
        warmup = max(1, round(self.steps * self.warmup_share))
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        progress = (step - warmup) / max(1, self.steps - warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return self.learning_rate * (self.final_share + (1 - self.final_share) * cosine)


@dataclass(frozen=True)
class Progress:
    """Where a run stands; handed to the caller after every logged interval."""

    step: int
    steps: int
    loss: float
    """Weighted mean over the interval, nats per trained token."""
    tokens_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Trained:
    """What a run did."""

    losses: tuple[float, ...]
    tokens: int


def fit(
    model: torch.nn.Module,
    batches: Iterable[Batch],
    schedule: Schedule,
    checkpoints: Path,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Train the parameters that require a gradient, going on from the newest checkpoint if there is one.

    Args:
        model: a causal language model; on the device to train on.
        batches: a pure, endless sequence; a resumed run skips what was consumed.
        schedule: steps and rates.
        checkpoints: folder of this run alone; the caller removes it when the result is safe.
        report: called after every ``log_every`` steps.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(_groups(trained, schedule.weight_decay), betas=(0.9, 0.99), eps=1e-8)
    start, losses, tokens = _restore(checkpoints, trained, optimizer)
    device = next(iter(trained.values())).device
    running, since, since_tokens = torch.zeros((), device=device), time.perf_counter(), tokens
    model.train()
    for step, batch in enumerate(itertools.islice(batches, start, schedule.steps), start=start):
        running += _step(model, batch, step, schedule, optimizer, list(trained.values()), device)
        tokens += batch.tokens
        if (step + 1) % schedule.log_every == 0:
            losses.append(round(running.item() / schedule.log_every, 6))
            running.zero_()
            speed = (tokens - since_tokens) / max(time.perf_counter() - since, 1e-9)
            left = (schedule.steps - step - 1) * (tokens / (step + 1)) / max(speed, 1e-9)
            report(Progress(step + 1, schedule.steps, losses[-1], speed, left))
        if (step + 1) % schedule.checkpoint_every == 0 and step + 1 < schedule.steps:
            _save(checkpoints, step + 1, losses, tokens, trained, optimizer)
    model.eval()
    return Trained(tuple(losses), tokens)


def _groups(trained: dict[str, torch.nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    matrices = [p for p in trained.values() if p.ndim >= 2]
    vectors = [p for p in trained.values() if p.ndim < 2]
    groups = ((matrices, weight_decay), (vectors, 0.0))
    return [{"params": params, "weight_decay": decay} for params, decay in groups if params]


def _step(
    model: torch.nn.Module,
    batch: Batch,
    step: int,
    schedule: Schedule,
    optimizer: torch.optim.Optimizer,
    trained: list[torch.nn.Parameter],
    device: torch.device,
) -> torch.Tensor:
    torch.manual_seed(schedule.seed * 1_000_003 + step)  # dropout of a resumed run draws the same mask
    for group in optimizer.param_groups:
        group["lr"] = schedule.rate(step)
    autocast = (
        torch.autocast(device.type, dtype=schedule.dtype)
        if schedule.dtype is not torch.float32
        else contextlib.nullcontext()
    )
    with autocast:
        loss = labelled_loss(model, batch, device)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(trained, schedule.clip)
    optimizer.step()
    return torch.as_tensor(loss.detach(), dtype=torch.float32)


def labelled_loss(model: torch.nn.Module, batch: Batch, device: torch.device) -> torch.Tensor:
    """Weighted mean cross-entropy over the labelled tokens, nats; a scalar.

    The output head, a quarter of a small model's arithmetic, computes the logits of those tokens alone.
    """
    targets_BT = torch.full_like(batch.labels_BT, IGNORED)
    targets_BT[:, :-1] = batch.labels_BT[:, 1:]  # a token is predicted from the position before it
    wanted_BT = targets_BT != IGNORED
    weights_K = batch.weights_BT.roll(-1, dims=1)[wanted_BT]
    with _head_sees_only(model, wanted_BT):
        ids_BT, positions_BT = batch.ids_BT.to(device), batch.positions_BT.to(device)
        logits_1KV = model(input_ids=ids_BT, position_ids=positions_BT, use_cache=False).logits
    targets_K = targets_BT[wanted_BT].to(logits_1KV.device)
    losses_K = torch.nn.functional.cross_entropy(logits_1KV[0].float(), targets_K, reduction="none")
    return losses_K @ weights_K.to(losses_K.device) / max(float(weights_K.sum()), torch.finfo(torch.float32).tiny)


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


def _save(
    checkpoints: Path,
    step: int,
    losses: list[float],
    tokens: int,
    trained: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> None:
    tensors = dict(_state(trained, optimizer))
    note = json.dumps({"step": step, "losses": losses, "tokens": tokens})
    with building(checkpoints / f"step-{step:08d}") as draft:
        save_file(tensors, draft / "state.safetensors", metadata={"progress": note})
    for old in sorted(checkpoints.glob("step-*"))[:-1]:
        shutil.rmtree(old)


def _state(
    trained: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> Iterator[tuple[str, torch.Tensor]]:
    for name, parameter in trained.items():
        yield f"parameter/{name}", parameter.detach().cpu().contiguous()
        for moment, tensor in optimizer.state[parameter].items():
            yield f"{moment}/{name}", tensor.detach().cpu().contiguous()


def _restore(
    checkpoints: Path, trained: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> tuple[int, list[float], int]:
    saved = sorted(checkpoints.glob("step-*/state.safetensors"))
    if not saved:
        return 0, [], 0
    with safe_open(saved[-1], framework="pt") as state:
        note = json.loads(state.metadata()["progress"])
        for key in state.keys():  # noqa: SIM118 - safe_open is not a mapping
            kind, _, name = key.partition("/")
            tensor = state.get_tensor(key)
            if kind == "parameter":
                with torch.no_grad():
                    trained[name].copy_(tensor)
            else:
                moved = tensor if kind == "step" else tensor.to(trained[name].device)
                optimizer.state[trained[name]][kind] = moved
    return note["step"], note["losses"], note["tokens"]
