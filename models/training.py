"""The training loop: one for the base and for every adapter.

AdamW with warm-up and cosine decay, gradient clipping, bf16 autocast. Everything a step does follows from
the seed and its number, and a checkpoint holds the trained parameters and the optimiser's moments, so that
a resumed run ends in the same bits as an uninterrupted one (same machine, same thread count).
Checkpoints are safetensors; nothing is pickled.

Whoever calls may have the spectra looked at every so many steps (models/spectral_watch.py) and give single parameters
a learning rate of their own (models/layer_rates.py); without either nothing about a step changes.
"""

import contextlib
import itertools
import json
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from data.files import building
from data.spectral_records import Look
from models.loss import labelled_loss
from models.packing import Batch

Watch = Callable[[int], Look]
"""Looks at the spectra after so many steps."""
Loss = Callable[[torch.nn.Module, Batch, torch.device], torch.Tensor]
"""What a step lowers: a scalar, nats per trained token."""
UNIFORM: Mapping[str, float] = MappingProxyType({})
"""Every parameter is trained at the schedule's rate."""


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
    watch_every: int = 0
    """Steps between looks at the spectra; the last step is looked at in any case. 0: none is."""

    def __post_init__(self) -> None:
        """Checkpoints and looks lie at the end of a logged interval, so that no loss is counted twice or lost."""
        for name in ("checkpoint_every", "watch_every"):
            every = getattr(self, name)
            if every % self.log_every:
                raise ValueError(f"{name} ({every}) is not a multiple of log_every ({self.log_every}).")

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0: linear warm-up, then cosine."""
        warmup = max(1, round(self.steps * self.warmup_share))
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        progress = (step - warmup) / max(1, self.steps - warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return self.learning_rate * (self.final_share + (1 - self.final_share) * cosine)

    def is_watched(self, step: int) -> bool:
        """Whether the spectra are looked at after ``step`` steps."""
        return self.watch_every > 0 and (step % self.watch_every == 0 or step == self.steps)


@dataclass(frozen=True)
class Progress:
    """Where a run stands; handed to the caller after every logged interval."""

    step: int
    steps: int
    loss: float
    """Weighted mean over the interval, nats per trained token."""
    tokens_per_second: float
    seconds_left: float
    stopped: str = ""
    """Why the run ends here, before its last step, one sentence; empty: it does not."""


@dataclass(frozen=True)
class Trained:
    """What a run did."""

    losses: tuple[float, ...]
    tokens: int
    steps: int
    """Those that were made: fewer than asked for where it was stopped."""
    looks: tuple[Look, ...] = ()
    stopped: str = ""
    """Why it ended before its last step, one sentence; empty: it did not."""


@dataclass
class _Notes:
    """What a run has noted up to a step; lies in its checkpoint."""

    step: int = 0
    tokens: int = 0
    losses: list[float] = field(default_factory=list)
    """One per logged interval."""
    looks: list[Look] = field(default_factory=list)
    """At the spectra, in their order."""


_Named = Mapping[str, torch.nn.Parameter]


def fit(
    model: torch.nn.Module,
    batches: Iterable[Batch],
    schedule: Schedule,
    checkpoints: Path,
    report: Callable[[Progress], None] = lambda progress: None,
    watch: Watch | None = None,
    factors: Mapping[str, float] = UNIFORM,
    loss: Loss = labelled_loss,
) -> Trained:
    """Train the parameters that require a gradient, going on from the newest checkpoint if there is one.

    Args:
        model: a causal language model; on the device to train on.
        batches: a pure, endless sequence; a resumed run skips what was consumed.
        schedule: steps and rates.
        checkpoints: folder of this run alone; the caller removes it when the result is safe.
        report: called after every ``log_every`` steps.
        watch: looks at the spectra where the schedule says so; a look outside the band ends the run.
        factors: of the schedule's rate, by the parameter's name; 1 where it has none.
        loss: of a batch; what is logged is this.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(_groups(trained, schedule.weight_decay, factors), betas=(0.9, 0.99), eps=1e-8)
    notes = _restore(checkpoints, trained, optimizer)
    device = next(iter(trained.values())).device
    running, since, since_tokens = torch.zeros((), device=device), time.perf_counter(), notes.tokens
    model.train()
    stopped = ""
    for step, batch in enumerate(itertools.islice(batches, notes.step, schedule.steps), start=notes.step):
        running += _step(model, batch, step, schedule, optimizer, list(trained.values()), device, loss)
        notes.step, notes.tokens = step + 1, notes.tokens + batch.tokens
        if watch is not None and schedule.is_watched(notes.step):
            notes.looks.append(watch(notes.step))
            stopped = _why_to_end(notes.looks[-1], schedule)
        if notes.step % schedule.log_every == 0:
            notes.losses.append(round(running.item() / schedule.log_every, 6))
            running.zero_()
            speed = (notes.tokens - since_tokens) / max(time.perf_counter() - since, 1e-9)
            left = (schedule.steps - notes.step) * (notes.tokens / notes.step) / max(speed, 1e-9)
            report(Progress(notes.step, schedule.steps, notes.losses[-1], speed, left, stopped))
        if stopped:
            break
        if notes.step % schedule.checkpoint_every == 0 and notes.step < schedule.steps:
            _save(checkpoints, notes, trained, optimizer)
    model.eval()
    return Trained(tuple(notes.losses), notes.tokens, notes.step, tuple(notes.looks), stopped)


