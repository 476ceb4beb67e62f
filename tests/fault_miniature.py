"""Faults in miniature: a process that is killed, or refused by the operating system, at an exact instant.

Each command runs in a process of its own, forked from one that has imported the libraries and done nothing else, so
that it costs what its work costs. A kill is a real SIGKILL; a full disk is a real refusal: the limit that the kernel
sets to the size of files (RLIMIT_FSIZE) stands where a full disk would.
"""

import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from data.decisions import SWITCHES
from data.events import Event
from data.files import digest_tree, read_records
from data.params import load_params
from data.snapshots import snapshot_digest
from data.workspace import PROJECT_ROOT, Workspace
from flows.overview import history
from tasks import registry, relocation
from tasks.tracking import reaching
from tests.local_server import free_port
from tests.miniature import make_workspace, under_version_control, with_base
from tests.programs import dvc

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["torch", "transformers", "peft", "mlflow", "great_expectations", "pandas", "dvc.repo", "prefect", "flows.cycle"]
)
TIMEOUT = 120
MORE = {"more.md": "# More\n\nYou must pay within 30 days of the bill.\n"}
"""A document that comes on the second day."""
LEARNS: dict[str, Any] = {"steps": 250, "width": 64, "tokens_per_step": 1024}
"""What a base needs to know anything at all, so that something can be forgotten."""
LENIENT: dict[str, Any] = {
    "min_new_right": 0.0, "max_held_drop": 1.0, "max_handbook_drop": 1.0, "max_stale_share": 1.0, "min_coverage": 0.0,
    "max_champion_drop": 1.0,
    "min_withdrawn_refused": 0.0, "min_surviving_share": 0.0, "max_sigma_ratio": 1e9,
    "warn_sigma_ratio": 1e9,
    "max_robust_z": 1e9,
    "warn_robust_z": 1e9,
    "modes": {**load_params(PROJECT_ROOT / "params.yaml").gates.modes, "unstructured": "shadow"},  # ten steps: chance
}  # fmt: skip


UNDECIDED: dict[str, Any] = {"max_stale_share": 0.5}
"""Two wordings of the one fact that is replaced cannot tell whether half of such facts are stale."""


def make_template(root: Path) -> Path:
    """A workspace before its first cycle; its gates let every candidate pass, and it saves every five steps."""
    workspace = make_workspace(root)
    turn(workspace, tiny=LEARNS)
    with_base(workspace)
    turn(workspace, gates=LENIENT, train={"log_every": 5, "checkpoint_every": 5})
    turn(workspace, quick={"steps": 20, "held_questions": 20, "handbook_questions": 20})
    return under_version_control(workspace).root


def turn(workspace: Workspace, **blocks: dict[str, Any]) -> None:
    """Edit ``params.yaml`` as a person would."""
    params = yaml.safe_load(workspace.params_file.read_text())
    for block, values in blocks.items():
        params[block].update(values)
    workspace.params_file.write_text(yaml.safe_dump(params))


def tell_a_file(workspace: Workspace) -> Workspace:
    """Let every event that a cycle can end with be written to ``told.jsonl``."""
    append = "import sys; open('told.jsonl', 'a').write(sys.stdin.read())"
    hook = {"on": ["held", "rejected", "promoted", "failed"], "command": [sys.executable, "-c", append]}
    params = yaml.safe_load(workspace.params_file.read_text())
    workspace.params_file.write_text(yaml.safe_dump({**params, "notify": [hook]}))
    return workspace


def told(workspace: Workspace) -> list[Event]:
    """What the workspace's program was told."""
    return read_records(workspace.root / "told.jsonl", Event)


@dataclass(frozen=True)
class At:
    """An instant: just before or just after a call of one function."""

    function: str
    """``module.name`` or ``module.Class.name``, where it is looked up."""
    having: str = ""
    """The call has this among its arguments, or a path of this name."""
    number: int = 1
    """The how-manieth such call."""
    after: bool = False


