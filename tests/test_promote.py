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

from data.errors import InputError, PersonNeededError
from data.events import Event
from data.files import write_text
from data.report_records import Verdict
from data.workspace import PROJECT_ROOT, Workspace
from flows.cli import app
from flows.promote import is_settled, promote, promote_base, reconcile
from tasks import ledger, registry, serving
from tasks.places import ledger_uri, mlflow_uri
from tests.registry_miniature import base_digest, make_candidate, make_workspace

BASE, PASSED, REJECTED, HELD = 1, 2, 3, 4


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Workspace:
    """The base and three candidates, nothing promoted."""
    workspace = make_workspace(tmp_path_factory.mktemp("workspace"), weights)
    versions = [registry.register_base(workspace, workspace.base(), base_digest(workspace))]
    for day, verdict in (("1", Verdict.PROMOTE), ("2", Verdict.REJECT), ("3", Verdict.HOLD)):
        candidate = make_candidate(workspace, weights, day, verdict)
        versions.append(registry.register_candidate(workspace, candidate))
    assert versions == [BASE, PASSED, REJECTED, HELD]
    return workspace


@pytest.fixture
def workspace(registered: Workspace) -> Iterator[Workspace]:
    """The same four versions, with the ledger, the pointer and the alias taken away afterwards."""
    yield registered
    (registered.state / "ledger.db").unlink(missing_ok=True)
    registered.serving.unlink(missing_ok=True)
    client(registered).delete_registered_model_alias("relearn", "champion")


def client(workspace: Workspace) -> MlflowClient:
    return MlflowClient(mlflow_uri(workspace), mlflow_uri(workspace))


def serving_state(workspace: Workspace) -> tuple[int | None, int | None, int]:
    """Champion by alias, champion by pointer, number of ledger entries."""
    pointer = serving.pointer(workspace)
    entries = ledger.entries(ledger_uri(workspace))
    return registry.champion(workspace), pointer.version if pointer else None, len(entries)


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
    entry = ledger.entries(ledger_uri(workspace))[0]
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


def test_asking_imports_neither_mlflow_nor_the_ledgers_database(workspace: Workspace) -> None:
    promote(workspace, PASSED, "passed every gate")
    script = (
        "import sys; from pathlib import Path; from data.workspace import Workspace\n"
        "from tasks import serving\n"
        "version = serving.ask(Workspace(Path(sys.argv[1])), 'Who?')[1]\n"
        "print(version, {'mlflow', 'sqlalchemy'} & set(sys.modules))"
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
    client(workspace).set_registered_model_alias("relearn", "champion", str(version))  # by hand, in MLflow
    assert len(reconcile(workspace)) == 1
    assert serving_state(workspace) == (BASE, BASE, 1)


def test_a_person_overrides_and_the_ledger_says_so(workspace: Workspace) -> None:
    promote(workspace, REJECTED, "the gate is wrong about it", override=True)
    assert serving_state(workspace) == (REJECTED, REJECTED, 1)
    evidence = ledger.entries(ledger_uri(workspace))[0].evidence
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
    assert set(keys) == {"from", "to", "actor", "reason", "seconds"}


@pytest.mark.parametrize("step", ["registry.set_alias", "serving.point_to"])
def test_killed_between_ledger_and_alias_or_pointer_is_mended(workspace: Workspace, step: str) -> None:
    promote_base(workspace, BASE)
    _promote_and_die_before(workspace, step)
    champion = BASE if step == "registry.set_alias" else PASSED
    assert serving_state(workspace) == (champion, BASE, 2)
    assert not is_settled(workspace)
    assert len(reconcile(workspace)) == (2 if champion == BASE else 1)
    assert serving_state(workspace) == (PASSED, PASSED, 2)
    assert is_settled(workspace)
    assert reconcile(workspace) == []


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
            reconcile(workspace)
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
    for act in (lambda: reconcile(workspace), lambda: promote(workspace, PASSED, "passed every gate")):
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
    assert reconcile(workspace) == []
    with pytest.raises(InputError, match="relearn run"):
        serving.ask(workspace, "Who?")
    with pytest.raises(InputError, match="--reason"):
        promote(workspace, PASSED, " ")
    assert serving_state(workspace) == (None, None, 0)


def _promote_and_die_before(workspace: Workspace, step: str) -> None:
    """Promote in a process of its own that kills itself, as kill -9 would, when it comes to ``step``."""
    script = (
        "import os, signal, sys; from pathlib import Path; from data.workspace import Workspace\n"
        "from flows import promote; from tasks import registry, serving\n"
        f"{step} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"promote.promote(Workspace(Path(sys.argv[1])), {PASSED}, 'passed every gate')"
    )
    command = [sys.executable, "-c", script, str(workspace.root)]
    died = subprocess.run(command, cwd=PROJECT_ROOT, env=os.environ, timeout=120, check=False)
    assert died.returncode == -9
