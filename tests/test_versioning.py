"""DVC in miniature: stages run in this process are committed, recognised, brought back, and survive kills."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from data.errors import InputError, OutsideError
from data.files import write_json
from data.workspace import PROJECT_ROOT, STAGES, Workspace
from tasks import dvc_sharing, versioning
from tests.programs import dvc
from tests.refused import refused

PIPELINE = {
    "stages": {
        "double": {
            "cmd": "echo double",
            "deps": ["source.txt"],
            "params": ["times"],
            "outs": ["doubled"],
            "metrics": ["length.json"],
        },
        "count": {"cmd": "echo count", "deps": ["doubled"], "outs": ["count.txt"]},
    }
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "workspace"
    root.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    shutil.copytree(PROJECT_ROOT / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    (root / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    (root / "params.yaml").write_text("times: 2\n")
    (root / "source.txt").write_text("ab")
    return Workspace(root)


def _lock(workspace: Workspace) -> Any:
    return yaml.safe_load((workspace.root / "dvc.lock").read_text())


def _double(workspace: Workspace) -> None:
    root = workspace.root
    made_from = versioning.inputs(workspace, "double")
    times = yaml.safe_load((root / "params.yaml").read_text())["times"]
    (root / "doubled").mkdir(exist_ok=True)
    (root / "doubled" / "text.txt").write_text((root / "source.txt").read_text() * times)
    (root / "length.json").write_text(json.dumps({"length": len((root / "doubled" / "text.txt").read_text())}))
    versioning.commit(workspace, "double", made_from)


def _count(workspace: Workspace) -> None:
    root = workspace.root
    made_from = versioning.inputs(workspace, "count")
    (root / "count.txt").write_text(str(len((root / "doubled" / "text.txt").read_text())))
    versioning.commit(workspace, "count", made_from)


def _current(workspace: Workspace) -> list[bool]:
    return [versioning.is_current(workspace, stage) for stage in ("double", "count")]


def test_a_committed_run_is_current_and_dvc_agrees(workspace: Workspace) -> None:
    _double(workspace)
    assert _current(workspace) == [True, False]
    _count(workspace)
    assert _current(workspace) == [True, True]
    assert json.loads(dvc(workspace, "status", "--json")) == {}
    assert "length" in dvc(workspace, "metrics", "show")
    assert "didn't change, skipping" in dvc(workspace, "repro")


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("source.txt", "abc"),
        ("params.yaml", "times: 3\n"),
        ("doubled/text.txt", "by hand"),
        ("doubled/new", ""),
    ],
)
def test_any_edit_is_seen(workspace: Workspace, path: str, content: str) -> None:
    _double(workspace)
    (workspace.root / path).write_text(content)
    assert not versioning.is_current(workspace, "double")


@pytest.mark.parametrize("content", [b"\0\xff [[", b"no section", b"[core]\n    nonsense = 1\n", None])
def test_settings_of_dvc_that_say_nothing_are_named(workspace: Workspace, content: bytes | None) -> None:
    config = workspace.root / ".dvc" / "config"
    config.unlink()
    config.mkdir() if content is None else config.write_bytes(content)
    with pytest.raises(InputError, match=r"\.dvc/config, or config\.local beside it, is not what DVC can read"):
        versioning.is_current(workspace, "double")


def test_what_nobody_may_read_among_the_documents_stops_no_stage(workspace: Workspace) -> None:
    pipeline = yaml.safe_load((workspace.root / "dvc.yaml").read_text())
    pipeline["stages"]["double"]["deps"] += ["data/documents", "data/inputs/unreadable.json"]
    pipeline["stages"]["ingest"] = {"cmd": "echo", "deps": ["data/documents"], "outs": ["doubled.txt"]}
    (workspace.root / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    (workspace.root / "doubled.txt").touch()
    workspace.documents.mkdir(parents=True)
    for name in ("open.md", "closed.md", "closed.zip"):
        (workspace.documents / name).write_text(name)
    write_json(workspace.unreadable, {"documents": ["closed.md"]})
    with refused(workspace.documents / "closed.md", workspace.documents / "closed.zip"):
        _double(workspace)
        assert versioning.is_current(workspace, "double")
        versioning.commit(workspace, "ingest", versioning.inputs(workspace, "ingest"))
        dvc_sharing.keep_documents(workspace)
    write_json(workspace.unreadable, {"documents": []})
    assert not versioning.is_current(workspace, "double")
    _double(workspace)
    assert versioning.is_current(workspace, "double")


@pytest.mark.parametrize(("path", "content"), [("source.txt", "abc"), ("params.yaml", "times: 3\n")])
def test_what_changes_while_a_stage_works_is_not_recorded_as_read(
    workspace: Workspace, path: str, content: str
) -> None:
    made_from = versioning.inputs(workspace, "double")
    _double(workspace)
    (workspace.root / path).write_text(content)
    with pytest.raises(OutsideError, match=r"changed while it worked"):
        versioning.commit(workspace, "double", made_from)
    assert not versioning.is_current(workspace, "double")
    assert not versioning.restore(workspace, "double")


def test_another_command_is_not_current(workspace: Workspace) -> None:
    _double(workspace)
    text = (workspace.root / "dvc.yaml").read_text()
    (workspace.root / "dvc.yaml").write_text(text.replace("echo double", "echo twice"))
    assert not versioning.is_current(workspace, "double")
    assert not versioning.restore(workspace, "double")


def test_deleted_outputs_come_back(workspace: Workspace) -> None:
    _double(workspace)
    shutil.rmtree(workspace.root / "doubled")
    (workspace.root / "length.json").unlink()
    assert not versioning.is_current(workspace, "double")
    assert versioning.restore(workspace, "double")
    assert (workspace.root / "doubled" / "text.txt").read_text() == "abab"
    assert json.loads((workspace.root / "length.json").read_text()) == {"length": 4}
    assert versioning.is_current(workspace, "double")


def test_inputs_seen_before_bring_their_outputs_back(workspace: Workspace) -> None:
    _double(workspace)
    first = _lock(workspace)
    (workspace.root / "source.txt").write_text("xyz")
    assert not versioning.restore(workspace, "double")
    assert (workspace.root / "doubled" / "text.txt").read_text() == "abab"
    _double(workspace)
    assert _lock(workspace) != first

    (workspace.root / "source.txt").write_text("ab")
    assert versioning.restore(workspace, "double")
    assert (workspace.root / "doubled" / "text.txt").read_text() == "abab"
    assert versioning.is_current(workspace, "double")
    assert _lock(workspace) == first


def test_nothing_comes_back_from_an_emptied_cache(workspace: Workspace) -> None:
    _double(workspace)
    shutil.rmtree(workspace.root / ".dvc" / "cache" / "files")
    shutil.rmtree(workspace.root / "doubled")
    assert not versioning.restore(workspace, "double")
    assert (workspace.root / "length.json").is_file()


@pytest.mark.parametrize("by_a_kill", [False, True])
def test_a_run_that_was_forgotten_does_not_come_back_and_stops_nothing(workspace: Workspace, by_a_kill: bool) -> None:
    _double(workspace)
    cache = versioning.cache(workspace)
    ((run, _),) = cache.runs()
    (workspace.root / "source.txt").write_text("xyz")
    _double(workspace)
    cache.forget(run)
    assert not run.parent.exists()
    if by_a_kill:
        run.parent.mkdir()
    (workspace.root / "source.txt").write_text("ab")
    assert not versioning.restore(workspace, "double")
    assert (workspace.root / "doubled" / "text.txt").read_text() == "xyzxyz"


def test_a_torn_lock_file_is_rebuilt(workspace: Workspace) -> None:
    _double(workspace)
    _count(workspace)
    whole = _lock(workspace)
    lock = workspace.root / "dvc.lock"
    for length in (0, len("schema: '2"), lock.stat().st_size // 2):
        content = lock.read_text()
        lock.write_text(content[:length])
        for stage in ("double", "count"):
            assert versioning.is_current(workspace, stage) or versioning.restore(workspace, stage)
        assert _lock(workspace) == whole


def test_a_killed_holder_does_not_block(workspace: Workspace) -> None:
    """Kill -9 while DVC holds its locks; even when the process number belongs to somebody else by then."""
    _double(workspace)
    code = (
        "import sys, time; from dvc.repo import Repo, lock_repo; from dvc.rwlock import rwlock\n"
        "repo = Repo(sys.argv[1])\n"
        "with lock_repo(repo), rwlock(repo.tmp_dir, repo.fs, 'dvc', [], [sys.argv[1]], False):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(workspace.root)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(OutsideError, match="busy"):
            versioning.is_current(workspace, "double")
        holder.send_signal(signal.SIGKILL)
    assert versioning.is_current(workspace, "double")

    entry = {"pid": os.getpid(), "cmd": "dvc repro"}
    held = workspace.root / ".dvc" / "tmp" / "rwlock"
    held.write_text(json.dumps({"write": {str(workspace.root): entry}}))
    made_from = versioning.inputs(workspace, "double")
    with pytest.raises(OutsideError, match="busy"):
        versioning.commit(workspace, "double", made_from)
    long_ago = time.time() - 10**6
    os.utime(held, (long_ago, long_ago))
    versioning.commit(workspace, "double", made_from)
    held.write_text('{"write": {"/a')
    assert versioning.is_current(workspace, "double")


def test_standard_output_stays_free(workspace: Workspace) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from data.workspace import Workspace; from tasks import versioning\n"
        "workspace = Workspace(Path(sys.argv[1]))\n"
        "versioning.commit(workspace, 'double', versioning.inputs(workspace, 'double'))\n"
        "(workspace.root / 'length.json').unlink(); assert versioning.restore(workspace, 'double')\n"
    )
    _double(workspace)
    (workspace.root / "source.txt").write_text("other")
    said = subprocess.run(
        [sys.executable, "-c", code, str(workspace.root)],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout == ""


def test_it_works_without_git(workspace: Workspace) -> None:
    shutil.rmtree(workspace.root / ".git")
    _double(workspace)
    assert versioning.is_current(workspace, "double")


def test_what_is_missing_is_said(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nosuch"):
        versioning.is_current(workspace, "nosuch")
    with pytest.raises(InputError, match="doubled"):
        versioning.commit(workspace, "double", versioning.inputs(workspace, "double"))
    (workspace.root / "source.txt").unlink()
    with pytest.raises(InputError, match=r"source\.txt"):
        versioning.restore(workspace, "double")
    with pytest.raises(InputError, match="relearn init"):
        versioning.is_current(Workspace(tmp_path), "double")


def test_dvc_finds_the_command_of_this_installation(workspace: Workspace) -> None:
    """The real pipeline's command line, with a PATH that has no relearn."""
    cmd = yaml.safe_load((PROJECT_ROOT / "dvc.yaml").read_text())["stages"]["ingest"]["cmd"]
    bin_folder = workspace.state / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "relearn").write_text('#!/bin/sh\necho "$1" >made.txt\n')
    (bin_folder / "relearn").chmod(0o755)
    pipeline = {"stages": {"ingest": {"cmd": cmd, "deps": ["source.txt"], "outs": ["made.txt"]}}}
    (workspace.root / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "-q"],
        cwd=workspace.root, check=True, env={**os.environ, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert (workspace.root / "made.txt").read_text() == "ingest\n"


def test_the_projects_pipeline_loads_and_has_the_stages_in_order() -> None:
    stages = yaml.safe_load((PROJECT_ROOT / "dvc.yaml").read_text())["stages"]
    assert tuple(stages) == STAGES
    listed = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only"],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert listed.stdout.split() == list(STAGES)
