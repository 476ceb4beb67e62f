"""What must hold after a soak, read from the workspace, ledger, registry, Prefect's database, DVC and git alone.

Each check gives the sentences that say what is wrong; none: it holds.
"""

import contextlib
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import yaml

from bench.soak_line import RELEARN, Line
from data.files import read_record
from data.records import Snapshot
from data.workspace import Workspace
from flows.inputs import is_of_folder, last_cycle, look_at
from flows.leftovers import half_built
from tasks import ledger, registry, serving, weights
from tasks.mirrors import that_differ
from tasks.places import ledger_uri
from tasks.registry import VersionInfo
from tasks.tracking import reaching

Check = Callable[[Line, "Trainings"], Iterator[str]]


class Trainings:
    """Distinct inputs of trainings: what DVC remembers of its runs, looked at often, because gc forgets some of it."""

    def __init__(self, workspace: Workspace) -> None:
        self.folder = workspace.root / ".dvc" / "cache" / "runs"
        self.stages: dict[str, str] = {}
        """The stage of each key, as far as it was read."""
        self.there: set[str] = set()
        self.distinct = 0
        """Inputs that had to be trained on; again where gc had freed what came of them."""

    def count_new(self) -> None:
        """Count what is new since the last look."""
        now = {place.name for place in self.folder.glob("*/*") if self._stage(place) == "train"}
        self.distinct += len(now - self.there)
        self.there = now

    def _stage(self, place: Path) -> str:
        if place.name not in self.stages:
            for file in place.iterdir() if place.is_dir() else ():
                with contextlib.suppress(OSError, yaml.YAMLError, KeyError, TypeError):
                    command = str(yaml.safe_load(file.read_text(encoding="utf-8"))["cmd"])
                    self.stages[place.name] = command.split()[-1]
        return self.stages.get(place.name, "")


def trainings_done(line: Line) -> int:
    """Trainings that ended, as the line printed them; a stage that was brought back says ``unchanged``."""
    return sum(text.startswith("train ") and " done in " in text for text in line.said().splitlines())


def runs_by_state(workspace: Workspace) -> dict[str, Counter[str]]:
    """Flow runs in Prefect's database: flow -> state -> how many."""
    counted: dict[str, Counter[str]] = {}
    query = "SELECT flow.name, flow_run.state_name FROM flow_run JOIN flow ON flow.id = flow_run.flow_id"
    with contextlib.closing(sqlite3.connect(workspace.state / "prefect" / "prefect.db")) as database:
        for flow, state in database.execute(query):
            counted.setdefault(flow, Counter())[state] += 1
    return counted


# --- what the last cycle followed from -------------------------------------------------------------


def _no_change_missed(line: Line, _: Trainings) -> Iterator[str]:
    workspace = line.workspace
    cycle = last_cycle(workspace)
    if cycle is None or cycle.result is None:
        yield "The last cycle was not finished."
    elif cycle.key != look_at(workspace).key:
        yield "The last finished cycle followed from other documents or settings than lie there."
    snapshot = read_record(workspace.collection / "snapshot.json", Snapshot)
    if not is_of_folder(workspace, snapshot):
        yield "The last snapshot names other files than lie in the folder."


def _nothing_trained_twice(line: Line, trainings: Trainings) -> Iterator[str]:
    done = trainings_done(line)
    if done > trainings.distinct:
        yield f"{done} trainings ended, and only {trainings.distinct} different ones were asked for."


# --- versions and decisions ------------------------------------------------------------------------


def _candidates(workspace: Workspace) -> list[VersionInfo]:
    return [info for info in registry.get_versions(workspace) if info.kind == "candidate"]


def _versions_complete(line: Line, _: Trainings) -> Iterator[str]:
    workspace = line.workspace
    for info in registry.get_versions(workspace):
        for missing in _missing(workspace, info):
            yield f"Version {info.version} ({info.kind}) lacks {missing}."


def _missing(workspace: Workspace, info: VersionInfo) -> Iterator[str]:
    with reaching(workspace) as client:
        run = client.get_run(info.run)
        artifacts = {item.path for item in client.list_artifacts(info.run)}
        reports = [item.path for item in client.list_artifacts(info.run, "report")] if "report" in artifacts else []
    if run.info.status != "FINISHED":
        yield f"an end of its run ({run.info.status})"
    for tag in ("key", "verdict", "base", *(("snapshot", "adapter", "rows", "code") if info.kind != "base" else ())):
        if not info.tags.get(tag):
            yield f"the tag {tag}"
    if info.kind == "candidate":
        if f"report/v{info.version}.html" not in reports:
            yield "the report in its run"
        if not (workspace.reports / f"v{info.version}.html").is_file():
            yield "the report in the workspace"
    if info.tags.get(weights.TAG) != weights.FREED:
        try:
            serving.load(serving.absolute(workspace, serving.fetch_weights(workspace, info.version)))
        except Exception as error:
            yield f"weights that load ({error})"


