"""The triggers, with real processes: nothing is missed, nothing is trained twice, nothing is left running."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from prefect import Flow, Task
from prefect.client.orchestration import get_client
from prefect.states import Running

from data.collection import TEXTS_FILE, read_texts
from data.files import read_record
from data.records import Snapshot
from data.workspace import PROJECT_ROOT, Workspace
from flows.init import make_workspace
from flows.watch import Eye, Stillness
from tasks import orchestration
from tasks.orchestration import Swept
from tasks.prefect_server import prefect_server
from tasks.registry import get_versions
from tests import miniature
from tests.fault_miniature import end_group, tell_a_file, told
from tests.miniature import NEW, SMALL, with_base, write_documents
from tests.programs import relearn
from tests.watched import PATIENCE, Watched, names, runs, until

PREFECT = Path(sys.executable).with_name("prefect")
QUICK = {"poll_seconds": 0.3, "settle_seconds": 2.0, "retry_seconds": 2.0, "max_retry_seconds": 4.0}
SLOWLY = 12
"""Pieces of a file that is written slowly."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_base(miniature.make_workspace(tmp_path_factory.mktemp("base"))).root / "base"


@pytest.fixture
def workspace(base: Path, tmp_path: Path) -> Workspace:
    made = make_workspace(tmp_path / "workspace", str(base))
    params = yaml.safe_load(made.params_file.read_text())
    for block, values in {**SMALL, "watch": QUICK}.items():
        params[block].update(values)
    made.params_file.write_text(yaml.safe_dump(params))
    write_documents(made.documents, NEW)
    return made


def document(workspace: Workspace, number: int) -> None:
    (workspace.documents / f"rule{number}.md").write_text(f"# Rule {number}\n\nYou must pay within {number} days.\n")


def trained(workspace: Workspace) -> list[str | None]:
    """Snapshots of the registered candidates."""
    return [version.snapshot for version in get_versions(workspace) if version.kind == "candidate"]


def snapshot(workspace: Workspace) -> Snapshot:
    return read_record(workspace.collection / "snapshot.json", Snapshot)


def test_a_folder_lies_still_once_nothing_changed_for_long_enough() -> None:
    looks = {0.0: "a", 9.0: "a", 10.0: "a", 11.0: "b", 20.0: "b", 21.0: "b", 40.0: "a"}
    still = Stillness(10.0, 1000.0, iter([0.0, *looks]).__next__)
    assert [still.lies(digest) for digest in looks.values()] == [False, False, True, False, False, True, False]


def test_a_folder_that_never_lies_still_is_taken_as_it_is_once_in_a_while() -> None:
    still = Stillness(10.0, 100.0, iter(range(1000)).__next__)
    taken = [second for second in range(1, 400) if still.lies(str(second))]
    assert taken == [100, 200, 300]


def test_what_keeps_the_eye_from_looking_is_told_once_if_it_stays(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_a_file(workspace)
    said, now = list[str](), [0.0]
    monkeypatch.setattr("flows.watch.time.monotonic", lambda: now[0])
    eye = Eye(workspace, said.append)
    (workspace.documents / "gone.md").symlink_to("nowhere.md")
    for seconds in (0.0, eye.params.settle_seconds / 2, eye.params.settle_seconds, 1000.0, 5000.0):
        now[0] = seconds
        asyncio.run(eye.look_once())
    assert len(said) == 1
    [event] = told(workspace)
    assert (event.event, event.reasons) == ("failed", (said[0],))
    assert "gone.md" in said[0]


@pytest.mark.timeout(600)
def test_every_change_is_one_run_and_no_digest_is_trained_twice(workspace: Workspace) -> None:
    with Watched(workspace) as watch:
        assert watch.until_runs(1) == ["Rejected"]  # what was there at the start
        for number in range(10, 20):  # ten changes, and a file that takes longer than them all
            document(workspace, number)
            time.sleep(0.1)
        with (workspace.documents / "slow.md").open("w") as slow:
            slow.write("# Slow\n\n")
            for piece in range(SLOWLY):
                slow.write(f"Piece {piece} of the rules is that nobody shall hurry.\n")
                slow.flush()
                time.sleep(0.5)
        assert watch.until_runs(2) == ["Rejected"] * 2
        text = read_texts(workspace.collection / TEXTS_FILE, {"slow.md"})["slow.md"]
        assert text.count("Piece") == SLOWLY
        assert len(snapshot(workspace).documents) == len(NEW) + 11

        document(workspace, 20)
        until("documents that are read", lambda: watch.said().count("synthesize  done") == 3)
        for number in (21, 22):  # while it runs: one more run afterwards
            document(workspace, number)
        assert watch.until_runs(4) == ["Rejected"] * 4
        before = names(watch.api)
        os.utime(workspace.documents / "rule20.md")  # touched, not changed
        time.sleep(4)
        assert names(watch.api) == before
    assert len(trained(workspace)) == len(set(trained(workspace)))
    assert trained(workspace)[-1] == snapshot(workspace).digest
    assert len(snapshot(workspace).documents) == len(NEW) + 14


def test_after_a_kill_and_a_night_off_one_run_makes_up_for_all(workspace: Workspace) -> None:
    params = yaml.safe_load(workspace.params_file.read_text())
    params["watch"]["cron"] = "30 * * * *"
    told = workspace.root / "told.json"
    copy = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())"
    params["notify"] = [{"on": ["missed"], "command": [sys.executable, "-c", copy, str(told)]}]
    workspace.params_file.write_text(yaml.safe_dump(params))
    with Watched(workspace) as watch:
        until("a run", lambda: any(run["state_type"] == "RUNNING" for run in runs(watch.api)))
        until("its cycle", lambda: any(run["state_type"] == "RUNNING" for run in runs(watch.api, "cycle")))
        watch.kill()
    document(workspace, 1)
    with sqlite3.connect(workspace.state / "prefect" / "prefect.db") as database:  # ten hours pass
        (waiting,) = database.execute(
            "SELECT COUNT(*) FROM flow_run WHERE state_type = 'SCHEDULED' AND name NOT LIKE 'update%'"
        ).fetchone()
        for column in ("expected_start_time", "next_scheduled_start_time"):
            database.execute(
                f"UPDATE flow_run SET {column} = datetime({column}, '-10 hours') || '.000000' "
                "WHERE state_type = 'SCHEDULED'"
            )
    assert waiting >= 3
    with Watched(workspace) as watch:
        assert watch.until_runs(2) == ["Crashed", "Rejected"]
        assert names(watch.api, "cycle") == ["Crashed", "Rejected"]
        looks = names(watch.api, "look")
        assert "scheduled runs were missed" in watch.said()
        assert json.loads(told.read_text())["event"] == "missed"
        assert looks.count("Missed") >= 3
        assert looks.count("Completed") + looks.count("Nothing to do") + looks.count("Announced") <= 1
    assert trained(workspace) == [snapshot(workspace).digest]


