"""Spectral report of a LoRA adapter: what its update does to each weight, in numbers of the weights alone.

The update is scale * B A with B (out, r) and A (r, in). With the thin factorisations B = Q_B R_B and
A^T = Q_A R_A, its singular values are those of the r x r core scale * R_B R_A^T, so that the exact
spectrum costs no N x M matrix. The base weight's eigenvalues are those of the smaller Gram matrix W^T W
(no division by N), in float64. Only what a merge in bfloat16 would leave of the update needs the update
itself, a block of rows at a time.

The noise edge sigma_W (sqrt N + sqrt M) is the largest singular value that a matrix of independent
entries with the base weight's standard deviation would have (Marchenko and Pastur 1967; Bai and Yin 1993).
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from data.errors import InputError
from data.files import digest_tree, read_json
from data.report_records import LayerSpectrum, SpectralReport
from models.powerlaw import fit_power_law

_PREFIX = "base_model.model."
_FACTOR = re.compile(r"(?P<layer>.+)\.lora_(?P<side>[AB])\.weight")
_BLOCK_ENTRIES = 4_000_000
"""Entries of the merged weight held at once in float32 (16 MB)."""


@dataclass(frozen=True)
class Update:
    """One layer's update, scale * B A, in factors."""

    A: Tensor
    """(r, in)"""
    B: Tensor
    """(out, r)"""
    scale: float

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop`` of the update, (stop - start, in), float32."""
        product: Tensor = self.B[start:stop].float() @ self.A.float() * self.scale
        return product

    def singular_values(self) -> Tensor:
        """All of them, float64, descending, shape (min(out, r, in),); one NaN where the core overflows."""
        core_B = torch.linalg.qr(self.B.double(), mode="r").R
        core_A = torch.linalg.qr(self.A.double().T, mode="r").R
        core: Tensor = core_B @ core_A.T * self.scale
        if not torch.isfinite(core).all():
            return core.new_full((1,), math.nan)
        values: Tensor = torch.linalg.svdvals(core)
        return values


def adapter_report(adapter_dir: Path, base_dir: Path, *, base_digest: str | None = None) -> SpectralReport:
    """Spectral report of a PEFT LoRA adapter on its base, both folders of safetensors files.

    ``base_digest`` spares digesting the base's folder where its digest is known already. Numbers that
    are not finite never fail the report: such a layer has ``finite=False`` and 0.0 or None in their place.

    Raises:
        InputError: a file is missing or unreadable, the adapter holds anything but plain LoRA factors,
            or a factor does not fit its base weight.
    """
    config = _config(adapter_dir)
    with _opened(adapter_dir / "adapter_model.safetensors") as adapter:
        layers = _layers(list(adapter.keys()), adapter_dir)
        homes = _homes(base_dir)
        spectra = tuple(_layer(name, adapter, config, homes, base_dir) for name in layers)
    return SpectralReport(
        adapter=digest_tree(adapter_dir),
        base=digest_tree(base_dir) if base_digest is None else base_digest,
        layers=spectra,
    )


def layer_spectrum(name: str, update: Update, weight: Tensor) -> LayerSpectrum:
    """Statistics of one layer's update (out, in) and of its base weight of the same shape."""
    eigenvalues = _update_eigenvalues(update)
    base = weight.double()
    base_norm = float(torch.linalg.matrix_norm(base))
    spread = float(base.std(correction=0))
    sound = eigenvalues is not None and math.isfinite(base_norm) and spread > 0.0
    largest = float(eigenvalues[0]) if eigenvalues is not None else 0.0
    energy = float(eigenvalues.sum()) if eigenvalues is not None else 0.0
    N, M = max(weight.shape), min(weight.shape)
    return LayerSpectrum(
        name=name,
        kind="linear",
        N=N,
        M=M,
        rank=update.A.shape[0],
        finite=sound,
        update_norm=math.sqrt(energy),
        base_norm=base_norm if math.isfinite(base_norm) else 0.0,
        spectral_norm=largest,
        stable_rank=energy / largest if largest > 0.0 else 0.0,
        alpha=_alpha(eigenvalues),
        base_alpha=_alpha(_gram_eigenvalues(base)),
        survives_bf16=_survives_bf16(update, weight) if sound else 0.0,
        sigma_ratio=math.sqrt(largest) / (spread * (math.sqrt(N) + math.sqrt(M))) if sound else 0.0,
    )


def _update_eigenvalues(update: Update) -> Tensor | None:
    """Squared singular values of the update, descending; None where they are not all finite."""
    if not (torch.isfinite(update.A).all() and torch.isfinite(update.B).all()):
        return None
    eigenvalues = update.singular_values().square()
    return eigenvalues if torch.isfinite(eigenvalues).all() else None


