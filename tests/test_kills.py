"""kill -9 at every instant that matters: the next run finishes, with the same bits, and nothing stands twice."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from data.workspace import Workspace
from tasks import registry
from tasks.tracking import fetched
from tests.fault_miniature import LENIENT, MORE, At, Fault, assert_whole, command, copied, kill, sentence, turn
from tests.miniature import NEW, write_documents

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
    turn(workspace, gates={"min_questions": 1000})  # what was judged stays judged
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


def test_ended_by_sigterm_it_says_so_and_the_same_command_goes_on(
    lenient: Path, undisturbed: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = copied(lenient, tmp_path / "workspace")
    ended = command(workspace, server, "run", "--quick", fault=Fault(At("models.training._step", number=8), terminate))
    assert ended.code == 143, ended.said
    assert sentence(ended.said) == (
        "relearn: Stopped by SIGTERM. Run the same command again; it goes on where it stopped."
    )
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    assert "synthesize  unchanged" in ended.said
    assert_whole(workspace, undisturbed)


def terminate(*_: object, **__: object) -> None:
    """As kill does, and systemd."""
    os.kill(os.getpid(), signal.SIGTERM)


def half_written(_: object, path: Path, **__: object) -> None:
    """Some of the bytes are there when the kill comes."""
    path.write_bytes(b"\x00" * 1000)
    kill()


def torn(workspace: Workspace, *_: object, **__: object) -> None:
    """DVC writes ``dvc.lock`` in place."""
    lock = workspace.root / "dvc.lock"
    lock.write_bytes(lock.read_bytes()[: lock.stat().st_size // 2])
    kill()
