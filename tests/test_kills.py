"""kill -9 at every instant that matters: the next run finishes, with the same bits, and nothing stands twice."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

from data.workspace import Workspace
from flows.overview import history
from tasks import registry
from tasks.tracking import reaching
from tests.fault_miniature import At, Fault, command, kill, make_template, same_bits

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


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with prefect_test_harness(server_startup_timeout=120):
        yield str(PREFECT_API_URL.value())


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("template") / "workspace")


def copied(template: Path, place: Path) -> Workspace:
    shutil.copytree(template, place, symlinks=True)
    return Workspace(place)


@pytest.fixture(scope="module")
def undisturbed(template: Path, server: str, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = copied(template, tmp_path_factory.mktemp("undisturbed") / "workspace")
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    return workspace


def test_killed_at_every_instant_of_a_cycle_it_ends_as_if_nothing_had_been(
    template: Path, undisturbed: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = copied(template, tmp_path / "workspace")
    for name, instant in ON_THE_WAY.items():
        ended = command(workspace, server, "run", "--quick", fault=Fault(instant, kill))
        assert ended.killed, (name, ended)
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended
    assert_whole(workspace, undisturbed)


def assert_whole(workspace: Workspace, undisturbed: Workspace) -> None:
    assert same_bits(workspace, undisturbed)
    entries = history(workspace.root, verify=True)
    assert [(entry["from"], entry["to"]) for entry in entries["entries"]] == [(None, 1), (1, 2)]
    assert entries["intact"]
    assert [info.kind for info in registry.get_versions(workspace)] == ["base", "candidate"]
    with reaching(workspace) as client:
        experiment = client.get_experiment_by_name(workspace.params().registry.experiment)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        models = client.search_logged_models([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert len(models) == 2
    assert "up to date" in dvc_status(workspace)


def dvc_status(workspace: Workspace) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status"], cwd=workspace.root, capture_output=True, text=True, check=True
    )
    return done.stdout
