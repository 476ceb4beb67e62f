"""Context tasks: exact lengths, whole needles, seeds, grading, effective lengths, and a run on the shipped base."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer
from typer.testing import CliRunner

from bench.context import lengths_of
from bench.context_figures import figures
from bench.context_run import answered, most_tokens
from data.context_drafts import SEVERAL, Pool, Task, draft, pool
from data.context_tasks import DEPTHS, ROOM, Item, effective_length, items, recall
from data.context_text import placed
from data.errors import InputError
from data.handbook import handbook
from data.wordings import Form, question_prompt, wordings
from data.workspace import PROJECT_ROOT
from flows.cli import app
from models.adapters import new_lora, save_adapter
from models.base import load_base

BASE = PROJECT_ROOT / "data" / "bases" / "tiny"
BOOK = handbook(20240601)
TOKENIZER: Any = AutoTokenizer.from_pretrained(BASE, model_max_length=10**9)
LENGTHS = (96, 128, 256, 700)


def count(text: str) -> int:
    return len(TOKENIZER(text, add_special_tokens=False)["input_ids"])


def by_words(text: str) -> int:
    """A tokenizer of whole words, whose texts are not as long as their parts."""
    return len(text.split())


@pytest.fixture(scope="module")
def drawn_from() -> Pool:
    return pool(1, BOOK)


@pytest.fixture(scope="module", params=list(Task))
def asked(request: pytest.FixtureRequest) -> list[Item]:
    return [one for length in LENGTHS for one in items(request.param, length, 5, 1, count, BOOK)]


def _draft(one: Item, drawn_from: Pool) -> Any:
    return draft(one.task, random.Random(f"1/{one.task}/{one.length}/{one.number}"), drawn_from, one.length)


# --- texts -------------------------------------------------------------------------------------------


def test_lengths_are_exact_with_the_opening_token_and_the_room_for_the_answer(asked: list[Item]) -> None:
    assert {one.length for one in asked} >= {256, 700}
    for one in asked:
        assert 1 + count(one.prompt) + ROOM[one.task] == one.length


def test_no_needle_is_cut_and_the_question_ends_the_prompt(asked: list[Item], drawn_from: Pool) -> None:
    for one in asked:
        made = _draft(one, drawn_from)
        found = Counter(made.needles)
        assert one.prompt.endswith(f"\n{one.bare}")
        for needle, times in found.items():
            assert one.prompt.count(needle) >= times


def test_the_answers_stand_in_the_text_and_not_in_the_question(asked: list[Item]) -> None:
    for one in asked:
        context = one.prompt.removesuffix(one.bare)
        assert recall(context, one.answers) == 1
        assert recall(one.bare, one.answers) == 0


def test_the_room_holds_every_answer(asked: list[Item]) -> None:
    for one in asked:
        assert count(f" {', '.join(one.answers)}") < ROOM[one.task]


def test_seeds_reproduce_and_differ(asked: list[Item]) -> None:
    task = asked[0].task
    again, other = (items(task, 256, 5, seed, count, BOOK) for seed in (1, 2))
    assert again == [one for one in asked if one.length == 256]
    assert {one.prompt for one in again}.isdisjoint(one.prompt for one in other)


def test_more_questions_begin_with_the_same() -> None:
    assert items(Task.KEYS, 256, 8, 1, count, BOOK)[:5] == items(Task.KEYS, 256, 5, 1, count, BOOK)


def test_the_needle_stands_where_it_should() -> None:
    for one in items(Task.SINGLE, 700, 5, 1, count, BOOK):
        assert one.depth == pytest.approx(DEPTHS[one.number], abs=0.06)


def test_a_chain_stands_in_its_order_and_the_first_code_has_the_number() -> None:
    for one in items(Task.VARIABLES, 256, 5, 1, count, BOOK):
        number = one.bare.split("are ")[1].split("?")[0]
        told = [f"{code} is {before}." for before, code in zip((number, *one.answers), one.answers, strict=False)]
        places = [one.prompt.index(each) for each in told]
        assert places == sorted(places)


def test_common_words_are_the_most_common(drawn_from: Pool) -> None:
    for length in LENGTHS:
        for one in items(Task.WORDS, length, 5, 1, count, BOOK):
            words = Counter(one.prompt.removesuffix(f"\n{one.bare}").split())
            (*most, next_best) = words.most_common(SEVERAL + 1)
            assert {word for word, _ in most} == set(one.answers)
            assert next_best[1] < most[-1][1]


def test_needles_are_about_no_product_that_the_base_knows(drawn_from: Pool) -> None:
    known = {fact.subject for fact in (*BOOK.known, *BOOK.withdrawn)}
    assert known.isdisjoint(fact.subject for product in drawn_from.products for fact in product)


def test_what_does_not_fit_is_left_out_whole() -> None:
    assert items(Task.QUERIES, 64, 5, 1, count, BOOK) == []
    assert len(items(Task.QUESTION, 64, 10, 1, count, BOOK)) == 10
    assert items(Task.QUESTION, 64, 30, 1, count, BOOK) == []  # one of the first thirty is too long
    assert placed(["one two three"], "\nfour", [0.0], lambda draw: "five six", 3, by_words, "s") is None


@given(st.integers(4, 200), st.integers(0, 100))
def test_any_length_comes_out_with_another_tokenizer(tokens: int, seed: int) -> None:
    found = placed(["one two three"], "\nfour", [0.5], lambda draw: "five six seven", tokens, by_words, str(seed))
    assert found is not None
    assert by_words(found.text) == tokens
    assert "one two three" in found.text


def test_a_length_out_of_reach_is_said_to_be() -> None:
    with pytest.raises(InputError, match="No text of exactly 7 tokens"):
        placed(["one"], "\ntwo", [0.0], lambda draw: "three", 7, lambda text: 2 * len(text.split()), "s")


# --- grading and effective length --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ("", 0.0),
        ("  ", 0.0),
        ("$190 and 11.5 kg", 0.0),
        ("it is $19", 0.5),
        ("1.5 KG, then $19.", 1.0),
    ],
)
def test_recall_counts_whole_expected_strings(said: str, score: float) -> None:
    assert recall(said, ("$19", "1.5 kg")) == score


def test_an_empty_answer_passes_no_task(asked: list[Item]) -> None:
    assert all(recall("", one.answers) == 0 for one in asked)
    assert all(one.answers and all(each.strip() for each in one.answers) for one in asked)


@pytest.mark.parametrize(
    ("scores", "length"),
    [
        ({64: 1.0, 128: 0.9, 256: 0.5}, 128),
        ({256: 0.9, 64: 0.9, 128: 0.9}, 256),
        ({64: 0.9, 128: 0.1, 256: 1.0}, 64),
        ({64: 0.1, 128: 1.0}, None),
        ({64: 0.856}, 64),
        ({}, None),
    ],
)
def test_the_effective_length_ends_before_the_first_that_falls_short(
    scores: dict[int, float], length: int | None
) -> None:
    assert effective_length(scores, 0.856) == length


def test_figures_are_means_with_the_score_without_context_beside_each() -> None:
    rows = [
        {"task": task, "length": length, "score": score, "score_without": 0.25}
        for task, length, score in (("a", 64, 1.0), ("a", 64, 0.9), ("a", 128, 0.5), ("b", 64, 0.2))
    ]
    found = {one.name: one for one in figures(rows, 3, 0.856, "relearn bench context")}
    assert found["a/64/score"].value == pytest.approx(0.95)
    assert (found["a/64/score"].n, found["a/64/score"].seeds) == (2, (3,))
    assert found["all tasks/64/score"].value == pytest.approx(0.7)
    assert all(f"{name.removesuffix('score')}no context" in found for name in found if name.endswith("/score"))
    scored = [name.split("/score")[0] for name in found if name.endswith("/score")]
    assert scored == ["a/64", "a/128", "b/64", "all tasks/64", "all tasks/128"]
    assert found["a/effective length at 0.856"].value == 64
    assert found["all tasks/effective length at 0.856"].value == 0


# --- on the shipped base -----------------------------------------------------------------------------


def test_lengths_double_up_to_what_the_base_holds() -> None:
    model, tokenizer = load_base(BASE)
    assert most_tokens(model, tokenizer) == 1024
    assert lengths_of((), 1024) == (64, 128, 256, 512, 1024)
    assert lengths_of((), 1000) == (64, 128, 256, 512)
    with pytest.raises(InputError, match="the base holds 1 to 1024"):
        lengths_of((128, 1025), 1024)


def test_a_base_that_knows_the_answers_gets_them_right_without_the_context() -> None:
    """The zero of a base that cannot read its context would be worth nothing if nobody could score."""
    known = [fact for fact in BOOK.known if fact.attribute == "colour"][:6]
    questions = [question_prompt(wordings(fact.kind, Form.QUESTION)[0].render(fact)) for fact in known]
    asked = [
        Item(Task.SINGLE, 64, number, 0.0, question, question, (fact.value,))
        for number, (fact, question) in enumerate(zip(known, questions, strict=True))
    ]
    model, tokenizer = load_base(BASE)
    rows = answered(model, tokenizer, asked, 1)
    assert [row["score"] for row in rows] == [row["score_without"] for row in rows] == [1.0] * 6


def test_the_command_keeps_every_answer(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((PROJECT_ROOT / "params.yaml").read_bytes())
    typed = ["bench", "context", "--length", "64", "--length", "96", "--questions", "2", "--workspace", str(tmp_path)]
    done = json.loads(CliRunner().invoke(app, [*typed, "--json"]).stdout)
    rows = pq.read_table(done["answers"]).to_pylist()

    assert "multi-query/64" in done["left_out"]
    assert {one["below"] - one["tried"][0] for one in done["effective"]} == {0}
    assert done["effective"][-1]["statement"] == "below 64 tokens, the shortest tried"
    assert {(row["task"], row["length"]) for row in rows} >= {("single needle", 64), ("multi-key", 96)}
    for one in done["figures"]:
        task, place, kind = [*one["name"].split("/"), ""][:3]
        if kind == "score" and task != "all tasks":
            mine = [row["score"] for row in rows if (row["task"], str(row["length"])) == (task, place)]
            assert one["value"] == pytest.approx(sum(mine) / len(mine))
    assert {one["command"] for one in done["figures"]} == {
        "relearn bench context --length 64 --length 96 --questions 2 --seed 1 --threshold 0.856"
    }


def test_where_no_task_fits_the_answers_of_before_stay(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((PROJECT_ROOT / "params.yaml").read_bytes())
    typed = ["bench", "context", "--length", "1", "--questions", "1", "--workspace", str(tmp_path)]
    done = CliRunner().invoke(app, typed)
    assert isinstance(done.exception, InputError)
    assert "No task fits into 1 tokens" in str(done.exception)
    assert not (tmp_path / ".relearn" / "bench").exists()


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((PROJECT_ROOT / "params.yaml").read_bytes())
    done = CliRunner().invoke(
        app,
        [
            "bench",
            "context",
            "--length",
            "64",
            "--questions",
            "1",
            "--adapter",
            str(tmp_path),
            "--workspace",
            str(tmp_path),
        ],
    )
    assert isinstance(done.exception, InputError)
    assert "holds no adapter_model" in str(done.exception)


def test_an_adapter_is_put_onto_the_base(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((PROJECT_ROOT / "params.yaml").read_bytes())
    adapter = new_lora(load_base(BASE)[0], 2, 4, 0.0, 1)
    for name, values in adapter.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(values, std=0.5)
    save_adapter(adapter, tmp_path / "adapter", "tiny")
    typed = ["bench", "context", "--length", "64", "--questions", "3", "--workspace", str(tmp_path), "--json"]
    said = []
    for extra in ([], ["--adapter", str(tmp_path / "adapter")]):
        done = json.loads(CliRunner().invoke(app, [*typed, *extra]).stdout)
        said.append([row["said"] for row in pq.read_table(done["answers"]).to_pylist()])
    assert len(said[0]) == len(said[1])
    assert said[0] != said[1]
