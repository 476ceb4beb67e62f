"""Spectra in mid-training: the audit's own figures, a run that ends when they leave the band, rates by alpha."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from data.evaluation_records import Outcome
from data.files import read_record
from data.params import load_params
from data.report_records import TrainingReport
from data.spectral_records import SpectralReport
from data.workspace import PROJECT_ROOT, Workspace
from flows.audit import audit
from flows.ingest import ingest
from flows.progress import Lines
from flows.synthesize import synthesize
from flows.train import train
from models.adapters import new_lora, save_adapter
from models.base import load_base, save_base
from models.layer_rates import factors, hill_alpha, rates_by_layer, rates_by_parameter
from models.loss import labelled_loss
from models.packing import Batch, batches, encode, end_token
from models.spectra import adapter_report
from models.spectral_verdict import adapter_checks
from models.spectral_watch import SpectralWatch, base_weight, lora_layers
from models.training import Progress, Schedule, Watch, fit
from tests.fees import small
from tests.miniature import make_workspace, ready, with_base
from tests.test_training import ROWS, KilledError

WATCHED = Schedule(
    steps=12, learning_rate=1e-2, warmup_share=0.1, weight_decay=0.1, clip=1.0, seed=7, log_every=2,
    checkpoint_every=4, dtype=torch.float32, watch_every=4,
)  # fmt: skip
EXPLODES = replace(WATCHED, learning_rate=3.0, steps=40)


@pytest.fixture(scope="module")
def base(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases") / "base"
    save_base(small(tokenizer, layers=2), tokenizer, folder)
    return folder


def fresh(base: Path, dropout: float = 0.1) -> PeftModel:
    return new_lora(load_base(base)[0], rank=4, alpha=8, dropout=dropout, seed=2)


def stream(tokenizer: PreTrainedTokenizerBase) -> Iterator[Batch]:
    return batches(encode(ROWS, tokenizer, 64), end_token(tokenizer), 64, 4, seed=3)


# --- what is looked at -----------------------------------------------------------------------------


def test_the_last_look_is_what_the_audit_finds(base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    adapted = fresh(base)
    trained = fit(adapted, stream(tokenizer), WATCHED, tmp_path / "state", watch=SpectralWatch(adapted))
    save_adapter(adapted, tmp_path / "adapter", "base")
    layers = adapter_report(tmp_path / "adapter", base).layers
    assert [look.step for look in trained.looks] == [4, 8, 12]
    last = trained.looks[-1]
    ratios = {layer.name: layer.update.sigma_ratio for layer in layers if layer.update is not None}
    assert (last.layer, last.sigma_ratio) == max(ratios.items(), key=lambda pair: pair[1])
    assert last.stable_rank == np.median([layer.spectrum.stable_rank for layer in layers])
    assert last.effective_rank == np.median([layer.spectrum.effective_rank / 4 for layer in layers])
    assert last.null_share == np.median([layer.null_share for layer in layers if layer.null_share is not None])
    assert last.norm == pytest.approx(math.sqrt(sum(layer.spectrum.norm for layer in layers)), rel=1e-14)
    assert last.finite
    assert 0 < trained.looks[0].sigma_ratio < last.sigma_ratio, "the update grows"


def test_looking_changes_nothing_and_the_last_step_is_looked_at_whatever_the_interval(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    blind, seen = fresh(base), fresh(base)
    without = fit(
        blind, stream(tokenizer), replace(WATCHED, watch_every=0), tmp_path / "one", watch=SpectralWatch(blind)
    )
    with_looks = fit(
        seen, stream(tokenizer), replace(WATCHED, watch_every=10), tmp_path / "two", watch=SpectralWatch(seen)
    )
    assert without.looks == ()
    assert [look.step for look in with_looks.looks] == [10, 12]
    assert with_looks.losses == without.losses
    assert all(torch.equal(one, other) for one, other in zip(blind.parameters(), seen.parameters(), strict=True))


def test_an_adapter_that_was_never_trained_has_no_update(base: Path) -> None:
    look = SpectralWatch(fresh(base), limit=1e-9)(0)
    assert (look.finite, look.sigma_ratio, look.norm, look.outside) == (True, 0.0, 0.0, "")


# --- the band --------------------------------------------------------------------------------------


def test_a_run_that_explodes_ends_at_the_look_that_sees_it(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    adapted, heard = fresh(base), list[Progress]()
    watch = SpectralWatch(adapted, limit=40.0)
    trained = fit(adapted, stream(tokenizer), EXPLODES, tmp_path / "state", heard.append, watch)
    first = next(look.step for look in trained.looks if look.sigma_ratio > 40.0)
    assert trained.steps == first == trained.looks[-1].step < EXPLODES.steps
    assert len(trained.losses) == trained.steps / EXPLODES.log_every, "no interval is lost"
    assert trained.stopped.startswith(f"Training ended early, at step {first} of 40: the update of model.layers.")
    assert "more than 40 (train.stop_sigma_ratio)." in trained.stopped
    assert [progress.stopped for progress in heard] == [""] * (len(heard) - 1) + [trained.stopped]
    kept = fit(fresh(base), stream(tokenizer), EXPLODES, tmp_path / "blind", watch=None)
    assert (kept.steps, kept.stopped) == (EXPLODES.steps, "")


def test_without_a_limit_a_large_update_goes_on(base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    adapted = fresh(base)
    trained = fit(adapted, stream(tokenizer), EXPLODES, tmp_path, watch=SpectralWatch(adapted, limit=0.0))
    assert (trained.steps, trained.stopped) == (EXPLODES.steps, "")
    assert max(look.sigma_ratio for look in trained.looks) > 40.0


def test_a_run_that_leaves_the_band_at_its_last_step_was_not_cut_short(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    adapted = fresh(base)
    schedule = replace(WATCHED, watch_every=100)
    trained = fit(adapted, stream(tokenizer), schedule, tmp_path, watch=SpectralWatch(adapted, limit=1e-6))
    assert trained.looks[-1].outside
    assert (trained.steps, trained.stopped) == (12, "")


@pytest.mark.parametrize("limit", [0.0, 40.0])
def test_numbers_that_are_not_finite_end_a_run_whatever_the_limit(
    limit: float, base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    adapted = fresh(base)
    broken = dict(adapted.named_parameters())["base_model.model.model.layers.1.mlp.up_proj.lora_A.default.weight"]

    def break_it(progress: Progress) -> None:
        if progress.step == 6:
            broken.data[0, 0] = math.nan

    trained = fit(adapted, stream(tokenizer), WATCHED, tmp_path, break_it, SpectralWatch(adapted, limit))
    assert trained.steps == 8
    assert trained.stopped.endswith("holds numbers that are not finite.")
    assert not trained.looks[-1].finite
    save_adapter(adapted, tmp_path / "adapter", "base")
    checks = adapter_checks(adapter_report(tmp_path / "adapter", base).layers, load_params(SHIPPED).gates)
    assert {check.check: check.outcome for check in checks}["integrity"] is Outcome.FAIL


def ending(adapted: PeftModel, at: int) -> Watch:
    """Looks, and finds the update outside the band after ``at`` steps."""
    watch = SpectralWatch(adapted)
    return lambda step: watch(step).model_copy(update={"outside": "it was asked to end"} if step == at else {})


@pytest.mark.parametrize("ends_at", [12, 10])
@pytest.mark.parametrize("killed_at", [6, 8])
def test_a_resumed_run_has_seen_and_done_the_same(
    ends_at: int, killed_at: int, base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """With a look at every second step, half of them not at a checkpoint."""
    schedule = replace(WATCHED, watch_every=2)

    def kill(progress: Progress) -> None:
        if progress.step == killed_at:
            raise KilledError

    whole, killed, resumed = (fresh(base) for _ in range(3))
    expected = fit(whole, stream(tokenizer), schedule, tmp_path / "whole", watch=ending(whole, ends_at))
    with pytest.raises(KilledError):
        fit(killed, stream(tokenizer), schedule, tmp_path / "state", kill, ending(killed, ends_at))
    done = fit(resumed, stream(tokenizer), schedule, tmp_path / "state", watch=ending(resumed, ends_at))
    assert done == expected
    assert done.steps == ends_at
    assert bool(done.stopped) is (ends_at < schedule.steps)
    assert [look.step for look in done.looks] == list(range(2, ends_at + 1, 2))
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), resumed.parameters(), strict=True))


# --- rates -----------------------------------------------------------------------------------------


def test_at_uniform_rates_a_run_takes_the_steps_of_a_plain_loop(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """To the bit: AdamW over all matrices, the schedule's rate, clipped gradients, and nothing else."""
    ours, plain = fresh(base), fresh(base)
    losses = fit(ours, stream(tokenizer), WATCHED, tmp_path, watch=SpectralWatch(ours)).losses
    trained = [parameter for parameter in plain.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, betas=(0.9, 0.99), eps=1e-8, weight_decay=WATCHED.weight_decay)
    plain.train()
    found = []
    for step, batch in enumerate(itertools.islice(stream(tokenizer), WATCHED.steps)):
        torch.manual_seed(WATCHED.seed * 1_000_003 + step)
        optimizer.param_groups[0]["lr"] = WATCHED.rate(step)
        loss = labelled_loss(plain, batch, torch.device("cpu"))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(trained, WATCHED.clip)
        optimizer.step()
        found.append(loss.item())
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)
    assert losses == pytest.approx(
        [(one + two) / 2 for one, two in zip(found[::2], found[1::2], strict=True)], abs=1e-6
    )


