"""Costs of ways of answering: lines over questions a day, where they cross, and none where there is none."""

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bench.break_even import Comparison, Line, compare
from bench.break_even_case import Case, Load, Prices, Training, Way, case, per_million
from bench.break_even_page import write_page
from bench.break_even_words import lines, sentences
from data.errors import InputError
from flows.cli import app
from tests.html_page import Page

amounts = st.floats(0, 1e4)
shares = st.floats(0, 1)
loads = st.builds(
    Load,
    documents_tokens=st.floats(1, 1e9),
    queries=st.floats(0, 1e7),
    changed=shares,
    prompt_tokens=st.floats(1, 1e4),
    answer_tokens=st.floats(1, 1e4),
    retrieved_tokens=st.floats(0, 1e5),
    window=st.floats(1e3, 1e7),
)
prices = st.builds(
    Prices, *[st.floats(0.001, 1e3)] * 5, index_day=amounts, written=amounts, trained=amounts, evaluation=amounts,
    serving_day=amounts, adapter_factor=st.floats(0.5, 3), wrong=st.floats(0, 10),
)  # fmt: skip
trainings = st.builds(
    Training, *[st.floats(0, 100)] * 4, horizon=st.floats(1, 1e4), cache_writes=st.floats(0, 1e3)
)  # fmt: skip
cases = st.builds(
    Case,
    loads,
    prices,
    trainings,
    st.tuples(*[shares] * 6).map(lambda given: tuple(zip(Way, given, strict=True))),
    shares,
)
EXAMPLE = Case(Load(100_000, 5_000))


def _choices(found: Comparison) -> list[Line]:
    return [one for one in found.lines if not one.hindrance]


@given(cases, st.floats(0, 1e7), st.floats(0, 1e7))
def test_costs_grow_with_questions(given: Case, one: float, other: float) -> None:
    few, many = sorted((one, other))
    for line in compare(given).lines:
        assert line.cost(few) <= line.cost(many)


@given(cases)
def test_at_a_crossing_both_cost_the_same_and_on_its_sides_the_named_one_is_cheaper(given: Case) -> None:
    found = compare(given)
    for one in found.crossings:
        below, above = found.line(one.below), found.line(one.above)
        assert below is not None
        assert above is not None
        assert below.cost(one.queries) == pytest.approx(above.cost(one.queries), rel=1e-9, abs=0.005)
        assert below.cost(0) < above.cost(0)
        assert below.each > above.each


@given(cases)
def test_two_choices_without_a_crossing_have_one_that_is_never_dearer(given: Case) -> None:
    found = compare(given)
    for one, other in itertools.combinations(_choices(found), 2):
        if found.crossing(one.way, other.way) is None:
            ahead = one.fixed - other.fixed, one.each - other.each
            assert ahead[0] * ahead[1] >= 0


@given(cases, st.floats(0, 1e8))
def test_the_stretches_name_the_cheapest_choice_everywhere(given: Case, queries: float) -> None:
    found = compare(replace(given, load=replace(given.load, queries=queries)))
    if not found.stretches:
        assert found.cheapest is None
        return
    starts = [start for start, _ in found.stretches]
    assert starts[0] == 0
    assert starts == sorted(starts)
    named = found.line([way for start, way in found.stretches if start <= queries][-1])
    assert named is not None
    assert found.cheapest is not None
    least = min(one.cost(queries) for one in _choices(found))
    assert named.cost(queries) == pytest.approx(least, rel=1e-9, abs=1e-9)
    assert found.cheapest.cost(queries) == least


