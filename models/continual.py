"""What a sequence of updates learned, kept and lost.

R[i, j] is the share right after update i on what update j taught; row 0 is the base, column 0 what the base knew.
Final average, and backward transfer, are those of Lopez-Paz and Ranzato (2017, "Gradient Episodic Memory", section 2).
Bits are a lower bound of what is stored, by Fano's inequality: an answer drawn uniformly from a pool of V values and
right with probability p tells at least log2 V - h(e) - e log2(V - 1) bits of it, where e = 1 - p and h is the binary
entropy; Allen-Zhu and Li (2024, "Physics of Language Models 3.3") count the bits of such facts per parameter.

Shapes: N updates, R is [1 + N, 1 + N] with NaN where nothing was measured.
"""

import math

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


def learned_when_taught(R: Matrix) -> float:
    """Mean share right on what each update taught, right after it."""
    return float(np.nanmean(np.diagonal(R)[1:]))


def base_lost(R: Matrix) -> float:
    """By how much the share right on what the base knew fell from the base to the end."""
    return float(R[0, 0] - R[-1, 0])


def final_average(R: Matrix) -> float:
    """Mean share right after the last update, over all that was ever taught and what the base knew."""
    return float(np.nanmean(R[-1]))


def backward_transfer(R: Matrix) -> float:
    """Mean change of what was taught, from just after it was taught to the end; below zero: forgotten."""
    taught = range(1, len(R) - 1)
    return float(np.mean([R[-1, j] - R[j, j] for j in taught])) if taught else 0.0


def worst_drop(R: Matrix) -> float:
    """Largest fall of any column from what it was when it was new to any later row; 0 where none fell."""
    falls = [R[j, j] - np.nanmin(R[j:, j]) for j in range(len(R)) if np.isfinite(R[j, j])]
    return float(max(falls, default=0.0))


def bits_known(right: float, pool: int) -> float:
    """Least bits that such a share of right answers tells of each fact.

    Args:
        right: share, 0 to 1.
        pool: values that were equally likely.
    """
    if pool < 2 or right <= 1 / pool:
        return 0.0
    error = 1.0 - right
    doubt = sum(-p * math.log2(p) for p in (right, error) if p > 0)
    return max(0.0, math.log2(pool) - doubt - error * math.log2(pool - 1))