@pytest.mark.usefixtures("prefect_here")
def test_a_start_ends_the_runs_within_its_own_updates_and_nobody_elses() -> None:
    ended, states = asyncio.run(left_by_lines("mine", "theirs"))
    assert ended == {"mine": Swept(crashed=1, missed=0), "nobody": Swept(crashed=0, missed=0)}
    assert states == {"mine": ["CRASHED", "CRASHED"], "theirs": ["RUNNING", "RUNNING"]}


async def left_by_lines(mine: str, theirs: str) -> tuple[dict[str, Swept], dict[str, list[str]]]:
    """Two lines whose update and cycle run; what the sweeps of one of them and of a third end, and what became."""
    left = {}
    async with get_client() as client:
        inner = Flow(lambda: None, name="cycle")
        for name in (mine, theirs):
            flow = await client.create_flow(Flow(lambda: None, name="update"))
            deployment = await client.create_deployment(flow, name)
            update = await client.create_flow_run_from_deployment(deployment, state=Running())
            place = Task(lambda: None, name="cycle")
            within = await client.create_task_run(place, update.id, dynamic_key="cycle-0")
            cycle = await client.create_flow_run(inner, parent_task_run_id=within.id, state=Running())
            left[name] = (update.id, cycle.id)
            for run in left[name]:
                await client.set_flow_run_state(run, Running(), force=True)
        ended = {name: await orchestration.sweep(name) for name in ("nobody", mine)}
        states = {name: [(await client.read_flow_run(run)).state_type for run in both] for name, both in left.items()}
    return ended, {name: [str(one and one.value) for one in both] for name, both in states.items()}


def test_a_second_watch_says_who_watches(workspace: Workspace) -> None:
    with Watched(workspace, ended_by=signal.SIGINT) as watch:
        second = relearn("watch", workspace=workspace)
        assert second.returncode == 1
        assert f"relearn watch (process {watch.process.pid})" in second.stderr
        watch.until_runs(1)
        write_documents(workspace.documents, {})
        workspace.documents.mkdir(exist_ok=True)
        watch.until_runs(2)  # nothing usable: a person has to settle it, and it is not tried over and over
        time.sleep(6)
        assert names(watch.api) == ["Rejected", "Failed"]


def test_prefect_yaml_deploys_the_same_to_a_server(workspace: Workspace) -> None:
    with prefect_server(workspace, services=True) as api:
        environment = {**os.environ, "PREFECT_API_URL": api, "PWD": str(workspace.root)}

        def prefect(*arguments: str) -> None:
            done = subprocess.run(
                [PREFECT, "--no-prompt", *arguments],
                cwd=workspace.root, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr

        prefect("work-pool", "create", "workspace", "--type", "process", "--overwrite")
        prefect("deploy", "--all")
        prefect("deploy", "--all")
        with (workspace.root / "worker.log").open("w") as log:
            worker = subprocess.Popen(
                [PREFECT, "worker", "start", "--pool", "workspace", "--limit", "1"],
                cwd=workspace.root, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            prefect("deployment", "run", "look/workspace")
            until("a cycle", lambda: names(api)[-1:] == ["Rejected"])
            (run,) = runs(api)
            assert run["name"] == f"update {snapshot(workspace).digest[:8]}"
        finally:
            end_group(worker.pid)  # Prefect's worker may miss a SIGTERM that comes while a run ends
            worker.wait(60)


def test_prefect_yaml_repeats_what_the_parameters_say() -> None:
    params = yaml.safe_load((PROJECT_ROOT / "params.yaml").read_text())["watch"]
    content = yaml.safe_load((PROJECT_ROOT / "prefect.yaml").read_text())
    update, look = content["deployments"]
    assert (update["name"], look["name"]) == (params["name"], params["name"])
    daily = look["schedules"][0]
    assert (daily["cron"], daily["timezone"], daily["parameters"]["due"]) == (params["cron"], params["timezone"], True)
    assert update["triggers"][0]["match"] == {"prefect.resource.id": f"relearn.line.{params['name']}"}
