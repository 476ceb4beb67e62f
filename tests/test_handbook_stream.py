"""A handbook that changes: which value holds when, which cohort a fact is in, and what is asked about it."""

from collections import Counter
from collections.abc import Sequence
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from data.handbook import POOLS, entropy, handbook, newcomers
from data.handbook_history import history_rows
from data.handbook_questions import CHOICES, Asked, Form, ask
from data.handbook_stream import ATTRIBUTES, Daily, Story, Stream, changing, flipping, growing
from data.params import load_params
from data.records import Standing
from data.wordings import REFUSAL, held_out_names
from data.workspace import PROJECT_ROOT

BOOK = handbook(7, entities=20, withdrawn=4)
SYNTHESIZE = load_params(PROJECT_ROOT / "params.yaml").synthesize
SEEDS = st.integers(0, 1_000)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_newcomers_are_strangers_and_more_of_them_begin_with_the_same(seed: int) -> None:
    few, more = newcomers(seed, 3, BOOK, ATTRIBUTES), newcomers(seed, 5, BOOK, ATTRIBUTES)

    assert more[: len(few)] == few
    assert not {fact.subject for fact in more} & {fact.subject for fact in (*BOOK.known, *BOOK.withdrawn)}
    assert all(fact.value in POOLS[fact.attribute] for fact in more)


def test_the_entropy_of_a_fact_is_that_of_its_pool() -> None:
    assert sum(map(entropy, newcomers(1, 1, BOOK, ATTRIBUTES))) == pytest.approx(44.15, abs=0.01)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_values_follow_from_the_events_and_stories_from_the_values(seed: int) -> None:
    stream = changing(BOOK, seed, 4, Daily(entities=1, amended=4, withdrawn=2, restored=2))
    values: dict[str, list[str | None]] = {fact.id: [fact.value] for fact in stream.known}
    for day in range(1, stream.days + 1):
        for event in stream.events:
            if event.day == day:
                values.setdefault(event.fact.id, []).append(event.value)
        told = stream.told(day)
        assert {one.fact.id: list(one.values) for one in told} == values
        assert all(_story_is_right(one.values, one.story, one.added) for one in told)


def _story_is_right(values: Sequence[str | None], story: Story, added: int) -> bool:
    if len(values) == 1:
        return (story is Story.NEW) is (added > 0)
    if values[-1] is None:
        return story is Story.RETRACTED
    return story is (Story.REVERTED if values[-1] in values[:-1] else Story.FLIPPED)


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_changes_of_single_days_add_up_to_the_change_from_the_base(seed: int) -> None:
    stream = changing(BOOK, seed, 4, Daily(entities=1, amended=4, withdrawn=2, restored=2))
    held = {fact.id: fact.value for fact in stream.known}
    for day in range(1, stream.days + 1):
        for change in stream.changes(day, day - 1):
            if change.standing is Standing.WITHDRAWN:
                assert held.pop(change.fact.id) == change.fact.value
            elif change.standing in (Standing.NEW, Standing.REPLACED):
                assert held.get(change.fact.id) == change.old_value
                held[change.fact.id] = change.fact.value
            else:
                assert held[change.fact.id] == change.fact.value
    whole = stream.changes(stream.days)
    assert {one.fact.id: one.fact.value for one in whole if one.standing is not Standing.WITHDRAWN} == held
    gone = {one.fact.id for one in stream.told(stream.days) if one.story is Story.RETRACTED}
    assert {one.fact.id for one in whole if one.standing is Standing.WITHDRAWN} == gone, "newcomers, too"


def test_no_fact_has_two_events_on_one_day_and_every_kind_of_event_happens() -> None:
    stream = changing(BOOK, 3, 6, Daily(entities=2, amended=5, withdrawn=3, restored=3))

    assert max(Counter((event.day, event.fact.id) for event in stream.events).values()) == 1
    assert {one.story for one in stream.told(6)} >= {Story.NEW, Story.FLIPPED, Story.RETRACTED, Story.REVERTED}


