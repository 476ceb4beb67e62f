"""Packing, training and generation: nothing is cut, nothing is lost, and a resumed run ends in the same bits."""

import errno
import itertools
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GenerationConfig,
    Lfm2Config,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    Qwen3Config,
)

from data.collection import as_collection, read_lineage
from data.errors import InputError, OutsideError
from data.files import write_record
from data.params import load_params
from data.records import Row
from data.report_records import TrainingReport
from data.workspace import PROJECT_ROOT, Workspace
from flows.base import build_base
from flows.inputs import require_base
from flows.train import Job, schedule, train_adapter
from models.adapters import load_adapter, new_lora, save_adapter, trained_parameters
from models.base import fetch_base, load_base, new_tiny, save_base
from models.device import autocast_dtype, choose_device, ran_out_of_memory
from models.generation import answer, logit_shift
from models.loss import labelled_loss
from models.packing import IGNORED, Batch, EncodedRow, batches, batches_of_passes, encode, end_token, keeps_rows_apart
from models.training import Progress, Schedule, Trained, fit
from tests.fees import TEXTS, small
from tests.miniature import NEW, make_workspace, write_documents

END = 0
SCHEDULE = Schedule(
    steps=12, learning_rate=1e-2, warmup_share=0.1, weight_decay=0.1, clip=1.0, seed=7, log_every=2,
    checkpoint_every=4, dtype=torch.float32,
)  # fmt: skip


def row(prompt: str, completion: str) -> Row:
    return Row(
        prompt=prompt, completion=completion, purpose="fact", wording="w", fact="f", document="d", digest="d", start=0,
        end=1, recipe="facts", teacher="template", seed=0,
    )  # fmt: skip


ROWS = [row(text.partition(" $")[0], f" ${text.partition(' $')[2]}") for text in TEXTS]


def stream(tokenizer: PreTrainedTokenizerBase) -> itertools.chain[Batch]:
    return itertools.chain(batches(encode(ROWS, tokenizer, 64), end_token(tokenizer), 64, 4, seed=3))


