"""Small state dicts, and files of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from data.errors import InputError
from models.spectra import layer_spectra
from tests.matrices import single

NAMES = [f"layers.{number}.weight" for number in range(4)]


def state(count: int = 4) -> dict[str, Tensor]:
    return {name: single(14, 11, seed=place) for place, name in enumerate(NAMES[:count])}


def sharded(folder: Path, suffix: str = "safetensors", stem: str = "model") -> Path:
    """Four tensors in four files with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    homes = {}
    for place, (name, tensor) in enumerate(state().items(), start=1):
        homes[name] = f"{stem}-{place:05d}-of-00004.{suffix}"
        if suffix == "safetensors":
            save_file({name: tensor}, folder / homes[name])
        else:
            torch.save({name: tensor}, folder / homes[name])
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": homes}))
    return folder


def refusal(path: Path) -> str:
    """What is said of it: one or two sentences for a person."""
    with pytest.raises(InputError) as caught:
        list(layer_spectra(path))
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    assert len(said) < 600
    assert path.name in said
    return said


def layer_spectra_of(source: Any) -> list[Any]:
    return list(layer_spectra(source))