@given(cases, st.floats(0.01, 100))
def test_another_currency_moves_no_crossing(given: Case, rate: float) -> None:
    money = {name: value * rate for name, value in vars(given.prices).items() if name != "adapter_factor"}
    one, other = compare(given), compare(replace(given, prices=replace(given.prices, **money)))

    for line, dearer in zip(one.lines, other.lines, strict=True):
        assert dearer.cost(given.load.queries) == pytest.approx(rate * line.cost(given.load.queries))
        assert dearer.hindrance == line.hindrance
    for crossing in one.crossings:  # lines that all but coincide may be told apart by their last bits alone
        below, above = one.line(crossing.below), one.line(crossing.above)
        assert below is not None
        assert above is not None
        if above.fixed > below.fixed * (1 + 1e-6) and below.each > above.each * (1 + 1e-6):
            moved = other.crossing(crossing.below, crossing.above)
            assert moved is not None
            assert moved.queries == pytest.approx(crossing.queries, rel=1e-6)


@given(cases, shares, shares)
def test_more_change_never_costs_less(given: Case, one: float, other: float) -> None:
    slow, fast = sorted((one, other))
    costs = [compare(replace(given, load=replace(given.load, changed=share))).lines for share in (slow, fast)]
    for before, after in zip(*costs, strict=True):
        assert before.fixed <= after.fixed * (1 + 1e-12)
        assert before.each == after.each


@given(cases)
def test_no_questions_and_no_change_divide_by_nothing(given: Case) -> None:
    still = compare(replace(given, load=replace(given.load, queries=0.0, changed=0.0)))
    assert [one.per_right(0.0) for one in still.lines] == [None] * len(still.lines)
    assert all(one.cost(0.0) == one.fixed for one in still.lines)
    assert sentences(still)
    assert "none" in lines(still)[1]


@given(cases)
def test_a_way_below_the_floor_is_never_recommended(given: Case) -> None:
    found = compare(given)
    named = {way for _, way in found.stretches} | {way for one in found.crossings for way in (one.below, one.above)}
    shares = dict(given.right)
    assert all(shares[way] >= given.floor for way in named)
    if all(share < given.floor for share in shares.values()):
        assert (found.cheapest, found.crossings, found.stretches) == (None, (), ())
        assert sentences(found)[0].startswith("No way is a choice")


def test_hand_counted_lines() -> None:
    load = Load(1_000_000, 100, 0.1, prompt_tokens=100, answer_tokens=50, retrieved_tokens=1_000, window=2_000_000)
    money = Prices(2, 10, 0.5, 4, 1, 3, 5, 0.5, 7, 11, 2, 0.25)
    found = compare(Case(load, money, Training(2, 3, 1, 4, 100, 6), tuple((way, 0.8) for way in Way), 0.5))
    question, wrong = 100 * 2e-6 + 50 * 10e-6, 0.2 * 0.25
    index = 3 + 1 * 1 / 100 + 0.1 * 1
    training = 2 * (5 + 3 * 0.5) / 100 + 0.1 * 2 * 5 + 0.4 * 2 * 3 * 0.5 + 7 + 11
    wanted = {
        Way.CLOSED: (0, question + wrong),
        Way.CONTEXT: (0, question + 2 + wrong),
        Way.CACHED: (6 * 4, question + 0.5 + wrong),
        Way.RETRIEVAL: (index, question + 1_000 * 2e-6 + 100 * 1e-6 + wrong),
        Way.ADAPTER: (training, 2 * question + wrong),
        Way.BOTH: (training + index, 2 * (question + 1_000 * 2e-6) + 100 * 1e-6 + wrong),
    }
    for one in found.lines:
        assert (one.fixed, one.each) == pytest.approx(wanted[one.way]), one.way


def test_documents_that_do_not_fit_are_no_choice_in_context() -> None:
    found = compare(Case(Load(10_000, 10, window=10_000)))
    assert [one.way for one in found.lines if not one.fits] == [Way.CONTEXT, Way.CACHED]
    assert not compare(Case(Load(10_000, 10, window=10_200))).line(Way.CONTEXT).hindrance  # type: ignore[union-attr]


def test_what_a_cycle_trains_is_never_more_than_all() -> None:
    costs = [
        compare(replace(EXAMPLE, training=replace(EXAMPLE.training, days=days))).line(Way.ADAPTER)
        for days in (100.0, 1e6)
    ]
    assert costs[0] == costs[1]


