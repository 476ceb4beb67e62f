"""kill -9 at every instant that matters: the next run finishes, with the same bits, and nothing stands twice."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc_objects.fs import local

from data.workspace import Workspace
from flows import init
from tasks import registry
from tasks.tracking import fetched
from tests.fault_miniature import (
    LENIENT,
    MORE,
    UNDECIDED,
    At,
    Fault,
    assert_whole,
    command,
    copied,
    documents_digest,
    kill,
    same_bits,
    sentence,
    told,
    turn,
)
from tests.miniature import NEW, write_documents
from tests.programs import dvc, git

ON_THE_WAY = {
    "the base's run is made": At("tasks.registry.log_pyfunc"),
    "the base's model is written": At("mlflow.MlflowClient.create_model_version"),
    "the base's version is made": At("tasks.registry._create_version", after=True),
    "the base stands in the ledger": At("tasks.registry.set_alias"),
    "the base has the alias": At("tasks.serving.point_to"),
    "the documents are checked": At("tasks.validation._failures"),
    "ingest has worked": At("tasks.versioning.commit", "ingest"),
    "synthesize has worked": At("tasks.versioning.commit", "synthesize"),
    "step 8 of the training": At("models.training._step", number=8),
    "a checkpoint is half written": At("models.training.save_file", number=2),
    "train has worked": At("tasks.versioning.commit", "train"),
    "DVC has digests and no file": At("dvc.output.Output.commit", number=2),
    "DVC has files and no lock": At("dvc.stage.PipelineStage.dump"),
    "audit has worked": At("tasks.versioning.commit", "audit"),
    "assess has worked": At("tasks.versioning.commit", "assess"),
    "the candidate's run is made": At("tasks.registry.log_evidence"),
    "the candidate's figures stand": At("tasks.tracking._log_datasets"),
    "the candidate's model is written": At("mlflow.MlflowClient.create_model_version"),
    "the candidate's version is made": At("tasks.registry._create_version", after=True),
    "the candidate stands in the ledger": At("tasks.registry.set_alias", "champion"),
    "the candidate has the alias": At("tasks.serving.point_to"),
    "all but the report": At("flows.decide.write_report"),
    "the report lies there": At("tasks.registry.attach"),
    "all but the cycle's record": At("flows.cycle.write_record"),
}


NASTIEST = (
    "the base stands in the ledger",
    "ingest has worked",
    "a checkpoint is half written",
    "DVC has digests and no file",
    "the candidate's figures stand",
    "the candidate's version is made",
    "the candidate has the alias",
    "all but the cycle's record",
)


def test_where_nothing_went_wrong_the_hooks_were_told_once(undisturbed: Workspace) -> None:
    [event] = told(undisturbed)
    assert (event.event, event.version, event.verdict) == ("promoted", 2, "promote")


@pytest.mark.parametrize("instants", [NASTIEST, pytest.param(tuple(ON_THE_WAY), marks=pytest.mark.slow)], ids=len)
def test_killed_on_its_way_again_and_again_it_ends_as_if_nothing_had_been(
    instants: tuple[str, ...], lenient: Path, undisturbed: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = copied(lenient, tmp_path / "workspace")
    for name in instants:
        instant = ON_THE_WAY[name]
        act = half_written if name == "a checkpoint is half written" else kill
        ended = command(workspace, server, "run", "--quick", fault=Fault(instant, act))
        assert ended.killed, (name, ended.said)
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    assert_whole(workspace, undisturbed)
    found = command(workspace, server, "doctor", "--json")
    assert found.code == 0, found.said
    assert command(workspace, server, "doctor", "--check").code == 0
    assert not [*workspace.root.glob("data/.*"), *workspace.checkpoints.rglob("*")]


def test_killed_while_the_new_takes_the_place_of_the_old(
    undisturbed: Workspace, second_day: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = copied(undisturbed.root, tmp_path / "workspace")
    write_documents(workspace.documents, NEW | MORE)
    kills: dict[str, tuple[At, Callable[..., object]]] = {
        "the old adapter is aside": (At("pathlib.Path.rename", "adapter", number=2), kill),
        "dvc.lock is half written": (At("dvc.stage.PipelineStage.dump", after=True), partial(torn, workspace)),
        "the candidate's model is written": (At("mlflow.MlflowClient.create_model_version"), kill),
        "the old report is there": (At("flows.decide.write_report"), kill),
    }
    for name, (instant, act) in kills.items():
        ended = command(workspace, server, "run", "--quick", fault=Fault(instant, act))
        assert ended.killed, (name, ended.said)
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    assert_whole(workspace, second_day, candidates=2)
    found = command(workspace, server, "doctor", "--json")
    assert found.code == 0, found.said
    assert not list(workspace.root.glob("data/.*"))


@pytest.mark.parametrize(
    "instant",
    [At("tasks.registry.log_evidence"), At("tasks.registry._create_version", number=2, after=True)],
    ids=["run", "version"],
)
def test_killed_at_the_registry_and_other_documents_come_both_are_whole(
    instant: At, second_day: Workspace, lenient: Path, server: str, tmp_path: Path
) -> None:
    workspace = copied(lenient, tmp_path / "workspace")
    ended = command(workspace, server, "run", "--quick", fault=Fault(instant, kill))
    assert ended.killed, ended.said
    write_documents(workspace.documents, NEW | MORE)
    turn(workspace, gates=UNDECIDED)  # what was judged stays judged
    killed = Fault(At("tasks.registry.attach"), kill)  # and once more, on the way to its end
    ended = command(workspace, server, "run", "--quick", fault=killed)
    assert ended.killed, ended.said
    turn(workspace, gates=LENIENT)
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    assert_whole(workspace, second_day, candidates=2)
    for number in (2, 3):
        run = registry.get_version(workspace, number).run
        with fetched(workspace, run, f"report/v{number}.html") as attached:
            assert attached is not None
        assert (workspace.reports / f"v{number}.html").is_file()
    assert not workspace.judged.exists()


def half_pushed(*_: object, **__: object) -> None:
    """The third file that DVC copies to the remote is half there when the kill comes."""
    copyfile, begun = vars(local)["copyfile"], []

    def copy(source: str, target: str, **named: Any) -> None:
        begun.append(target)
        if len(begun) == 3:
            Path(target).write_bytes(Path(source).read_bytes()[:10])
            kill()
        copyfile(source, target, **named)

    vars(local)["copyfile"] = copy


PUBLISHING: dict[str, tuple[At, Callable[..., object]]] = {
    "nothing is staged": (At("tasks.revisions.commit"), kill),
    "all is staged": (At("tasks.revisions._git", "commit"), kill),
    "the commit has no tag": (At("tasks.revisions._git", "commit", after=True), kill),
    "the tag is made": (At("tasks.revisions._git", "--annotate", after=True), kill),
    "the push is half done": (At("dvc.repo.Repo.push"), half_pushed),
    "all is pushed": (At("tasks.dvc_sharing.push", after=True), kill),
}


@pytest.mark.parametrize(
    "instants",
    [("the commit has no tag", "the push is half done"), pytest.param(tuple(PUBLISHING), marks=pytest.mark.slow)],
    ids=len,
)
def test_killed_while_it_publishes_commit_and_tag_are_made_once_and_nothing_is_lost(
    instants: tuple[str, ...], lenient: Path, undisturbed: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = production(lenient, tmp_path)
    for name in instants:
        ended = command(workspace, server, "run", "--quick", fault=Fault(*PUBLISHING[name]))
        assert ended.killed, (name, ended.said)
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    assert_whole(workspace, undisturbed)
    assert_published(workspace, tmp_path, ["Version 2: promote"])


@pytest.mark.slow
def test_killed_while_it_publishes_and_other_documents_come_both_are_commits(
    lenient: Path, second_day: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = production(lenient, tmp_path)
    for instant, mode in (("all is staged", ["--quick"]), ("the commit has no tag", [])):
        ended = command(workspace, server, "run", *mode, fault=Fault(*PUBLISHING[instant]))
        assert ended.killed, ended.said
        write_documents(workspace.documents, NEW | MORE)
    assert '"quick": true' in git(workspace, "show", "HEAD:data/inputs/mode.json"), "what it was made under"
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    assert_whole(workspace, second_day, candidates=2)
    assert_published(workspace, tmp_path, ["Version 2: promote", "Version 3: promote"])


@pytest.mark.slow
def test_a_git_that_was_killed_too_is_said_and_mended(
    lenient: Path, undisturbed: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = production(lenient, tmp_path)
    turn(workspace, registry={"retries": 0})
    lock = workspace.root / ".git" / "index.lock"
    ended = command(
        workspace, server, "run", "--quick", fault=Fault(PUBLISHING["all is staged"][0], partial(held, lock))
    )
    assert ended.killed, ended.said
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 1, ended.said
    assert sentence(ended.said).startswith(f"relearn: git is held by {lock}: another git works in {workspace.root}")
    os.utime(lock, (0, 0))  # five minutes pass
    assert "index.lock was left by a git that is gone" in " ".join(command(workspace, server, "doctor").said.split())
    assert command(workspace, server, "run", "--quick").code == 0
    assert_whole(workspace, undisturbed)
    assert_published(workspace, tmp_path, ["Version 2: promote"])


def production(lenient: Path, place: Path) -> Workspace:
    """A workspace of ``relearn init`` with a remote, before its first cycle; its gates let every candidate pass."""
    workspace = init.make_workspace(place / "workspace", str(lenient / "base"), str(place / "remote"))
    for name in ("base", "stream"):  # the adapter names its base as params.yaml does, and the base its documents
        shutil.copytree(lenient / name, workspace.root / name)
    (workspace.root / ".git" / "info" / "exclude").write_text("/base/\n/stream/\n")
    params = yaml.safe_load((lenient / "params.yaml").read_text())
    params["versioning"].update(commit=True, push=True)
    workspace.params_file.write_text(yaml.safe_dump(params))
    write_documents(workspace.documents, NEW)
    return workspace


def assert_published(workspace: Workspace, place: Path, subjects: list[str]) -> None:
    """Each version is one commit with one tag, and another machine gets what the last one names."""
    assert git(workspace, "log", "--reverse", "--format=%s").splitlines() == ["A workspace of Relearn", *subjects]
    assert git(workspace, "log", "--reverse", "--format=%(describe:tags=true)", f"-{len(subjects)}").splitlines() == [
        f"v{subject.split(':')[0].split()[1]}" for subject in subjects
    ]
    assert len(git(workspace, "tag").splitlines()) == len(subjects)
    assert git(workspace, "status", "--porcelain") == ""
    subprocess.run(["git", "clone", "-q", workspace.root, place / "other"], check=True)
    other = Workspace(place / "other")
    dvc(other, "pull", "-q")
    assert same_bits(other, workspace)
    assert documents_digest(other) == documents_digest(workspace)


def held(lock: Path, *_: object, **__: object) -> None:
    """As where git is killed with the process that had called it."""
    lock.touch()
    kill()


def test_ended_by_a_signal_it_says_so_and_the_same_command_goes_on(
    lenient: Path, undisturbed: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = copied(lenient, tmp_path / "workspace")
    for number, act, code, says in ((8, terminate, 143, "Stopped by SIGTERM"), (4, interrupt, 130, "Interrupted")):
        fault = Fault(At("models.training._step", number=number), act)
        ended = command(workspace, server, "run", "--quick", fault=fault)
        assert ended.code == code, ended.said
        assert sentence(ended.said) == f"relearn: {says}. Run the same command again; it goes on where it stopped."
    left = 15  # of twenty steps, since a checkpoint lay at the fifth
    ended = command(
        workspace, server, "run", "--quick", fault=Fault(At("models.training._step", number=left + 1), kill)
    )
    assert ended.code == 0, ended.said
    assert "synthesize  unchanged" in ended.said
    assert_whole(workspace, undisturbed)


def terminate(*_: object, **__: object) -> None:
    """As kill does, and systemd."""
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt(*_: object, **__: object) -> None:
    """As Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


def half_written(_: object, path: Path, **__: object) -> None:
    """Some of the bytes are there when the kill comes."""
    path.write_bytes(b"\x00" * 1000)
    kill()


def torn(workspace: Workspace, *_: object, **__: object) -> None:
    """DVC writes ``dvc.lock`` in place."""
    lock = workspace.root / "dvc.lock"
    lock.write_bytes(lock.read_bytes()[: lock.stat().st_size // 2])
    kill()
