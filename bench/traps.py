"""In how many randomised matrices we count as many correlation traps as WeightWatcher 0.7.7 does.

    python -m bench.traps

Matrices of ten shapes with entries of several distributions, directions that are stretched, or planted traps: single
entries so large that their place does not matter. Both tools count in the same eigenvalues of the same randomised
matrix. Each that they disagree on has a line of its own.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from bench.spectra_inputs import trained_like
from bench.watcher import one_thread, package, traps
from models import random_matrix
from models.eigenvalues import dense_eigenvalues

SEED = 20240601
SHAPES = (
    *((100, 100), (200, 150), (256, 250), (300, 128), (384, 384)),
    *((512, 512), (768, 256), (1000, 700), (1536, 384), (2048, 512)),
)
PLANTED = (1, 3, 8)
KINDS = ("gaussian", "uniform", "laplace", "t 4", "spiked", "power law", *(f"planted {count}" for count in PLANTED))
HEAVY = ("t 3", "t 2.5")
"""Student t with so few degrees of freedom that some entries of the noise itself are as large as a trap."""


def main() -> None:
    """Print the matrices that the two disagree on, then how many they agree on, by kind."""
    package()  # before threads are limited
    with one_thread():
        for name, kinds in (("other entries", KINDS), ("entries of heavy tails", HEAVY)):
            agreed = 0
            for kind, shape, ours, theirs in counts(kinds):
                agreed += ours == theirs
                if ours != theirs:
                    print(f"{kind} {shape[0]} x {shape[1]}: here {ours}, there {theirs}", flush=True)
            print(f"{name}: {agreed} of {len(kinds) * len(SHAPES)} agree", flush=True)


def counts(kinds: tuple[str, ...]) -> Iterator[tuple[str, tuple[int, int], int, int]]:
    """Kind, shape, our count and theirs, of every kind in every shape."""
    for place, kind in enumerate(kinds):
        for number, (rows, columns) in enumerate(SHAPES):
            weight = matrix(kind, rows, columns, SEED + 100 * place + number)
            eigenvalues = dense_eigenvalues(random_matrix.shuffled(weight, number))
            ours = random_matrix.traps(eigenvalues.numpy(), rows, columns)
            yield kind, (rows, columns), ours, traps(eigenvalues, rows, columns)


def matrix(kind: str, rows: int, columns: int, seed: int) -> Tensor:
    """A matrix (rows, columns) in float32 of one of ``KINDS`` or ``HEAVY``."""
    random = np.random.default_rng(seed)
    if kind == "power law":
        return trained_like(rows, columns, seed)
    if kind.startswith("t "):
        return _float32(random.standard_t(float(kind[2:]), (rows, columns)))
    if kind in ("uniform", "laplace"):
        draw = random.uniform if kind == "uniform" else random.laplace
        return _float32(draw(-1.0 if kind == "uniform" else 0.0, 1.0, (rows, columns)))
    weight = random.standard_normal((rows, columns))
    if kind == "spiked":
        left, right = random.standard_normal((rows, 5)), random.standard_normal((5, columns))
        weight += 4.0 * left @ right / min(rows, columns) ** 0.5
    elif kind != "gaussian":
        spots = random.choice(rows * columns, int(kind.split()[1]), replace=False)
        weight.reshape(-1)[spots] = 4.0 * (rows**0.5 + columns**0.5)
    return _float32(weight)


def _float32(entries: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Tensor:
    return torch.from_numpy(entries.astype(np.float32))


if __name__ == "__main__":
    main()
