"""What is read of an adapter is what PEFT does with it: the difference that a merge makes, layer by layer."""

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from data.errors import InputError
from data.report_records import Outcome
from data.spectral_records import LayerSpectrum, SpectrumStatus
from flows.spectra_report import thresholds
from models.adapter_targets import fits, is_harmless, targeted
from models.layer_spectra import update_spectrum
from models.spectra import analyze, layer_spectra
from models.spectral_verdict import adapter_checks
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


def test_settings_of_another_kind_name_nothing() -> None:
    for setting in ("exclude_modules", "modules_to_save", "layers_pattern", "layers_to_transform"):
        for value in (7, {"a": 1}, [7], [None], True):
            targeted({"target_modules": ["q_proj", 7], setting: value}, ["layers.0.q_proj"])


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


# --- folders that somebody wrote by hand -----------------------------------------------------------

LAYER = "model.layers.0.mlp.up_proj"


def folder(root: Path, tensors: dict[str, Tensor], **config: Any) -> Path:
    path = root / "adapter"
    path.mkdir(exist_ok=True)
    save_file({f"{PREFIX}{name}": tensor for name, tensor in tensors.items()}, path / "adapter_model.safetensors")
    (path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 8, "r": 2} | config))
    return path


def pair(A: Tensor | None = None, B: Tensor | None = None) -> dict[str, Tensor]:
    given = {"A": torch.ones(2, 6) if A is None else A, "B": torch.ones(8, 2) if B is None else B}
    return {f"{LAYER}.lora_{side}.weight": factor.contiguous() for side, factor in given.items()}


@pytest.mark.parametrize(
    "config",
    [
        {"lora_alpha": None}, {"lora_alpha": "8"}, {"lora_alpha": True}, {"rank_pattern": ["x"]}, {"peft_type": None},
        {"alpha_pattern": {"x": "big"}}, {"alpha_pattern": {"(": 3}}, {"peft_type": "NEW"}, {"peft_type": ["LORA"]},
        {"use_qalora": True}, {"target_parameters": ["experts.up"]}, {"layer_replication": [[0, 2]]},
    ],
)  # fmt: skip
def test_a_configuration_that_says_something_else(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"does not describe|where the update is not"):
        list(layer_spectra(folder(tmp_path, pair(), **config)))


HOSTILE = [
    "(a+)+$", "(a*)*b", "(a|a)*b", "((a)+)+", "(.*)*", "(a|aa)+$", "a*a*a*b", ".*.*.*x", "(a{1,9}){1,9}", "(?=a)a",
    r"(a)\1", "x" * 300, "(a|a)" * 40 + "b", "a?" * 40 + "a" * 40, "(?P<a>a+)+", "(?i)(a+)+", "[a-z]*[a-z]*[a-z]*",
    "(a|(b+))+", "(a+){9}",
]  # fmt: skip
"""Patterns of which some take longer than the universe has lasted; they are refused before any is searched for."""
USUAL = [
    "q_proj", "model.layers.0.self_attn.q_proj", r"^model\.layers\.0\.mlp\.up_proj", ".*", r"layers\.(0|1|17)\.mlp",
    r".*\.mlp\..*", r"model\.layers\.[0-9]+\.self_attn\.(q|k|v|o)_proj", r"layers\.\d+\.(?:up|down)_proj$", "c_attn",
    r"layers\.1\d?\.fc-2", "transformer.h.[13579].attn", r"blocks\.\d{1,2}\.attn",
]  # fmt: skip


@pytest.mark.parametrize("setting", ["rank_pattern", "alpha_pattern"])
@pytest.mark.parametrize("key", HOSTILE, ids=range(len(HOSTILE)))
def test_a_pattern_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, key: str
) -> None:
    monkeypatch.setattr("models.adapter_updates.LowRank", None)  # nothing of the adapter is read
    with pytest.raises(InputError, match="could be searched for without end") as caught:
        list(layer_spectra(folder(tmp_path, pair(), **{setting: {"up_proj": 2, key: 2}})))
    assert str(caught.value).endswith("Name the layers in full.")


@pytest.mark.parametrize("key", USUAL)
def test_usual_patterns_mean_what_they_mean_to_peft(tmp_path: Path, key: str) -> None:
    assert is_harmless(key)
    names = [f"model.layers.{n}.{p}" for n in (0, 1, 17) for p in ("mlp.up_proj", "self_attn.q_proj", "fc-2")]
    names += ["q_proj", "transformer.h.3.attn", "c_attn", "vision.blocks.12.attn", "model-layers.0.mlp"]
    from peft.utils.other import get_pattern_key

    assert [fits(key, name) for name in names] == [get_pattern_key([key], name) == key for name in names]


def test_a_name_without_end_is_refused(tmp_path: Path) -> None:
    long = {name.replace(LAYER, "a." * 200 + "b"): tensor for name, tensor in pair().items()}
    path = folder(tmp_path, long, rank_pattern={"[ab.]*c": 2})
    with pytest.raises(InputError, match="has a name of 401 characters"):
        list(layer_spectra(path))


@pytest.mark.parametrize("written", ["", "{", "[]", "7", '"LORA"', "null"])
def test_a_configuration_that_is_none(tmp_path: Path, written: str) -> None:
    path = folder(tmp_path, pair())
    (path / "adapter_config.json").write_text(written)
    with pytest.raises(InputError, match=r"adapter_config\.json"):
        list(layer_spectra(path))