def _one_version_per_candidate(line: Line, _: Trainings) -> Iterator[str]:
    keys = Counter(info.tags.get("key") for info in registry.get_versions(line.workspace))
    for key, count in keys.items():
        if count > 1:
            yield f"{count} versions have the key {key}."


def _ledger_intact(line: Line, _: Trainings) -> Iterator[str]:
    broken = ledger.broken_at(ledger_uri(line.workspace))
    if broken is not None:
        yield f"Entry {broken} does not follow from the ones before it."


def _mirrors_follow(line: Line, _: Trainings) -> Iterator[str]:
    yield from that_differ(line.workspace)


# --- DVC and git -----------------------------------------------------------------------------------


def _output(line: Line, *command: str) -> str:
    done = subprocess.run(  # noqa: S603 - dvc and git
        command, cwd=line.workspace.root, env=line.environment, capture_output=True, text=True, check=False
    )
    return (done.stdout + done.stderr).strip()


def _dvc_clean(line: Line, _: Trainings) -> Iterator[str]:
    said = _output(line, sys.executable, "-m", "dvc", "status")
    if "up to date" not in said:
        yield f"dvc status says: {said}"


def _git_clean(line: Line, _: Trainings) -> Iterator[str]:
    said = _output(line, "git", "status", "--porcelain")
    if said:
        yield f"git status says: {said}"


def _versions_tagged(line: Line, _: Trainings) -> Iterator[str]:
    tags = set(_output(line, "git", "tag", "--list").split())
    for info in _candidates(line.workspace):
        if f"v{info.version}" not in tags:
            yield f"Version {info.version} has no tag."


# --- what is left behind ---------------------------------------------------------------------------


def _doctor_content(line: Line, _: Trainings) -> Iterator[str]:
    done = subprocess.run(  # noqa: S603 - our own command
        [RELEARN, "doctor", "--check", "--workspace", line.workspace.root],
        env=line.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        yield f"relearn doctor --check left with {done.returncode}: {done.stdout.strip()}"


def _no_process_left(line: Line, _: Trainings) -> Iterator[str]:
    myself = psutil.Process()
    known = {parent.pid for parent in myself.parents()}
    ours = {myself.pid, line.server.pid if line.server else 0}
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.Error):
            family = {process.pid, *(parent.pid for parent in process.parents())}
            if str(line.place) in " ".join(process.info["cmdline"] or ()) and not family & ours | {process.pid} & known:
                yield f"Process {process.pid} still runs: {' '.join(process.info['cmdline'])[:200]}"


def _no_temporary_files(line: Line, _: Trainings) -> Iterator[str]:
    yield from (f"{path} is left." for path in half_built(line.workspace))
    for pattern in ("*.tmp", ".*.tmp", "*.old"):
        for path in (line.workspace.root / "data").rglob(pattern):
            yield f"{path} is left."


def _nothing_seen_on_the_way(line: Line, _: Trainings) -> Iterator[str]:
    yield from line.wrong
    for name, codes in line.codes.items():
        for code in sorted(set(codes) - {0, 1, 3}):
            yield f"relearn {name} left with {code}."
    tracebacks = line.said().count("Traceback (most recent call last)")
    if tracebacks:
        yield f"{tracebacks} tracebacks were printed."


INVARIANTS: dict[str, Check] = {
    "no change was missed": _no_change_missed,
    "nothing was trained twice": _nothing_trained_twice,
    "every version is complete": _versions_complete,
    "one version per candidate": _one_version_per_candidate,
    "the ledger's chain is intact": _ledger_intact,
    "alias and pointer follow the ledger": _mirrors_follow,
    "dvc status is clean": _dvc_clean,
    "git status is clean": _git_clean,
    "every version is tagged": _versions_tagged,
    "nobody has to settle anything": _doctor_content,
    "no process is left": _no_process_left,
    "no temporary file is left": _no_temporary_files,
    "nothing untoward on the way": _nothing_seen_on_the_way,
}


def examine(line: Line, trainings: Trainings) -> dict[str, list[str]]:
    """What is wrong, by invariant; a check that cannot be made is wrong too."""
    found: dict[str, list[str]] = {}
    for name, check in INVARIANTS.items():
        try:
            found[name] = list(check(line, trainings))
        except Exception as error:
            found[name] = [f"It could not be checked: {error!r}"]
    return found
