"""The switch: one way in, the ledger first, and a kill anywhere in between is mended."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from data.cycle_records import LedgerEntry
from data.decisions import SWITCHES, Action
from data.errors import InputError, PersonNeededError
from data.evaluation_records import Verdict
from data.events import Event
from data.files import write_text
from data.workspace import PROJECT_ROOT, Workspace
from flows.cli import app
from flows.enrol import enrol, enrol_base
from flows.promote import promote, promote_base
from flows.recovery import is_settled, recover
from tasks import ledger, registry, serving
from tasks.mirrors import that_differ
from tasks.places import ledger_uri, mlflow_uri
from tests.registry_miniature import base_digest, make_candidate, make_workspace

BASE, PASSED, REJECTED, HELD = 1, 2, 3, 4


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Workspace:
    """The base and three candidates, nothing promoted."""
    workspace = make_workspace(tmp_path_factory.mktemp("workspace"), weights)
    versions = [enrol_base(workspace, workspace.base(), base_digest(workspace))]
    for day, verdict in (("1", Verdict.PROMOTE), ("2", Verdict.REJECT), ("3", Verdict.HOLD)):
        versions.append(enrol(workspace, make_candidate(workspace, weights, day, verdict), f"cycle {day}"))
    assert versions == [BASE, PASSED, REJECTED, HELD]
    shutil.copy(workspace.state / "ledger.db", workspace.root / "kept.db")
    return workspace


@pytest.fixture
def workspace(registered: Workspace) -> Iterator[Workspace]:
    """The same four versions, with what was decided about them, the pointer and the alias taken away afterwards."""
    yield registered
    shutil.copy(registered.root / "kept.db", registered.state / "ledger.db")
    registered.serving.unlink(missing_ok=True)
    client(registered).delete_registered_model_alias("relearn", "champion")


def client(workspace: Workspace) -> MlflowClient:
    return MlflowClient(mlflow_uri(workspace), mlflow_uri(workspace))


def serving_state(workspace: Workspace) -> tuple[int | None, int | None, int]:
    """Champion by alias, champion by pointer, number of switches."""
    pointer = serving.pointer(workspace)
    return registry.champion(workspace), pointer.version if pointer else None, len(switches(workspace))


def switches(workspace: Workspace) -> list[LedgerEntry]:
    """The entries that made a version the champion."""
    return [entry for entry in ledger.entries(ledger_uri(workspace)) if entry.action in SWITCHES]


def test_the_base_is_the_first_champion_and_the_first_candidate_replaces_it(workspace: Workspace) -> None:
    first = promote_base(workspace, BASE)
    assert first is not None
    assert (first.from_version, first.to_version) == (None, BASE)
    assert promote_base(workspace, BASE) is None
    second = promote(workspace, PASSED, "passed every gate", actor="operator")
    assert (second.from_version, second.to_version, second.actor) == (BASE, PASSED, "operator")
    assert serving_state(workspace) == (PASSED, PASSED, 2)
    shown = second.model_dump(by_alias=True)
    assert {"from", "to", "actor", "reason", "seconds"} <= set(shown)


def test_the_entry_holds_the_evidence(workspace: Workspace) -> None:
    promote(workspace, PASSED, "passed every gate")
    entry = switches(workspace)[0]
    info = registry.get_version(workspace, PASSED)
    assert entry.evidence["adapter"] == info.tags["adapter"]
    assert entry.evidence["snapshot"] == info.snapshot
    assert (entry.evidence["verdict"], entry.evidence["overridden"]) == ("promote", False)


def test_the_champion_answers_and_the_answer_names_its_version(workspace: Workspace) -> None:
    promote_base(workspace, BASE)
    before = serving.ask(workspace, "Who may approve it?")
    promote(workspace, PASSED, "passed every gate")
    after = serving.ask(workspace, "Who may approve it?")
    assert (before[1], after[1]) == (BASE, PASSED)
    assert before[0] != after[0]


def test_an_empty_question_and_one_too_long_are_refused(workspace: Workspace) -> None:
    promote_base(workspace, BASE)
    for question in ("", " \n\t"):
        with pytest.raises(InputError, match="The question is empty"):
            serving.ask(workspace, question)
    with pytest.raises(
        InputError, match=r"takes [\d,]+ tokens, and the model has room for 1,020 beside an answer of 4"
    ):
        serving.ask(workspace, "Who may approve it? " * 1000)


def test_asking_does_not_import_mlflow(workspace: Workspace) -> None:
    promote(workspace, PASSED, "passed every gate")
    script = (
        "import sys; from pathlib import Path; from data.workspace import Workspace\n"
        "from tasks import serving\n"
        "version = serving.ask(Workspace(Path(sys.argv[1])), 'Who?')[1]\n"
        "print(version, {'mlflow', 'dvc', 'prefect'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script, str(workspace.root)]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == f"{PASSED} set()"


@pytest.mark.parametrize("version", [REJECTED, HELD])
def test_what_did_not_pass_cannot_become_champion_by_any_path(workspace: Workspace, version: int) -> None:
    promote_base(workspace, BASE)
    with pytest.raises(PersonNeededError, match="--override"):
        promote(workspace, version, "it looks fine to me")
    with pytest.raises(PersonNeededError):
        registry.set_alias(workspace, "champion", version)
    with pytest.raises(PersonNeededError):
        serving.point_to(workspace, version)
    assert serving_state(workspace) == (BASE, BASE, 1)
    with pytest.raises(InputError, match="Nobody intends"):
        ledger.append(ledger_uri(workspace), action=Action.PROMOTE, reason="by hand", to_version=version)
    with pytest.raises(PersonNeededError, match="--override"):
        ledger.append(
            ledger_uri(workspace), action=Action.INTEND, reason="by hand", from_version=BASE, to_version=version
        )
    assert serving_state(workspace) == (BASE, BASE, 1)


def test_an_alias_moved_by_hand_is_noticed_and_changes_no_answer(workspace: Workspace) -> None:
    promote_base(workspace, BASE)
    before = serving.ask(workspace, "Who may approve it?")
    client(workspace).set_registered_model_alias("relearn", "champion", str(REJECTED))
    (sentence,) = that_differ(workspace)
    assert f"is version {REJECTED}, but the ledger's champion is version {BASE}; relearn promote {BASE}" in sentence
    asked = CliRunner().invoke(app, ["ask", "Who may approve it?", "--workspace", str(workspace.root), "--json"])
    assert (asked.exit_code, json.loads(asked.stdout)) == (
        3, {"answer": before[0], "version": BASE, "warnings": [sentence]}
    )  # fmt: skip
    assert recover(workspace) == [], "what a person did, a person takes back"
    assert not promote(workspace, BASE, "put it right").entered
    assert that_differ(workspace) == []
    assert serving_state(workspace) == (BASE, BASE, 1)


def test_a_person_overrides_and_the_ledger_says_so(workspace: Workspace) -> None:
    promote(workspace, REJECTED, "the gate is wrong about it", override=True)
    assert serving_state(workspace) == (REJECTED, REJECTED, 1)
    evidence = switches(workspace)[0].evidence
    assert (evidence["verdict"], evidence["overridden"]) == ("reject", True)


def test_promoting_the_champion_again_writes_no_second_entry(workspace: Workspace) -> None:
    once = promote(workspace, PASSED, "passed every gate")
    again = promote(workspace, PASSED, "asked twice")
    assert (again.from_version, again.to_version, again.reason) == (None, PASSED, once.reason)
    assert (once.entered, again.entered) == (True, False)
    assert serving_state(workspace) == (PASSED, PASSED, 1)


def test_the_champion_promoted_again_is_said_to_serve_already_and_nobody_is_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Event] = []
    monkeypatch.setattr("flows.notices.notify", lambda _, event: told.append(event))
    arguments = ["promote", str(PASSED), "--workspace", str(workspace.root), "--reason"]
    first, again = (CliRunner().invoke(app, [*arguments, reason]).output for reason in ("It passed.", "Once more."))
    assert f"Version {PASSED} serves now (before: None)." in first
    assert f'Version {PASSED} serves already, because: "It passed." Nothing was entered into the ledger' in again
    assert len(told) == 1
    keys = json.loads(CliRunner().invoke(app, [*arguments, "x", "--json"]).stdout)
    assert set(keys) == {"from", "to", "actor", "reason", "seconds", "notes"}


@pytest.mark.parametrize(
    ("step", "serves"),
    [
        ("registry.set_alias", BASE),
        ("serving.probe", BASE),
        ("registry.fetch_lock", PASSED),
        ("report_mark.mark", PASSED),
        ("serving.point_to", PASSED),
    ],
)
def test_killed_anywhere_there_is_one_champion_and_the_next_command_finishes(
    workspace: Workspace, step: str, serves: int
) -> None:
    promote_base(workspace, BASE)
    _promote_and_die_before(workspace, step)
    state = ledger.state(ledger_uri(workspace))
    assert state.version == serves
    assert serving.ask(workspace, "Who may approve it?")[1] == serves
    assert not is_settled(workspace)
    recover(workspace)
    assert serving_state(workspace) == (PASSED, PASSED, 2)
    assert is_settled(workspace)
    assert recover(workspace) == []
    assert that_differ(workspace) == []


def test_an_exchanged_adapter_is_neither_promoted_nor_asked(workspace: Workspace, tmp_path: Path) -> None:
    promote_base(workspace, BASE)
    folder = Path(str(serving.absolute(workspace, serving.fetch_weights(workspace, PASSED)).adapter))
    shutil.copytree(folder, tmp_path / "kept")
    try:
        write_text(folder / "training.json", "{}")
        with pytest.raises(InputError, match="adapter in"):
            promote(workspace, PASSED, "passed every gate")
        assert serving_state(workspace) == (BASE, BASE, 1)
        shutil.copytree(tmp_path / "kept", folder, dirs_exist_ok=True)
        promote(workspace, PASSED, "passed every gate")
        write_text(folder / "training.json", "{}")
        with pytest.raises(InputError, match="was registered"):
            serving.ask(workspace, "Who may approve it?")
    finally:
        shutil.copytree(tmp_path / "kept", folder, dirs_exist_ok=True)


def test_another_version_is_promoted_though_the_champion_cannot_serve_any_more(workspace: Workspace) -> None:
    promote_base(workspace, BASE)
    promote(workspace, PASSED, "passed every gate")
    broken = Path(str(serving.absolute(workspace, serving.fetch_weights(workspace, PASSED)).adapter)) / "training.json"
    content = broken.read_bytes()
    try:
        workspace.serving.unlink()
        broken.write_bytes(b"{}")
        with pytest.raises(InputError, match="promote another version"):
            recover(workspace)
        promote(workspace, BASE, "the adapter is damaged")
        assert serving_state(workspace) == (BASE, BASE, 3)
    finally:
        broken.write_bytes(content)


def test_a_moved_workspace_still_answers(workspace: Workspace, tmp_path: Path) -> None:
    promote(workspace, PASSED, "passed every gate")
    moved = Workspace(Path(shutil.copytree(workspace.root, tmp_path / "moved")))
    stated = json.loads(moved.serving.read_text())["weights"]
    assert not any(Path(stated[part]).is_absolute() for part in ("base", "adapter"))
    assert serving.ask(moved, "Who?") == serving.ask(workspace, "Who?")


def test_a_tampered_or_lost_ledger_stops_every_switch(workspace: Workspace) -> None:
    promote_base(workspace, BASE)
    path = workspace.state / "ledger.db"
    with sqlite3.connect(path) as database:
        database.execute("DROP TRIGGER ledger_update")
        database.execute(f"UPDATE ledger SET to_version = {REJECTED}")
    for act in (lambda: recover(workspace), lambda: promote(workspace, PASSED, "passed every gate")):
        with pytest.raises(PersonNeededError, match="backup"):
            act()
    path.unlink()
    with pytest.raises(PersonNeededError, match="backup"):
        promote(workspace, PASSED, "passed every gate")
    assert registry.champion(workspace) == BASE


def test_nothing_answers_before_the_first_promotion_and_a_promotion_needs_a_reason(
    workspace: Workspace,
) -> None:
    assert is_settled(workspace)
    assert recover(workspace) == []
    with pytest.raises(InputError, match="relearn run"):
        serving.ask(workspace, "Who?")
    with pytest.raises(InputError, match="--reason"):
        promote(workspace, PASSED, " ")
    assert serving_state(workspace) == (None, None, 0)


def _promote_and_die_before(workspace: Workspace, step: str) -> None:
    """Promote in a process of its own that kills itself, as kill -9 would, when it comes to ``step``."""
    script = (
        "import os, signal, sys; from pathlib import Path; from data.workspace import Workspace\n"
        "from flows import promote; from tasks import registry, report_mark, serving\n"
        f"{step} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"promote.promote(Workspace(Path(sys.argv[1])), {PASSED}, 'passed every gate')"
    )
    command = [sys.executable, "-c", script, str(workspace.root)]
    died = subprocess.run(command, cwd=PROJECT_ROOT, env=os.environ, timeout=120, check=False)
    assert died.returncode == -9
