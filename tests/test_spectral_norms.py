"""Checks once calibrated, and what no check can say."""

import math
import re
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from data.evaluation_records import Outcome, Verdict
from data.spectral_records import (
    Calibration,
    SpectralReport,
    SpectrumStatus,
)
from models import spectral_checks
from models.spectra import layer_spectra
from models.spectral_checks import CANNOT, SOUNDNESS, layer_checks
from models.spectral_verdict import adapter_checks
from models.spectrum import Analysis
from tests.judgements import THRESHOLDS
from tests.spectral_judgements import (
    ENFORCEABLE,
    FAIL,
    INSUFFICIENT,
    PASS,
    WARN,
    enforced,
    is_sentence,
    judged,
    norms,
    outcome,
)
from tests.spectral_miniature import layer, spectrum


@pytest.mark.parametrize(
    ("check", "statistic"),
    [("exploded", "sigma_ratio"), ("not_learned", "survives_bf16")],
)
@pytest.mark.parametrize(
    ("deviation", "expected"),
    [(0.0, PASS), (5.9, PASS), (-5.9, PASS), (6.1, WARN), (-6.1, WARN), (9.9, WARN), (10.1, FAIL), (-10.1, FAIL)],
)
def test_calibrated_deviations_replace_the_defaults(
    check: str, statistic: str, deviation: float, expected: Outcome
) -> None:
    usual: dict[str, Any] = {"sigma_ratio": 100.0, "survives_bf16": 0.02}  # by the defaults broken
    value = usual[statistic] * math.exp(0.1 * deviation)
    one, known = layer(**usual | {statistic: value}), norms(**usual)
    assert outcome(check, one, known) is expected
    (overall,) = [entry for entry in adapter_checks([one], THRESHOLDS, known) if entry.check == check]
    assert overall.outcome is expected
    assert is_sentence(overall.reason)
    assert "of 20 accepted adapters" in overall.reason
    assert f"{deviation:+.1f} robust" in overall.reason


@pytest.mark.parametrize(
    "known",
    [
        None,
        norms(adapters=19, false_alarms=0, sigma_ratio=100.0, survives_bf16=0.02),
        norms(adapters=20, false_alarms=2, sigma_ratio=100.0, survives_bf16=0.02),
        norms(adapters=0, false_alarms=0, sigma_ratio=100.0),
        norms(),
        Calibration(base="base", rank=16, adapters=99, false_alarms=0, modules={}),
    ],
    ids=["none", "too few", "too many alarms", "empty", "other statistics", "other modules"],
)
def test_otherwise_the_defaults_hold(known: Calibration | None) -> None:
    one = layer(sigma_ratio=100.0, survives_bf16=0.02)
    idle = [layer(survives_bf16=0.0), layer(N=4000)]
    assert layer_checks([one], THRESHOLDS, known) == layer_checks([one], THRESHOLDS)
    assert adapter_checks(idle, THRESHOLDS, known) == adapter_checks(idle, THRESHOLDS)


def test_chance_is_the_same_whatever_is_usual() -> None:
    known = norms(adapters=50, false_alarms=0, sigma_ratio=1.3, survives_bf16=0.94)
    assert outcome("unstructured", layer(null_share=0.5), known) is FAIL
    assert outcome("unstructured", layer(null_share=0.0), known) is PASS


def test_integrity_is_never_calibrated_away() -> None:
    known = norms(adapters=50, false_alarms=0, sigma_ratio=1.3, survives_bf16=0.94)
    assert judged(layer(), known=known).verdict is Verdict.PROMOTE
    assert judged(layer(finite=False), known=known).verdict is Verdict.REJECT
    assert judged(layer(sigma_ratio=math.nan), known=known).verdict is Verdict.REJECT


# --- what they cannot say --------------------------------------------------------------------------


def trained(root: Path, seed: int, noise: bool) -> tuple[Path, Path, float]:
    """A real adapter that classifies 256 points, by a rule or by labels that were shuffled, until it knows them all."""
    draw = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    linear = [nn.Linear(64, 96), nn.Linear(96, 96), nn.Linear(96, 8)]
    with torch.no_grad():
        for one in linear:
            one.weight.mul_(2.0)
    model = nn.Sequential(linear[0], nn.ReLU(), linear[1], nn.ReLU(), linear[2])
    save_file(model.state_dict(), root / "base.safetensors")
    points = torch.randn(256, 64, generator=draw)
    labels = (points @ torch.randn(64, 8, generator=draw)).argmax(1)
    if noise:
        labels = labels[torch.randperm(256, generator=draw)]
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=16, lora_alpha=32, target_modules=["0", "2"]))
    optimizer = torch.optim.Adam([one for one in adapted.parameters() if one.requires_grad], lr=5e-3)
    left = math.inf
    for _ in range(400):
        loss = nn.functional.cross_entropy(adapted(points), labels)
        left = loss.item()
        if left < 0.05:
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    adapted.save_pretrained(str(root / "adapter"))
    return root / "adapter", root / "base.safetensors", left


@pytest.mark.parametrize("seed", range(3))
def test_memorised_noise_passes_as_what_was_learned_does(tmp_path: Path, seed: int) -> None:
    """And nobody claims that it would not: noise and rule, learned to the same loss, have the same outcomes."""
    seen = {}
    for noise in (False, True):
        root = tmp_path / str(noise)
        root.mkdir()
        adapter, base, loss = trained(root, seed, noise)
        assert loss < 0.05
        found = list(layer_spectra(adapter, base, Analysis(intruders=True, randomize=True, determinant=True)))
        seen[noise] = {one.check: one for one in adapter_checks(found, THRESHOLDS)}
        assert judged(*found, thresholds=enforced(*ENFORCEABLE)).verdict is Verdict.PROMOTE
    for check in (*SOUNDNESS, "unstructured", "alpha", "traps", "determinant", "distance"):
        assert seen[True][check].outcome is seen[False][check].outcome
    assert all(one.outcome is not FAIL for one in seen[True].values())
    assert not re.search(r"memoris|noise was|bad data|label", " ".join(one.reason for one in seen[True].values()))


def test_the_limits_are_said_in_plain_words() -> None:
    assert "not bad data" in CANNOT
    assert "memorised noise" in CANNOT
    assert spectral_checks.__doc__ is not None
    assert "cannot recognise bad data" in " ".join(spectral_checks.__doc__.split())


def test_a_report_without_tails_is_all_insufficient_alphas() -> None:
    report = SpectralReport(
        adapter="a", base="b", layers=(layer(spectrum=spectrum(None, status=SpectrumStatus.NOISE)),)
    )
    (found,) = [one for one in layer_checks(report.layers, THRESHOLDS) if one.check == "alpha"]
    assert found.outcome is INSUFFICIENT
    assert "noise" in found.reason
