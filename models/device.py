"""Which device to compute on, with how many threads, and in which precision the frozen weights rest there."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

import torch

from data.errors import InputError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h
_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
_VECTORS_ONLY = {"avx512_bf16"}
"""Instructions for bf16 that float32 outruns."""


def choose_device(wanted: str) -> str:
    """``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        InputError: a device was asked for that this machine lacks.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, there in present.items() if there)
    if not present.get(wanted, False):
        raise InputError(f"device {wanted!r} is not on this machine; set train.device to auto or cpu.")
    return wanted


def autocast_dtype(wanted: str, device: str) -> torch.dtype:
    """The type matrix products are computed in; ``auto`` takes bfloat16 where units for it make that faster.

    On CPUs without bf16 instructions a training step in bfloat16 took some 35 times as long as in float32, with the
    vector instructions of AVX-512 alone 1.5 times as long (docs/results.md).
    """
    if wanted != "auto":
        return _DTYPES[wanted]
    if device != "cpu":
        return torch.bfloat16
    able = {name for name, there in torch.cpu.get_capabilities().items() if "bf16" in name and there}
    return torch.bfloat16 if able - _VECTORS_ONLY else torch.float32


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with so many threads, and afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def weights_dtype(device: str) -> torch.dtype:
    """float32 on the CPU, where matrix products in bf16 come from autocast; bf16 on accelerators."""
    return torch.float32 if device == "cpu" else torch.bfloat16


def ran_out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocation failed; torch has a class for that only on CUDA."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in said or "DefaultCPUAllocator" in said


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks instead of handing them back to the kernel.

    A training step, or a pass over a batch of questions, frees and allocates the same hundred megabytes again; the
    page faults took a fifth of a step's time on a two-core CPU. Does nothing where the C library is another.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