def _why_to_end(look: Look, schedule: Schedule) -> str:
    """One sentence; empty: the run goes on, or has come to its end by itself."""
    if not look.outside or look.step == schedule.steps:
        return ""
    return f"Training ended early, at step {look.step} of {schedule.steps}: {look.outside}."


def _groups(
    trained: dict[str, torch.nn.Parameter], weight_decay: float, factors: Mapping[str, float]
) -> list[dict[str, object]]:
    """Parameters that are decayed and trained alike, in the order in which the model has them."""
    alike: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in sorted(trained.items(), key=lambda pair: pair[1].ndim < 2):  # matrices come first
        decay = weight_decay if parameter.ndim >= 2 else 0.0
        alike.setdefault((decay, factors.get(name, 1.0)), []).append(parameter)
    return [{"params": found, "weight_decay": decay, "factor": factor} for (decay, factor), found in alike.items()]


def _step(
    model: torch.nn.Module,
    batch: Batch,
    step: int,
    schedule: Schedule,
    optimizer: torch.optim.Optimizer,
    trained: list[torch.nn.Parameter],
    device: torch.device,
    loss: Loss,
) -> torch.Tensor:
    torch.manual_seed(schedule.seed * 1_000_003 + step)  # dropout of a resumed run draws the same mask
    for group in optimizer.param_groups:
        group["lr"] = schedule.rate(step) * group["factor"]
    autocast = (
        torch.autocast(device.type, dtype=schedule.dtype)
        if schedule.dtype is not torch.float32
        else contextlib.nullcontext()
    )
    with autocast:
        value = loss(model, batch, device)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(value)
    torch.nn.utils.clip_grad_norm_(trained, schedule.clip)
    optimizer.step()
    return torch.as_tensor(value.detach(), dtype=torch.float32)


def _save(checkpoints: Path, notes: _Notes, trained: _Named, optimizer: torch.optim.Optimizer) -> None:
    tensors = dict(_state(trained, optimizer))
    looks = [look.model_dump(mode="json", by_alias=True) for look in notes.looks]
    text = json.dumps({"step": notes.step, "losses": notes.losses, "tokens": notes.tokens, "looks": looks})
    with building(checkpoints / f"step-{notes.step:08d}") as draft:
        save_file(tensors, draft / "state.safetensors", metadata={"progress": text})
    for old in sorted(checkpoints.glob("step-*"))[:-1]:
        shutil.rmtree(old)


def _state(trained: _Named, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    for name, parameter in trained.items():
        yield f"parameter/{name}", parameter.detach().cpu().contiguous()
        for moment, tensor in optimizer.state[parameter].items():
            yield f"{moment}/{name}", tensor.detach().cpu().contiguous()


def _restore(checkpoints: Path, trained: _Named, optimizer: torch.optim.Optimizer) -> _Notes:
    saved = sorted(checkpoints.glob("step-*/state.safetensors"))
    if not saved:
        return _Notes()
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
    looks = [Look.model_validate(look) for look in note["looks"]]
    return _Notes(note["step"], note["tokens"], note["losses"], looks)
