"""A production workspace: every cycle is a commit, and another machine takes it up from git and the DVC remote."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import psutil
import pytest
import yaml

from data.errors import InputError, OutsideError
from data.files import digest_tree, read_json, read_record
from data.findings import Condition
from data.params import Params, load_params
from data.params_file import render
from data.records import Accepted, Snapshot
from data.workspace import PROJECT_ROOT, Workspace
from flows.doctor import CHECKS, doctor
from flows.init import make_workspace
from flows.overview import history, status
from flows.promote import promote
from flows.running import run_cycle
from tasks import dvc_sharing, revisions
from tasks.serving import ask
from tests import miniature
from tests.fault_miniature import copied, turn, using_prefect
from tests.local_server import free_port, served
from tests.miniature import NEW, SMALL, with_base, write_documents
from tests.mlflow_server import mlflow_server
from tests.programs import dvc, git, relearn

WHOLE = [".dvc", ".dvcignore", ".git", ".gitignore", "data", "dvc.yaml", "params.yaml", "prefect.yaml"]


pytestmark = pytest.mark.usefixtures("prefect_here")


@pytest.fixture(scope="module")
def made(server: str, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace made by ``relearn init``, in miniature, after its first cycle."""
    place = tmp_path_factory.mktemp("production")
    bases = with_base(miniature.make_workspace(place / "elsewhere"))
    workspace = make_workspace(place / "workspace", str(bases.root / "base"), str(place / "remote"))
    params = yaml.safe_load(workspace.params_file.read_text())
    for block, values in SMALL.items():
        params[block].update(values)
    workspace.params_file.write_text(render(Params.model_validate(params)))
    write_documents(workspace.documents, NEW)
    with using_prefect(server):
        run_cycle(workspace.root, quick=False, loss_reason=None)
    return workspace


def test_a_new_workspace_is_whole_and_explains_itself(tmp_path: Path) -> None:
    done = relearn("init", str(tmp_path / "new"), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    workspace = Workspace(Path(json.loads(done.stdout)["workspace"]))
    assert git(workspace, "status", "--porcelain") == ""
    ours, theirs = load_params(workspace.params_file), load_params(PROJECT_ROOT / "params.yaml")
    assert ours.versioning.commit
    assert ours.watch.name == "new"
    assert ours.model_copy(update={"versioning": theirs.versioning, "watch": theirs.watch}) == theirs
    update, look = yaml.safe_load((workspace.root / "prefect.yaml").read_text())["deployments"]
    assert [one["name"] for one in (update, look, update["work_pool"], look["work_pool"])] == ["new"] * 4
    assert update["triggers"][0]["match"] == {"prefect.resource.id": "relearn.line.new"}
    text = workspace.params_file.read_text()
    assert all(field.description and field.description.split()[0] in text for field in Params.model_fields.values())
    assert workspace.documents.is_dir()
    assert "documents/" in (workspace.root / "data" / "README.md").read_text()
    assert dvc(workspace, "remote", "list") == ""


def test_a_workspace_may_be_named_like_a_number(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "2024")
    update, look = yaml.safe_load((workspace.root / "prefect.yaml").read_text())["deployments"]
    names = [one["name"] for one in (update, look, update["work_pool"], look["work_pool"])]
    assert names == ["2024"] * 4 == [load_params(workspace.params_file).watch.name] * 4


def test_an_existing_folder_stays_the_folder_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o750)
    before = folder.stat()
    make_workspace(folder)
    assert (folder.stat().st_ino, folder.stat().st_mode) == (before.st_ino, before.st_mode)
    assert git(Workspace(folder), "status", "--porcelain") == ""
    assert sorted(path.name for path in folder.iterdir()) == WHOLE


