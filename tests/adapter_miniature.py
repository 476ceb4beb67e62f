"""Small models, adapters that PEFT wrote for them, and what a merge makes of both."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from data.spectral_records import LayerSpectrum
from models.layer_spectra import update_spectrum
from models.spectrum import Analysis

PREFIX = "base_model.model."


def llama(tied: bool = False) -> Any:
    torch.manual_seed(3)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=32, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, tie_word_embeddings=tied,
        )
    )  # fmt: skip


def gpt2() -> Any:
    torch.manual_seed(4)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=40, n_embd=24, n_layer=2, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0)
    )


class Convolutions(nn.Module):
    """Two layers of them, as an encoder of images has."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 20, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))  # type: ignore[no-any-return]


def convolutions() -> Any:
    torch.manual_seed(5)
    return Convolutions()


def saved(root: Path, model: Any, config: Any, change: Callable[[Any], None] | None = None) -> Any:
    """Base and adapter as PEFT writes them; the model with the adapter in it comes back."""
    base = root / "base"
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(base)
    else:
        base.mkdir()
        save_file(model.state_dict(), base / "model.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(model, config)
        if change is not None:
            with torch.no_grad():
                change(adapted)
        adapted.save_pretrained(str(root / "adapter"))
    return adapted


def moved(adapted: Any) -> None:
    """Training, as far as weights are concerned."""
    for place, (name, parameter) in enumerate(adapted.named_parameters()):
        if parameter.requires_grad and "lora_" not in name:
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(place)))


def merges(adapted: Any, before: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Base weight and change of every weight matrix that a merge changes."""
    after = adapted.merge_and_unload().state_dict()
    pairs = {name: (before[name], after[name]) for name in before if before[name].ndim >= 2}
    return {name: (old, new - old) for name, (old, new) in pairs.items() if not torch.equal(old, new)}


def agrees(layer: LayerSpectrum, weight: Tensor, change: Tensor) -> None:
    """The layer says of its update what the merge's difference says, and of the base what its weight says."""
    old, new = weight.flatten(1), (weight + change).flatten(1)
    values = torch.linalg.svdvals(change.flatten(1).double()).square()
    assert layer.spectrum.norm == pytest.approx(float(values.sum()), rel=1e-3)
    assert layer.spectrum.spectral_norm == pytest.approx(float(values[0]), rel=1e-3)
    assert layer.spectrum.stable_rank == pytest.approx(float(values.sum() / values[0]), rel=1e-3)
    assert layer.update is not None
    assert layer.base is not None
    assert layer.base.norm == pytest.approx(float(old.double().norm()) ** 2)
    edge = float(old.double().std(correction=0)) * sum(math.sqrt(side) for side in old.shape)
    assert layer.update.sigma_ratio == pytest.approx(float(values[0].sqrt()) / edge, rel=1e-3)
    survived = float(((old.bfloat16().float() + (new - old)).bfloat16() != old.bfloat16()).double().mean())
    assert layer.update.survives_bf16 == pytest.approx(survived, abs=5e-3)
    plain = update_spectrum("plain", (new - old).double(), old, Analysis(intruders=True)).update
    assert plain is not None
    assert layer.update.intruders == plain.intruders


CASES: dict[str, tuple[Callable[[], Any], dict[str, Any], int]] = {
    "plain": (llama, {"target_modules": "all-linear"}, 14),
    "rank-stabilised": (llama, {"target_modules": ["q_proj"], "use_rslora": True}, 2),
    "patterns": (
        llama,
        {
            "target_modules": ["q_proj", "up_proj"],
            "rank_pattern": {"layers.1.self_attn.q_proj": 9, "up_proj": 2},
            "alpha_pattern": {"q_proj": 40, r"^model\.layers\.0\.mlp\.up_proj": 3},
        },
        4,
    ),
    "rank-stabilised patterns": (
        llama,
        {"target_modules": ["q_proj"], "use_rslora": True, "rank_pattern": {"q_proj": 9}},
        2,
    ),
    "more than full rank": (llama, {"target_modules": ["k_proj"], "r": 30}, 2),
    "Conv1D": (gpt2, {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}, 6),
    "Conv1D, unsaid": (gpt2, {"target_modules": ["c_attn", "c_proj", "lm_head"]}, 7),
    "embedding": (llama, {"target_modules": ["embed_tokens", "q_proj"]}, 3),
    "tied head": (lambda: llama(True), {"target_modules": ["lm_head"]}, 1),
    "convolution": (convolutions, {"target_modules": ["first", "second"]}, 2),
    "whole modules": (llama, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "norm"]}, 3),
    "trained tokens beside": (llama, {"target_modules": ["q_proj"], "trainable_token_indices": [1, 5, 30]}, 3),
}
