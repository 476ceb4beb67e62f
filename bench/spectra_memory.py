"""Peak memory of a spectral analysis, each in a process of its own (Linux).

    python -m bench.spectra_memory adapter

The kernel keeps the most that a process ever held (VmHWM), and forgets it when asked to (proc_pid_clear_refs), so that
what imports needed does not count. A smaller analysis runs first, for what libraries load and allocate once and keep.
What is freed goes back at once (glibc's MALLOC_MMAP_THRESHOLD_): what an allocator keeps for later changes from run to
run by as much as a layer.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from bench.spectra_inputs import lora_factors, trained_like, write_adapter
from bench.watcher import one_thread
from models.random_matrix import null_effective_ranks
from models.spectra import layer_spectra

_MIB = 2**20
_MARGIN = 16.0
"""MiB for all that is small."""
ADAPTER_SHAPE = (11_008, 4096)
DENSE_SHAPES = {"dense": (3072, 2048), "dense square": (2560, 2560)}
DELTA_SHAPES = {"delta": (3072, 1536), "delta tall": (24_000, 256)}


def peak_growths() -> Iterator[tuple[str, float, float]]:
    """Name, peak growth and limit in MiB, of each kind."""
    rows, columns = ADAPTER_SHAPE
    yield (
        f"adapter {rows} x {columns}, rank 16 (as a matrix {4 * rows * columns / _MIB:.0f})",
        measured("adapter"),
        32.0,
    )
    for kind, (rows, columns) in (DENSE_SHAPES | DELTA_SHAPES).items():
        files, what = (2, "change") if kind in DELTA_SHAPES else (1, "layer")
        mapped = files * 2 * 4 * rows * columns / _MIB
        limit = 8 * (rows * columns + columns**2) / _MIB
        size = f"the {what} in fp64 and its Gram matrix {limit:.0f}, mapped {mapped:.0f}"
        yield f"{kind} {rows} x {columns} fp32, {size}", measured(kind), limit + mapped + _MARGIN


def measured(kind: str) -> float:
    """MiB that the peak grew by, in a fresh process."""
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "bench.spectra_memory", kind],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": str(_MIB)},
    )
    return float(done.stdout)


def main() -> None:
    """Print the growth of one kind."""
    kind = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder, one_thread():
        path, base = (Path(folder) / f"{stem}.safetensors" for stem in ("model", "base"))
        small, other = ({"a.weight": torch.randn(1024, 1024)} for _ in range(2))
        list(layer_spectra(small, other if kind in DELTA_SHAPES else None))
        if kind == "adapter":
            path = write_adapter(Path(folder), lora_factors([ADAPTER_SHAPE] * 4, 16, 1), 16)
            list(layer_spectra(path))  # simulates what random updates look like, once
        elif kind in DELTA_SHAPES:
            rows, columns = DELTA_SHAPES[kind]
            null_effective_ranks(rows, columns, columns, factors=False)
            save_file({f"{place}.weight": trained_like(rows, columns, place) for place in range(2)}, path)
            save_file({f"{place}.weight": trained_like(rows, columns, place + 2) for place in range(2)}, base)
        else:
            save_file({f"{place}.weight": trained_like(*DENSE_SHAPES[kind], place) for place in range(2)}, path)
        print(growth(path, base if kind in DELTA_SHAPES else None))


def growth(path: Path, base: Path | None = None) -> float:
    """MiB by which the peak passes what is held before; what was freed by then is given back first (glibc)."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = held("VmHWM")
    for _ in layer_spectra(path, base):
        pass
    return (held("VmHWM") - before) / 1024


def held(line: str) -> int:
    """A line of the process's status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(one for one in lines if one.startswith(line)).split()[1])


if __name__ == "__main__":
    main()