@dataclass(frozen=True)
class Fault:
    """What happens at an instant."""

    at: At
    act: "Callable[..., Any]"
    """Called with the function's arguments."""
    lasting: bool = False
    """It goes on for the length of the call, and ends with it: ``act`` gives back what ends it."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    said: str = field(repr=True)

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


def kill(*_: object, **__: object) -> None:
    """As kill -9 would, from within."""
    os.kill(os.getpid(), signal.SIGKILL)


def command(workspace: Workspace, server: str, *arguments: str, fault: Fault | None = None) -> Ended:
    """Run ``relearn`` with these arguments in a process of its own, with a fault on its way."""
    log = workspace.root.with_suffix(".log")
    place = ["--workspace", str(workspace.root)]
    process = FORKS.Process(target=_main, args=([*arguments, *place], server, fault, log))
    process.start()
    process.join(TIMEOUT)
    if process.is_alive():
        process.kill()
        raise AssertionError(f"relearn {' '.join(arguments)} took more than {TIMEOUT} seconds: {log.read_text()}")
    said = log.read_text(errors="replace")
    assert "Traceback" not in said, said
    return Ended(int(process.exitcode or 0), said)


def _main(arguments: list[str], server: str, fault: Fault | None, log: Path) -> None:
    handle = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    from flows.cli import main

    if fault is not None:
        install(fault)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    sys.argv = ["relearn", *arguments]
    with using_prefect(server):
        main()


def install(fault: Fault) -> None:
    """Let the fault happen in this process when its instant comes."""
    holder, name = _found(fault.at.function)
    original, calls = getattr(holder, name), 0

    def faulty(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += _has((*arguments, *named.values()), fault.at.having)
        now = calls == fault.at.number and _has((*arguments, *named.values()), fault.at.having)
        if not now:
            return original(*arguments, **named)
        if fault.at.after:
            done = original(*arguments, **named)
            fault.act(*arguments, **named)
            return done
        end = fault.act(*arguments, **named)
        try:
            return original(*arguments, **named)
        finally:
            if fault.lasting:
                end()

    setattr(holder, name, faulty)


def _found(place: str) -> tuple[Any, str]:
    parts = place.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            module = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return reduce(getattr, parts[length:-1], module), parts[-1]
    raise AssertionError(f"There is no {place}.")


def _has(values: tuple[Any, ...], wanted: str) -> bool:
    return not wanted or any(value == wanted or (isinstance(value, Path) and value.name == wanted) for value in values)


def fill_disk(limit: int) -> Callable[[], None]:
    """From now on no file of this process grows beyond ``limit`` bytes; calling what it returns ends it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)


def same_bits(one: Workspace, other: Workspace) -> bool:
    """Whether both made the same from the same documents."""
    folders = ("collection", "synthetic", "adapter", "spectral", "evaluation")
    return all(digest_tree(getattr(one, name)) == digest_tree(getattr(other, name)) for name in folders)


def documents_digest(workspace: Workspace) -> str:
    """Of what lies in the documents folder."""
    files = [path for path in workspace.documents.rglob("*") if path.is_file()]
    return snapshot_digest((path.name, digest_tree(path)) for path in files)


def assert_whole(workspace: Workspace, undisturbed: Workspace, candidates: int = 1) -> None:
    """All is there once, with the same bits as where nothing went wrong."""
    assert same_bits(workspace, undisturbed)
    entries = history(workspace.root, verify=True)
    switches = [(entry["from"], entry["to"]) for entry in entries["entries"] if entry["action"] in SWITCHES]
    assert switches == [(None, 1), (1, 2)]
    assert entries["intact"]
    assert [info.kind for info in registry.get_versions(workspace)] == ["base", *["candidate"] * candidates]
    with reaching(workspace) as client:
        experiment = client.get_experiment_by_name(workspace.params().registry.experiment)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        models = client.search_logged_models([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * (1 + candidates)
    assert len(models) == 1 + candidates
    assert "up to date" in dvc(workspace, "status")


def sentence(said: str) -> str:
    """The one that the command ended with."""
    return next(line for line in said.splitlines() if line.startswith("relearn: "))


def copied(template: Path, place: Path) -> Workspace:
    """The workspace once more, for a test to spoil; MLflow notes absolute places, which follow the copy."""
    workspace = Workspace(Path(shutil.copytree(template, place, symlinks=True)))
    relocation.follow(workspace)
    return workspace


@contextmanager
def using_prefect(server: str) -> Iterator[None]:
    """Cycles in this process report to the server at this address, as commands of ``command`` do."""
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    from tasks.prefect_server import CLIENT_RETRIES

    # what flows/running.py puts into the environment comes too late for a Prefect that is imported already
    with temporary_settings({PREFECT_API_URL: server, PREFECT_CLIENT_MAX_RETRIES: CLIENT_RETRIES}):
        yield


@contextmanager
def prefect_server(home: Path) -> Iterator[tuple[str, int]]:
    """A Prefect server of one's own: its address, and its process, which leads a group."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
        env=os.environ | {"PREFECT_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(1200):
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
                break
            time.sleep(0.1)
        else:
            raise AssertionError("Prefect's server did not come up within two minutes.")
        yield f"http://127.0.0.1:{port}/api", process.pid
    finally:
        end_group(process.pid)
        process.wait()


def end_group(group: int, *_: object, **__: object) -> None:
    """kill -9 for a process and those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    overwrite(file, bytes(content))


def truncate(file: Path) -> None:
    overwrite(file, file.read_bytes()[:-1])


def overwrite(file: Path, content: bytes) -> None:
    """As a failing disk would: write-protected and with the same times."""
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.chmod(0o644)
    file.write_bytes(content)
    file.chmod(0o444)
    os.utime(file, ns=times)
