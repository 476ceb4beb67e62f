"""What is read of an adapter is what PEFT does with it: the difference that a merge makes, layer by layer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file

from data.errors import InputError
from models.spectra import layer_spectra
from models.spectrum import Analysis
from tests.adapter_miniature import CASES, agrees, llama, merges, moved, saved


@pytest.mark.filterwarnings("ignore:Model with `tie_word_embeddings=True`")
@pytest.mark.parametrize("case", CASES)
def test_lora_is_what_a_merge_adds(tmp_path: Path, case: str) -> None:
    make, settings, count = CASES[case]
    model = make()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 16, "init_lora_weights": False} | settings)
    adapted = saved(tmp_path, model, config, moved)
    found = {
        layer.name: layer for layer in layer_spectra(tmp_path / "adapter", tmp_path / "base", Analysis(intruders=True))
    }
    assert len(found) == count
    changes = merges(adapted, before)
    for name, layer in found.items():
        old, change = changes[f"{name}.weight"]
        if layer.kind == "memory":
            old, change = old[[1, 5, 30]], change[[1, 5, 30]]
        elif (case.startswith("Conv1D") and "c_" in name) or name.endswith("embed_tokens"):
            old, change = old.T, change.T
        agrees(layer, old, change)
        if layer.kind == "lora":
            assert layer.declared_rank == layer.rank
    alone = {layer.name: layer for layer in layer_spectra(tmp_path / "adapter")}
    for name, layer in alone.items():
        assert layer.update is None
        assert layer.kind == ("lora" if found[name].kind == "lora" else "memory" if "tokens" in case else "linear")
        if layer.kind == "lora":
            assert layer.spectrum == found[name].spectrum


@pytest.mark.parametrize("tied", [True, False])
def test_trained_tokens_are_the_rows_that_changed(tmp_path: Path, tied: bool) -> None:
    model = llama(tied)
    before = model.get_input_embeddings().weight.detach().clone()
    saved(tmp_path, model, peft.TrainableTokensConfig(token_indices=[0, 3, 7]), moved)
    stored = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    found = list(layer_spectra(tmp_path / "adapter", tmp_path / "base", Analysis(intruders=True)))
    assert len(found) == len(stored) == 1 + tied  # of tied weights PEFT writes both, and both have the same base
    for layer, rows in zip(found, stored.values(), strict=True):
        assert (layer.kind, layer.N, layer.M) == ("memory", 24, 3)
        agrees(layer, before[[0, 3, 7]], rows - before[[0, 3, 7]])


def test_a_prefix_is_the_keys_and_values_that_attention_gets(tmp_path: Path) -> None:
    model = llama()
    adapted = saved(tmp_path, model, peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=9))
    cache = adapted.get_prompt(batch_size=1)
    found = list(layer_spectra(tmp_path / "adapter", tmp_path / "base"))
    assert [layer.name for layer in found] == [f"layers.{i}.{part}" for i in (0, 1) for part in ("key", "value")]
    for place, layer in enumerate(found):
        held = cache.layers[place // 2]
        tensor = (held.keys, held.values)[place % 2]  # (1, heads, tokens, width of a head)
        matrix = tensor.detach()[0].transpose(0, 1).flatten(1)
        assert (layer.kind, layer.update, layer.base) == ("prefix", None, None)
        assert layer.spectrum.norm == pytest.approx(float(matrix.double().norm()) ** 2, rel=1e-5)
        assert layer.spectrum.spectral_norm == pytest.approx(float(torch.linalg.matrix_norm(matrix, 2)) ** 2, rel=1e-5)


def test_a_prompt_is_one_matrix(tmp_path: Path) -> None:
    adapted = saved(tmp_path, llama(), peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=9))
    (layer,) = layer_spectra(tmp_path / "adapter", tmp_path / "base")
    prompt = adapted.get_prompt_embedding_to_save("default")
    assert (layer.kind, layer.N, layer.M) == ("prefix", 24, 9)
    assert layer.spectrum.norm == pytest.approx(float(prompt.double().norm()) ** 2)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (lambda: peft.LoraConfig(target_modules=["q_proj"], use_dora=True), "use_dora"),
        (lambda: peft.LoraConfig(target_modules=["q_proj"], init_lora_weights="pissa"), "began from pissa"),
        (lambda: peft.LoraConfig(target_modules=["q_proj"], init_lora_weights="olora"), "began from olora"),
        (lambda: peft.IA3Config(target_modules=["q_proj"], feedforward_modules=[]), "does not describe an adapter"),
        (lambda: peft.VeraConfig(target_modules=["q_proj"], r=4), "does not describe an adapter"),
        (lambda: peft.LoHaConfig(target_modules=["q_proj"], r=4), "does not describe an adapter"),
        (lambda: peft.BOFTConfig(target_modules=["q_proj"], boft_block_size=4), "does not describe an adapter"),
    ],
)
def test_other_methods_are_refused_in_a_sentence(tmp_path: Path, config: Callable[[], Any], said: str) -> None:
    saved(tmp_path, llama(), config())
    with pytest.raises(InputError, match=said) as caught:
        list(layer_spectra(tmp_path / "adapter", tmp_path / "base"))
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