def test_flips_leave_every_changed_product_facts_that_hold() -> None:
    stream = flipping(BOOK, 5, 8, 2)
    told = stream.told(2)
    changed = {one.fact.subject for one in told if one.story in (Story.FLIPPED, Story.RETRACTED, Story.REVERTED)}
    counts = Counter(one.story for one in told)

    assert (counts[Story.FLIPPED], counts[Story.RETRACTED], counts[Story.REVERTED]) == (8, 8, 8)
    assert changed <= {one.fact.subject for one in told if one.story is Story.SAME_SUBJECT}
    assert {one.story for one in told if one.fact.subject in changed and len(one.values) == 1} == {Story.SAME_SUBJECT}
    assert (len(changed), counts[Story.UNTOUCHED] > 0) == (12, True)


def test_same_value_is_still_right_for_another_product() -> None:
    stream = flipping(BOOK, 5, 8, 2)
    told = stream.told(1)
    gone = {(one.fact.attribute, one.values[0]) for one in told if one.added == 0 and one.changed}

    assert all((one.fact.attribute, one.fact.value) in gone for one in told if one.story is Story.SAME_VALUE)
    assert any(one.story is Story.SAME_VALUE for one in told)


def test_a_day_takes_effect_on_its_date() -> None:
    first, second = growing(BOOK, 1, 2, 1).events[0], growing(BOOK, 1, 2, 1).events[-1]
    assert (second.effective - first.effective).days == 1


# --- questions ---------------------------------------------------------------------------------------


def _asked(stream: Stream, day: int, form: Form) -> list[Asked]:
    return ask(stream.told(day), form, SYNTHESIZE, 1)


def test_held_out_questions_are_in_wordings_that_no_new_fact_is_trained_in() -> None:
    stream, held_out = flipping(BOOK, 5, 8, 2), held_out_names(SYNTHESIZE)

    assert {one.wording for one in _asked(stream, 1, Form.HELD_OUT)} <= held_out
    assert not {one.wording for one in _asked(stream, 1, Form.SEEN)} & held_out


def test_what_is_right_and_what_is_stale_follows_the_day() -> None:
    stream = flipping(BOOK, 5, 8, 2)
    for one in _asked(stream, 1, Form.HELD_OUT):
        if one.told.story is Story.RETRACTED:
            assert (one.question.answers, one.question.stale) == ((), (one.told.fact.value,))
        elif one.told.story is Story.FLIPPED:
            assert (one.question.answers, one.question.stale) == ((one.told.fact.value,), (one.told.values[0],))
    reverted = [one for one in _asked(stream, 2, Form.HELD_OUT) if one.told.story is Story.REVERTED]
    assert reverted
    assert all((one.told.values[0],) == one.question.answers for one in reverted)
    assert all((one.told.values[1],) == one.question.stale for one in reverted)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_choices_are_the_right_answer_old_ones_and_others_of_the_pool(seed: int) -> None:
    stream = changing(BOOK, seed, 6, Daily(entities=1, amended=8, withdrawn=3, restored=3))
    asked = ask(stream.told(6), Form.CHOICE, SYNTHESIZE, seed)

    assert {one.told.fact.id for one in asked} == {
        fact.id for fact in (one.fact for one in stream.told(6)) if fact.attribute != "child lock"
    }
    for one in asked:
        right, *others = sorted(one.choices, key=lambda choice: choice not in (one.question.answers or (REFUSAL,)))
        assert (right,) == (one.question.answers or (REFUSAL,))
        assert len({right, *others}) == CHOICES == 4
        assert set(others) <= set(POOLS[one.told.fact.attribute])
        assert set(one.question.stale[-3:]) <= set(others)
        assert one.wording in held_out_names(SYNTHESIZE)


def test_choices_follow_from_the_fact_alone_and_the_right_one_stands_anywhere() -> None:
    stream = flipping(BOOK, 5, 8, 2)
    now = [one for one in stream.told(1) if one.values[-1] is not None]
    every = {one.question.id: one for one in ask(now, Form.CHOICE, SYNTHESIZE, 1)}
    some = ask(now[::-1][:40], Form.CHOICE, SYNTHESIZE, 1)
    places = Counter(one.choices.index(one.told.fact.value) for one in every.values())

    assert all(one == every[one.question.id] for one in some)
    assert some != ask(now[::-1][:40], Form.CHOICE, SYNTHESIZE, 2)
    assert chisquare([places[place] for place in range(CHOICES)]).pvalue > 0.01
    assert not set(every) & {one.question.id for one in _asked(stream, 1, Form.HELD_OUT)}


