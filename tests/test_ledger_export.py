"""An exported ledger can be checked by whoever has the file, with our code and without."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from data.decisions import Action
from data.errors import InputError
from data.workspace import PROJECT_ROOT, Workspace
from flows.cli import app
from tasks import ledger
from tasks.ledger_export import exported
from tasks.places import ledger_uri
from tests.ledger_miniature import behind_its_back, enthroned, noted, unprotect
from tests.miniature import make_workspace

AWKWARD = 'é\u2028 "digest":"' + "0" * 64 + '", \\ \x07\r\n end'


def history(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["history", *map(str, arguments)])


def auditor(path: Path) -> "subprocess.CompletedProcess[str]":
    """What the runbook tells people to run."""
    section = (PROJECT_ROOT / "docs" / "runbook.md").read_text().partition("## An auditor wants the ledger")[2]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    command = [sys.executable, "-I", "-c", found[1], str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Six entries, among them letters, numbers and signs that are written in more than one way."""
    workspace = make_workspace(tmp_path / "workspace")
    uri = ledger_uri(workspace)
    evidence = {AWKWARD: [1.0, 1e-9, 1e22, 10**20, None, True, {"ß": -0.0}]}
    ledger.append(uri, action=Action.ACCEPT_LOSS, reason=AWKWARD, actor=AWKWARD, to_version=1, evidence=evidence)
    enthroned(uri, 3)
    noted(uri, 3)
    return workspace


@pytest.fixture
def file(workspace: Workspace, tmp_path: Path) -> Path:
    done = history("--export", tmp_path / "ledger.jsonl", "--workspace", workspace.root)
    assert (done.exit_code, done.output) == (0, f"{tmp_path / 'ledger.jsonl'} holds 6 entries.\n")
    return tmp_path / "ledger.jsonl"


def test_an_export_holds_every_field_and_is_checked_without_the_database(file: Path, workspace: Workspace) -> None:
    entries = ledger.entries(ledger_uri(workspace))
    assert exported(file) == entries
    first = json.loads(file.read_bytes().split(b"\n")[0])
    assert first == entries[0].model_dump(exclude={"schema_"})
    checked = history("--from", file, "--verify", "--json", "--workspace", file.parent)  # no workspace lies there
    assert checked.exit_code == 0, checked.output
    content = json.loads(checked.stdout)
    assert (content["intact"], content["broken_at"], len(content["entries"])) == (True, None, 6)
    audited = auditor(file)
    assert (audited.returncode, audited.stdout.strip()) == (
        0, f"6 entries follow from one another; the last is {entries[-1].digest}."
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "broken"),
    [
        ('"reason":"to 1"', '"reason":"to one"', 4),
        ('"share":0.1', '"share":0.2', 4),
        ('"number":2', '"number":3', 2),
        ('"previous":""', '"previous":"0"', 1),
    ],
)
def test_a_changed_file_breaks_where_it_was_changed(file: Path, before: str, after: str, broken: int) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))
    checked = history("--from", file, "--verify")
    assert (checked.exit_code, checked.stdout.splitlines()[-1]) == (3, f"The chain breaks at entry {broken}.")
    audited = auditor(file)
    assert (audited.returncode, audited.stderr.strip()) == (1, f"Entry {broken} does not follow.")


def test_a_line_taken_away_is_noticed(file: Path) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:2] + lines[3:]))
    assert "breaks at entry 3" in history("--from", file, "--verify").stdout
    assert "Entry 3 does not follow" in auditor(file).stderr


def test_what_is_no_export_is_refused_with_its_line(file: Path, tmp_path: Path) -> None:
    file.write_text(file.read_text().replace('"reason":"to 2"', '"reason": "to 2"'))
    line = "line 5, is not an entry as relearn history --export writes it"
    for path, said in ((file, line), (tmp_path, "cannot be read"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(InputError, match=said):
            CliRunner().invoke(app, ["history", "--from", str(path), "--verify"], catch_exceptions=False)


def test_an_export_of_a_changed_ledger_shows_where(workspace: Workspace, tmp_path: Path) -> None:
    with behind_its_back(ledger_uri(workspace)) as database:
        unprotect(database)
        database.exec_driver_sql("UPDATE ledger SET reason = 'another' WHERE number = 4")
    done = history("--export", tmp_path / "l", "--verify", "--workspace", workspace.root)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (3, "The chain breaks at entry 4.")
    assert "Entry 4 does not follow" in auditor(tmp_path / "l").stderr
