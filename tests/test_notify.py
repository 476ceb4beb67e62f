"""Hooks are told what happened, within their time, and one that fails is named and fails nothing else."""

import json
import re
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.blocks.abstract import NotificationBlock

from data.cycle_records import CycleResult
from data.errors import InputError, OutsideError
from data.evaluation_records import Verdict
from data.events import Event
from data.files import write_record
from data.param_operation import HookParams
from data.records import Accepted, Quarantined, Snapshot
from data.workspace import Workspace
from flows.enrol import enrol, enrol_base
from flows.notices import notify, tell_of_cycle, try_hooks
from flows.running import promote_version, run_cycle
from tasks import registry
from tasks.notify import name, send, send_all
from tests import registry_miniature
from tests.local_server import served
from tests.miniature import make_workspace

EVENT = Event(
    event="held", workspace=".", time="2024-06-01T06:00:00Z", version=3, verdict="hold", reasons=("Too few.",)
)
WRITE = "import sys; from pathlib import Path; Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read())"
APPEND = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


def hook(**given: Any) -> HookParams:
    return HookParams.model_validate({"on": ["held"], "timeout_seconds": 20.0, **given})


def program(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


class Taker(BaseHTTPRequestHandler):
    """Takes what is posted; answers as its path says."""

    taken: list[Any]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append((self.headers["Content-Type"], json.loads(body)))
        if self.path.startswith("/hangs"):
            time.sleep(3)
        self.send_response(500 if self.path.startswith("/broken") else 204)
        self.end_headers()


@pytest.fixture
def listener() -> Iterator[tuple[str, list[Any]]]:
    """(address, what was posted there)."""
    taken: list[Any] = []
    with served(Taker, taken=taken) as address:
        yield address, taken


def test_a_command_gets_the_event_as_json_and_runs_without_a_shell(tmp_path: Path) -> None:
    target = tmp_path / "event; touch trap.json"
    send(hook(command=program(WRITE, target)), EVENT)
    assert Event.model_validate_json(target.read_text()) == EVENT
    assert [file.name for file in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (program("import sys; sys.exit('no\\nmail')"), "exit code 1, no mail"),
        (["/nowhere/program"], "No such file"),
        (program("import os; os.kill(os.getpid(), 9)"), "exit code -9"),
    ],
)
def test_a_command_that_fails_is_named_with_what_it_said(command: list[str], says: str) -> None:
    with pytest.raises(OutsideError, match="relearn notify test") as caught:
        send(hook(command=command), EVENT)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    noted = tmp_path / "child"
    parent = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(noted)!r}, 'w').write(str(child.pid))\ntime.sleep(600)"
    )
    with pytest.raises(OutsideError, match="was not done with held within 10 s"):
        send(hook(command=program(parent), timeout_seconds=10.0), EVENT)
    assert ends(int(noted.read_text()))


def ends(process: int) -> bool:
    """Whether a process is gone, or dead and not yet collected, within a minute."""
    for _ in range(600):
        try:
            if "\nState:\tZ" in Path(f"/proc/{process}/status").read_text():
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.1)
    return False