def _gram_eigenvalues(base: Tensor) -> Tensor | None:
    gram = base.T @ base if base.shape[0] >= base.shape[1] else base @ base.T
    return torch.linalg.eigvalsh(gram) if torch.isfinite(gram).all() else None


def _alpha(eigenvalues: Tensor | None) -> float | None:
    fit = None if eigenvalues is None else fit_power_law(eigenvalues.numpy())
    return None if fit is None else fit.alpha


def _survives_bf16(update: Update, weight: Tensor) -> float:
    """Share of the bfloat16 weight's entries that differ after adding the update in float32 and rounding."""
    rows = max(1, _BLOCK_ENTRIES // weight.shape[1])
    changed = 0
    for start in range(0, weight.shape[0], rows):
        before = weight[start : start + rows].bfloat16()
        after = (before.float() + update.rows(start, start + rows)).bfloat16()
        changed += int((after != before).sum())
    return changed / weight.numel()


def _layer(name: str, adapter: Any, config: dict[str, Any], homes: dict[str, str], base_dir: Path) -> LayerSpectrum:
    A, B = (adapter.get_tensor(f"{name}.lora_{side}.weight") for side in "AB")
    module = name.removeprefix(_PREFIX)
    weight = _base_weight(module, homes, base_dir)
    if config.get("fan_in_fan_out"):
        weight = weight.T
    rank = A.shape[0]
    if rank == 0 or tuple(weight.shape) != (B.shape[0], *A.shape[1:]) or tuple(B.shape[1:]) != (rank,):
        raise InputError(
            f"The factors of {module} are A {tuple(A.shape)} and B {tuple(B.shape)}; for its base weight "
            f"{tuple(weight.shape)} they must be (r, in) and (out, r). Give the base that it was trained on."
        )
    scale = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return layer_spectrum(module, Update(A, B, scale), weight)


def _config(adapter_dir: Path) -> dict[str, Any]:
    path = adapter_dir / "adapter_config.json"
    config: Any = read_json(path)
    lora = isinstance(config, dict) and config.get("peft_type") == "LORA"
    if not lora or not isinstance(config.get("lora_alpha"), int | float):
        raise InputError(f"{path} does not describe a LoRA adapter. Name the folder that training wrote.")
    for key in ("use_dora", "alpha_pattern"):
        if config.get(key):
            raise InputError(f"{path} uses {key}, where the update is not scale * B A. Train plain LoRA.")
    return dict(config)


def _layers(names: list[str], adapter_dir: Path) -> list[str]:
    """Adapted layers in natural order, each with both factors."""
    sides: dict[str, set[str]] = {}
    for name in names:
        match = _FACTOR.fullmatch(name)
        if match is None:
            raise InputError(f"{adapter_dir} holds {name}; expected lora_A and lora_B only. Train plain LoRA.")
        sides.setdefault(match["layer"], set()).add(match["side"])
    lone = [layer for layer, found in sides.items() if found != {"A", "B"}]
    if lone or not sides:
        raise InputError(f"{adapter_dir} lacks a factor of {lone[0] if lone else 'every layer'}. Train it again.")
    return sorted(sides, key=_natural)


def _natural(layer: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in layer.split(".")]


def _homes(base_dir: Path) -> dict[str, str]:
    """Tensor name to file name, for one file or shards."""
    index = base_dir / "model.safetensors.index.json"
    if index.is_file():
        return _shards(index)
    single = base_dir / "model.safetensors"
    files = [single] if single.is_file() else sorted(base_dir.glob("*.safetensors"))
    if not files:
        raise InputError(f"{base_dir} holds no safetensors file. Name the folder of the base model.")
    found = {}
    for path in files:
        with _opened(path) as tensors:
            found.update(dict.fromkeys(tensors.keys(), path.name))
    return found


def _shards(index: Path) -> dict[str, str]:
    content = read_json(index)
    homes = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(homes, dict) or any(Path(str(file)).name != file for file in homes.values()):
        raise InputError(f"{index} does not map tensors to files of its own folder. Restore the base.")
    return homes


def _base_weight(module: str, homes: dict[str, str], base_dir: Path) -> Tensor:
    name = f"{module}.weight"
    if name not in homes and name == "lm_head.weight":
        name = "model.embed_tokens.weight"  # tied: stored once, under the input's name
    if name not in homes:
        raise InputError(f"{base_dir} has no tensor {name}. Give the base that the adapter was trained on.")
    with _opened(base_dir / homes[name]) as tensors:
        weight: Tensor = tensors.get_tensor(name)
    if not weight.is_floating_point():
        raise InputError(f"{name} in {base_dir} is {weight.dtype}, quantised. Give the unquantised base.")
    return weight


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as tensors:
            yield tensors
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} could not be read as safetensors ({error}). Restore the file.") from error
