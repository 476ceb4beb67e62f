"""What people read at a terminal fits 80 columns, marks what was overridden, and lets no text steer the terminal."""

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from data.cycle_records import Cycle, CycleResult
from data.evaluation_records import Verdict
from data.files import write_record, write_text
from data.records import Quarantined, Snapshot
from data.workspace import Workspace
from flows.cli import app
from flows.overview import Surroundings, overridden, surroundings
from flows.terminal import (
    NARROWEST,
    dry_run_table,
    findings_table,
    freed_table,
    funnel_table,
    gates_table,
    history_table,
    put,
    status_table,
)
from tasks import ledger
from tasks.places import ledger_uri
from tests.ledger_miniature import enthroned, judged
from tests.miniature import collect, ignorant, make_workspace, write_documents
from tests.programs import RELEARN

HOSTILE = "[red]no markup[/red] \x1b[31mno colour\x1b[0m \x07"
LONG = "The old handbook was retired, and " * 12 + "a-single-word-that-is-longer-than-its-column-" * 3


def entered(workspace: Workspace) -> Workspace:
    """A workspace whose ledger holds a plain promotion and one against the verdict."""
    uri = ledger_uri(workspace)
    judged(uri, 1)
    enthroned(uri, 1, overridden=False, reason=LONG, actor="operations@example.com")
    enthroned(uri, 12, reason=HOSTILE)
    return workspace


def test_history_fits_marks_overrides_and_prints_text_as_text(tmp_path: Path) -> None:
    workspace = entered(make_workspace(tmp_path))
    done = CliRunner().invoke(app, ["history", "--verify", "--workspace", str(workspace.root)])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert done.stdout.count("! override") == 1, "itself, and not its intent"
    assert "[red]no markup[/red]" in " ".join(done.stdout.split())
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert "1 -> 12" in done.stdout
    assert "The chain is intact." in done.stdout
    plain = "".join(done.stdout.split())
    assert "operations@example.com"[:12] in plain


def test_status_fits_and_says_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    version = {
        "version": 3,
        "verdict": "promote",
        "snapshot": "a" * 64,
        "rests_on_withdrawn": True,
        "overridden": False,
    }
    content = {
        "champion": version,
        "challenger": None,
        "snapshot": {"digest": "b" * 64, "documents": 1234},
        "warnings": [f"{LONG}: relearn promote 3"],
    }
    put(status_table(content, Surroundings("2024-06-01 06:12 UTC: hold, version 4", "as in the snapshot")))
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    for words in ("version 3, verdict promote", "withdrawn by now", "1,234 documents", "hold, version 4", "! warning"):
        assert words in " ".join(said.split())


def test_an_empty_ledger_and_a_version_without_figures_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = {"version": 1, "verdict": None, "snapshot": None, "rests_on_withdrawn": None, "overridden": False}
    content: dict[str, Any] = {"champion": nothing, "challenger": None, "snapshot": None, "warnings": []}
    put(status_table(content, Surroundings("none yet", "not read yet")))
    put(history_table([], frozenset()))
    assert "version 1, verdict none" in capsys.readouterr().out


FUNNEL = {"recipe": "questions", "proposed": 123456, "kept": 6, "dropped": {"ungrounded": 123449, "-".join("abc"): 1}}
DRY_RUN = {
    "statements": 1234, "rows": {"facts": 99, "questions": 1234567, "rephrase": 7654321}, "calls": 9, "cached": 4,
    "passages": 9, "tokens_in": 10**9, "tokens_out": 10**9, "cost": 1e6, "cost_at_most": 1e7, "budget": 5.0,
    "fits": False, "seconds": 1e5,
}  # fmt: skip
GATES = {
    "policy": "a" * 64, "in_force": "b" * 64, "since": "2024-06-01T06:12:59.123", "by": LONG, "entry": 1234,
    "min_new_right": 0.9, "max_sigma_ratio": 1e9, "modes": {"alpha": "shadow"}, "warnings": [LONG],
}  # fmt: skip
TABLES = {
    "gates": (
        gates_table(GATES),
        (
            "in force bbbbbbbbbbbb since 2024-06-01 06:12 UTC (ledger entry 1234), by",
            "max_sigma_ratio 1e+09",
            "! warning",
        ),
    ),
    "doctor": (
        findings_table([{"state": "warning", "what": "dvc cache", "says": LONG, "remedy": HOSTILE}]),
        ("warning dvc cache The old handbook", "[red]no markup[/red]"),
    ),
    "gc": (
        freed_table({"bytes": {"snapshots": 12, "texts": 10**15}, "kept": range(1, 60), "notes": [LONG]}, dry_run=True),
        ("12 snapshots", "1,000,000,000,000,012 would be freed; versions kept: 1, 2, 3"),
    ),
    "synthesize": (funnel_table([FUNNEL]), ("questions 123,456 6 123,450 ungrounded 123,449, a-b-c 1",)),
    "dry run": (dry_run_table(DRY_RUN), ("Calls 5 to send, 4 answered before", "may not be enough")),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_table_fits_and_is_plain_where_no_terminal_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    table, says = TABLES[name]
    put(table)
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert max(map(len, lines)) <= NARROWEST
    assert all(line == line.rstrip() for line in lines)
    assert not {"\x1b", "\x07"} & set(said)
    for words in says:
        assert words in " ".join(said.split())


def test_status_knows_whether_the_folder_differs_from_the_snapshot(tmp_path: Path) -> None:
    workspace = ignorant(tmp_path)
    assert surroundings(workspace.root).folder == "not read yet; relearn run reads it"
    snapshot = collect(workspace, {"a.md": "# A\n\nOne sentence that is long enough.\n"})
    assert surroundings(workspace.root).folder == "as in the snapshot"
    (workspace.documents / "b.md").write_text("")
    assert "relearn diff" in surroundings(workspace.root).folder
    empty = Quarantined(
        path="b.md", digest="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", reasons=("Empty.",)
    )
    write_record(workspace.collection / "snapshot.json", Snapshot(**{**dict(snapshot), "quarantined": (empty,)}))
    assert surroundings(workspace.root).folder == "as in the snapshot"
    write_documents(workspace.documents, {})
    assert "does not exist" in surroundings(workspace.root).folder


def test_status_tells_how_the_last_cycle_went(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    assert "relearn run" in surroundings(tmp_path).last_cycle
    write_record(workspace.cycle, Cycle(key="k"))
    assert "not finished" in surroundings(tmp_path).last_cycle
    result = CycleResult(changed=True, version=4, verdict=Verdict.HOLD)
    write_record(workspace.cycle, Cycle(key="k", result=result, finished="2024-06-01T06:12:33+00:00"))
    assert surroundings(tmp_path).last_cycle == "2024-06-01 06:12 UTC: hold, version 4"
    write_record(workspace.cycle, Cycle(key="k", result=result))
    assert surroundings(tmp_path).last_cycle == "hold, version 4"


def test_only_promotions_against_the_verdict_are_overridden(tmp_path: Path) -> None:
    workspace = entered(make_workspace(tmp_path))
    assert overridden(tmp_path) == {entry.digest for entry in ledger.entries(ledger_uri(workspace))[-1:]}


def test_report_opens_the_page_in_the_browser_and_prints_its_path(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    page = workspace.reports / "v3.html"
    write_text(page, "<p>page</p>")
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\nprintf %s \"$1\" > '{tmp_path}/opened'\n")
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    command = [str(RELEARN), "report", "3", "--open", "--workspace", str(workspace.root)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "BROWSER": f"{browser} %s"}
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(page)), done.stderr
    assert (tmp_path / "opened").read_text() == page.as_uri()
