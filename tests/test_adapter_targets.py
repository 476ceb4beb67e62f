"""The layers that an adapter's configuration names: as PEFT reads it, and what of them its file lacks."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from data.evaluation_records import Outcome
from data.spectral_records import SpectrumStatus
from flows.spectra_report import thresholds
from models.adapter_targets import targeted
from models.spectra import layer_spectra
from models.spectral_verdict import adapter_checks
from tests.adapter_miniature import CASES, llama, saved

HALVES = ["plain", "Conv1D", "embedding", "patterns"]


@pytest.mark.parametrize("case", HALVES)
def test_a_layer_that_the_configuration_names_and_the_file_lacks_is_named(tmp_path: Path, case: str) -> None:
    make, settings, count = CASES[case]
    saved(tmp_path, make(), peft.LoraConfig(**{"r": 4, "lora_alpha": 16, "init_lora_weights": False} | settings))
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    whole = {layer.name: layer for layer in layer_spectra(tmp_path / "adapter", tmp_path / "base")}
    lost = sorted(name for name in whole if "embed" not in name)[: count // 2]
    kept = {name: tensor for name, tensor in tensors.items() if not any(f".{layer}." in f"{name}." for layer in lost)}
    save_file(kept, file)
    found = {layer.name: layer for layer in layer_spectra(tmp_path / "adapter", tmp_path / "base")}
    assert sorted(found) == sorted(whole)
    for name, layer in found.items():
        if name not in lost:
            assert layer == whole[name]
            continue
        assert (layer.N, layer.M, layer.declared_rank) == (whole[name].N, whole[name].M, whole[name].declared_rank)
        assert (layer.rank, layer.spectrum.status, layer.base) == (0, SpectrumStatus.ZERO, whole[name].base)
        assert layer.update is not None
        assert layer.update.survives_bf16 == 0.0
    integrity = next(one for one in adapter_checks(list(found.values()), thresholds(None)) if one.check == "integrity")
    assert integrity.outcome is Outcome.FAIL
    assert integrity.layer in lost
    assert f"Of {count} layers {len(lost)} fail" in integrity.reason
    assert "names this layer, and its file has no factors for it" in integrity.reason
    assert len(list(layer_spectra(tmp_path / "adapter"))) == count - len(lost), "without a base nobody knows"


def test_what_a_bases_files_hold_beside_its_blocks_is_not_missed(tmp_path: Path) -> None:
    """A pooler, or a block beyond the last, that training never loaded."""
    torch.manual_seed(6)
    settings = BertConfig(
        vocab_size=32, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2
    )
    BertModel(settings).save_pretrained(tmp_path / "base")
    one = BertConfig(**settings.to_dict() | {"num_hidden_layers": 1})
    bare = BertModel(one, add_pooling_layer=False)
    adapted = peft.get_peft_model(bare, peft.LoraConfig(r=4, target_modules=["query", "dense"]))
    adapted.save_pretrained(str(tmp_path / "adapter"))
    lost = {layer.name for layer in layer_spectra(tmp_path / "adapter", tmp_path / "base") if not layer.rank}
    assert lost == {f"encoder.layer.1.{name}" for name in BERT}
    config = tmp_path / "base" / "config.json"
    config.write_text(config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 1'))
    assert all(layer.rank for layer in layer_spectra(tmp_path / "adapter", tmp_path / "base"))
    config.write_text("[]")
    assert len([layer for layer in layer_spectra(tmp_path / "adapter", tmp_path / "base") if not layer.rank]) == 4


BERT = ("attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense")


NAMED: list[dict[str, Any]] = [
    {"target_modules": ["q_proj", "mlp.up_proj"]},
    {"target_modules": ["model.layers.1.self_attn.q_proj", "lm_head"]},
    {"target_modules": ["proj", "_proj", "p_proj"]},
    {"target_modules": ["q_proj"], "layers_to_transform": [1]},
    {"target_modules": ["q_proj", "lm_head", "model.layers.0.self_attn.k_proj"], "layers_to_transform": 1},
    {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "layers"},
    {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": ["other", "layers"]},
    {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": ["model"]},
    {"target_modules": ["q_proj"], "layers_to_transform": []},
    {"target_modules": ["q_proj", "up_proj"], "exclude_modules": ["layers.0.self_attn.q_proj", "up_proj"]},
    {"target_modules": ["q_proj", "lm_head"], "modules_to_save": ["lm_head", "layers.1"]},
]


@pytest.mark.parametrize("settings", NAMED, ids=range(len(NAMED)))
def test_the_layers_that_are_named_are_those_that_peft_takes(settings: dict[str, Any]) -> None:
    from peft.tuners.tuners_utils import check_target_module_exists

    names = [name for name, module in llama().named_modules() if hasattr(module, "weight")]
    config = peft.LoraConfig(**settings)
    config.target_modules = settings["target_modules"]
    taken = [name for name in names if bool(check_target_module_exists(config, name))]
    assert targeted(settings, names) == taken


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ".*q_proj"},
        {"target_modules": None},
        {"target_modules": ["q_proj"], "exclude_modules": "(a+)+"},
        {"target_modules": ["q_proj"], "modules_to_save": ["(a+)+"]},
        {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "(a+)+"},
    ],
)
def test_where_patterns_say_what_is_adapted_nothing_is_missed(settings: dict[str, Any]) -> None:
    assert targeted(settings, ["model.layers.0.self_attn.q_proj"]) == []


def test_settings_of_another_kind_exclude_nothing_and_stop_nothing() -> None:
    name = "layers.0.q_proj"
    for value in (7, {"a": 1}, [7], [None], True):
        for setting in ("exclude_modules", "modules_to_save", "layers_pattern"):
            assert targeted({"target_modules": ["q_proj", 7], setting: value}, [name]) == [name]
        assert targeted({"target_modules": ["k_proj", 7], "layers_to_transform": value}, [name]) == []
