"""`relearn doctor` finds what kills and faults leave behind, mends what is safe, and leaves everything else alone."""

import json
import os
import shutil
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from data.cycle_records import Cycle, CycleResult
from data.errors import InputError, OutsideError
from data.evaluation_records import Verdict
from data.files import digest_tree, write_json, write_record
from data.findings import Condition
from data.workspace import PROJECT_ROOT, Workspace
from flows.collect_garbage import collect_garbage
from flows.doctor import CHECKS, doctor
from flows.init import make_workspace
from flows.inputs import last_cycle
from flows.leftovers import checkpoints_of_nobody, is_held
from flows.running import locked
from tasks import registry
from tasks.dvc_cache import Cache, recorded_outputs
from tasks.places import ledger_uri
from tasks.tracking import reaching
from tests import miniature
from tests.fault_miniature import command, copied, fill_disk, flip, turn
from tests.refused import refused

GONE = 2**22
"""No process has this number: Linux gives out smaller ones only."""


@pytest.fixture
def workspace(undisturbed: Workspace, tmp_path: Path) -> Workspace:
    return copied(undisturbed.root, tmp_path / "workspace")


def states(workspace: Workspace, check: bool = False) -> dict[str, Condition]:
    """The worst of each thing looked at."""
    worst: dict[str, Condition] = {}
    order = list(Condition)
    for finding in doctor(workspace.root, check):
        worst[finding.what] = max(worst.get(finding.what, Condition.OK), finding.state, key=order.index)
    return worst


def test_all_is_well_after_a_cycle(workspace: Workspace, server: str) -> None:
    found = command(workspace, server, "doctor", "--check", "--json")
    assert found.code == 0, found.said
    findings = json.loads(found.said.splitlines()[-1])["findings"]
    assert {finding["state"] for finding in findings} == {"ok"}
    assert {"python", "disk", "params", "base", "documents", "dvc", "ledger", "mlflow", "mirrors", "prefect"} <= {
        finding["what"] for finding in findings
    }


def test_what_kills_leave_behind_is_mended_once_and_nothing_else_is_touched(workspace: Workspace) -> None:
    left = leave_behind(workspace)
    people = (digest_tree(workspace.documents), workspace.params_file.read_bytes())
    seen = {"lock", "dvc cache", "dvc locks", "switch", "leftovers"}
    looked = states(workspace, check=True)
    assert {what for what, state in looked.items() if state is Condition.WARNING} == seen
    assert all(path.exists() for path in left)
    mended = states(workspace)
    assert {what for what, state in mended.items() if state is Condition.MENDED} == seen - {
        "lock"
    }  # its own note stands now
    assert not any(path.exists() for path in left)
    assert set(states(workspace).values()) == {Condition.OK}
    assert (digest_tree(workspace.documents), workspace.params_file.read_bytes()) == people
    assert workspace.spectral.is_dir()
    assert registry.champion(workspace) == 2


def leave_behind(workspace: Workspace) -> list[Path]:
    """Drafts, an interrupted swap, checkpoints, a note, DVC's lock, a damaged object, a pointer that lags behind."""
    left = [
        workspace.root / "data" / ".adapter.abc.tmp",
        workspace.reports / ".v2.html.abc.tmp",
        workspace.state / "cache" / "teacher" / ".x.json.abc.tmp",
        workspace.checkpoints / "train-0123456789ab",
        workspace.lock.with_suffix(".json"),
    ]
    for path in left[:-1]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if path.suffix != ".html" else path.touch()
    os.utime(left[3], (0, 0))  # before the cycle finished
    write_json(left[-1], {"pid": GONE, "purpose": "a cycle", "since": "then"})
    workspace.spectral.rename(workspace.spectral.with_name(".spectral.old"))
    write_json(
        workspace.root / ".dvc" / "tmp" / "rwlock",
        {"read": {}, "write": {"data/adapter": {"pid": GONE, "cmd": "relearn run"}}},
    )
    (adapter,) = (out for out in recorded_outputs(workspace.root / "dvc.lock")["train"] if out.endswith(".dir"))
    flip(Cache(workspace.root / ".dvc" / "cache").listed(adapter)["adapter_model.safetensors"])
    workspace.serving.unlink()
    return left


def test_an_alias_that_a_person_moved_is_a_persons_to_put_right(workspace: Workspace) -> None:
    with reaching(workspace) as client:
        client.set_registered_model_alias(workspace.params().registry.model, "champion", "1")
    for check in (True, False):
        (found,) = [one for one in doctor(workspace.root, check) if one.what == "mirrors"]
        assert found.state is Condition.WARNING
        assert "relearn promote 2" in found.says
    assert registry.champion(workspace) == 1


