"""What happens around a cycle: settings edited, databases locked or gone, a damaged cache, a clock set back.

A lock is held by a process of its own, an address that does not answer is a closed port, and Prefect's server is a
real one that is killed.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path

import pytest
import yaml

from data.collection import TEXTS_FILE
from data.errors import OutsideError
from data.files import read_json
from data.params import load_params
from data.workspace import PROJECT_ROOT, STAGES, Workspace
from flows.inputs import STAGE_SETTINGS
from flows.overview import history
from tasks import ledger, registry, versioning
from tasks.dvc_cache import recorded_outputs
from tasks.places import ledger_uri
from tests.fault_miniature import (
    LENIENT,
    MORE,
    UNDECIDED,
    At,
    Fault,
    assert_whole,
    command,
    copied,
    end_group,
    flip,
    prefect_server,
    same_bits,
    sentence,
    truncate,
    turn,
)
from tests.local_server import dead_port
from tests.miniature import NEW, write_documents
from tests.programs import dvc
from tests.refused import give_up_privilege, refused

HOLD = """
import os, sqlite3, sys, time
parent, end = os.getppid(), time.monotonic() + float(sys.argv[2])
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
while os.getppid() == parent and time.monotonic() < end:
    time.sleep(0.1)
held.execute("ROLLBACK")
"""


# --- documents that cannot be read -----------------------------------------------------------------


def test_a_document_that_nobody_may_read_is_set_aside_and_the_cycle_goes_on(
    undisturbed: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = copied(undisturbed.root, tmp_path / "workspace")
    write_documents(workspace.documents, NEW | MORE)
    turn(workspace, ingest={"max_quarantined_share": 0.5})
    unprivileged = Fault(At("flows.running.run_cycle"), give_up_privilege)
    with refused(workspace.documents / next(iter(MORE))):
        ended = command(workspace, server, "run", "--quick", fault=unprivileged)
        assert (ended.code, "train       unchanged" in ended.said) == (0, True), ended.said
        snapshot = read_json(workspace.collection / "snapshot.json")
        assert [one["path"] for one in snapshot["quarantined"]] == list(MORE)
        again = command(workspace, server, "run", "--quick", fault=unprivileged)
        assert (again.code, "Nothing changed" in again.said) == (0, True), again.said


# --- settings edited in mid-run --------------------------------------------------------------------


def edit(workspace: Workspace, blocks: dict[str, dict[str, object]], *_: object, **__: object) -> None:
    turn(workspace, **blocks)


def test_gates_edited_in_mid_run_judge_what_it_makes(lenient: Path, server: str, tmp_path: Path) -> None:
    workspace = copied(lenient, tmp_path / "workspace")
    stricter = partial(edit, workspace, {"gates": UNDECIDED})
    trained = At("tasks.versioning.commit", "train", after=True)
    ended = command(workspace, server, "run", "--quick", fault=Fault(trained, stricter))
    assert (ended.code, registry.get_version(workspace, 2).verdict) == (3, "hold")
    assert ledger.state(ledger_uri(workspace)).version == 1, "the gates in force count"
    ended = command(workspace, server, "run", "--quick")
    assert "Nothing changed" in ended.said
    turn(workspace, gates=LENIENT)
    ended = command(workspace, server, "run", "--quick")
    assert (ended.code, registry.get_version(workspace, 2).verdict) == (0, "promote")
    assert [info.version for info in registry.get_versions(workspace)] == [1, 2], "other gates make no other version"


@pytest.mark.slow
@pytest.mark.parametrize("instant", ["synthesize", "train"])
def test_settings_of_a_stage_edited_in_mid_run_stop_the_cycle_before_anything_is_registered(
    instant: str, lenient: Path, server: str, tmp_path: Path
) -> None:
    workspace = copied(lenient, tmp_path / "workspace")
    smaller = partial(edit, workspace, {"train": {"rank": 2}})
    ended = command(workspace, server, "run", "--quick", fault=Fault(At("tasks.versioning.commit", instant), smaller))
    assert ended.code == 1
    assert "changed while" in sentence(ended.said)
    assert [info.kind for info in registry.get_versions(workspace)] == ["base"]
    assert command(workspace, server, "run", "--quick").code == 0
    assert read_json(workspace.adapter / "adapter_config.json")["r"] == 2
    assert [info.kind for info in registry.get_versions(workspace)] == ["base", "candidate"]
    assert "up to date" in dvc(workspace, "status")


def test_every_block_that_dvc_reads_is_watched() -> None:
    stages = yaml.safe_load((PROJECT_ROOT / "dvc.yaml").read_text())["stages"]
    read = {name.partition(".")[0] for stage in STAGES for name in stages[stage].get("params", ())}
    assert read <= set(STAGE_SETTINGS)


def test_of_the_endpoint_dvc_reads_what_the_key_counts() -> None:
    read = yaml.safe_load((PROJECT_ROOT / "dvc.yaml").read_text())["stages"]["synthesize"]["params"]
    keys = {name.removeprefix("endpoint.") for name in read if name.startswith("endpoint.")}
    assert keys == set(load_params(PROJECT_ROOT / "params.yaml").shaping()["endpoint"])


# --- DVC's cache -----------------------------------------------------------------------------------


SLOW = pytest.mark.slow


@pytest.mark.parametrize("damage", [flip, pytest.param(truncate, marks=SLOW), pytest.param(Path.unlink, marks=SLOW)])
def test_a_damaged_file_in_the_cache_is_never_taken_for_an_output(
    damage: Callable[[Path], None], second_day: Workspace, undisturbed: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = copied(second_day.root, tmp_path / "workspace")
    cache = versioning.cache(workspace)
    (adapter,) = (out for out in recorded_outputs(undisturbed.root / "dvc.lock")["train"] if out.endswith(".dir"))
    damage(cache.listed(adapter)["adapter_model.safetensors"])
    write_documents(workspace.documents, NEW)
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    assert "train       done" in ended.said
    assert same_bits(workspace, undisturbed)
    assert not [digest for digest in cache.below(adapter) if cache.is_damaged(digest)]
    assert not cache.missing(cache.below(adapter))
    assert len(registry.get_versions(workspace)) == 3


# --- databases -------------------------------------------------------------------------------------


def hold(database: Path, seconds: float, *_: object, **__: object) -> None:
    """Let another process lock a database, until this one ends at the latest."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(database), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"


