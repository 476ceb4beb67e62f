"""The audit's statistics in mid-training: is the adapter about to be one that no gate would let through?

A look takes the factors of every LoRA layer as they stand. The r x r core of each gives the update's exact spectrum
(models/eigenvalues.py), and the base's noise edge, which never changes, is computed once: no look ever makes an
(N, M) matrix, and what needs one, such as the share that survives a merge, is left to the audit. The figures are the
audit's own up to rounding, so that its thresholds can be read off the curves.

A run leaves the band when a factor is no longer finite, which no later step can mend, or when the update has grown
past ``limit`` times the base's noise edge. What it has learned by then is lost, and the hours that it would have gone
on are not.
"""

import math
import statistics
from collections.abc import Iterator

import torch
from peft.tuners.lora import LoraLayer

from data.spectral_records import Look
from models.adapter_updates import PREFIX
from models.eigenvalues import LowRank
from models.powerlaw import Vector, positive
from models.random_matrix import effective_rank, null_share, singular_edge

_ADAPTER = "default"


class SpectralWatch:
    """Looks at the update of a model with LoRA layers."""

    def __init__(self, adapted: torch.nn.Module, limit: float = 0.0) -> None:
        """Measure the base once.

        Args:
            adapted: a PEFT model; its factors are read anew at each look.
            limit: times the base's noise edge, above which an update is outside the band; 0: there is no limit.
        """
        self._layers = dict(lora_layers(adapted))
        self._edges = {name: singular_edge(base_weight(layer)) for name, layer in self._layers.items()}
        self._limit = limit

    def __call__(self, step: int) -> Look:
        """The statistics after ``step`` steps."""
        found = {name: update_of(layer) for name, layer in self._layers.items()}
        values = {name: _spectrum(update) for name, update in found.items()}
        broken = [name for name, spectrum in values.items() if spectrum is None]
        sound = {name: spectrum for name, spectrum in values.items() if spectrum is not None and spectrum.size}
        ratios = {
            name: math.sqrt(spectrum[-1]) / edge
            for name, spectrum in sound.items()
            for edge in [self._edges[name]]
            if edge is not None
        }
        largest = max(ratios, key=lambda name: ratios[name], default="")
        shapes = {name: (max(one.shape), min(one.shape), min(one.rank, *one.shape)) for name, one in found.items()}
        ranks = {name: effective_rank(spectrum) for name, spectrum in sound.items()}
        look = Look(
            step=step,
            finite=not broken,
            sigma_ratio=ratios.get(largest, 0.0),
            layer=broken[0] if broken else largest,
            stable_rank=_median([float(spectrum.sum() / spectrum[-1]) for spectrum in sound.values()]),
            effective_rank=_median([rank / shapes[name][2] for name, rank in ranks.items()]),
            null_share=_median([null_share(rank, *shapes[name]) for name, rank in ranks.items()]),
            norm=math.sqrt(math.fsum(float(spectrum.sum()) for spectrum in sound.values())),
        )
        return look.model_copy(update={"outside": self._outside(look)})

    def _outside(self, look: Look) -> str:
        if not look.finite:
            return f"the update of {look.layer} holds numbers that are not finite"
        if self._limit and look.sigma_ratio > self._limit:
            return (
                f"the update of {look.layer} is {look.sigma_ratio:,.1f} times the base's noise edge, more than "
                f"{self._limit:g} (train.stop_sigma_ratio)"
            )
        return ""


def lora_layers(adapted: torch.nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    """The layers that are adapted, under the base's names for them."""
    for name, module in adapted.named_modules():
        if isinstance(module, LoraLayer):
            yield name.removeprefix(PREFIX), module


def base_weight(layer: LoraLayer) -> torch.Tensor:
    """The frozen weight below the update, (N, M) or its transpose, in main memory: no other device has float64."""
    return _weight_of(layer.get_base_layer())


def update_of(layer: LoraLayer) -> LowRank:
    """The update as it stands, in factors, in main memory."""
    A, B = (_weight_of(side[_ADAPTER]) for side in (layer.lora_A, layer.lora_B))
    return LowRank(A, B, layer.scaling[_ADAPTER])


def _weight_of(module: torch.nn.Module) -> torch.Tensor:
    weight = module.weight
    assert isinstance(weight, torch.Tensor), "PEFT adapts modules with a weight"
    return weight.detach().flatten(1).cpu()


def _spectrum(update: LowRank) -> Vector | None:
    """Eigenvalues above rounding, ascending, none for an update of zeros; None where they are not finite."""
    values = update.eigenvalues().numpy()
    return positive(values) if math.isfinite(values.sum()) else None


def _median(figures: list[float]) -> float:
    return statistics.median(figures) if figures else 0.0