def test_a_webhook_gets_the_event_posted(listener: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    address, taken = listener
    monkeypatch.setenv("TOLD_AT", f"{address}/fine?key=secret")
    send(hook(webhook_variable="TOLD_AT"), EVENT)
    [(kind, body)] = taken
    assert kind.startswith("application/json")
    assert Event.model_validate(body) == EVENT


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("{server}/broken?key=secret", "it answered 500"),
        ("{server}/hangs?key=secret", "was not done|ReadTimeout"),
        ("http://127.0.0.1:9/?key=secret", "ConnectionError"),
        ("file:///etc/secret", "no http or https address"),
        ("", "is not set"),
    ],
)
def test_a_webhook_that_fails_is_named_and_its_address_stays_secret(
    address: str, says: str, listener: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLD_AT", address.format(server=listener[0]))
    with pytest.raises(OutsideError) as caught:
        send(hook(webhook_variable="TOLD_AT", timeout_seconds=1.0 if "hangs" in address else 20.0), EVENT)
    assert re.search(says, str(caught.value))
    assert "TOLD_AT" in str(caught.value)
    assert "secret" not in str(caught.value)


class Slate(NotificationBlock):
    """A notification block that writes down what it is told."""

    path: str

    async def notify(self, body: str, subject: str | None = None) -> None:
        Path(self.path).write_text(f"{subject}\n{body}")


@pytest.mark.usefixtures("prefect_here")
def test_a_prefect_block_is_loaded_by_its_name_and_told_in_words(tmp_path: Path) -> None:
    Slate(path=str(tmp_path / "slate")).save("night")
    send(hook(prefect_block="slate/night", timeout_seconds=60.0), EVENT)
    with pytest.raises(OutsideError, match="Prefect knows no such block"):
        send(hook(prefect_block="slate/day", timeout_seconds=60.0), EVENT)
    assert (tmp_path / "slate").read_text().startswith("Relearn: version 3 was held\nToo few.\n")


def test_only_hooks_that_wait_for_an_event_are_called_and_one_failure_stops_no_other(tmp_path: Path) -> None:
    hooks = [
        hook(command=["/nowhere/program"]),
        hook(on=["rejected"], command=program(WRITE, tmp_path / "rejected")),
        hook(command=program(WRITE, tmp_path / "held")),
    ]
    complaints = send_all(hooks, EVENT)
    assert [name(hooks[0]) in one for one in complaints] == [True]
    assert [file.name for file in tmp_path.iterdir()] == ["held"]


# --- what a workspace tells ------------------------------------------------------------------------


def with_hooks(workspace: Workspace, *hooks: dict[str, Any]) -> Workspace:
    params = yaml.safe_load(workspace.params_file.read_text())
    workspace.params_file.write_text(yaml.safe_dump({**params, "notify": list(hooks)}))
    return workspace


def test_a_cycle_that_ends_in_an_error_is_told_and_the_error_goes_its_way(tmp_path: Path) -> None:
    told = tmp_path / "told"
    workspace = with_hooks(make_workspace(tmp_path / "w"), {"on": ["failed"], "command": program(WRITE, told)})
    with pytest.raises(InputError, match="base"):
        run_cycle(workspace.root, quick=False, loss_reason=None)
    event = Event.model_validate_json(told.read_text())
    assert (event.event, event.workspace) == ("failed", str(workspace.root))
    assert "base" in event.reasons[0]


def test_a_hook_that_fails_is_said_once_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = with_hooks(make_workspace(tmp_path), {"on": ["held"], "command": ["/nowhere/program"]})
    notify(workspace, EVENT)
    assert capsys.readouterr().err.count("/nowhere/program") == 1


@pytest.mark.parametrize(
    ("verdict", "told"), [(Verdict.HOLD, "held"), (Verdict.REJECT, "rejected"), (Verdict.PROMOTE, None)]
)
def test_a_finished_cycle_tells_its_verdict_and_what_was_newly_set_aside(
    verdict: Verdict, told: str | None, tmp_path: Path
) -> None:
    every = ["held", "rejected", "promoted", "quarantined"]
    workspace = with_hooks(make_workspace(tmp_path / "w"), {"on": every, "command": program(APPEND, tmp_path / "told")})
    known = Quarantined(path="old.md", digest="1", reasons=("It is empty.",))
    fresh = Quarantined(path="new.md", digest="2", reasons=("It is empty.",))
    now = Snapshot(digest="s", documents=(), quarantined=(known, fresh))
    write_record(workspace.collection / "snapshot.json", now)
    write_record(workspace.accepted, Accepted(last=now.model_copy(update={"quarantined": (known,)})))
    tell_of_cycle(workspace, CycleResult(changed=True, version=2, verdict=verdict, reasons=("Why.",)), served=1)
    events = [Event.model_validate_json(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert [event.event for event in events] == ["quarantined", *([told] if told else [])]
    assert events[0].quarantined == ("new.md",)
    assert all(event.version == 2 for event in events)


def test_an_older_version_that_serves_again_was_rolled_back(tmp_path: Path) -> None:
    weights = registry_miniature.make_weights(tmp_path / "weights")
    workspace = registry_miniature.make_workspace(tmp_path / "w", weights)
    every = ["promoted", "rolled_back"]
    with_hooks(workspace, {"on": every, "command": program(APPEND, tmp_path / "told")})
    enrol_base(workspace, workspace.base(), registry_miniature.base_digest(workspace))
    for day in ("1", "2"):
        enrol(workspace, registry_miniature.make_candidate(workspace, weights, day, Verdict.PROMOTE), day)
    for version, reason in (
        (2, "It passed."),
        (3, "It is newer."),
        (1, "Wrong fees."),
        (1, "Asked twice."),
        (2, "Now."),
    ):
        promote_version(workspace.root, version, reason, override=False)
    told = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert [(one["event"], one["from"], one["to"], *one["reasons"]) for one in told] == [
        ("promoted", None, 2, "It passed."),
        ("promoted", 2, 3, "It is newer."),
        ("rolled_back", 3, 1, "Wrong fees."),
        ("promoted", 1, 2, "Now."),
    ]
    assert all(one["actor"] for one in told)
    event = Event.model_validate(told[2])
    assert event.subject() == "Relearn: version 3 was rolled back to version 1"
    assert f"Switched from version 3 to 1 by {event.actor}" in event.body()


def test_a_promotion_that_was_cut_off_is_told_when_it_is_asked_for_again(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = registry_miniature.make_workspace(tmp_path / "w", weights)
    with_hooks(workspace, {"on": ["promoted"], "command": program(APPEND, tmp_path / "told")})
    registry.register_base(workspace, workspace.base(), registry_miniature.base_digest(workspace))
    with monkeypatch.context() as patch:
        patch.setattr("tasks.serving.point_to", None)  # the ledger has its entry, and nothing else happened
        with pytest.raises(TypeError):
            promote_version(workspace.root, 1, "It is all there is.", override=False)
    assert not (tmp_path / "told").exists()
    for _ in range(2):
        promote_version(workspace.root, 1, "It is all there is.", override=False)
    [told] = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert (told["event"], told["to"]) == ("promoted", 1)


def test_hooks_can_be_tried(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    with pytest.raises(InputError, match="names no hook"):
        try_hooks(workspace)
    with_hooks(
        workspace,
        {"on": ["missed"], "command": program(WRITE, tmp_path / "told")},
        {"on": ["held"], "command": ["/nowhere/program"]},
    )
    tried = try_hooks(workspace)
    assert [(one["event"], one["sent"]) for one in tried] == [("missed", True), ("held", False)]
    assert "trial" in (tmp_path / "told").read_text()
