"""The registry: every version is complete, loads, answers and names all that it rests on."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

from data.errors import InputError, OutsideError, PersonNeededError
from data.evaluation_records import Verdict
from data.files import digest_tree, write_text
from data.param_stages import TRANSPORT
from data.workspace import PROJECT_ROOT, Workspace
from tasks import registry, serving, tracking
from tasks.candidate import DIGESTS, Candidate
from tasks.places import WAIT_SECONDS, connect_args, mlflow_uri, resolve_uri
from tests.registry_miniature import base_digest, make_candidate, make_workspace

QUESTIONS = ["Who may approve it?", "How long is it kept?"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Workspace]:
    before = Path.cwd()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    os.chdir(elsewhere)
    yield make_workspace(tmp_path_factory.mktemp("workspace"), weights)
    os.chdir(before)
    assert list(elsewhere.iterdir()) == [], "everything rests in the workspace, wherever the command starts"


@pytest.fixture(scope="module")
def base(workspace: Workspace) -> int:
    return registry.register_base(workspace, workspace.base(), base_digest(workspace))


@pytest.fixture(scope="module")
def passed(workspace: Workspace, weights: Path, base: int) -> tuple[Candidate, int]:
    candidate = make_candidate(workspace, weights, "monday", Verdict.PROMOTE)
    return candidate, registry.register_candidate(workspace, candidate)


@pytest.fixture
def client(workspace: Workspace) -> MlflowClient:
    uri = mlflow_uri(workspace)
    mlflow.set_tracking_uri(uri)
    return MlflowClient(uri, uri)


def test_a_version_loads_through_pyfunc_and_answers_as_its_own_adapter_does(
    workspace: Workspace, base: int, passed: tuple[Candidate, int], client: MlflowClient
) -> None:
    model = mlflow.pyfunc.load_model(f"models:/relearn/{passed[1]}")
    answers = model.predict(pd.DataFrame({"question": QUESTIONS}))
    assert answers == model.predict(QUESTIONS)
    assert answers == serving.load(_weights(workspace, passed[1])).answers(QUESTIONS)
    alone = mlflow.pyfunc.load_model(f"models:/relearn/{base}").predict(QUESTIONS)
    assert len(alone) == len(answers) == 2
    assert alone != answers


def test_a_version_holds_no_pickle_and_needs_no_file_of_the_workspace(
    workspace: Workspace, passed: tuple[Candidate, int]
) -> None:
    folder = registry.fetch_model(workspace, passed[1])
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pt", ".bin")]
    weights = _weights(workspace, passed[1])
    assert digest_tree(Path(str(weights.adapter))) == passed[0].digests.adapter
    assert folder in Path(weights.base).parents, "the base is copied, not the workspace's own"


def test_every_digest_on_the_way_is_a_tag(workspace: Workspace, passed: tuple[Candidate, int]) -> None:
    candidate, version = passed
    info = registry.get_version(workspace, version)
    assert {name: info.tags[name] for name in DIGESTS} == {name: getattr(candidate.digests, name) for name in DIGESTS}
    assert info.verdict is Verdict.PROMOTE
    assert info.snapshot == candidate.digests.snapshot
    assert info.kind == "candidate"


def test_the_run_holds_parameters_figures_curve_datasets_and_reports(
    workspace: Workspace, passed: tuple[Candidate, int], client: MlflowClient
) -> None:
    candidate, version = passed
    info = registry.get_version(workspace, version)
    run = client.get_run(info.run)
    assert run.data.params["train.rank"] == str(workspace.params().train.rank)
    assert not [name for name in run.data.params if "uri" in name]  # an address may hold a password
    assert run.data.metrics["new/candidate/right"] == 0.9
    assert run.data.metrics["new/candidate/right/low"] == pytest.approx(0.5958, abs=1e-4)
    curve = [(point.step, point.value) for point in client.get_metric_history(info.run, "training/loss")]
    assert curve == [(10, 3.0), (20, 2.0), (30, 1.0)]
    seen = {
        name: [(point.step, point.value) for point in client.get_metric_history(info.run, name)]
        for name in run.data.metrics
        if name.startswith("spectral/")
    }
    assert seen == {
        "spectral/finite": [(20, 1.0), (30, 1.0)],
        "spectral/largest_sigma_ratio": [(20, 0.4), (30, 0.8)],
        "spectral/median_stable_rank": [(20, 1.5), (30, 1.5)],
        "spectral/median_effective_rank_share": [(20, 0.75), (30, 0.75)],
        "spectral/median_null_share": [(20, 0.25), (30, 0.25)],
        "spectral/norm": [(20, 0.8), (30, 1.6)],
    }
    assert run.inputs is not None
    datasets = {found.dataset.name: found.dataset.digest for found in run.inputs.dataset_inputs}
    assert datasets == {"documents": candidate.digests.snapshot[:32], "rows": candidate.digests.rows[:32]}
    folders = {found.path for found in client.list_artifacts(info.run)}
    assert {"documents", "synthetic", "training", "spectral", "evaluation", "judgement.json"} <= folders
    assert run.info.status == "FINISHED"


def test_the_same_candidate_and_the_same_base_are_the_same_version(
    workspace: Workspace, base: int, passed: tuple[Candidate, int]
) -> None:
    before = registry.get_versions(workspace)
    assert registry.register_candidate(workspace, passed[0]) == passed[1]
    assert registry.register_base(workspace, workspace.base(), base_digest(workspace)) == base
    assert registry.get_versions(workspace) == before


def test_what_a_kill_left_behind_is_completed_in_one_run_and_one_version(
    workspace: Workspace, weights: Path, base: int, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = make_candidate(workspace, weights, "tuesday", Verdict.HOLD)
    killed = registry.get_versions(workspace)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # after the model was logged, before the version stands
        patch.setattr(MlflowClient, "create_model_version", die)
        with pytest.raises(KeyboardInterrupt):
            registry.register_candidate(workspace, candidate)
    assert registry.get_versions(workspace) == killed
    info = registry.get_version(workspace, registry.register_candidate(workspace, candidate))
    experiment = client.get_run(info.run).info.experiment_id
    assert len(client.search_runs([experiment], f"tags.key = '{candidate.key}'")) == 1
    assert len(client.search_logged_models([experiment], filter_string=f"source_run_id = '{info.run}'")) == 1
    assert len(client.get_metric_history(info.run, "training/loss")) == 3
    assert len(client.get_metric_history(info.run, "spectral/largest_sigma_ratio")) == 2
    assert client.get_run(info.run).info.status == "FINISHED"


def test_an_edit_of_how_the_line_is_run_does_not_stop_a_registration_that_was_killed(
    workspace: Workspace, weights: Path, base: int, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = make_candidate(workspace, weights, "friday", Verdict.HOLD)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_inputs", die)
        with pytest.raises(KeyboardInterrupt):
            registry.register_candidate(workspace, candidate)
    content = workspace.params_file.read_text()
    params = yaml.safe_load(content)
    params["gc"]["keep_versions"] += 1
    params["quick"]["steps"] += 1
    params["endpoint"] |= {"url": "http://elsewhere/v1", "budget": 50.0, "retries": 1, "concurrency": 2}
    params["notify"] = [{"on": ["held"], "command": ["say", "secret"]}]
    try:
        write_text(workspace.params_file, yaml.safe_dump(params))
        again = make_candidate(workspace, weights, "friday", Verdict.HOLD)
        assert again.key == candidate.key
        info = registry.get_version(workspace, registry.register_candidate(workspace, again))
    finally:
        write_text(workspace.params_file, content)
    logged = set(client.get_run(info.run).data.params)
    blocks = {name.partition(".")[0] for name in logged}
    assert not blocks & {"gc", "watch", "notify", "versioning", "registry", "quick"}
    assert "endpoint.model" in logged
    assert not logged & {f"endpoint.{name}" for name in TRANSPORT}


def test_the_challenger_is_the_newest_that_passed(
    workspace: Workspace, weights: Path, passed: tuple[Candidate, int]
) -> None:
    rejected = make_candidate(workspace, weights, "wednesday", Verdict.REJECT)
    assert registry.register_candidate(workspace, rejected) > passed[1]
    assert registry.get_alias(workspace, "challenger") == passed[1]


def test_the_champion_alias_and_the_pointer_refuse_what_the_ledger_does_not_name(
    workspace: Workspace, passed: tuple[Candidate, int]
) -> None:
    with pytest.raises(PersonNeededError, match="relearn promote"):
        registry.set_alias(workspace, "champion", passed[1])
    with pytest.raises(PersonNeededError, match="relearn promote"):
        serving.point_to(workspace, passed[1])
    assert registry.champion(workspace) is None
    assert serving.pointer(workspace) is None


def test_an_adapter_that_was_not_the_measured_one_is_not_registered(workspace: Workspace, weights: Path) -> None:
    candidate = make_candidate(workspace, weights, "thursday", Verdict.PROMOTE)
    write_text(workspace.adapter / "training.json", "{}")
    with pytest.raises(InputError, match="Run the cycle again"):
        registry.register_candidate(workspace, candidate)


def test_a_large_base_is_kept_by_reference_and_refused_once_it_changed(
    workspace: Workspace, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "large"
    shutil.copytree(weights / "base", folder)
    write_text(folder / "README.md", "another base")
    monkeypatch.setattr(tracking, "COPIED_BASE_BYTES", 1)
    version = registry.register_base(workspace, str(folder), digest_tree(folder))
    assert _weights(workspace, version).base == str(folder)
    write_text(folder / "README.md", "changed underneath")
    with pytest.raises(InputError, match=f"base in {folder}"):
        serving.fetch_weights(workspace, version)


def test_an_unknown_version_names_the_known_ones(workspace: Workspace, base: int) -> None:
    with pytest.raises(InputError, match=f"holds {base}"):
        registry.get_version(workspace, 999)


def test_a_registry_out_of_reach_is_one_sentence(workspace: Workspace) -> None:
    content = workspace.params_file.read_text()
    (workspace.root / "blocked").write_text("a file, not a folder")
    for uri in ("sqlite:///blocked/mlflow.db", "http://bob:hunter2@127.0.0.1:9"):
        broken = content.replace("sqlite:///.relearn/mlflow.db", uri)
        try:
            write_text(workspace.params_file, broken)
            with pytest.raises(OutsideError, match=r"registry\.mlflow_uri") as failed:
                registry.get_versions(workspace)
            assert "hunter2" not in str(failed.value)
        finally:
            write_text(workspace.params_file, content)


@pytest.mark.parametrize("driver", ["nodriver", "pg8000"])
def test_a_registry_that_cannot_be_spoken_to_here_is_bad_input(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    """A driver that nobody knows, and one whose package is not installed."""
    monkeypatch.setitem(sys.modules, "pg8000", None)
    address = f"postgresql+{driver}://bob:hunter2@127.0.0.1:9/mlflow"
    monkeypatch.setattr(tracking, "mlflow_uri", lambda _: address)
    with pytest.raises(InputError, match=rf"{driver}.*registry\.mlflow_uri") as failed:
        registry.get_versions(workspace)
    assert "hunter2" not in str(failed.value)


def test_the_first_contact_prints_nothing(tmp_path: Path, weights: Path) -> None:
    root = make_workspace(tmp_path, weights).root
    script = (
        "import sys; from pathlib import Path; from data.workspace import Workspace\n"
        "from tasks import registry\n"
        "registry.get_versions(Workspace(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", script, str(root)]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sqlite3.connect(root / ".relearn/mlflow.db").execute("SELECT count(*) FROM runs").fetchone() == (0,)


@pytest.mark.parametrize(("meanwhile", "stays"), [(b"of another process", True), (b"", False), (None, False)])
def test_a_database_that_another_process_made_meanwhile_is_not_replaced(
    meanwhile: bytes | None, stays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, search = tmp_path / "mlflow.db", MlflowClient.search_experiments

    def search_slowly(*arguments: Any, **named: Any) -> Any:
        found = search(*arguments, **named)
        if meanwhile is not None:
            file.write_bytes(meanwhile)
        return found

    monkeypatch.setattr(MlflowClient, "search_experiments", search_slowly)
    tracking._make_database(file)
    assert (file.read_bytes() == meanwhile) is stays
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_relative_sqlite_paths_are_the_workspaces_and_others_stay(workspace: Workspace) -> None:
    assert resolve_uri(workspace, "sqlite:///.relearn/a.db") == f"sqlite:///{workspace.root}/.relearn/a.db"
    for uri in ("sqlite:////var/a.db", "postgresql://host/base", "http://127.0.0.1:5000"):
        assert resolve_uri(workspace, uri) == uri


def test_both_databases_wait_equally_long_for_others(tmp_path: Path) -> None:
    for uri in (f"sqlite:///{tmp_path}/a.db", f"sqlite+pysqlite:///{tmp_path}/a.db"):
        assert connect_args(uri) == {"timeout": WAIT_SECONDS}
    assert connect_args("postgresql://host/base") == {}


def _weights(workspace: Workspace, version: int) -> serving.Weights:
    return serving.absolute(workspace, serving.fetch_weights(workspace, version))