def test_training_beats_retrieval_from_the_crossing_on() -> None:
    said = " ".join(sentences(compare(EXAMPLE)))
    found = re.search(r"Training beats retrieval from ([\d,]+) questions a day on", said)
    assert found is not None
    most = int(found[1].replace(",", ""))
    for queries, better in ((most - 1, False), (most, True)):
        at = compare(replace(EXAMPLE, load=replace(EXAMPLE.load, queries=queries)))
        training, retrieval = at.line(Way.ADAPTER), at.line(Way.RETRIEVAL)
        assert training is not None
        assert retrieval is not None
        assert (training.cost(queries) <= retrieval.cost(queries)) is better


def test_a_rival_below_the_floor_is_said_to_be_none() -> None:
    weak = case(EXAMPLE.load, (), (), ("adapter=0.3", "adapter-retrieval=none"), 0.8)
    said = sentences(compare(weak))
    assert "There is no break-even of training and retrieval: training: 30.0% right, 80.0% asked for." in said
    assert compare(weak).line(Way.BOTH) is None
    assert not any("with retrieval" in one for one in said)


def test_hardware_by_the_hour_is_a_price_of_tokens() -> None:
    assert per_million(3.6, 1_000) == pytest.approx(1.0)
    with pytest.raises(InputError, match="expected more than 0"):
        per_million(3.6, 0)


@pytest.mark.parametrize("given", ["oil=3", "input=cheap", "input", "input=-1", "input=inf", "input=nan"])
def test_what_is_no_price_is_refused(given: str) -> None:
    with pytest.raises(InputError, match=r"NAME=NUMBER|expected a number from 0"):
        case(EXAMPLE.load, (given,), (), (), 0.8)


@pytest.mark.parametrize("given", ["oracle=0.5", "oracle=none", "adapter=1.5", "adapter=nan"])
def test_what_is_no_share_of_a_way_is_refused(given: str) -> None:
    with pytest.raises(InputError, match=r"NAME=NUMBER|no way of answering|no share"):
        case(EXAMPLE.load, (), (), (given,), 0.8)


def test_the_command_prints_figures_that_its_own_command_gives_again(tmp_path: Path) -> None:
    typed = ["bench", "break-even", "--documents-tokens", "100000", "--queries", "5000", "--price", "input=2"]
    page = tmp_path / "costs.html"
    first = json.loads(CliRunner().invoke(app, [*typed, "--json", "--html", str(page)]).stdout)
    again = first["figures"][0]["command"].split()[1:]
    second = json.loads(CliRunner().invoke(app, [*again, "--json"]).stdout)

    assert first["figures"] == second["figures"]
    assert {"adapter/cost a day", "retrieval to adapter/questions a day"} <= {one["name"] for one in first["figures"]}
    assert Path(first["page"]) == page


def test_hardware_by_the_hour_takes_the_place_of_the_price_of_tokens() -> None:
    typed = ["bench", "break-even", "--documents-tokens", "1e6", "--queries", "10", "--json"]
    hours = CliRunner().invoke(app, [*typed, "--hour-price", "3.6", "--tokens-per-second", "500"]).stdout
    tokens = CliRunner().invoke(app, [*typed, "--price", "trained=2"]).stdout
    costs = [{one["name"]: one["value"] for one in json.loads(said)["figures"]} for said in (hours, tokens)]
    assert costs[0] == costs[1]
    assert CliRunner().invoke(app, [*typed, "--hour-price", "3.6"]).exit_code != 0


def test_the_page_draws_every_way_and_loads_nothing(tmp_path: Path) -> None:
    text = write_page(tmp_path / "costs.html", compare(EXAMPLE), "relearn bench break-even").read_text("utf-8")
    page = Page(text)
    assert page.names().count("svg") == 1
    assert "script" not in page.names()
    assert all(sentence in page.text() for sentence in sentences(compare(EXAMPLE)))
    assert page.text().count("no: 10.0% right") == 1


@given(cases)
def test_every_case_can_be_drawn(given: Case) -> None:
    from bench.break_even_page import picture

    assert "nan" not in picture(compare(given))