@given(st.lists(st.integers(1, 29), min_size=1, max_size=80), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_every_row_stands_whole_in_a_window_once_an_epoch(lengths: list[int], seed: int) -> None:
    rows = [EncodedRow((number + 1,) * length, (number + 1,) * length) for number, length in enumerate(lengths)]
    seen: dict[int, int] = {}
    windows = 0
    for batch in batches(rows, END, 30, 1, seed):
        ids, labels = batch.ids_BT[0].tolist(), batch.labels_BT[0].tolist()
        assert ids[0] == END
        assert labels[0] == IGNORED
        for token, run in itertools.groupby(ids[: batch.tokens][1:]):
            assert len(list(run)) == lengths[token - 1]
            seen[token] = seen.get(token, 0) + 1
        windows += 1
        if len(seen) == len(rows):
            break
    assert set(seen.values()) == {1}
    assert windows <= len(rows)


def test_a_row_sees_nothing_of_its_neighbours(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = encode(ROWS[:3], tokenizer, 64)
    (packed,) = itertools.islice(batches(rows, end_token(tokenizer), 128, 1, seed=3), 1)
    model = small(tokenizer)
    together = model(input_ids=packed.ids_BT, position_ids=packed.positions_BT, use_cache=False).logits[0]
    begins = [place for place in range(packed.tokens - 1) if packed.positions_BT[0, place] == 0]
    assert len(begins) == len(rows)
    for begin, end in itertools.pairwise([*begins, packed.tokens - 1]):
        alone = model(input_ids=packed.ids_BT[:, begin:end], use_cache=False).logits[0]
        torch.testing.assert_close(together[begin:end], alone)


TINY: dict[str, Any] = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.mark.parametrize(
    ("config", "apart"),
    [
        (Qwen3Config(**TINY, intermediate_size=64, num_key_value_heads=2, head_dim=16), True),
        (OPTConfig(**TINY, ffn_dim=64, word_embed_proj_dim=32), False),
        (BloomConfig(**TINY), False),
        (
            Lfm2Config(**TINY, intermediate_size=64, num_key_value_heads=2, layer_types=["conv"] * 2),
            False,
        ),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_a_model_that_lets_rows_see_one_another_is_known(config: PreTrainedConfig, apart: bool) -> None:
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert keeps_rows_apart(model, END) is apart


def test_rows_that_cannot_share_a_window_have_one_each_and_fill_a_step_all_the_same() -> None:
    rows = [EncodedRow((token,) * (1 + token % 5), (token,) * (1 + token % 5)) for token in range(1, 31)]
    alone = list(itertools.islice(batches(rows, END, 20, 2, seed=1, packed=False), 3))
    for batch in alone:
        assert 40 <= batch.tokens < 40 + 20
        assert all(len(set(ids.tolist()) - {END}) == 1 for ids in batch.ids_BT)
    seen = [int(ids[1]) for batch in alone for ids in batch.ids_BT]
    assert sorted(seen[:30]) == list(range(1, 31))


def test_a_control_token_in_a_document_is_text(tokenizer: PreTrainedTokenizerBase) -> None:
    (told,) = encode([row("", f"Write {tokenizer.eos_token} there.")], tokenizer, 64)
    assert told.ids.count(end_token(tokenizer)) == 1
    assert tokenizer.decode(told.ids[:-1]) == f"Write {tokenizer.eos_token} there."


def test_the_prompt_carries_no_loss_and_every_row_ends(tokenizer: PreTrainedTokenizerBase) -> None:
    (asked, told) = encode([row("Question: a?\nAnswer:", " $5"), row("", "The fee is $5.")], tokenizer, 64)
    prompt = len(tokenizer("Question: a?\nAnswer:")["input_ids"])
    assert set(asked.labels[:prompt]) == {IGNORED}
    assert asked.labels[prompt:] == asked.ids[prompt:]
    assert told.labels == told.ids
    assert asked.ids[-1] == told.ids[-1] == end_token(tokenizer)


def test_digits_stand_apart_and_text_survives_the_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    text = "Fee: $1,234.50 – “déjà vu” \u4e2d"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert not [piece for piece in tokenizer.convert_ids_to_tokens(ids) if sum(c.isdigit() for c in piece) > 1]


def test_the_loss_falls_and_the_model_answers(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    model = small(tokenizer)
    heard: list[Progress] = []
    trained = fit(model, stream(tokenizer), replace(SCHEDULE, steps=300, checkpoint_every=400), tmp_path, heard.append)
    assert trained.losses[-1] < trained.losses[0] / 4
    assert [progress.step for progress in heard] == list(range(2, 301, 2))
    answers = answer(model, tokenizer, [r.prompt for r in ROWS], new_tokens=8, batch=7)
    assert answers[0] == answer(model, tokenizer, [ROWS[0].prompt], new_tokens=8, batch=1)[0]
    right = sum(said == r.completion.strip() for said, r in zip(answers, ROWS, strict=True))
    assert right > len(ROWS) / 2


class KilledError(Exception):
    """Stands for kill -9 between two steps."""


@pytest.mark.parametrize("adapter", [False, True])
def test_a_resumed_run_ends_in_the_same_bits(adapter: bool, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    def fresh() -> torch.nn.Module:
        model = small(tokenizer)
        return new_lora(model, rank=4, alpha=8, dropout=0.1, seed=2) if adapter else model

    def kill(progress: Progress) -> None:
        if progress.step == 10:
            raise KilledError

    whole = fresh()
    expected = fit(whole, stream(tokenizer), SCHEDULE, tmp_path / "whole")
    with pytest.raises(KilledError):
        fit(fresh(), stream(tokenizer), SCHEDULE, tmp_path / "killed", kill)
    assert [p.name for p in (tmp_path / "killed").iterdir()] == ["step-00000008"]
    resumed, steps = fresh(), list[int]()
    seen = fit(resumed, stream(tokenizer), SCHEDULE, tmp_path / "killed", lambda progress: steps.append(progress.step))
    assert seen == expected
    assert steps[0] == 10, "it went on from step 8, and logs every second"
    for (name, one), (_, other) in zip(whole.state_dict().items(), resumed.state_dict().items(), strict=True):
        assert torch.equal(one, other), name


def test_a_schedule_warms_up_and_comes_down() -> None:
    schedule = replace(SCHEDULE, steps=100)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] < rates[5] <= max(rates) == schedule.learning_rate
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < schedule.learning_rate / 10
    with pytest.raises(ValueError, match="multiple"):
        replace(SCHEDULE, checkpoint_every=3)


def test_an_adapter_trains_little_leaves_the_base_alone_and_comes_back(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = small(tokenizer)
    save_base(model, tokenizer, tmp_path / "base")
    base, loaded_tokenizer = load_base(tmp_path / "base")
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    adapted = new_lora(base, rank=4, alpha=8, dropout=0.0, seed=2)
    assert trained_parameters(adapted) < sum(t.numel() for t in before.values()) / 2
    assert logit_shift(adapted, loaded_tokenizer, ["Question: x?"]) == 0.0
    fit(adapted, stream(tokenizer), SCHEDULE, tmp_path / "checkpoints")
    save_adapter(adapted, tmp_path / "adapter", "some/base")
    again, _ = load_base(tmp_path / "base")
    restored = load_adapter(again, tmp_path / "adapter")
    assert logit_shift(restored, loaded_tokenizer, ["Question: x?"]) > 0.0
    prompts = [r.prompt for r in ROWS[:5]]
    assert answer(restored, loaded_tokenizer, prompts, 8, 5) == answer(adapted, loaded_tokenizer, prompts, 8, 5)
    assert all(torch.equal(tensor, again.state_dict()[_inside(name)]) for name, tensor in before.items())


def test_many_rows_are_gone_through_as_often_as_few(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    save_base(small(tokenizer), tokenizer, tmp_path / "base")
    settings = load_params(PROJECT_ROOT / "params.yaml").train.model_copy(
        update={"steps": 10, "min_passes": 3.0, "tokens_per_step": 256, "window": 64, "rank": 2, "watch_every": 0}
    )
    plan = schedule(settings, 1, "cpu")

    def trained(copies: int) -> Trained:
        job = Job(str(tmp_path / "base"), ROWS * copies, settings, plan, "cpu", tmp_path / "checkpoints")
        return train_adapter(job).trained

    once = sum(len(row.ids) for row in encode(ROWS, tokenizer, 64))
    assert trained(1).steps == 10 > 3 * once / 256
    assert 3 * 12 * once < trained(12).tokens < 1.1 * 3 * 12 * once


@given(st.lists(st.integers(1, 40), min_size=30, max_size=90), st.integers(1, 4), st.booleans(), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_in_three_passes_every_row_comes_three_times(
    lengths: list[int], per_batch: int, packed: bool, seed: int
) -> None:
    rows = [EncodedRow((place + 1,) * length, (IGNORED,) * length) for place, length in enumerate(lengths)]
    steps = batches_of_passes(3, rows, 48, per_batch, seed, packed)
    stream = batches(rows, END, 48, per_batch, seed, packed)
    seen = torch.cat([batch.ids_BT.flatten() for batch in itertools.islice(stream, steps)]).bincount()
    came = [int(seen[place + 1]) / length for place, length in enumerate(lengths)]
    assert sum(came) >= 3 * len(rows) > sum(came) - 49 * (per_batch + 1)
    assert min(came) >= 2, "but for those in windows that wait to be filled"
    assert batches_of_passes(0, rows, 48, per_batch, seed, packed) == 0


def _inside(name: str) -> str:
    """PEFT renames a wrapped linear layer ``x.weight`` to ``x.base_layer.weight``."""
    module, _, leaf = name.rpartition(".")
    return f"{module}.base_layer.{leaf}" if module.endswith("_proj") else name


def test_the_loss_is_the_models_own(tokenizer: PreTrainedTokenizerBase) -> None:
    model, batch = small(tokenizer), next(stream(tokenizer))
    places = {"position_ids": batch.positions_BT, "use_cache": False}
    own = model(input_ids=batch.ids_BT, labels=batch.labels_BT, **places).loss
    ours = labelled_loss(model, batch, torch.device("cpu"))
    torch.testing.assert_close(ours, own)
    assert model(input_ids=batch.ids_BT).logits.shape[:2] == batch.ids_BT.shape  # nothing lingers
    nothing = replace(batch, labels_BT=torch.full_like(batch.labels_BT, IGNORED))
    assert labelled_loss(model, nothing, torch.device("cpu")) == 0


def test_a_discount_on_length_lets_rows_count_alike(tokenizer: PreTrainedTokenizerBase) -> None:
    """Of a told row and a short answer, the told one holds most tokens and so most of an undiscounted loss."""
    model, told, asked = small(tokenizer), row("", TEXTS[0]), row(*TEXTS[1].rsplit(" ", 1))

    def loss(rows: list[Row], discount: float) -> torch.Tensor:
        windows = batches(encode(rows, tokenizer, 128, discount), END, 128, 1, seed=1)
        return labelled_loss(model, next(windows), torch.device("cpu")).detach()

    lengths = torch.tensor(
        [float(sum(label != IGNORED for label in one.labels)) for one in encode([told, asked], tokenizer, 128)]
    )
    assert lengths[0] > 3 * lengths[1]
    alone = torch.stack([loss([told], 0.5), loss([asked], 0.5)])
    for discount in (0.0, 0.5, 1.0):
        weights = lengths ** (1 - discount)
        torch.testing.assert_close(loss([told, asked], discount), (alone * weights).sum() / weights.sum())


@pytest.mark.parametrize(
    "config",
    [Qwen3Config(**TINY, intermediate_size=64, num_key_value_heads=2, head_dim=16), BloomConfig(**TINY)],
    ids=lambda config: config.model_type,
)
def test_any_other_causal_model_goes_through_the_same_code(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    config.vocab_size = len(tokenizer)
    save_base(AutoModelForCausalLM.from_config(config), tokenizer, tmp_path / "other")
    model, loaded = load_base(tmp_path / "other")
    adapted = new_lora(model, rank=2, alpha=4, dropout=0.0, seed=1)
    adapted.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    trained = fit(adapted, stream(tokenizer), replace(SCHEDULE, steps=8), tmp_path / "checkpoints")
    assert trained.losses[-1] < trained.losses[0]
    assert len(answer(adapted, loaded, ["Question: x?"], 4, 1)) == 1


def test_every_base_answers_greedily_whatever_it_ships(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    for name in ("plain", "steered"):
        save_base(small(tokenizer), tokenizer, tmp_path / name)
    steered = GenerationConfig(repetition_penalty=1.5, no_repeat_ngram_size=2, num_beams=2, min_new_tokens=3)
    steered.save_pretrained(tmp_path / "steered")
    prompts = ["Question: What is the fee of plan 12?\nAnswer:", "plan plan plan"]
    plain, other = (load_base(tmp_path / name)[0] for name in ("plain", "steered"))
    for adapt in (lambda model: model, lambda model: new_lora(model, rank=2, alpha=4, dropout=0.0, seed=1)):
        assert answer(adapt(other), tokenizer, prompts, 12, 2) == answer(adapt(plain), tokenizer, prompts, 12, 2)


def test_a_base_is_said_to_know_what_it_was_trained_on_though_its_stream_was_edited_meanwhile(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    stream, params = tmp_path / "stream" / "2023-01-01", workspace.params()
    known, _ = as_collection(stream, params.ingest)
    out = build_base(workspace, tmp_path / "base", params, report=lambda _: write_documents(stream, NEW))
    assert as_collection(stream, params.ingest)[0].digest != known.digest
    assert read_lineage(str(out)).snapshot == known.digest


def test_a_base_of_the_hub_is_copied_with_its_revision(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a hub's cache as huggingface_hub lays it out; the network is switched off."""
    cache, copy = tmp_path / "hub", tmp_path / "bases" / "owner--name"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    with pytest.raises(OutsideError, match="could not be fetched"):
        fetch_base("owner/name", copy)
    assert not copy.exists()
    revision = cache / "models--owner--name" / "snapshots" / ("0" * 40)
    save_base(small(tokenizer), tokenizer, revision)
    (revision.parent.parent / "refs").mkdir()
    (revision.parent.parent / "refs" / "main").write_text(revision.name)
    fetch_base("owner/name", copy)
    assert json.loads((copy / "hub.json").read_text()) == {"id": "owner/name", "revision": revision.name}
    assert {file.name for file in revision.iterdir()} <= {file.name for file in copy.iterdir()}
    assert load_base(copy)[0].num_parameters() > 0


def test_a_full_disk_is_not_taken_for_a_hub_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_the_disk(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("models.base.snapshot_download", fill_the_disk)
    with pytest.raises(OutsideError, match=r"No space left on device.*Free the disk"):
        fetch_base("owner/name", tmp_path / "copy")


def test_a_base_that_was_fetched_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = (PROJECT_ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(settings.replace("base: data/bases/tiny", "base: owner/name"))
    workspace, fetched = Workspace(tmp_path), []

    def fetch(name: str, folder: Path) -> None:
        fetched.append((name, folder))
        folder.mkdir(parents=True)
        for file in ("config.json", "model.safetensors", "tokenizer.json"):
            (folder / file).touch()

    monkeypatch.setattr("models.base.fetch_base", fetch)
    for _ in range(2):
        require_base(workspace, workspace.params())
    assert fetched == [("owner/name", tmp_path / ".relearn" / "bases" / "owner--name")]
    assert workspace.base() == str(fetched[0][1])


@pytest.mark.parametrize(
    ("able", "dtype"),
    [
        ({"amx_bf16", "avx512_bf16"}, torch.bfloat16),
        ({"bf16"}, torch.bfloat16),
        ({"avx512_bf16"}, torch.float32),
        (set(), torch.float32),
    ],
)
def test_bfloat16_is_chosen_only_where_it_is_faster(
    able: set[str], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("avx2", "bf16", "avx512_bf16", "amx_bf16")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: name in able for name in names})
    assert autocast_dtype("auto", "cpu") is dtype
    assert autocast_dtype("auto", "cuda") is torch.bfloat16
    assert autocast_dtype("bfloat16", "cpu") is torch.bfloat16


def test_a_failed_allocation_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as failed:
        torch.empty(2**62, dtype=torch.int8)
    assert ran_out_of_memory(failed.value)
    assert not ran_out_of_memory(RuntimeError("shapes do not match"))


def test_an_adapter_without_a_configuration_does_not_fit(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    save_adapter(new_lora(small(tokenizer), 4, 8, 0.0, 1), tmp_path / "adapter", "b")
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="does not fit this base"):
        load_adapter(small(tokenizer), tmp_path / "adapter")


def test_clear_errors(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not be loaded"):
        load_base(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no adapter_model"):
        load_adapter(small(tokenizer), tmp_path)
    with pytest.raises(ValueError, match="not on this machine"):
        choose_device("tpu")
    save_adapter(new_lora(small(tokenizer), 4, 8, 0.0, 1), tmp_path / "adapter", "b")
    with pytest.raises(InputError, match="does not fit"):
        load_adapter(new_tiny(tokenizer, 1, layers=1, width=64, heads=2), tmp_path / "adapter")


def test_an_adapter_of_another_base_is_one_sentence(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    two, one = (small(tokenizer, layers) for layers in (2, 1))
    save_adapter(new_lora(two, 4, 8, 0.0, 1), tmp_path / "adapter", "two")
    with pytest.raises(InputError, match=r"does not fit this base \(of its 28 matrices 14 have a place among 14\)"):
        load_adapter(one, tmp_path / "adapter")
    report = TrainingReport(
        base="a" * 64, rows="", method="lora", seed=1, threads=1, device="cpu", dtype="float32", steps=1, tokens=1,
        parameters=1, losses=(1.0,), log_every=1,
    )  # fmt: skip
    write_record(tmp_path / "adapter" / "training.json", report)
    again = small(tokenizer, layers=2)
    with pytest.raises(InputError, match="was trained on the base aaaaaaaaaaaa, and this one is bbbbbbbbbbbb"):
        load_adapter(again, tmp_path / "adapter", "b" * 64)
    assert load_adapter(again, tmp_path / "adapter", "a" * 64) is not None