def test_before_wants_the_replaced_value_and_takes_the_present_one_for_stale() -> None:
    for one in _asked(flipping(BOOK, 5, 8, 2), 1, Form.BEFORE):
        assert one.question.answers == (one.told.values[-2],)
        assert one.told.story in (Story.FLIPPED, Story.RETRACTED)
        assert (one.told.values[-1] in one.question.stale) is (one.told.story is Story.FLIPPED)


def test_dated_names_the_day_from_which_the_change_holds() -> None:
    asked = _asked(flipping(BOOK, 5, 8, 2), 2, Form.DATED)
    same = {one.told.fact.id: one.question for one in _asked(flipping(BOOK, 5, 8, 2), 2, Form.BEFORE)}

    assert {one.told.story for one in asked} == {Story.FLIPPED, Story.RETRACTED, Story.REVERTED}
    for one in asked:
        on = "1" if one.told.changed == 1 else "2"
        assert one.question.question.startswith(f"Question: Before {on} January 2025, what was the ")
        wanted = same[one.told.fact.id]
        assert (one.question.answers, one.question.stale) == (wanted.answers, wanted.stale)
    back = next(one for one in asked if one.told.story is Story.REVERTED)
    assert back.told.effective == date(2025, 1, 2)
    assert back.question.answers == (back.told.values[1],)


def test_history_is_told_in_words_that_judge_nothing() -> None:
    stream = flipping(BOOK, 5, 8, 2)
    told = [one for one in stream.told(2) if one.changed]
    rows = list(history_rows(told, "facts", "template", 1))
    judging = {one.question.question for form in (Form.BEFORE, Form.DATED) for one in _asked(stream, 2, form)}
    ended = {one.fact.id: one.replaced for one in told if one.replaced}

    assert {row.fact for row in rows} == set(ended)
    assert len(rows) == 9 * len(ended)
    assert all(str(ended[row.fact]) in row.completion for row in rows)
    assert not {row.prompt for row in rows} & judging
    assert not any("{" in row.prompt + row.completion for row in rows)


@pytest.mark.parametrize("form", [Form.REVERSE, Form.TWO_HOP])
def test_a_product_is_described_by_what_it_alone_has(form: Form) -> None:
    stream = flipping(BOOK, 5, 8, 2)
    in_force = [one for one in stream.told(1) if one.values[-1] is not None]
    counts = Counter((one.fact.attribute, one.fact.value) for one in in_force)
    asked = _asked(stream, 1, form)

    assert asked
    for one in asked:
        said = one.question.question
        named = [key for key in counts if f"{key[0]} {key[1]}" in said or f"{key[1]} is the {key[0]}" in said]
        assert any(counts[key] == 1 for key in named)
        assert one.told.fact.subject not in said


def test_in_two_hops_a_product_is_named_by_what_changed_of_it() -> None:
    stream = flipping(BOOK, 5, 8, 2)
    now = [one for one in stream.told(1) if one.values[-1] is not None]
    counts = Counter((one.fact.attribute, one.fact.value) for one in now)
    alone = [one.fact for one in now if one.changed and counts[one.fact.attribute, one.fact.value] == 1]
    bridges = {
        fact.subject: [f"{one.attribute} {one.value}" for one in alone if one.subject == fact.subject] for fact in alone
    }
    asked = [one for one in _asked(stream, 1, Form.TWO_HOP) if one.told.story is Story.SAME_SUBJECT]
    named = [one for one in asked if one.told.fact.subject in bridges]

    assert named
    assert all(any(said in one.question.question for said in bridges[one.told.fact.subject]) for one in named)


def test_each_fact_is_asked_once_before_any_is_asked_twice() -> None:
    asked = _asked(growing(BOOK, 1, 1, 3), 1, Form.HELD_OUT)
    facts = len({one.told.fact.id for one in asked})

    assert len(asked) == 2 * facts
    assert len({one.told.fact.id for one in asked[:facts]}) == facts