@pytest.mark.parametrize(
    "tensors",
    [
        pair(A=torch.ones(6)),
        pair(B=torch.ones(())),
        pair(A=torch.ones(0, 6), B=torch.ones(8, 0)),
        pair(A=torch.ones(2, 0)),
        pair(B=torch.ones(0, 2)),
        pair(A=torch.ones(3, 6)),
        pair(A=torch.ones(2, 6, dtype=torch.int8)),
        {f"{LAYER}.lora_A.weight": torch.ones(2, 6)},
        {f"{LAYER}.lora_B.weight": torch.ones(8, 2)},
        {f"{LAYER}.other.weight": torch.ones(8, 2)},
        {},
        pair() | {f"{LAYER}.lora_magnitude_vector.weight": torch.ones(8, 1)},
    ],
)
def test_factors_that_are_none(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match=r"must be|lacks a|quantised|expected a matrix|holds no|expected lora_A"):
        list(layer_spectra(folder(tmp_path, tensors)))


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ({f"{LAYER}.weight": (8, 7)}, "they must be"),
        ({f"{LAYER}.weight": (7, 6)}, "they must be"),
        ({"layers.0.fc.weight": (8, 6)}, "has no tensor"),
        ({f"{LAYER}.weight": (8,)}, "expected a matrix"),
    ],
)
def test_an_adapter_for_another_base(tmp_path: Path, base: dict[str, tuple[int, ...]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        analyze(folder(tmp_path, pair()), {name: torch.randn(shape) for name, shape in base.items()})


def test_an_adapter_for_a_quantised_base(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"torch.int8, quantised"):
        analyze(folder(tmp_path, pair()), {f"{LAYER}.weight": torch.ones(8, 6, dtype=torch.int8)})


@pytest.mark.parametrize("rows", [[0, 1], [0, 1, 99], [0, 1, -1], "none", []])
def test_trained_tokens_that_the_base_does_not_have(tmp_path: Path, rows: Any) -> None:
    path = folder(
        tmp_path,
        {"embed.trainable_tokens_delta": torch.randn(3, 6)},
        peft_type="TRAINABLE_TOKENS",
        token_indices=rows,
    )
    base = {"embed.weight": torch.randn(8, 6)}
    if isinstance(rows, str) or not rows:
        assert analyze(path, base)["kind"][0] == "memory", "without the places there is nothing to compare with"
        return
    with pytest.raises(InputError, match="trained rows for the tokens"):
        analyze(path, base)


def test_a_resized_module_is_said_to_be_of_another_size(tmp_path: Path) -> None:
    path = folder(tmp_path, pair() | {"lm_head.weight": torch.randn(10, 6)})
    base = {f"{LAYER}.weight": torch.randn(8, 6), "lm_head.weight": torch.randn(9, 6)}
    with pytest.raises(InputError, match=r"lm_head is \(10, 6\) in .* and \(9, 6\) in its base"):
        analyze(path, base)


def test_a_prefix_of_another_shape(tmp_path: Path) -> None:
    for shape, layers in (((3, 10), 4), ((10,), 1), ((0, 8), 1)):
        path = folder(tmp_path, {}, peft_type="PREFIX_TUNING", num_layers=layers)
        save_file({"prompt_embeddings": torch.ones(shape)}, path / "adapter_model.safetensors")
        with pytest.raises(InputError, match=r"do not divide|expected a matrix"):
            list(layer_spectra(path))
    save_file({"other": torch.ones(2, 2)}, path / "adapter_model.safetensors")
    with pytest.raises(InputError, match="holds no tensor prompt_embeddings"):
        list(layer_spectra(path))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["A", "B"])
def test_broken_factors_break_one_layer(tmp_path: Path, where: str, value: float) -> None:
    factors = pair()
    factors[f"{LAYER}.lora_{where}.weight"][0, 0] = value
    (layer,) = layer_spectra(folder(tmp_path, factors), None)
    assert not layer.finite
    assert layer.spectrum.status is SpectrumStatus.NOT_FINITE


@pytest.mark.parametrize(
    "config",
    [
        {"lora_alpha": math.nan},
        {"lora_alpha": math.inf},
        {"lora_alpha": 1e300},
        {"lora_alpha": True},
        {"r": "8"},
        {"r": 2.5},
        {"alpha_pattern": {".*": "32"}},
        {"rank_pattern": {".*": True}},
        {"alpha_pattern": ["q"]},
    ],
)
def test_numbers_of_the_configuration_must_be_numbers(tmp_path: Path, config: dict[str, object]) -> None:
    with pytest.raises(InputError, match="does not describe an adapter"):
        list(layer_spectra(folder(tmp_path, pair(), **config)))


def test_an_update_too_large_for_float32_is_still_measured(tmp_path: Path) -> None:
    path = folder(tmp_path, pair(torch.full((2, 6), 1e25), torch.full((8, 2), 1e25)))
    (layer,) = layer_spectra(path, {f"{LAYER}.weight": torch.randn(8, 6)}, Analysis(intruders=True))
    assert layer.finite
    assert layer.update is not None
    assert layer.update.survives_bf16 == 1.0
    assert layer.spectrum.spectral_norm == pytest.approx((4.0 * 2e50) ** 2 * 48, rel=1e-5)


def test_an_archive_of_an_older_version_is_read(tmp_path: Path) -> None:
    path = folder(tmp_path, pair())
    expected = list(layer_spectra(path))
    (path / "adapter_model.safetensors").unlink()
    torch.save({f"{PREFIX}{name}": tensor for name, tensor in pair().items()}, path / "adapter_model.bin")
    assert list(layer_spectra(path)) == expected


def test_the_factors_alone_are_no_model(tmp_path: Path) -> None:
    path = folder(tmp_path, pair())
    with pytest.raises(InputError, match=r"adapter_config\.json"):
        list(layer_spectra(path / "adapter_model.safetensors"))
