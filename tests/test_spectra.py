"""The report says what a merge would do, exactly, and survives broken weights."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from data.errors import InputError
from data.files import digest_tree, read_record, write_record
from data.spectral_records import LayerSpectrum, SpectralReport, SpectrumStatus
from models.eigenvalues import LowRank
from models.layer_spectra import update_spectrum
from models.spectra import adapter_report

LAYER = "model.layers.{}.mlp.up_proj"


def _folders(
    root: Path, weights: dict[str, Tensor], factors: dict[str, tuple[Tensor, Tensor]], **config: object
) -> tuple[Path, Path]:
    """An adapter folder and a base folder as PEFT and transformers write them."""
    adapter, base = root / "adapter", root / "base"
    adapter.mkdir(parents=True)
    base.mkdir()
    save_file({f"{name}.weight": weight for name, weight in weights.items()}, base / "model.safetensors")
    tensors = {
        f"base_model.model.{name}.lora_{side}.weight": factor
        for name, pair in factors.items()
        for side, factor in zip("AB", pair, strict=True)
    }
    save_file(tensors, adapter / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "lora_alpha": 32, "r": 4} | config
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    return adapter, base


def _factors(out: int, into: int, rank: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rank, into, generator=generator) * 0.1, torch.randn(out, rank, generator=generator) * 0.1


def _weight(out: int, into: int, seed: int = 1) -> Tensor:
    return torch.randn(out, into, generator=torch.Generator().manual_seed(seed)) * 0.05


@pytest.mark.parametrize(("out", "into", "rank"), [(48, 20, 4), (20, 48, 10), (24, 24, 16), (12, 9, 16)])
def test_core_spectrum_equals_that_of_the_full_update(out: int, into: int, rank: int) -> None:
    A, B = _factors(out, into, rank)
    weight = _weight(out, into)
    found = update_spectrum("layer", LowRank(A, B, 2.0), weight)
    full = 2.0 * B.double() @ A.double()
    singular = torch.linalg.svdvals(full)
    assert (found.N, found.M, found.rank, found.finite) == (max(out, into), min(out, into), rank, True)
    assert found.spectrum.spectral_norm == pytest.approx(float(singular[0]) ** 2)
    assert found.spectrum.norm == pytest.approx(float(full.norm()) ** 2)
    assert found.base is not None
    assert found.base.norm == pytest.approx(float(weight.double().norm()) ** 2)
    assert found.spectrum.stable_rank == pytest.approx(float(full.norm()) ** 2 / float(singular[0]) ** 2)
    edge = float(weight.double().std(correction=0)) * (math.sqrt(out) + math.sqrt(into))
    assert found.update is not None
    assert found.update.sigma_ratio == pytest.approx(float(singular[0]) / edge)
    assert (found.spectrum.alpha is None) is (min(out, into, rank) < 8)
    assert found.base.alpha is not None
    assert found.base.alpha > 1.0


def test_surviving_share_is_that_of_a_real_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    A, B = _factors(40, 30, 4)
    weight = _weight(40, 30).bfloat16()
    for scale in (0.0, 1e-3, 1e-2, 1.0):
        merged = (weight.float() + B @ A * scale).bfloat16()
        expected = float((merged != weight).double().mean())
        whole = _surviving(A, B, scale, weight)
        with monkeypatch.context() as patch:
            patch.setattr("models.layer_spectra._BLOCK_ENTRIES", 90)
            assert _surviving(A, B, scale, weight) == whole
        assert whole == pytest.approx(expected, abs=2.5e-3)  # blocks may round the product differently
    assert whole > 0.9


def _surviving(A: Tensor, B: Tensor, scale: float, weight: Tensor) -> float:
    found = update_spectrum("layer", LowRank(A, B, scale), weight)
    assert found.update is not None
    return found.update.survives_bf16


def test_noise_of_the_base_lies_at_its_own_edge() -> None:
    """An update that looks like the base, of full rank, has a ratio near one."""
    noise = _weight(300, 200, seed=7)
    found = update_spectrum("layer", LowRank(noise, torch.eye(300), 1.0), _weight(300, 200))
    assert found.update is not None
    assert found.update.sigma_ratio == pytest.approx(1.0, abs=0.05)


def test_alpha_does_not_depend_on_scale() -> None:
    A, B = _factors(60, 50, 24)
    small, large = (update_spectrum("layer", LowRank(A, B, scale), _weight(60, 50)) for scale in (1e-6, 1e6))
    assert small.spectrum.alpha is not None
    assert small.spectrum.alpha == pytest.approx(large.spectrum.alpha, rel=1e-9)


@pytest.mark.parametrize("where", ["A", "B", "base", "flat base"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_numbers_are_reported_and_fit_into_json(tmp_path: Path, where: str, value: float) -> None:
    (A, B), weight = _factors(16, 12, 4), _weight(16, 12)
    broken = {"A": A, "B": B, "base": weight}.get(where)
    if broken is not None:
        broken[0, 0] = value
    else:
        weight = torch.ones(16, 12)
    found = update_spectrum("layer", LowRank(A, B, 8.0), weight)
    assert found.finite is (where == "flat base"), "a base whose entries do not differ is finite, and no measure"
    assert found.update is None
    write_record(tmp_path / "layer.json", found)
    assert "NaN" not in (tmp_path / "layer.json").read_text()
    assert read_record(tmp_path / "layer.json", LayerSpectrum) == found


def test_untrained_adapter_is_a_zero_update() -> None:
    A, _ = _factors(16, 12, 4)
    found = update_spectrum("layer", LowRank(A, torch.zeros(16, 4), 8.0), _weight(16, 12))
    assert found.update is not None
    assert (found.finite, found.spectrum.norm, found.spectrum.stable_rank) == (True, 0.0, 0.0)
    assert found.update.survives_bf16 == 0.0
    assert found.spectrum.status is SpectrumStatus.ZERO
    assert found.spectrum.alpha is None


def test_report_reads_shards_scales_and_natural_order(tmp_path: Path) -> None:
    names = [LAYER.format(number) for number in (0, 2, 10)]
    weights = {name: _weight(16, 12, seed) for seed, name in enumerate(names)}
    factors = {name: _factors(16, 12, 4, seed) for seed, name in enumerate(names)}
    adapter, base = _folders(tmp_path / "one", weights, factors)
    plain = adapter_report(adapter, base)
    assert [layer.name for layer in plain.layers] == names
    assert (plain.adapter, plain.base) == (digest_tree(adapter), digest_tree(base))
    A, B = factors[names[1]]
    assert plain.layers[1].spectrum.norm == pytest.approx(float((B @ A * 8.0).norm()) ** 2, rel=1e-5)

    tensors = load_file(base / "model.safetensors")
    (base / "model.safetensors").unlink()
    homes = {name: f"model-{number}.safetensors" for number, name in enumerate(tensors)}
    for name, home in homes.items():
        save_file({name: tensors[name]}, base / home)
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": homes}))
    assert adapter_report(adapter, base).layers == plain.layers
    assert adapter_report(adapter, base, base_digest="known").base == "known"

    scaled, _ = _folders(tmp_path / "two", weights, factors, use_rslora=True)
    ratio = adapter_report(scaled, base).layers[0].spectrum.norm / plain.layers[0].spectrum.norm
    assert ratio == pytest.approx(4.0)  # alpha / sqrt(4) over alpha / 4


def test_report_equals_the_merge_that_peft_makes(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=32, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(3)
    model = LlamaForCausalLM(config)
    model.save_pretrained(tmp_path / "base", max_shard_size="8KB")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapted = get_peft_model(
        model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", init_lora_weights=False)
    )
    adapted.save_pretrained(str(tmp_path / "adapter"))
    report = adapter_report(tmp_path / "adapter", tmp_path / "base")
    after = adapted.merge_and_unload().state_dict()
    assert len(report.layers) == 2 * 7
    for layer in report.layers:
        change = after[f"{layer.name}.weight"] - before[f"{layer.name}.weight"]
        assert layer.spectrum.norm == pytest.approx(float(change.norm()) ** 2, rel=1e-4)
        assert layer.spectrum.spectral_norm == pytest.approx(float(torch.linalg.matrix_norm(change, 2)) ** 2, rel=1e-4)
    write_record(tmp_path / "report.json", report)
    assert read_record(tmp_path / "report.json", SpectralReport) == report


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no adapter", "does not exist"),
        ("not safetensors", "could not be read as safetensors"),
        ("no base", "holds no safetensors file"),
        ("other base", "has no tensor"),
        ("other shape", "must be"),
        ("dora", "use_dora"),
        ("IA3", "does not describe an adapter"),
        ("lone factor", "lacks a factor"),
        ("other tensor", "expected lora_A and lora_B"),
        ("index outside", "files of its own folder"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, fault: str, message: str) -> None:
    name, (A, B) = LAYER.format(0), _factors(16, 12, 4)
    config: dict[str, object] = {}
    if fault == "dora":
        config = {"use_dora": True}
    elif fault == "IA3":
        config = {"peft_type": "IA3"}
    weights = {"other" if fault == "other base" else name: _weight(16, 13 if fault == "other shape" else 12)}
    adapter, base = _folders(tmp_path, weights, {name: (A, B)}, **config)
    stored = adapter / "adapter_model.safetensors"
    prefix = f"base_model.model.{name}"
    if fault == "no adapter":
        stored.unlink()
    elif fault == "not safetensors":
        stored.write_bytes(b"\x00" * 40)
    elif fault == "no base":
        (base / "model.safetensors").unlink()
    elif fault == "lone factor":
        save_file({f"{prefix}.lora_A.weight": A}, stored)
    elif fault == "other tensor":
        save_file({f"{prefix}.lora_A.weight": A, f"{prefix}.lora_B.weight": B, "x.bias": A.clone()}, stored)
    elif fault == "index outside":
        outside = {"weight_map": {f"{name}.weight": "../other.safetensors"}}
        (base / "model.safetensors.index.json").write_text(json.dumps(outside))
    with pytest.raises(InputError, match=message):
        adapter_report(adapter, base)
