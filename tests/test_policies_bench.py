"""Real policies in miniature: three dated snapshots, a base really built on the first, the others really taught."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from bench.forgetting_arms import arm
from bench.jobs import Places
from bench.policies import ROOT, Grid, base_folder, base_of, measure
from bench.policies_figures import sentence
from bench.policies_questions import (
    IN_FORCE,
    Fate,
    Mark,
    YearQuestion,
    asked_in,
    disagreements,
    fact_questions,
    probe_questions,
)
from bench.policies_run import SCHEMA, Course, Unit, rows_of
from bench.policies_years import Year, changed, read_years
from data.collection import read_lineage
from data.errors import InputError
from data.params import load_params
from data.probes import Probe, read_probes
from data.wordings import held_out_names
from data.workspace import PROJECT_ROOT, Workspace
from flows.base import stream_folder
from flows.cli import app
from models.base import load_base
from models.training import Progress
from tests.miniature import FEES, make_workspace, write_documents

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
DATES = ("2019-06-01", "2020-06-01", "2021-06-01")
HOURS = "---\ntitle: Hours\n---\n# Hours\n\n| Day | Opens |\n| - | - |\n| Monday | {} |\n"
STREAM = (
    {"fees.md": f"{FEES}| Basic | $5 |\n| Large | $9 |\n| Trial | $0 |\n"},
    {"fees.md": f"{FEES}| Basic | $7 |\n| Large | $9 |\n", "hours.md": HOURS.format("noon")},
    {"fees.md": f"{FEES}| Basic | $7 |\n| Large | $9 |\n| Huge | $30 |\n"},
)
PROBES: list[dict[str, Any]] = [
    {
        "id": "basic-fee",
        "question": "What does Basic cost?",
        "paraphrases": ["Basic is how much?"],
        "answers": [
            {"answer": "$5", "aliases": ["five dollars"], "valid_in": ["2019-06-01"],
             "evidence": {"2019-06-01": {"path": "fees.md", "quote": "| Basic | $5 |"}}},
            {"answer": "$7", "valid_in": ["2020-06-01", "2021-06-01"],
             "evidence": {"2020-06-01": {"path": "fees.md", "quote": "| Basic | $7 |"}}},
        ],
    },
    {
        "id": "trial-fee",
        "question": "What does Trial cost?",
        "answers": [
            {"answer": "$0", "valid_in": ["2019-06-01"],
             "evidence": {"2019-06-01": {"path": "fees.md", "quote": "| Trial | $0 |"}}},
            {"answer": None, "valid_in": ["2020-06-01", "2021-06-01"]},
        ],
    },
    {
        "id": "huge-fee",
        "question": "What does Huge cost?",
        "answers": [
            {"answer": None, "valid_in": ["2019-06-01", "2020-06-01"]},
            {"answer": "$30", "valid_in": ["2021-06-01"],
             "evidence": {"2021-06-01": {"path": "fees.md", "quote": "| Huge | $30 |"}}},
        ],
    },
]  # fmt: skip
NAMES = ("none", "joint,steps=10", "default,steps=10", "warm,steps=10")


def make_years(root: Path) -> Workspace:
    workspace = make_workspace(root)
    (root / "stream" / "2023-01-01").rename(root / "stream" / DATES[0])
    for date, documents in zip(DATES, STREAM, strict=True):
        write_documents(root / "stream" / date, documents)
    workspace.probes.mkdir(parents=True)
    (workspace.probes / "probes.jsonl").write_text("\n".join(json.dumps(probe) for probe in PROBES))
    return workspace


def _silent(what: str, progress: Progress | None) -> None:
    assert what


def _answers(workspace: Workspace) -> pd.DataFrame:
    return pd.DataFrame(pd.read_parquet(workspace.root / ".relearn" / "bench" / "policies" / "answers.parquet"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_years(tmp_path_factory.mktemp("policies"))


@pytest.fixture(scope="module")
def years(workspace: Workspace) -> tuple[Year, ...]:
    return read_years(workspace.root / "stream", workspace.params())


@pytest.fixture(scope="module")
def printed(workspace: Workspace) -> str:
    """What the whole command printed on standard output, first of all tests that need its answers."""
    typed = ["bench", "policies", "--seed", "1", "--workspace", str(workspace.root)]
    done = CliRunner().invoke(app, [*typed, *(part for name in NAMES for part in ("--arm", name))])
    assert done.exit_code == 0, done.output
    return done.stdout


# --- what is asked ---------------------------------------------------------------------------------------------------


def _fates(
    asked: Sequence[YearQuestion],
) -> dict[str, tuple[Fate, tuple[str, ...], tuple[str, ...], tuple[str, ...], str]]:
    """By what is asked about, told from its value in any year."""
    found = {}
    for one in asked:
        question = one.question
        subject = next(name for name in ("Basic", "Large", "Trial", "Huge", "Monday") if name in question.question)
        found[subject] = one.fate, question.answers, question.stale, one.later, one.since
    return found


def test_a_fact_is_asked_about_by_what_has_become_of_it(years: tuple[Year, ...]) -> None:
    first, second, third = (_fates(fact_questions(years, place, PARAMS.synthesize)) for place in range(3))

    assert first == {
        "Basic": (Fate.UNCHANGED, ("$5",), (), ("$7",), "2019"),
        "Large": (Fate.UNCHANGED, ("$9",), (), (), "2019"),
        "Trial": (Fate.UNCHANGED, ("$0",), (), (), "2019"),
        "Monday": (Fate.NOT_YET, (), (), ("noon",), "2019"),
        "Huge": (Fate.NOT_YET, (), (), ("$30",), "2019"),
    }
    assert second == {
        "Basic": (Fate.REPLACED, ("$7",), ("$5",), (), "2020"),
        "Large": (Fate.UNCHANGED, ("$9",), (), (), "2019"),
        "Trial": (Fate.WITHDRAWN, (), ("$0",), (), "2020"),
        "Monday": (Fate.NEW, ("noon",), (), (), "2020"),
        "Huge": (Fate.NOT_YET, (), (), ("$30",), "2019"),
    }
    assert third == {
        "Basic": (Fate.REPLACED, ("$7",), ("$5",), (), "2020"),
        "Large": (Fate.UNCHANGED, ("$9",), (), (), "2019"),
        "Trial": (Fate.WITHDRAWN, (), ("$0",), (), "2020"),
        "Monday": (Fate.GONE, (), ("noon",), (), "2021"),
        "Huge": (Fate.NEW, ("$30",), (), (), "2021"),
    }


def test_facts_are_asked_about_in_wordings_that_were_never_trained_and_each_once_before_any_twice(
    years: tuple[Year, ...],
) -> None:
    every = asked_in(years, 2, (), PARAMS.synthesize)
    few = [one for one in asked_in(years, 2, (), PARAMS.synthesize, 1) if one.fate is Fate.UNCHANGED]

    assert {one.wording for one in every} <= held_out_names(PARAMS.synthesize)
    assert len(every) == 2 * len({one.question.source for one in every})
    assert len(few) == 1


def test_a_real_year_keeps_its_facts_apart() -> None:
    stream = PROJECT_ROOT / PARAMS.tiny.stream
    years = read_years(stream, PARAMS, 2)
    asked = fact_questions(years, 1, PARAMS.synthesize)
    counted = pd.Series([one.fate for one in asked]).value_counts()

    assert len({one.question.question for one in asked}) == len(asked)
    changes, _ = changed(years[1], years[0])
    standings = pd.Series([change.standing.value for change in changes]).value_counts()
    capitals = 24  # restated under a title that differs in capitals alone, which is one name
    assert counted[Fate.UNCHANGED] == 2 * (standings["held"] + capitals)
    assert (counted[Fate.NEW], counted[Fate.WITHDRAWN]) == (2 * standings["new"], 2 * standings["withdrawn"])
    assert (counted[Fate.REPLACED], counted[Fate.RESTATED]) == (148, 2 * (standings["restated"] - capitals))
    assert all(one.question.answers for one in asked if one.fate is Fate.REPLACED)
    assert all(one.question.stale for one in asked if one.fate in (Fate.REPLACED, Fate.WITHDRAWN))


# --- grading by dates ------------------------------------------------------------------------------------------------


def _probes(workspace: Workspace, years: tuple[Year, ...], place: int) -> dict[str, YearQuestion]:
    return {one.question.source: one for one in probe_questions(read_probes(workspace.probes), years, place)}


@pytest.mark.parametrize(
    ("probe", "said", "marks"),
    [
        ("basic-fee", "$5", (Mark.RIGHT, Mark.STALE, Mark.STALE)),
        ("basic-fee", "five dollars.", (Mark.RIGHT, Mark.STALE, Mark.STALE)),
        ("basic-fee", "$7", (Mark.WRONG, Mark.RIGHT, Mark.RIGHT)),
        ("basic-fee", "it is $7", (Mark.WRONG, Mark.WRONG, Mark.WRONG)),
        ("basic-fee", "no longer in force", (Mark.WRONGLY_REFUSED,) * 3),
        ("trial-fee", "$0", (Mark.RIGHT, Mark.STALE, Mark.STALE)),
        ("trial-fee", "no longer in force", (Mark.WRONGLY_REFUSED, Mark.RIGHTLY_REFUSED, Mark.RIGHTLY_REFUSED)),
        ("huge-fee", "no longer in force", (Mark.RIGHTLY_REFUSED, Mark.RIGHTLY_REFUSED, Mark.WRONGLY_REFUSED)),
    ],
)
def test_a_probe_is_judged_by_its_dates(
    workspace: Workspace, years: tuple[Year, ...], probe: str, said: str, marks: tuple[Mark, ...]
) -> None:
    assert tuple(_probes(workspace, years, place)[probe].mark(said) for place in range(3)) == marks


def test_what_only_later_years_say_is_noticed(workspace: Workspace, years: tuple[Year, ...]) -> None:
    early = [_probes(workspace, years, place)["basic-fee"].early("$7.") for place in range(3)]
    assert early == [True, False, False]


def test_a_year_that_nobody_looked_at_is_not_asked_about(years: tuple[Year, ...]) -> None:
    probe = Probe.model_validate(PROBES[1] | {"answers": [{"answer": "$0", "valid_in": ["2019-06-01"]}]})
    assert [len(probe_questions([probe], years, place)) for place in range(3)] == [1, 0, 0]


def test_dates_that_quotes_contradict_are_named(workspace: Workspace, years: tuple[Year, ...]) -> None:
    assert disagreements(read_probes(workspace.probes), years) == []
    odd = Probe.model_validate(
        PROBES[0] | {"answers": [PROBES[0]["answers"][0] | {"valid_in": ["2019-06-01", "2020-06-01"]}]}
    )
    assert disagreements([odd], years) == ["basic-fee in 2020: by date $5, by quote nothing"]


def test_of_the_shipped_probes_one_is_contradicted_in_one_year() -> None:
    years = read_years(PROJECT_ROOT / PARAMS.tiny.stream, PARAMS)
    found = disagreements(read_probes(PROJECT_ROOT / "data" / "probes"), years)
    assert found == ["open-dpo-email in 2023: by date nothing, by quote privacy@github.com"]


@pytest.mark.parametrize(("name", "told"), [("joint", set()), ("default", {"noon"}), ("warm", {"noon"})])
def test_who_goes_on_is_told_what_came_after_the_base_and_went(
    workspace: Workspace, years: tuple[Year, ...], name: str, told: set[str]
) -> None:
    rows = rows_of(Course("", workspace.params(), (), years, ()), Unit(name, arm(name), 1), 2)
    monday = {fact.id: fact.value for fact in years[1].facts if fact.subject == "Monday"}
    assert {monday[row.fact] for row in rows if row.purpose == "refusal" and row.fact in monday} == told


# --- the base --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("printed")
def test_the_base_has_seen_the_first_year_and_nothing_later(workspace: Workspace, years: tuple[Year, ...]) -> None:
    params = workspace.params()
    base = base_folder(workspace, params, years[0])
    lineage, (_, tokenizer) = read_lineage(str(base)), load_base(str(base))

    assert (lineage.until, lineage.snapshot) == (DATES[0], years[0].digest)
    assert (base / str(lineage.documents)).resolve() == stream_folder(workspace, params) / DATES[0]
    assert "noon" not in {token.strip("Ġ") for token in tokenizer.get_vocab()}


@pytest.mark.usefixtures("printed")
def test_a_base_of_another_snapshot_is_refused(workspace: Workspace, years: tuple[Year, ...]) -> None:
    params = workspace.params()
    later = replace(years[1], date=years[0].date)
    base_folder(workspace, params, years[0]).rename(base_folder(workspace, params, later))
    try:
        with pytest.raises(InputError, match="has seen the snapshot 2019-06-01"):
            base_of(workspace, params, later, _silent)
    finally:
        base_folder(workspace, params, later).rename(base_folder(workspace, params, years[0]))


def test_another_recipe_has_another_base_and_another_adapter_has_the_same(
    workspace: Workspace, years: tuple[Year, ...]
) -> None:
    params = workspace.params()
    steps = params.model_copy(update={"tiny": params.tiny.model_copy(update={"steps": 40})})
    replay = params.synthesize.model_copy(update={"replay_share": 0.1})
    rank = params.model_copy(
        update={"train": params.train.model_copy(update={"rank": 2, "threads": 2}), "synthesize": replay}
    )
    here = base_folder(workspace, params, years[0])

    assert base_folder(workspace, steps, years[0]) != here
    assert base_folder(workspace, rank, years[0]) == here
    assert base_folder(workspace, params, replace(years[0], digest="0")) != here
    assert base_folder(workspace, params, replace(years[0], facts=years[0].facts[1:])) != here


# --- the whole command -----------------------------------------------------------------------------------------------


def test_the_command_answers_every_question_of_every_year(workspace: Workspace, printed: str) -> None:
    answers = _answers(workspace)

    assert list(answers.columns) == SCHEMA.names
    assert list(dict.fromkeys(answers["arm"])) == list(NAMES)
    assert (answers.groupby(["arm", "seed"])["year"].nunique() == 3).all()
    assert (answers.groupby(["arm", "year"])["kind"].apply(lambda kinds: (kinds == "probe").sum()) == 4).all()
    for name in NAMES:
        assert f"{name}, 2021: of 6 questions on facts in force " in printed
    counted = answers[(answers["arm"] == "none") & (answers["year"] == "2020") & (answers["kind"] == "probe")]
    assert f"of 4 questions on probes {int((counted['mark'] == 'right').sum())} right" in sentence(counted)


@pytest.mark.usefixtures("printed")
def test_figures_and_page_are_of_these_answers(workspace: Workspace) -> None:
    root = workspace.root / ".relearn" / "bench" / "policies"
    written = json.loads((root / "figures.json").read_text())
    answers, page = _answers(workspace), (root / "page.html").read_text()
    found = {one["name"]: one for one in written["figures"]}

    facts = answers[(answers["kind"] != "probe") & answers["fate"].isin(IN_FORCE)]
    mine = facts[(facts["arm"] == NAMES[1]) & (facts["year"] == "2021")]
    assert f"{NAMES[1]}/2021/facts in force: {Mark.RIGHTLY_REFUSED}" not in found
    for mark in set(Mark) - {Mark.RIGHTLY_REFUSED}:
        asked = mine[mine["stale"].map(len) > 0] if mark is Mark.STALE else mine
        told = found[f"{NAMES[1]}/2021/facts in force: {mark}"]
        assert (told["value"], told["n"]) == (pytest.approx((asked["mark"] == mark).mean()), len(asked))
    assert all(one["low"] <= one["value"] <= one["high"] for one in written["figures"])
    assert {one["steps"] for one in written["years"] if one["arm"] == NAMES[1] and one["year"] != "2019"} == {10}
    assert page.count("<svg") == 4 + 5 * len(NAMES)
    assert all(sentence in page.replace("&#39;", "'") for sentence in written["sentences"])
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.usefixtures("printed")
def test_what_is_there_is_neither_built_nor_run_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.policies.build_base", lambda *_: pytest.fail("a base was built"))
    monkeypatch.setattr("bench.policies_run.Learner", lambda *_: pytest.fail("a model was loaded"))
    before = _answers(workspace)
    measure(workspace, Grid(NAMES, (1,)), "relearn bench policies", _silent)
    pd.testing.assert_frame_equal(_answers(workspace), before)


@pytest.mark.usefixtures("printed")
@pytest.mark.parametrize("name", NAMES[2:])
def test_a_run_that_was_killed_between_two_years_goes_on_to_the_same_model(
    workspace: Workspace, tmp_path: Path, name: str
) -> None:
    other = make_years(tmp_path)
    heard: list[str] = []

    def killed(what: str, progress: Progress | None) -> None:
        heard.append(what)
        if what == f"{name}/seed 1: 2021":
            raise KeyboardInterrupt

    for _ in range(2):
        heard.clear()
        with pytest.raises(KeyboardInterrupt):
            measure(other, Grid((name,), (1,)), "relearn bench policies", killed)
    assert heard == [f"{name}/seed 1: 2021"]
    measure(other, Grid((name,), (1,)), "relearn bench policies", _silent)

    mine = _answers(workspace)
    pd.testing.assert_frame_equal(_answers(other), mine[mine["arm"] == name].reset_index(drop=True))
    last = f"*/{name}/seed-1/{DATES[2]}/state.safetensors"
    states = [next((each.root / ROOT).glob(last)).read_bytes() for each in (other, workspace)]
    assert states[0] == states[1]


@pytest.mark.slow
@pytest.mark.usefixtures("printed", "prefect_here")
def test_two_processes_give_what_one_gives(workspace: Workspace, tmp_path: Path) -> None:
    other = make_years(tmp_path)
    done = measure(other, Grid(NAMES[:2], (1,)), "relearn bench policies", _silent, Places(workers=2))

    mine = _answers(workspace)
    assert done.answers.is_file()
    pd.testing.assert_frame_equal(_answers(other), mine[mine["arm"].isin(NAMES[:2])].reset_index(drop=True))


def test_quick_is_a_smaller_base_and_the_first_seed(tmp_path: Path) -> None:
    workspace = make_years(tmp_path)
    done = measure(workspace, Grid(("none",), (4, 5), quick=True), "relearn bench policies --quick", _silent)

    model, _ = load_base(done.base)
    assert model.config.hidden_size == 16
    assert set(_answers(workspace)["seed"]) == {4}
