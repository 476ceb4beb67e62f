"""Layer-wise learning rates from the base's own exponents, after TempBalance.

Zhou, Pang, Liu, Martin, Mahoney and Yang, "Temperature Balancing, Layer-wise Weight Analysis, and Neural Network
Training" (NeurIPS 2023, arXiv 2312.00359): a layer whose eigenvalues have a light tail, that is a large alpha, has
learned less than the others and is trained faster; the factor of the global rate goes linearly with alpha, from 0.5 at
the smallest alpha of any layer to 1.5 at the largest (their eq. 2). alpha is Hill's estimate over the upper half of
the eigenvalues, as there: a tail of fixed length moves less than one whose start is fitted.

There the alpha is that of the weight in training, taken anew each epoch. Here it is that of the frozen weight W below
the adapter, taken once. The update has no exponent to speak of, as its rank gives it a few dozen eigenvalues at most;
W + update has that of W, which such an update does not move; and W's own alpha says which layers the base's training
left light. A fixed factor also keeps a resumed run to the bits of an uninterrupted one, and costs one eigenvalue
problem per layer at the start: milliseconds at width 256, about a minute per layer at 4,096 on a slow core.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch

from models.adapter_updates import PREFIX
from models.eigenvalues import dense_eigenvalues
from models.powerlaw import Vector, positive
from models.spectral_watch import base_weight, lora_layers

SLOWEST, FASTEST = 0.5, 1.5
"""Factors at the smallest and at the largest alpha."""
_MIN_TAIL = 4
"""With fewer eigenvalues in the upper half a layer has no exponent."""


def hill_alpha(eigenvalues: Vector) -> float | None:
    """1 + k / sum ln(x / x_min) over the k largest of 2 k eigenvalues above rounding; None where there is no tail.

    Args:
        eigenvalues: any order.
    """
    values = positive(eigenvalues)
    tail = values.size // 2
    if tail < _MIN_TAIL:
        return None
    excess = float(np.log(values[-tail:] / values[-tail - 1]).sum())
    return 1.0 + tail / excess if excess > 0.0 else None


def factors(alphas: Mapping[str, float | None]) -> dict[str, float]:
    """Factor of the learning rate by layer: linear in alpha, 1 for a layer without one, and where all are equal."""
    known = [alpha for alpha in alphas.values() if alpha is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    if not high > low:
        return dict.fromkeys(alphas, 1.0)
    slope = (FASTEST - SLOWEST) / (high - low)
    return {name: 1.0 if alpha is None else SLOWEST + (alpha - low) * slope for name, alpha in alphas.items()}


def rates_by_layer(adapted: torch.nn.Module) -> dict[str, float]:
    """Factor of the learning rate of each adapted layer, from the frozen weight below it."""
    alphas = {}
    for name, layer in lora_layers(adapted):
        values = dense_eigenvalues(base_weight(layer)).numpy()
        alphas[name] = hill_alpha(values) if math.isfinite(values.sum()) else None
    return factors(alphas)


def rates_by_parameter(adapted: torch.nn.Module, by_layer: Mapping[str, float]) -> dict[str, float]:
    """The same by the name of each trained parameter: both factors of a layer have its rate."""
    found = {}
    for name, parameter in adapted.named_parameters():
        layer, lora, _ = name.partition(".lora_")
        if parameter.requires_grad and lora:
            found[name] = by_layer.get(layer.removeprefix(PREFIX), 1.0)
    return found
