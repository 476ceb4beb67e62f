"""What an arm is: its name, the rows that it trains on, and where and for how long it trains."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from bench.forgetting import Grid, units_of
from bench.forgetting_arms import ARMS, arm
from bench.forgetting_learner import Learner
from bench.forgetting_plans import PLANS, Size
from bench.forgetting_run import told_of
from bench.forgetting_world import World, world
from data.errors import InputError
from data.records import Standing
from data.wordings import held_out_names
from flows.train import one_pass
from models.packing import encode
from tests.forgetting_miniature import BASE, PARAMS, rows_on_a_day, shipped_world

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def known() -> World:
    return shipped_world()


# --- arms --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARMS)
def test_a_named_arm_says_its_name_and_its_name_gives_it_back(name: str) -> None:
    assert ARMS[name].name == name
    assert arm(name) == ARMS[name]


@pytest.mark.parametrize(
    "text",
    [
        "default,rank=8",
        "lora,rows=told,replay=0.05,rate=0.002",
        "full,steps=50,draw=1",
        "none,reads=fact",
        "default,rate=0.0012345678",
    ],
)
def test_an_arm_written_out_is_read_back_whole(text: str) -> None:
    assert arm(arm(text).name) == arm(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "lore", "default,rank=0", "default,steps=20,passes=1", "default,replay=2", "default,ranks=8"),
        *("default,rank", "default,", "default,steps=300,steps=200", "default,method=none"),
        *("none,steps=10", "full,rank=8", "raw,stale=true", "raw,kl=1", "default,shrink=1"),
    ],
)
def test_what_is_no_arm_is_said_to_be_none(text: str) -> None:
    with pytest.raises(InputError, match="is no arm"):
        arm(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("lora,steps=300", "default,steps=300"),
        ("lora,replay=0,steps=150", "asked,steps=150"),
        ("lora,rows=raw,replay=0", "raw"),
        ("lora,reads=bm25,rank=8", "default+retrieval,rank=8"),
        ("full,rate=0.002", "full,rate=0.002"),
    ],
)
def test_an_arm_is_called_by_the_nearest_name(text: str, name: str) -> None:
    assert arm(text).name == name


def test_unknown_experiments_are_named() -> None:
    with pytest.raises(InputError, match="'weeks' is no experiment"):
        units_of(Grid(plans=("weeks",)))


def test_a_base_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not on this machine"):
        world(str(tmp_path / "none"), PARAMS)


def test_quick_is_one_seed_of_small_experiments() -> None:
    units = units_of(Grid(quick=True, seeds=(4, 5)))
    assert {unit.seed for unit in units} == {4}
    assert all(unit.size == unit.plan.quick for unit in units)


def test_what_is_named_twice_is_run_once() -> None:
    twice = units_of(Grid(plans=("day", "day"), arms=("raw", "lora,rows=raw,replay=0"), seeds=(2, 2)))
    assert [(unit.plan.name, unit.arm.name, unit.seed) for unit in twice] == [("day", "raw", 2)]


# --- rows --------------------------------------------------------------------------------------------


def test_raw_text_states_each_fact_once(known: World) -> None:
    rows, changes = rows_on_a_day("raw", known)
    taught = [change for change in changes if change.standing.value in ("new", "replaced")]

    assert sorted(row.fact for row in rows) == sorted(change.fact.id for change in taught)
    assert not any(row.prompt for row in rows)


def test_statements_alone_ask_nothing_and_use_more_wordings_than_the_shipped_way(known: World) -> None:
    told, asked = rows_on_a_day("told", known)[0], rows_on_a_day("asked", known)[0]
    wordings = [{row.wording for row in rows if "/statement/" in row.wording} for rows in (told, asked)]

    assert not any(row.prompt for row in told)
    assert len(wordings[0]) == 10 > len(wordings[1])
    assert {row.purpose for row in asked} == {"fact", "refusal"}


@pytest.mark.parametrize("share", [0.05, 0.25])
def test_a_replay_share_is_one_of_all_rows(known: World, share: float) -> None:
    rows, _ = rows_on_a_day(f"default,replay={share}", known)
    replayed = [row for row in rows if row.replayed]
    assert len(replayed) / len(rows) == pytest.approx(share, abs=0.005)


def test_the_shipped_way_rehearses_every_fact_that_the_base_knows(known: World) -> None:
    rows, _ = rows_on_a_day("default", known)
    rehearsed = {row.fact for row in rows if row.replayed}
    stream = PLANS["flips"].make(known.book, 1, Size(days=3, entities=1, questions=1, flips=5))
    touched = {event.fact.id for event in stream.events}
    unchanged = {fact.id for fact in stream.known} - touched

    assert rehearsed == unchanged | {change.fact.id for change in known.held}


@pytest.mark.parametrize("name", ["raw", "told", "asked", "default"])
def test_no_new_fact_is_taught_in_a_wording_that_judges_it(known: World, name: str) -> None:
    rows, changes = rows_on_a_day(name, known)
    changed = {change.fact.id for change in changes}
    judging = {name for name in held_out_names(PARAMS.synthesize) if "/question/" in name}

    assert not {row.wording for row in rows if row.fact in changed} & judging


def test_refusals_come_as_often_as_asked_in_a_pass(known: World) -> None:
    rows, changes = rows_on_a_day("default,refusals=3", known)
    once = Counter(row.purpose for row in rows)
    seen = Counter(row.purpose for row in one_pass(rows, arm("default,refusals=3").train(PARAMS)))

    assert once["refusal"] == 7 * sum(change.standing is Standing.WITHDRAWN for change in changes) > 0
    assert seen == once | {"refusal": 3 * once["refusal"]}
    assert one_pass(rows, arm("default,refusals=1").train(PARAMS)) == rows
    assert one_pass(rows, PARAMS.train).count(next(row for row in rows if row.purpose == "refusal")) == (
        PARAMS.train.refusal_passes
    )


def test_who_starts_from_the_base_is_not_told_what_came_and_went(known: World) -> None:
    stream, base = PLANS["changes"].make(known.book, 1, Size(days=10, entities=5, questions=1)), set(known.book.known)
    gone = {
        name: [one.fact for one in told_of(arm(name), stream, 10) if one.standing is Standing.WITHDRAWN]
        for name in ("warm", "joint")
    }

    assert len(gone["joint"]) < len(gone["warm"])
    assert {fact.id for fact in gone["joint"]} == {fact.id for fact in gone["warm"]} & {fact.id for fact in base}


def test_passes_are_counted_over_the_rows(known: World, tmp_path: Path) -> None:
    rows, _ = rows_on_a_day("raw", known)
    learner = Learner(BASE, arm("raw,passes=80"), PARAMS, 1)
    once = sum(len(row.ids) for row in encode(rows, learner.tokenizer, PARAMS.train.window))
    cost = learner.learn(1, rows, tmp_path)

    assert cost.steps > 10
    assert 80 * once < cost.tokens < 1.1 * 80 * once


@pytest.mark.parametrize(("name", "anew"), [("joint", True), ("warm", False)])
def test_a_day_begins_at_the_base_or_goes_on(known: World, tmp_path: Path, name: str, anew: bool) -> None:
    shorter = f"{name},steps=10,replay=0.1"
    learner = Learner(BASE, arm(shorter), PARAMS, 1)
    rows, _ = rows_on_a_day(shorter, known)
    states = []
    for _ in range(2):
        learner.learn(1, rows, tmp_path)
        states.append([p.detach().clone() for p in learner.model.parameters() if p.requires_grad])
    assert all(torch.equal(one, other) for one, other in zip(*states, strict=True)) == anew
