"""Adapters that somebody wrote by hand: what is read of them, and what is refused in a sentence."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from data.errors import InputError
from data.spectral_records import SpectrumStatus
from models.adapter_targets import fits, is_harmless
from models.spectra import analyze, layer_spectra
from models.spectrum import Analysis
from tests.adapter_miniature import PREFIX

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