def test_a_layers_factor_multiplies_its_own_steps_alone(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """After one step of AdamW without decay each entry has moved by the rate: B, whose gradient is not zero yet."""
    one_step = replace(WATCHED, steps=1, weight_decay=0.0, watch_every=0)
    uniform, halved = fresh(base, dropout=0.0), fresh(base, dropout=0.0)
    slow = "model.layers.0.self_attn.q_proj"
    by_layer = {name: 0.5 if name == slow else 1.0 for name, _ in lora_layers(halved)}
    assert slow in by_layer
    fit(uniform, stream(tokenizer), one_step, tmp_path / "one")
    given = rates_by_parameter(halved, by_layer)
    assert len(given) == 2 * len(by_layer)
    fit(halved, stream(tokenizer), one_step, tmp_path / "two", factors=given)
    for (name, full), (_, part) in zip(uniform.named_parameters(), halved.named_parameters(), strict=True):
        if "lora_B" in name:
            assert full.abs().max() > 0
            torch.testing.assert_close(part, full * (0.5 if slow in name else 1.0), rtol=1e-6, atol=0.0)


def test_rates_go_linearly_with_alpha_from_half_to_one_and_a_half() -> None:
    found = factors({"heavy": 2.0, "between": 3.0, "light": 6.0, "none": None})
    assert found == {"heavy": 0.5, "between": 0.75, "light": 1.5, "none": 1.0}
    assert set(factors({"one": 3.0, "other": 3.0, "none": None}).values()) == {1.0}
    assert factors({}) == {}


@pytest.mark.parametrize("alpha", [1.5, 2.5, 5.0])
def test_hills_estimate_finds_the_exponent_at_any_scale(alpha: float) -> None:
    draw = np.random.default_rng(11)
    found = [hill_alpha(draw.random(512) ** (-1.0 / (alpha - 1.0))) for _ in range(50)]
    known = [one for one in found if one is not None]
    assert len(known) == 50
    assert abs(np.mean(known) - alpha) < 3 * (alpha - 1) / math.sqrt(256 * 50)  # three standard errors
    values = draw.random(64) ** (-1.0 / (alpha - 1.0))
    assert hill_alpha(values * 2.0**-40) == hill_alpha(values * 2.0**40) == hill_alpha(values[::-1])


def test_what_has_no_exponent_is_trained_at_the_schedules_rate(base: Path) -> None:
    assert hill_alpha(np.ones(64)) is None
    assert hill_alpha(np.arange(1.0, 8.0)) is None
    assert hill_alpha(np.zeros(64)) is None
    adapted = fresh(base)
    zeroed, broken, *_ = [base_weight(layer) for _, layer in lora_layers(adapted)]  # the weights' own memory
    zeroed.zero_()
    broken[0, 0] = math.nan
    rates = rates_by_layer(adapted)
    assert list(rates.values())[:2] == [1.0, 1.0]
    assert {0.5, 1.5} <= set(rates.values()), "the others span the whole range"


# --- the stage -------------------------------------------------------------------------------------

SHIPPED = PROJECT_ROOT / "params.yaml"


@pytest.fixture(scope="module")
def synthesized(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = with_base(make_workspace(tmp_path_factory.mktemp("stage") / "workspace"))
    ingest(ready(workspace))
    synthesize(workspace)
    return workspace


def turned(workspace: Workspace, **changes: object) -> Workspace:
    params = yaml.safe_load(SHIPPED.read_text())["train"]
    mine = yaml.safe_load(workspace.params_file.read_text())
    kept = {"steps": 40, "checkpoint_every": 10, "watch_every": 10}
    mine["train"] |= {name: params[name] for name in ("learning_rate", "layer_rates", "stop_sigma_ratio")}
    mine["train"] |= kept | changes
    workspace.params_file.write_text(yaml.safe_dump(mine))
    return workspace


def test_a_stage_that_explodes_says_so_leaves_the_adapter_and_the_gate_rejects_it(
    synthesized: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = turned(synthesized, learning_rate=1.0)
    report = train(workspace, Lines("train").trained)
    assert report.steps < 40
    assert report.stopped in capsys.readouterr().err.replace("\n", "")
    assert read_record(workspace.adapter / "training.json", TrainingReport) == report
    again = (workspace.adapter / "training.json").read_bytes()
    train(workspace)
    assert (workspace.adapter / "training.json").read_bytes() == again, "no report depends on time"
    assert audit(workspace).layers
    layers = read_record(workspace.spectral / "report.json", SpectralReport).layers
    checks = {check.check: check for check in adapter_checks(layers, load_params(SHIPPED).gates)}
    assert checks["exploded"].outcome is Outcome.FAIL
    seen = max(layer.update.sigma_ratio for layer in layers if layer.update is not None)
    assert report.looks[-1].sigma_ratio == seen > 20.0


def test_a_good_run_is_left_alone_and_rates_by_alpha_are_another_run(synthesized: Workspace) -> None:
    uniform = train(turned(synthesized))
    assert (uniform.steps, uniform.stopped, uniform.rates) == (40, "", {})
    assert [look.step for look in uniform.looks] == [10, 20, 30, 40]
    by_alpha = train(turned(synthesized, layer_rates="alpha"))
    assert by_alpha.losses != uniform.losses
    assert (min(by_alpha.rates.values()), max(by_alpha.rates.values())) == (0.5, 1.5)
    assert len(by_alpha.rates) == 7, "every linear layer of its one block"
    unseen = train(turned(synthesized, watch_every=0))
    assert (unseen.looks, unseen.losses) == ((), uniform.losses)


def test_an_interval_between_losses_is_refused() -> None:
    with pytest.raises(ValueError, match=r"watch_every \(3\) is not a multiple"):
        replace(WATCHED, watch_every=3)


def test_a_report_of_before_is_read() -> None:
    """It says nothing of looks."""
    old = TrainingReport(
        base="b", rows="r", method="lora", seed=1, threads=1, device="cpu", dtype="float32", steps=1, tokens=1,
        parameters=1, losses=(1.0,), log_every=1,
    )  # fmt: skip
    kept = old.model_dump(mode="json", by_alias=True, exclude={"looks", "stopped", "rates"})
    assert TrainingReport.model_validate(kept) == old
    assert (old.looks, old.stopped, old.rates) == ((), "", {})