@pytest.mark.parametrize("instant", ["flows.init.dvc_sharing.start", "flows.init.revisions.commit", "Path.rmdir"])
def test_an_interrupted_call_is_made_again(instant: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    killed = (
        f"import os, sys, flows.init; from pathlib import Path; {instant} = lambda *_: os._exit(9);"
        "flows.init.make_workspace(Path(sys.argv[1]))"
    )
    assert subprocess.run([sys.executable, "-c", killed, folder], cwd=PROJECT_ROOT, check=False).returncode == 9
    assert any(folder.iterdir())
    make_workspace(folder)
    assert sorted(path.name for path in folder.iterdir()) == WHOLE
    assert git(Workspace(folder), "status", "--porcelain") == ""


def test_a_workspace_follows_the_projects_pipeline(made: Workspace, tmp_path: Path) -> None:
    workspace = copied(made.root, tmp_path / "copy")
    pipeline = workspace.root / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace("      - seed\n", "", 1))
    run_cycle(workspace.root, quick=False, loss_reason=None)
    assert pipeline.read_bytes() == (PROJECT_ROOT / "dvc.yaml").read_bytes()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    for name in ("letter.txt", ".letter.tmp"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        make_workspace(tmp_path)
    with pytest.raises(InputError, match="neither a folder"):
        make_workspace(tmp_path / "new", base="nowhere")
    with pytest.raises(InputError, match=r"lacks config.json"):
        make_workspace(tmp_path / "new", base=str(tmp_path))
    with pytest.raises(InputError, match="is no address") as failed:
        make_workspace(tmp_path / "new", remote="http://bob:hunter2@[x")
    assert "hunter2" not in str(failed.value)
    with pytest.raises(InputError, match="holds a password"):
        make_workspace(tmp_path / "new", remote="s3://key:word@bucket/place")
    assert sorted(file.name for file in tmp_path.iterdir()) == [".letter.tmp", "letter.txt"]


def test_a_remote_that_dvc_cannot_speak_to_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dvc_s3", None)  # as where it is not installed
    for remote, named in (("s3://bucket/relearn", "dvc-s3"), ("nowhere://bucket", "no such remote")):
        with pytest.raises(InputError, match=named):
            make_workspace(tmp_path / "new", remote=remote)
    assert list(tmp_path.iterdir()) == []


class Refusing(BaseHTTPRequestHandler):
    """A remote that holds nothing and takes nothing."""

    def do_HEAD(self) -> None:
        self.send_error(404)

    def do_POST(self) -> None:
        self.send_error(403)


def test_a_remote_that_refuses_is_no_full_disk_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(Refusing) as address:
        workspace = make_workspace(tmp_path / "new", remote=f"{address}/relearn")
        (workspace.root / "a.txt").write_text("a")
        dvc(workspace, "add", "a.txt")
        with pytest.raises(OutsideError, match="remote origin refused"):
            dvc_sharing.push(workspace)
        assert seen_of_the_remote(workspace) is None, "it answers, and holds nothing"
    dvc(workspace, "remote", "modify", "origin", "url", f"http://127.0.0.1:{free_port()}/relearn")
    assert seen_of_the_remote(workspace) is Condition.UNREACHED
    dvc(workspace, "remote", "modify", "origin", "url", "s3://bucket/relearn")
    monkeypatch.setitem(sys.modules, "dvc_s3", None)
    with pytest.raises(InputError, match="dvc-s3"):
        dvc_sharing.push(workspace)


def test_a_lock_that_a_killed_git_left_is_mended_and_a_commit_asks_for_nothing(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "new")
    git(workspace, "config", "commit.gpgsign", "true")
    git(workspace, "config", "tag.gpgsign", "true")
    git(workspace, "config", "gpg.program", "false")
    turn(workspace, gates={"min_coverage": 0.3})
    lock = workspace.root / ".git" / "index.lock"
    lock.touch()
    assert revisions.stale_locks(workspace) == []  # a git just begun may hold it
    (young,) = CHECKS["git"](workspace, True)
    assert (young.state, "seconds old" in young.says) == (Condition.WARNING, True)
    assert lock.exists()
    with pytest.raises(OutsideError, match=r"git is held by .*index\.lock.* relearn doctor takes"):
        revisions.commit(workspace, "another", tag="v1")
    os.utime(lock, (0, 0))
    with program("git-fetch", "60", workspace.root):
        assert revisions.stale_locks(workspace) == []
        (old,) = CHECKS["git"](workspace, True)
        assert (old.state, lock.exists()) == (Condition.WARNING, True)
    with program("gitea", "60", workspace.root), ended_unheard("git"):
        assert revisions.stale_locks(workspace) == [lock]
    states = {finding.what: finding.state for finding in doctor(workspace.root, check=False)}
    assert states["git"] is Condition.MENDED
    assert not lock.exists()
    assert revisions.commit(workspace, "another", tag="v1")


@contextmanager
def ended_unheard(name: str) -> Iterator[None]:
    """A process of this name that ended, and whose parent has not asked how."""
    with program(name, "0", Path("/")) as process:
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        yield


@contextmanager
def program(name: str, seconds: str, place: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of this name that works in a folder for so long."""
    with tempfile.TemporaryDirectory() as folder:
        sleep = shutil.copy(str(shutil.which("sleep")), Path(folder) / name)
        with subprocess.Popen([sleep, seconds], cwd=place) as process:
            try:
                yield process
            finally:
                process.kill()


def test_probes_are_committed_as_they_are_also_when_none_are_left(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "new")
    probes = workspace.root / "data" / "probes"
    (probes / "empty").mkdir(parents=True, exist_ok=True)
    (workspace.root / ".git" / "info" / "exclude").write_text(".DS_Store\n")
    (probes / ".DS_Store").write_text("of a file manager")
    turn(workspace, gates={"min_coverage": 0.3})
    assert revisions.commit(workspace, "none yet")
    (probes / "one.jsonl").write_text("{}\n")
    assert revisions.commit(workspace, "one")
    assert git(workspace, "ls-files", "data/probes") == "data/probes/one.jsonl"
    (probes / "one.jsonl").unlink()
    assert revisions.commit(workspace, "none")
    assert git(workspace, "ls-files", "data/probes") == ""
    assert not revisions.commit(workspace, "nothing")


def test_a_git_that_does_not_end_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make_workspace(tmp_path / "new")
    hook = workspace.root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexec sleep 5 >/dev/null 2>&1\n")
    hook.chmod(0o755)
    turn(workspace, gates={"min_coverage": 0.3})
    monkeypatch.setattr(revisions, "SECONDS", 0.5)
    with pytest.raises(OutsideError, match="did not end within"):
        revisions.commit(workspace, "another")
    assert not list((workspace.root / ".git").glob("*.lock"))


def test_each_cycle_is_a_commit_with_a_tag(made: Workspace) -> None:
    assert git(made, "status", "--porcelain") == ""
    assert git(made, "tag") == "v2"
    assert git(made, "log", "-1", "--format=%s") == "Version 2: reject"
    held = git(made, "ls-tree", "-r", "--name-only", "HEAD").splitlines()
    assert {"dvc.lock", "params.yaml", "data/documents.dvc", "data/inputs/accepted.json"} <= set(held)
    assert not [name for name in held if name.startswith(("data/documents/", "data/collection/", ".relearn/"))]
    run_cycle(made.root, quick=False, loss_reason=None)
    assert len(git(made, "log", "--format=%h").splitlines()) == 2


def test_another_machine_takes_it_up_without_training(made: Workspace, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", made.root, tmp_path / "other"], check=True)
    other = Workspace(tmp_path / "other")
    dvc(other, "pull")
    assert digest_tree(other.documents) == digest_tree(made.documents)
    assert digest_tree(other.adapter) == digest_tree(made.adapter)
    result = run_cycle(other.root, quick=False, loss_reason=None)
    assert (result.version, set(result.seconds.values())) == (2, {0.0})
    assert read_json(other.fixed_for) == read_json(made.fixed_for)
    assert status(other.root)["champion"]["version"] == status(made.root)["champion"]["version"]
    question = "What is the Fee of Basic?"
    first, second = (relearn("ask", question, workspace=place) for place in (made, other))
    assert (first.returncode, first.stdout) == (second.returncode, second.stdout) == (0, first.stdout)


def test_another_machine_trains_the_same_candidate(made: Workspace, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", made.root, tmp_path / "other"], check=True)
    other = Workspace(tmp_path / "other")
    dvc(other, "pull", "data/documents")
    run_cycle(other.root, quick=False, loss_reason=None)
    assert digest_tree(other.adapter) == digest_tree(made.adapter)
    assert dvc(other, "status") == "Data and pipelines are up to date."


def seen_of_the_remote(workspace: Workspace) -> Condition | None:
    """What doctor finds amiss with it."""
    return next((one.state for one in doctor(workspace.root, check=True) if one.what == "dvc remote"), None)


def test_a_remote_out_of_reach_is_said_and_made_up_for(made: Workspace, tmp_path: Path) -> None:
    workspace = copied(made.root, tmp_path / "copy")
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the remote should be")
    dvc(workspace, "remote", "modify", "origin", "url", str(blocked))
    (workspace.documents / "more.md").write_text("# More\n\nYou must pay within 30 days of the bill.\n")
    params = workspace.params_file.read_text().replace("retries: 3 ", "retries: 0 ")
    workspace.params_file.write_text(params)
    with pytest.raises(OutsideError, match="remote"):
        run_cycle(workspace.root, quick=True, loss_reason=None)
    assert seen_of_the_remote(workspace) == Condition.UNREACHED
    blocked.unlink()
    assert seen_of_the_remote(workspace) is None, "it is made by the first push"
    result = run_cycle(workspace.root, quick=True, loss_reason=None)
    assert (result.version, set(result.seconds.values())) == (3, {0.0})
    assert digest_tree(blocked)
    entries = history(workspace.root, verify=True)["entries"]
    assert [(entry["action"], entry["to"]) for entry in entries] == [
        ("judge", 1), ("intend", 1), ("promote", 1), ("judge", 2), ("judge", 3)
    ], "nothing is entered twice"  # fmt: skip


def test_documents_that_change_while_they_are_kept_stop_the_cycle(
    made: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = copied(made.root, tmp_path / "copy")
    file = workspace.documents / "more.md"
    file.write_text("# More\n\nYou must pay within 30 days of the bill.\n")
    keep = dvc_sharing.keep_documents

    def keep_late(place: Workspace) -> None:
        file.write_text("# More\n\nYou must pay within 31 days of the bill.\n")
        keep(place)

    with monkeypatch.context() as patch:
        patch.setattr("tasks.dvc_sharing.keep_documents", keep_late)
        with pytest.raises(OutsideError, match="changed while"):
            run_cycle(workspace.root, quick=True, loss_reason=None)
    assert run_cycle(workspace.root, quick=True, loss_reason=None).version == 3
    assert git(workspace, "status", "--porcelain") == ""


def test_machines_that_share_a_registry_agree_on_the_champion(made: Workspace, tmp_path: Path) -> None:
    """Ledger and MLflow in one place: what one machine promoted, the other serves, and compares with."""
    workspace = Workspace(tmp_path / "one")
    subprocess.run(["git", "clone", "-q", made.root, workspace.root], check=True)
    dvc(workspace, "pull")
    with mlflow_server(tmp_path / "mlflow") as address:
        params = yaml.safe_load(workspace.params_file.read_text())
        params["registry"].update(mlflow_uri=address, ledger_uri=f"sqlite:///{tmp_path}/ledger.db")
        params["versioning"]["push"] = False
        workspace.params_file.write_text(yaml.safe_dump(params))
        run_cycle(workspace.root, quick=False, loss_reason=None)
        promote(workspace, 2, "to serve on two machines", override=True)

        other = Workspace(tmp_path / "other")
        subprocess.run(["git", "clone", "-q", workspace.root, other.root], check=True)
        dvc(other, "pull")
        (other.documents / "more.md").write_text("# More\n\nYou must pay within 30 days of the bill.\n")
        run_cycle(other.root, quick=True, loss_reason=None)
        assert read_record(other.accepted, Accepted).snapshot == read_record(
            made.collection / "snapshot.json", Snapshot
        )
        champions = [status(place.root)["champion"]["version"] for place in (workspace, other)]
    assert champions == [2, 2]
    assert ask(workspace, "What is the Fee of Basic?") == ask(other, "What is the Fee of Basic?")
