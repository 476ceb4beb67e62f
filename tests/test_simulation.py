"""Years on a line in miniature: dated snapshots, real stages and a real ledger; gates let most things pass."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

from bench.policies_questions import Fate
from bench.simulation_line import OPERATOR, Done
from data.errors import InputError
from data.files import write_record
from data.records import Record
from data.workspace import Workspace
from flows.cli import app
from tasks import ledger, serving
from tasks.places import ledger_uri
from tests.fault_miniature import LENIENT
from tests.html_page import Page
from tests.test_policies_bench import make_years


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return small_years(tmp_path_factory.mktemp("simulation"))


def small_years(root: Path) -> Workspace:
    made = make_years(root)
    params = yaml.safe_load(made.params_file.read_text())
    params["gates"] |= LENIENT
    params["gates"]["modes"] = {**dict.fromkeys(params["gates"]["modes"], "shadow"), "integrity": "enforce"}
    params["registry"]["on_withdrawal"] = "rollback"
    made.params_file.write_text(yaml.safe_dump(params))
    return made


def simulate(workspace: Workspace, *more: str) -> Result:
    stream = str(workspace.root / "stream")
    return CliRunner().invoke(app, ["simulate", stream, "--workspace", str(workspace.root), "--json", *more])


@pytest.fixture(scope="module")
def printed(workspace: Workspace) -> str:
    done = simulate(workspace)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def steps(printed: str) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in json.loads(printed)["steps"]}


def line_of(printed: str) -> Workspace:
    return Workspace(Path(json.loads(printed)["line"]))


def test_every_snapshot_is_a_cycle_and_what_passes_serves(steps: dict[str, dict[str, Any]]) -> None:
    serves = {name: (step["version"], step["serves"], step["trained"]) for name, step in steps.items()}
    assert serves == {
        "documents of 2020-06-01": (2, 2, True),
        "documents of 2021-06-01": (3, 3, True),
        "rolled back": (None, 1, False),
        "promoted again": (None, 3, False),
        "withdrawn: fees.md": (None, 1, False),
        "the next cycle": (4, 4, True),
        "reinstated: fees.md": (None, 4, False),
        "the cycle after it": (3, 3, False),
    }, "version 2 rests on hours.md, which is gone by 2021"
    assert not any(step["refused"] for step in steps.values())
    assert 0 < steps["rolled back"]["switch_seconds"] <= steps["rolled back"]["seconds"]
    assert {name: step["as_before"] for name, step in steps.items() if step["as_before"] is not None} == {
        "rolled back": True,
        "promoted again": True,
        "withdrawn: fees.md": True,
        "the cycle after it": True,
    }


def test_no_champion_rests_on_the_withdrawn_document_after_the_next_cycle(
    printed: str, steps: dict[str, dict[str, Any]]
) -> None:
    assert steps["the next cycle"]["rests_on"] == []
    figures = {one["name"]: one["value"] for one in json.loads(printed)["figures"]}
    assert figures["cycles until no champion rests on the withdrawn document"] == 0, "registry.on_withdrawal: rollback"
    provenance = json.loads((line_of(printed).evidence(4) / "provenance.json").read_text())
    assert {one["role"] for one in provenance["documents"] if one["path"] == "fees.md"} <= {"refused"}


def test_every_decision_stands_there_with_its_reason(printed: str, steps: dict[str, dict[str, Any]]) -> None:
    decisions = json.loads(printed)["decisions"]
    assert decisions == [
        entry.model_dump(mode="json", exclude={"schema_"}) for entry in ledger.entries(ledger_uri(line_of(printed)))
    ]
    assert {entry["actor"] for entry in decisions} == {OPERATOR}
    first, after = steps["the cycle after it"]["entries"]
    reasons = [entry["reason"] for entry in decisions[first - 1 : after - 1] if entry["action"] == "promote"]
    assert reasons == ["The documents are again exactly those of version 3, which served before."]
    (lost,) = [entry for entry in decisions if entry["action"] == "accept-loss"]
    assert decisions[lost["number"]]["action"] == "intend", "2020's version goes in the cycle that agreed to the loss"


def test_every_version_is_asked_what_holds_at_every_time(printed: str) -> None:
    answers = pd.read_parquet(json.loads(printed)["answers"])
    asked = answers.groupby("arm").size()
    assert list(asked.index) == ["version 1, the base alone", "version 2", "version 3", "version 4", "what served"]
    assert asked.nunique() == 1
    times = {"2019": "version 1, the base alone", "2020": "version 2", "2021": "version 3", "withdrawn": "version 4"}
    assert set(answers["year"]) == set(times)
    for time, version in times.items():
        there = answers[answers["year"] == time]
        served, own = (there[there["arm"] == arm] for arm in ("what served", version))
        assert served["said"].tolist() == own["said"].tolist()
    gone = answers[(answers["year"] == "withdrawn") & (answers["arm"] == "version 3")]
    assert set(gone["fate"]) == {Fate.WITHDRAWN.value, Fate.GONE.value}, "no fact of what was withdrawn holds"


def test_the_page_shows_steps_decisions_and_curves(printed: str) -> None:
    text = Page(Path(json.loads(printed)["page"]).read_text()).text()
    for heading in ("What happened", "What served, and every version", "version 4"):
        assert heading in text
    assert "cycles until no champion rests on the withdrawn document 0.00" in text
    assert "rolled back: seconds from intent until all had followed" in text
    for entry in json.loads(printed)["decisions"]:
        assert entry["action"] == "intend" or entry["reason"] in text


def test_a_simulation_that_was_done_does_nothing_again(workspace: Workspace, printed: str) -> None:
    entries = len(ledger.entries(ledger_uri(line_of(printed))))
    again = simulate(workspace)
    assert (again.exit_code, again.stdout) == (0, printed)
    assert len(ledger.entries(ledger_uri(line_of(printed)))) == entries


class Killed(BaseException):
    """No code of ours may catch it."""


def test_a_kill_between_each_deed_and_its_record_changes_no_decision(
    tmp_path: Path, steps: dict[str, dict[str, Any]], printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[str] = []
    probe = serving.probe

    def kill_the_rollback(*given: Any) -> Any:
        if killed == list(steps)[:2]:
            killed.append("the rollback, after its intent")
            raise Killed
        return probe(*given)

    def kill_first(file: Path, record: Record) -> None:
        if isinstance(record, Done) and record.name not in killed:
            killed.append(record.name)
            raise Killed
        write_record(file, record)

    monkeypatch.setattr("bench.simulation_line.write_record", kill_first)
    monkeypatch.setattr("tasks.serving.probe", kill_the_rollback)
    other = small_years(tmp_path)
    for _ in (*steps, "the rollback"):
        with pytest.raises(Killed):
            simulate(other)
    done = simulate(other)
    assert done.exit_code == 0, done.output
    assert sorted(killed) == sorted([*steps, "the rollback, after its intent"])
    content = json.loads(done.stdout)
    taken, told = ([outline(entry) for entry in some["decisions"]] for some in (content, json.loads(printed)))
    assert taken == told
    for step in content["steps"]:
        whole = steps[step["name"]]
        assert step["resumed"]
        assert not whole["resumed"]
        assert step["switch_seconds"] is None, "what is timed again is not the decision"
        same = ("version", "verdict", "trained", "refused", "serves", "rests_on", "as_before", "entries")
        assert [step[name] for name in same] == [whole[name] for name in same]
    assert not [one["name"] for one in content["figures"] if "seconds" in one["name"]], "each would be of a part"


def outline(entry: dict[str, Any]) -> list[Any]:
    return [entry[name] for name in ("number", "actor", "action", "from_version", "to_version", "reason")]


def test_the_workspace_that_asked_for_it_is_not_touched(workspace: Workspace, printed: str) -> None:
    assert not (workspace.state / "mlflow.db").exists()
    assert not (workspace.state / "ledger.db").exists()


def test_a_stream_that_is_not_there_is_one_sentence(workspace: Workspace) -> None:
    done = CliRunner().invoke(app, ["simulate", "nowhere", "--workspace", str(workspace.root)])
    assert isinstance(done.exception, InputError)
    assert "There is no stream 'nowhere'. Name one of site-policy" in str(done.exception)
