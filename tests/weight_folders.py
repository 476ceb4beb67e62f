"""Folders of small models and adapters, and ``relearn spectra`` called on them."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner, Result

from data.workspace import PROJECT_ROOT
from flows.cli import app
from tests.matrices import single

TINY = PROJECT_ROOT / "data" / "bases" / "tiny"
UP = "model.layers.{}.mlp.up_proj"


def gaussian(*shape: int, seed: int = 1, spread: float = 0.05) -> Tensor:
    return single(*shape, seed=seed) * spread


def model(folder: Path, blocks: int = 2, side: int = 40) -> Path:
    """A model's folder: one matrix per block."""
    folder.mkdir(parents=True)
    weights = {f"{UP.format(block)}.weight": gaussian(side + 20, side, seed=block) for block in range(blocks)}
    save_file(weights, folder / "model.safetensors")
    return folder


def adapter(folder: Path, rank: int = 8, blocks: int = 2, side: int = 40, **config: object) -> Path:
    """A PEFT adapter on ``model``."""
    folder.mkdir(parents=True)
    factors = {}
    for block in range(blocks):
        name = f"base_model.model.{UP.format(block)}"
        factors[f"{name}.lora_A.weight"] = gaussian(rank, side, seed=10 + block, spread=0.2)
        factors[f"{name}.lora_B.weight"] = gaussian(side + 20, rank, seed=20 + block, spread=0.2)
    save_file(factors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "lora_alpha": rank, "r": rank} | config
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def called(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["spectra", *map(str, arguments)])


def said(*arguments: str | Path) -> dict[str, Any]:
    """The JSON object; numbers that are not finite are refused."""
    done = called(*arguments, "--json")
    assert done.exit_code == 0, done.output

    def refuse(word: str) -> None:
        raise AssertionError(word)

    content: dict[str, Any] = json.loads(done.stdout, parse_constant=refuse)
    return content


def outcomes(content: dict[str, Any], check: str) -> list[str]:
    return [one["outcome"] for one in content["checks"] if one["check"] == check]
