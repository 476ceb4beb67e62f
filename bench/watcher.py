"""WeightWatcher 0.7.7 as a peer: quiet, on the same matrices, in the same process and thread.

It comes with the bench extra (``make bench-setup``) and is used by measurements and parity tests alone.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_info, threadpool_limits
from torch import Tensor

from data.errors import InputError
from models.adapter_updates import PREFIX


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch, and whatever linear algebra is loaded by now, on one thread; ``package`` is imported before it.

    Raises:
        RuntimeError: a library that was loaded in here brought threads of its own.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
            late = [pool["filepath"] for pool in threadpool_info() if pool["num_threads"] > 1]
            if late:
                raise RuntimeError(f"{', '.join(late)} had several threads: it was loaded after the limit was set.")
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """WeightWatcher prints, logs and warns while it works; none of it is a result."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
            np.errstate(all="ignore"),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def package() -> Any:
    """The package, imported without its messages and without a window for plots.

    Raises:
        InputError: it is not installed.
    """
    with quiet():
        try:
            import matplotlib as mpl

            mpl.use("Agg")
            import weightwatcher
        except ModuleNotFoundError as error:
            raise InputError(
                f"{error.name} is not installed; this compares with weightwatcher 0.7.7. Run `make bench-setup`."
            ) from error
    return weightwatcher


def watch(model: "torch.nn.Module | Mapping[str, Tensor]", **options: Any) -> Any:
    """The frame of WeightWatcher's ``analyze``, plots off."""
    watcher = package()
    with quiet():
        return watcher.WeightWatcher(model=model).analyze(plot=False, **options)


def traps(eigenvalues: Tensor, N: int, M: int) -> int:
    """WeightWatcher's count of spikes of a randomised spectrum, from these eigenvalues."""
    watcher, values = package(), eigenvalues.double().numpy()
    with quiet():
        fitted = watcher.WeightWatcher().mp_fit(
            values, N, M, 1, "", 0, 0, False, False, "", "", 0.5, True, values, randomize=True
        )
    return int(fitted[0])


def linear_model(*weights: Tensor) -> torch.nn.Sequential:
    """A module whose layers have these weights (out, in), and nothing else."""
    layers = []
    for weight in weights:
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
        layer.weight = torch.nn.Parameter(weight, requires_grad=False)
        layers.append(layer)
    return torch.nn.Sequential(*layers)


def lora_state(factors: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """PEFT's state dict of an adapter: (A, B) by module."""
    state = {}
    for module, (A, B) in factors.items():
        state[f"{PREFIX}layers.{module}.lora_A.weight"] = A
        state[f"{PREFIX}layers.{module}.lora_B.weight"] = B
    return state
