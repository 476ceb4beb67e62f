"""Training speed side by side in one run: number types, logits of which tokens, and what looks at the spectra add.

    python -m bench.speed --rounds 3

Steps of the adapter's recipe on random tokens, as many of them labelled as in the shipped rows. Each round runs every
way once, so that a slow minute of the machine hits all; what counts are the ratios.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from data.workspace import open_workspace
from models.adapters import new_lora
from models.base import load_base
from models.device import autocast_dtype, keep_freed_memory
from models.loss import labelled_loss
from models.packing import IGNORED, Batch
from models.spectral_watch import SpectralWatch

LABELLED = 0.59
"""Share of the tokens that carry a loss; that of the rows of the shipped documents."""
ROW = 40
"""Tokens of a row."""

Loss = Callable[[torch.nn.Module, Batch], torch.Tensor]


def main() -> None:
    """Print tokens per second of every way and its ratio to the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="per way and round; the first is not counted")
    parser.add_argument("--ways", type=int, default=3, help="the first so many of them")
    options = parser.parse_args()
    workspace = open_workspace(options.workspace)
    params = workspace.params()
    torch.set_num_threads(params.train.threads)
    keep_freed_memory()
    model, _ = load_base(workspace.base())
    adapted = new_lora(model, params.train.rank, params.train.alpha, 0.0, params.seed)
    batch = random_batch(model.config.vocab_size, params.train.tokens_per_step, params.train.window, params.seed)
    chosen = autocast_dtype("auto", "cpu")
    other = torch.float32 if chosen is torch.bfloat16 else torch.bfloat16
    ways: dict[str, tuple[torch.dtype, Loss]] = {
        f"{chosen}, logits of labelled tokens": (chosen, of_labelled),
        f"{chosen}, logits of all tokens": (chosen, of_all),
        f"{other}, logits of labelled tokens": (other, of_labelled),
    }
    ways = dict(list(ways.items())[: options.ways])
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    begun = time.perf_counter()
    watch = SpectralWatch(trained_once(adapted, params.seed))
    watch(0)  # simulates what it compares with, once
    begin, looks = time.perf_counter() - begun, list[float]()
    for _ in range(options.rounds):
        for name, (dtype, loss) in ways.items():
            speeds[name].append(speed(adapted, batch, dtype, loss, options.steps))
        looks.append(seconds(watch))
    first = next(iter(speeds.values()))
    for name, found in speeds.items():
        ratios = [one / reference for one, reference in zip(found, first, strict=True)]
        shown = f"ratio {statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]"
        print(f"{name:<48} {statistics.median(found):7.0f} tokens/s  {shown} n={len(found)}", flush=True)
    every = params.train.watch_every * batch.tokens
    added = [look / (every / pace) for look, pace in zip(looks, first, strict=True)] if every else [0.0]
    print(
        f"a look every {params.train.watch_every} steps: {statistics.median(looks) * 1e3:.1f} ms, adds "
        f"{statistics.median(added):.3%} [{min(added):.3%}, {max(added):.3%}] n={len(added)}; begin {begin:.2f} s, once"
    )


def trained_once(adapted: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The same with an update that is not zero."""
    draw = torch.Generator().manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=draw) * 0.01
    return adapted


def seconds(watch: SpectralWatch) -> float:
    """Of one look."""
    begun = time.perf_counter()
    watch(0)
    return time.perf_counter() - begun


def random_batch(vocabulary: int, tokens: int, window: int, seed: int) -> Batch:
    """Windows of random tokens in rows of ``ROW``, of which the last ``LABELLED`` carry a loss."""
    draw = torch.Generator().manual_seed(seed)
    ids_BT = torch.randint(vocabulary, (max(1, tokens // window), window), generator=draw)
    positions_BT = (torch.arange(window) % ROW).expand_as(ids_BT)
    labels_BT = torch.where(positions_BT >= ROW * (1 - LABELLED), ids_BT, IGNORED)
    return Batch(ids_BT, labels_BT, positions_BT, torch.ones(ids_BT.shape), ids_BT.numel())


def of_labelled(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """As the line trains."""
    return labelled_loss(model, batch, torch.device("cpu"))


def of_all(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """As transformers does by itself."""
    given = {"input_ids": batch.ids_BT, "labels": batch.labels_BT, "position_ids": batch.positions_BT}
    return torch.as_tensor(model(**given, use_cache=False).loss)


def speed(model: torch.nn.Module, batch: Batch, dtype: torch.dtype, loss: Loss, steps: int) -> float:
    """Tokens per second of forward and backward."""
    begun = 0.0
    for step in range(steps + 1):
        if step == 1:
            begun = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            value = loss(model, batch)
        torch.autograd.backward(value)
        model.zero_grad(set_to_none=True)
    return steps * batch.tokens / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
