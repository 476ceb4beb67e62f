"""Directions that an update brings in and the base does not know.

After Shuttleworth et al. 2024, "LoRA vs full fine-tuning: an illusion of equivalence".
A leading left singular vector of the merged weight is an intruder if its cosine with every left singular vector of the
base is small. Full fine-tuning makes few, a low-rank update that overwrites makes many.
"""

import torch
from torch import Tensor

LEADING = 10
"""Directions of the merged weight that are looked at."""
SIMILAR = 0.5
"""A cosine from here on is a counterpart."""


def intruders(base: Tensor, merged: Tensor) -> int:
    """How many of the ``LEADING`` directions of ``merged`` (out, in) have no counterpart in ``base`` of that shape.

    Costs two eigenvector problems of the smaller side; both matrices are turned so that it is the first.
    """
    if base.shape[0] > base.shape[1]:
        base, merged = base.T, merged.T
    known, found = _directions(base), _directions(merged)[:, -LEADING:]
    cosines = (known.T @ found).abs().max(dim=0).values
    return int((cosines < SIMILAR).sum())


def _directions(weight: Tensor) -> Tensor:
    """Left singular vectors as columns, the leading one last."""
    wide = weight.double()
    vectors: Tensor = torch.linalg.eigh(wide @ wide.T).eigenvectors
    return vectors