def hold_for_longer_than_one_waits(database: Path, *_: object, **__: object) -> None:
    from tasks import places

    places.WAIT_SECONDS = 2
    hold(database, 300)


@pytest.mark.parametrize("name", ["mlflow.db", pytest.param("ledger.db", marks=SLOW)])
def test_a_locked_database_is_one_sentence_and_a_brief_lock_is_waited_out(
    name: str, lenient: Path, undisturbed: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = copied(lenient, tmp_path / "workspace")
    turn(workspace, registry={"retries": 1, "retry_seconds": 0.1})
    database, judged = workspace.state / name, At("flows.cycle.candidate")
    if name == "ledger.db":
        judged = At("flows.decide.promoted_candidate")
    ended = command(
        workspace, server, "run", "--quick", fault=Fault(judged, partial(hold_for_longer_than_one_waits, database))
    )
    assert ended.code == 1, ended.said
    assert "database is locked" in sentence(ended.said)
    ended = command(workspace, server, "run", "--quick", fault=Fault(judged, partial(hold, database, 3)))
    assert ended.code == 0, ended.said
    assert "train       unchanged" in ended.said
    assert_whole(workspace, undisturbed)


def away(*_: object, **__: object) -> None:
    """As where the registry restarts."""
    raise OutsideError("The registry is gone for a moment.")


def test_a_registry_that_is_gone_for_a_moment_is_tried_again(
    lenient: Path, undisturbed: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = copied(lenient, tmp_path / "workspace")
    turn(workspace, registry={"retries": 1, "retry_seconds": 0.1})
    ended = command(workspace, server, "run", "--quick", fault=Fault(At("tasks.registry.register_candidate"), away))
    assert ended.code == 0, ended.said
    assert_whole(workspace, undisturbed)


@pytest.mark.slow
def test_a_registry_out_of_reach_is_one_sentence_before_anything_is_trained(
    lenient: Path, undisturbed: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = copied(lenient, tmp_path / "workspace")
    reachable = yaml.safe_load(workspace.params_file.read_text())["registry"]
    with dead_port() as port:
        address = f"http://127.0.0.1:{port}"
        turn(workspace, registry={"mlflow_uri": address, "retries": 1, "retry_seconds": 0.1})
        ended = command(workspace, server, "run", "--quick")
    assert ended.code == 1, ended.said
    assert address in sentence(ended.said)
    assert not workspace.adapter.exists()
    turn(workspace, registry=reachable)
    assert command(workspace, server, "run", "--quick").code == 0
    assert_whole(workspace, undisturbed)


# --- Prefect ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_prefects_server_gone_in_mid_run_costs_nothing_that_was_made(
    lenient: Path, undisturbed: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = copied(lenient, tmp_path / "workspace")
    with prefect_server(tmp_path / "prefect") as (address, process):
        gone = Fault(At("models.training._step", number=8), partial(end_group, process))
        ended = command(workspace, address, "run", "--quick", fault=gone)
    assert ended.code == 0, ended.said  # all is done and written down; Prefect alone never hears of it
    assert "Nothing changed" in command(workspace, server, "run", "--quick").said
    assert_whole(workspace, undisturbed)


def test_without_prefects_server_a_cycle_does_not_begin_and_says_so(
    lenient: Path, undisturbed: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = copied(lenient, tmp_path / "workspace")
    ended = command(workspace, "http://127.0.0.1:9/api", "run", "--quick")
    assert ended.code == 1, ended.said
    assert re.search(r"Prefect's server at http://127.0.0.1:9/api did not answer", sentence(ended.said))
    ended = command(workspace, "http://127.0.0.1:9/api", "watch")
    assert ended.code == 1, ended.said
    assert re.search(r"Prefect's server at http://127.0.0.1:9/api did not answer", sentence(ended.said))
    assert command(workspace, server, "run", "--quick").code == 0
    assert_whole(workspace, undisturbed)


# --- the clock -------------------------------------------------------------------------------------


class Yesterday(datetime):
    """A clock that was set back."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Yesterday":
        return super().now(tz) - timedelta(days=1)


def set_back(*_: object, **__: object) -> None:
    """From now on this process lives a day earlier."""
    from tasks import ledger

    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() - 86_400
    time.time_ns = lambda: now_ns() - 86_400 * 10**9
    vars(ledger)["datetime"] = Yesterday


@pytest.mark.slow
def test_a_clock_set_back_hides_no_change_and_breaks_no_chain(
    undisturbed: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = copied(undisturbed.root, tmp_path / "workspace")
    write_documents(workspace.documents, NEW | MORE)
    for path, days in ((workspace.documents / "more.md", -400), (workspace.documents / "fees.md", 400)):
        os.utime(path, (time.time() + days * 86_400,) * 2)
    back = Fault(At("flows.running.run_cycle"), set_back)
    ended = command(workspace, server, "run", "--quick", fault=back)
    assert ended.code == 0, ended.said
    stamp = (workspace.documents / "fees.md").stat()
    text = (workspace.documents / "fees.md").read_text()
    (workspace.documents / "fees.md").write_text(text.replace("$7", "$8"))
    os.utime(workspace.documents / "fees.md", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    ended = command(workspace, server, "run", "--quick", fault=back)
    assert "Version 4" in ended.said or "(version 4)" in ended.said, ended.said
    assert "(version 4)" in command(workspace, server, "run", "--quick").said
    assert "$8" in (workspace.collection / TEXTS_FILE).read_text()
    done = command(
        workspace, server, "promote", "4", "--reason", "checked", fault=Fault(At("flows.promote.promote"), set_back)
    )
    assert done.code == 0, done.said
    entries = history(workspace.root, verify=True)
    assert entries["intact"]
    assert [entry["to"] for entry in entries["entries"]] == [1, 2, 4]
    assert entries["entries"][-1]["time"] < entries["entries"][-2]["time"]
    assert "up to date" in dvc(workspace, "status")