def test_while_another_process_works_here_it_looks_and_touches_nothing(workspace: Workspace) -> None:
    draft = workspace.root / "data" / ".adapter.abc.tmp"
    draft.mkdir()
    with locked(workspace, "a cycle"):
        findings = doctor(workspace.root, check=False)
    assert "held by a cycle" in findings[0].says
    assert draft.is_dir()


def test_checkpoints_of_a_training_that_was_interrupted_after_the_cycle_stay(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    result = CycleResult(changed=True, version=2, verdict=Verdict.PROMOTE)
    for name, age in (("train-old", 60), ("train-young", -60), ("base-old", 60)):
        (workspace.checkpoints / name).mkdir(parents=True)
        os.utime(workspace.checkpoints / name, (time.time() - age,) * 2)
    assert checkpoints_of_nobody(workspace) == []
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_record(workspace.cycle, Cycle(key="k", result=result, finished=now))
    assert [folder.name for folder in checkpoints_of_nobody(workspace)] == ["train-old"]
    write_record(workspace.cycle, Cycle(key="k"))
    assert checkpoints_of_nobody(workspace) == []


def test_what_prefect_is_told_otherwise_than_the_watch_is_a_warning(tmp_path: Path) -> None:
    workspace = miniature.make_workspace(tmp_path / "workspace")
    assert told(workspace) == []  # without a prefect.yaml
    shutil.copy(PROJECT_ROOT / "prefect.yaml", workspace.root)
    assert told(workspace) == []
    turn(workspace, watch={"cron": "30  * * * *", "timezone": "Europe/Paris", "name": "mine"})
    assert set(told(workspace)) == {
        "In prefect.yaml cron is '0 2 * * *', but watch.cron is '30  * * * *'.",
        "In prefect.yaml timezone is 'UTC', but watch.timezone is 'Europe/Paris'.",
        "In prefect.yaml name is 'relearn', but watch.name is 'mine'.",
        "prefect.yaml waits for events of 'relearn.line.relearn', but watch.name makes it 'relearn.line.mine'.",
    }
    assert Condition.WARNING in {one.state for one in doctor(workspace.root, check=True) if one.what == "deployments"}
    for unreadable in ("deployments: [", "deployments: [1]", "name: relearn"):
        (workspace.root / "prefect.yaml").write_text(unreadable)
        with pytest.raises(InputError, match=r"prefect\.yaml cannot be read"):
            told(workspace)


def test_a_watch_that_was_killed_is_a_warning_whoever_has_its_number_now(tmp_path: Path) -> None:
    workspace = miniature.make_workspace(tmp_path / "workspace")
    note = workspace.watch_lock.with_suffix(".json")
    assert list(CHECKS["watch"](workspace, False)) == []
    for number in (os.getpid(), GONE):
        write_json(note, {"pid": number, "purpose": "relearn watch", "since": "then"})
        with FileLock(workspace.watch_lock):
            assert list(CHECKS["watch"](workspace, False)) == []
        (found,) = CHECKS["watch"](workspace, True)
        assert (found.state, str(note) in found.remedy, note.is_file()) == (Condition.WARNING, True, True)


def test_a_cycle_holds_the_workspace_as_long_as_the_kernel_says(tmp_path: Path) -> None:
    workspace = miniature.make_workspace(tmp_path / "workspace")
    with locked(workspace, "a cycle"):
        assert is_held(workspace)
        note = workspace.lock.with_suffix(".json").read_bytes()
    assert not is_held(workspace)
    workspace.lock.with_suffix(".json").write_bytes(note)  # as a kill leaves it; the number is in use
    assert not is_held(workspace)


@pytest.mark.parametrize("name", ["plain", "notes #2", "why?", "100%41"])
def test_the_history_of_runs_is_looked_at_where_it_lies_and_nothing_is_made(name: str, tmp_path: Path) -> None:
    workspace = miniature.make_workspace(tmp_path / name)
    file = workspace.state / "prefect" / "prefect.db"
    file.parent.mkdir(parents=True)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE runs (id)")
    before = sorted(tmp_path.rglob("*"))
    assert [found.state for found in CHECKS["prefect"](workspace, False)] == [Condition.OK]
    assert sorted(tmp_path.rglob("*")) == before
    for closed in (file, file.parent):
        with refused(closed), pytest.raises(OutsideError, match=r"prefect\.db could not be read .* permissions"):
            list(CHECKS["prefect"](workspace, False))
    file.write_bytes(b"no database" * 1000)
    assert [found.state for found in CHECKS["prefect"](workspace, False)] == [Condition.PROBLEM]


def told(workspace: Workspace) -> list[str]:
    """What is wrong with prefect.yaml."""
    return [finding.says for finding in CHECKS["deployments"](workspace, False) if finding.state is not Condition.OK]


def test_a_torn_file_is_a_finding_and_the_others_are_looked_at(tmp_path: Path) -> None:
    workspace = miniature.make_workspace(tmp_path / "workspace")
    workspace.mode.parent.mkdir(parents=True)
    for torn in ('{"quick"', '["quick"]'):
        workspace.mode.write_text(torn)
        found = doctor(workspace.root, check=True)
        assert any(finding.state is Condition.PROBLEM for finding in found)
        assert {"python", "documents", "leftovers"} <= {finding.what for finding in found}
    workspace.mode.write_text('{"quick"')
    with pytest.raises(InputError, match=r"mode\.json is not JSON"):
        workspace.params()


def test_a_full_disk_is_no_reason_not_to_free_it(tmp_path: Path) -> None:
    """Nothing can be written from here on: the lock holds without its note, and drafts go before databases."""
    workspace = miniature.make_workspace(tmp_path / "workspace")
    draft = workspace.root / "data" / ".adapter.abc.tmp"
    draft.mkdir()
    full = fill_disk(0)
    try:
        with pytest.raises(OutsideError):
            collect_garbage(workspace.root, dry_run=False)
        with pytest.raises(OutsideError), locked(workspace, "a cycle"), locked(workspace, "another"):
            pass
    finally:
        full()
    assert not draft.exists()


def test_what_cannot_be_deleted_is_said_so_and_the_rest_is_deleted(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    drafts = [workspace.root / "data" / f".{name}.abc.tmp" for name in ("adapter", "synthetic")]
    for draft in drafts:
        draft.mkdir()
        (draft / "rows.jsonl").write_text("{}\n")
    with refused(drafts[0]):
        mended, stays = CHECKS["leftovers"](workspace, True)
        assert (mended.state, "1 half-written files, 3 bytes" in mended.says) == (Condition.MENDED, True)
        assert stays.state is Condition.WARNING
        assert f"{drafts[0]} could not be deleted (Permission denied)" in stays.says
        assert not drafts[1].exists()
        drafts[1].write_text("again")
        freed = collect_garbage(workspace.root, dry_run=False)
        assert freed.bytes["temporary files"] == len("again")
        assert any(f"{drafts[0]} could not be deleted" in note for note in freed.notes)
    assert drafts[0].is_dir()


@pytest.mark.parametrize(
    ("spoil", "what", "code"),
    [
        ("mlflow", "mlflow", 1),
        ("ledger", "ledger", 3),
        ("params", "params", 3),
        ("documents", "documents", 3),
        ("cycle", "cycle", 3),
        ("prefect", "prefect", 3),
    ],
)
def test_what_a_person_must_mend_is_said_with_its_exit_code(
    spoil: str, what: str, code: int, workspace: Workspace, server: str
) -> None:
    SPOILT[spoil](workspace)
    found = command(workspace, server, "doctor", "--json")
    assert found.code == code, found.said
    findings = json.loads(found.said.splitlines()[-1])["findings"]
    bad = [finding for finding in findings if finding["what"] == what and finding["state"] != "ok"]
    assert bad, findings
    assert any(finding["what"] == "documents" for finding in findings), "the others are still looked at"


def _tamper(workspace: Workspace) -> None:
    import sqlalchemy as sa

    with sa.create_engine(ledger_uri(workspace)).begin() as connection:
        connection.execute(sa.text("DROP TRIGGER ledger_update"))
        connection.execute(sa.text("UPDATE ledger SET reason = 'another' WHERE number = 1"))


def _unfinish(workspace: Workspace) -> None:
    cycle = last_cycle(workspace)
    assert cycle is not None
    write_json(workspace.cycle, Cycle(key=cycle.key).model_dump(mode="json", by_alias=True))


def _empty(workspace: Workspace) -> None:
    for file in workspace.documents.rglob("*.*"):
        file.unlink()


def _overwrite_history(workspace: Workspace) -> None:
    file = workspace.state / "prefect" / "prefect.db"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"no database" * 1000)


SPOILT: dict[str, Any] = {
    "mlflow": lambda workspace: turn(workspace, registry={"mlflow_uri": "http://127.0.0.1:9"}),
    "ledger": _tamper,
    "params": lambda workspace: turn(workspace, train={"rnak": 1}),
    "documents": _empty,
    "cycle": _unfinish,
    "prefect": _overwrite_history,
}
