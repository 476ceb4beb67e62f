"""The commands by which people decide: what scripts get from them, what people read, and how a refusal ends."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from data.errors import PersonNeededError, RelearnError
from data.files import write_text
from data.workspace import Workspace
from flows.cli import app
from tasks import ledger
from tasks.places import ledger_uri
from tests import line_miniature as line
from tests.fault_miniature import copied
from tests.programs import RELEARN, without_prefect

SWITCHED = {"from", "to", "actor", "reason", "seconds", "notes"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    return line.make_template(tmp_path_factory.mktemp("commands") / "line", weights).root


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Workspace:
    """A line on which version 2 serves, 3 and 5 pass and 4 is held."""
    return copied(template, tmp_path / "line")


def called(workspace: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--workspace", str(workspace.root)])


def said(workspace: Workspace, *arguments: str) -> dict[str, Any]:
    """What a script gets."""
    content: dict[str, Any] = json.loads(called(workspace, *arguments, "--json").stdout)
    return content


def test_scripts_get_the_keys_they_rely_on(workspace: Workspace) -> None:
    promoted = said(workspace, "promote", "3", "--reason", "checked")
    assert (set(promoted), promoted["from"], promoted["to"]) == (SWITCHED, 2, 3)
    back = said(workspace, "rollback", "--reason", "wrong", "--to", "2")
    assert (set(back), back["from"], back["to"], back["reason"]) == (SWITCHED, 3, 2, "wrong")
    assert set(said(workspace, "reject", "5", "--reason", "no")) == {"version", "actor", "reason"}
    found = said(workspace, "impact", "hours.md")
    assert set(found) == {"document", "rows", "adapters", "versions", "rests", "refuses", "bases", "unknown"}
    assert found["versions"] == [3, 4, 5]
    gone = said(workspace, "withdraw", "fees.md", "--reason", "no longer")
    assert set(gone) == SWITCHED | {"document", "path"}
    assert (gone["path"], gone["from"]) == ("fees.md", 2)
    assert said(workspace, "status")["champion"]["rests_on_withdrawn"]
    again = said(workspace, "reinstate", "fees.md", "--reason", "it holds")
    assert set(again) == set(gone)
    entries = said(workspace, "history", "--verify")
    assert entries["intact"]
    assert {"time", "actor", "action", "from", "to", "reason", "digest"} <= set(entries["entries"][0])
    assert [one["action"] for one in entries["entries"]][-2:] == ["withdraw", "reinstate"]


def shell(workspace: Workspace, who: str, *arguments: str) -> "subprocess.Popen[str]":
    """A command that somebody types in a shell of their own."""
    command = [str(RELEARN), *arguments, "--workspace", str(workspace.root)]
    mine = without_prefect() | {"RELEARN_ACTOR": who}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=mine)


def test_of_two_operators_at_two_shells_one_wins_and_the_other_is_told_who_and_why(workspace: Workspace) -> None:
    note = workspace.lock.with_suffix(".json")
    params = yaml.safe_load(workspace.params_file.read_text())
    params["people"]["actor"] = "ada"
    write_text(workspace.params_file, yaml.safe_dump(params))
    first = shell(workspace, "", "promote", "3", "--reason", "legal agreed")
    while not note.exists():
        assert first.poll() is None, first.stderr
        time.sleep(0.002)
    first.send_signal(signal.SIGSTOP)  # in the midst of it
    second = shell(workspace, "bo", "rollback", "--to", "1", "--reason", "it is wrong")
    told = second.communicate(timeout=120)[1]
    first.send_signal(signal.SIGCONT)
    won = first.communicate(timeout=120)[0]
    assert (second.returncode, first.returncode) == (1, 0), told
    assert "held by the promotion of version 3" in told
    assert 'begun by ada because: "legal agreed". Wait for it, then run the same command again.' in told
    assert won.startswith("Version 3 serves now (before: 2).")
    champion = ledger.state(ledger_uri(workspace)).champion
    assert champion is not None
    assert (champion.to_version, champion.actor, champion.reason) == (3, "ada", "legal agreed")


def test_a_stricter_policy_is_shown_before_and_takes_the_champion_after(workspace: Workspace) -> None:
    assert said(workspace, "gates", "show")["warnings"] == []
    params = yaml.safe_load(workspace.params_file.read_text())
    params["gates"]["min_new_right"] = line.POLICIES["impossible"]
    write_text(workspace.params_file, yaml.safe_dump(params))
    shown = called(workspace, "gates", "show")
    assert shown.exit_code == 3, "the ledger holds another policy than params.yaml"
    diff = said(workspace, "gates", "diff")
    assert [edit["name"] for edit in diff["changed"]] == ["min_new_right"]
    assert {one["version"]: one["new"] for one in diff["versions"]} == {
        2: "reject",
        3: "reject",
        4: "reject",
        5: "reject",
    }
    assert [one["version"] for one in diff["versions"] if one["champion"]] == [2]
    assert said(workspace, "status")["champion"]["version"] == 2, "and nothing changed by looking"
    assert isinstance(called(workspace, "promote", "3", "--reason", "all the same").exception, PersonNeededError)
    back = said(workspace, "rollback", "--reason", "the gates say so")
    assert back["to"] == 1
    assert "the base alone answers" in back["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("promote", "4", "--reason", "x"), 3, "--override"),
        (("promote", "9", "--reason", "x"), 2, "the registry holds 1, 2, 3, 4, 5"),
        (("promote", "3", "--reason", " "), 2, "--reason"),
        (("rollback", "--reason", " "), 2, "--reason"),
        (("rollback", "--to", "2", "--reason", "x"), 2, "serves already"),
        (("rollback", "--to", "4", "--reason", "x"), 3, "hold"),
        (("reject", "2", "--reason", "x"), 2, "relearn rollback"),
        (("withdraw", "hour.md", "--reason", "x"), 2, "hours.md"),
        (("reinstate", "hours.md", "--reason", "x"), 2, "not withdrawn"),
        (("impact", "nothing.md"), 2, "the nearest: hours.md"),
        (("gates", "diff", "nonsense"), 2, "relearn gates show"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_refusal_is_one_sentence_with_what_to_do(
    arguments: tuple[str, ...], code: int, words: str, workspace: Workspace
) -> None:
    done = called(workspace, *arguments)
    assert isinstance(done.exception, RelearnError)
    assert done.exception.exit_code == code
    assert words in str(done.exception)
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize(
    "command",
    ["promote", "rollback", "reject", "withdraw", "reinstate", "impact", "gates show", "gates diff", "history"],
)
def test_help_shows_an_example(command: str) -> None:
    assert f"Example: relearn {command}" in CliRunner().invoke(app, [*command.split(), "--help"]).output
