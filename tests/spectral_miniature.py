"""Layers of spectral reports by a few numbers, for tests of what is made of them."""

from typing import Any

from data.spectral_records import Histogram, LayerSpectrum, Spectrum, SpectrumStatus, Update


def spectrum(alpha: float | None = 3.0, tail: int = 30, half_width: float = 1.0, **changes: Any) -> Spectrum:
    """A spectrum with this exponent, its interval ``half_width`` to each side; without one where it is None."""
    fitted = {
        "alpha": alpha,
        "alpha_low": alpha - half_width,
        "alpha_high": alpha + half_width,
        "xmin": 0.4,
        "D": 0.08,
        "sigma": half_width / 2,
        "num_pl_spikes": tail,
        "log_alpha_norm": 1.2,
    } if alpha is not None else {}  # fmt: skip
    good = {
        "status": SpectrumStatus.SUCCESS if alpha is not None else SpectrumStatus.FEW,
        "num_evals": 64,
        "norm": 4.0,
        "spectral_norm": 1.4,
        "smallest": 0.01,
        "stable_rank": 2.9,
        "effective_rank": 12.0,
        "entropy": 0.8,
        "matrix_rank": 64,
        "noise_edge": 0.9,
        "histogram": Histogram(low=-2.0, high=0.15, counts=(1, 3, 8, 16, 14, 9, 5, 4, 2, 2)),
    }
    return Spectrum.model_validate(good | fitted | changes)


def layer(name: str = "layer", **changes: Any) -> LayerSpectrum:
    """An adapted layer; figures of the update, of its spectrum and of the layer by their names."""
    update = {"survives_bf16": 0.94, "sigma_ratio": 1.3}
    update |= {key: changes.pop(key) for key in list(changes) if key in Update.model_fields}
    own = {key: changes.pop(key) for key in list(changes) if key in Spectrum.model_fields}
    base_alpha = changes.pop("base_alpha", 3.2)
    shape = {"name": name, "kind": "lora", "N": 256, "M": 256, "rank": 16, "declared_rank": 16, "null_share": 0.0}
    return LayerSpectrum.model_validate(
        {"finite": True, "spectrum": spectrum(**own), "base": spectrum(base_alpha), "update": Update(**update)}
        | shape
        | changes
    )


def as_bits(layer: LayerSpectrum) -> str:
    """Everything that a layer says, floats to the last bit."""
    return layer.model_dump_json(by_alias=True)
