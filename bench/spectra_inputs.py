"""Matrices for measurements of spectra: weights as training leaves them, and adapters of any shape in a folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.watcher import lora_state

SEVEN_B = ([(4096, 4096)] * 4 + [(11_008, 4096)] * 2 + [(4096, 11_008)]) * 32
"""Shapes (out, in) of the modules of a Llama of 7 billion parameters: q, k, v, o, gate, up, down in each layer."""


def trained_like(rows: int, columns: int, seed: int, exponent: float = 2.5) -> Tensor:
    """Noise (rows, columns) in float32 with a tenth of its directions stretched, to a power law of this exponent."""
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=draw) / columns**0.5
    count = max(2, min(rows, columns) // 10)
    left = torch.linalg.qr(torch.randn(rows, count, generator=draw)).Q
    right = torch.linalg.qr(torch.randn(columns, count, generator=draw)).Q
    sizes = (1.0 - torch.rand(count, generator=draw)) ** (-0.5 / (exponent - 1.0))
    stretched: Tensor = weight + 2.0 * (left * sizes) @ right.T
    return stretched


def lora_factors(shapes: Sequence[tuple[int, int]], rank: int, seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """(A, B) in float32 by module, for updates of these shapes (out, in), with directions of unequal size."""
    draw = torch.Generator().manual_seed(seed)
    sizes = torch.linspace(1.0, 3.0, rank)
    return {
        f"{place}.proj": (
            torch.randn(rank, columns, generator=draw) / columns**0.5,
            torch.randn(rows, rank, generator=draw) * sizes * 0.02,
        )
        for place, (rows, columns) in enumerate(shapes)
    }


def write_adapter(folder: Path, factors: Mapping[str, tuple[Tensor, Tensor]], rank: int, alpha: float = 32.0) -> Path:
    """A PEFT adapter of these factors in ``folder``."""
    save_file(lora_state(factors), folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": ["proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder
