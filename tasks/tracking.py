"""MLflow's tracking half: one run per candidate with parameters, figures, data sets, reports and the model.

Everything is logged so that logging it again changes nothing (metrics carry the run's own start time):
a run that a killed process left behind is taken up again and completed.
"""

import contextlib
import importlib.metadata
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.addresses import without_passwords
from data.errors import InputError, OutsideError, quoted
from data.files import DRAFT, digest_tree, refusal
from data.workspace import Workspace
from tasks import candidate as candidates
from tasks.candidate import Candidate
from tasks.places import connect_args, database_url, mlflow_uri
from tasks.relocation import artifacts, require_own_place

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

COPIED_BASE_BYTES = 64 * 2**20
"""A larger local base is registered by path and digest instead of being copied into every version."""
PINNED = ("mlflow", "torch", "transformers", "peft", "safetensors", "tokenizers", "pydantic", "PyYAML")
MODEL_FILE = Path(__file__).parent / "pyfunc_model.py"
JUDGEMENT_ARTIFACT = "judgement.json"
CALIBRATION_ARTIFACT = "spectral/calibration.json"
"""What the candidate's spectra were held against; a run without it was judged by the default thresholds."""
CHAMPION_ARTIFACT = "evaluation/champion.json"
"""Which version served when the verdict was spoken, and what it answered to the candidate's questions."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


def load_mlflow() -> None:
    """Import MLflow with its voice down, which takes seconds."""
    os.environ.update(QUIET)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the caller tries again
    import mlflow  # noqa: F401

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for noisy in ("mlflow.store.db.utils", "urllib3.connectionpool"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)  # they log what is raised as well


@contextlib.contextmanager
def reaching(workspace: Workspace) -> Iterator["MlflowClient"]:
    """A client of the workspace's MLflow; whatever MLflow or its database raises becomes one sentence.

    Raises:
        InputError: the workspace was moved or copied, and MLflow would write elsewhere.
        OutsideError: MLflow or its database does not answer, or the disk refuses.
    """
    load_mlflow()
    import mlflow
    import requests
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    uri = mlflow_uri(workspace)
    try:
        _knock(uri)
        require_own_place(workspace)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        yield mlflow.MlflowClient(uri, uri)
    except (InputError, OutsideError):
        raise
    except (ModuleNotFoundError, sqlalchemy.exc.ArgumentError) as error:
        raise InputError(
            f"The registry at {without_passwords(uri)} cannot be spoken to here ({without_passwords(str(error))}). "
            "Install the Python package that it needs into .venv, or set registry.mlflow_uri in params.yaml to an "
            "SQLite file or an MLflow server."
        ) from error
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, requests.RequestException, OSError) as error:
        said = refusal(error)
        if said is not None:
            raise OutsideError(
                f"The registry at {without_passwords(uri)}, or its artifacts, could not be written ({said}). Free the "
                "disk or mend the permissions, then run the same command again."
            ) from error
        text = str(getattr(error, "orig", None) or error).partition("[SQL:")[0]
        cause = quoted(without_passwords(text))
        raise OutsideError(
            f"The registry at {without_passwords(uri)} did not answer as it should ({cause}). Check "
            "registry.mlflow_uri in params.yaml and that it runs, then run the same command again."
        ) from error


def make_store(workspace: Workspace) -> None:
    """Make MLflow's database in a new workspace, which takes seconds; one that is there is left alone.

    Raises:
        InputError: the address is none, or the workspace was moved or copied.
        OutsideError: the disk refuses.
    """
    uri = mlflow_uri(workspace)
    if uri.startswith("sqlite") and not Path(str(database_url(uri, "registry.mlflow_uri").database)).is_file():
        with reaching(workspace):
            pass  # whoever reaches it first makes it


def _knock(uri: str) -> None:
    """Read from the database once, because MLflow would try for minutes before it gave up; waits out a brief lock."""
    import sqlalchemy as sa

    if uri.startswith("http"):
        return
    url = database_url(uri, "registry.mlflow_uri")
    is_sqlite = url.get_backend_name() == "sqlite"
    if is_sqlite:
        _make_database(Path(str(url.database)))
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=connect_args(uri))
    with engine.connect() as connection:
        if is_sqlite:
            connection.exec_driver_sql("SELECT 1 FROM sqlite_master")


def _make_database(file: Path) -> None:
    """Let MLflow make its tables aside: stopped within its many steps, it could never go on with them.

    Commands that hold no lock (``relearn status``) come here too; whoever is done first has made the database.
    """
    import mlflow

    if file.is_file() and file.stat().st_size:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}{DRAFT}")
    try:
        mlflow.MlflowClient(f"sqlite:///{draft}").search_experiments(max_results=1)
        try:
            os.link(draft, file)  # unlike a rename, it never takes the place of a database that is in use by now
        except FileExistsError:
            if not file.stat().st_size:
                draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def tracked_run(client: "MlflowClient", workspace: Workspace, tags: dict[str, str], name: str) -> Iterator["Run"]:
    """The run of this key, taken up again where a killed process left one."""
    import mlflow

    experiment = _experiment(client, workspace)
    left = client.search_runs([experiment], f"tags.key = '{tags['key']}'", max_results=1)
    run = left[0] if left else client.create_run(experiment, tags=tags, run_name=name)
    with mlflow.start_run(run_id=run.info.run_id):
        yield run


def _experiment(client: "MlflowClient", workspace: Workspace) -> str:
    name = workspace.params().registry.experiment
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    is_server = mlflow_uri(workspace).startswith("http")
    place = None if is_server else artifacts(workspace)
    return str(client.create_experiment(name, artifact_location=place))


def log_evidence(client: "MlflowClient", run: "Run", evidence: Candidate) -> None:
    """Parameters, metrics, curves of loss and spectra, data sets and reports; logging them again changes nothing."""
    from mlflow.entities import Metric, Param

    run_id, then = run.info.run_id, int(run.info.start_time)
    params = [Param(name, value) for name, value in candidates.flat_params(evidence.params).items()]
    for begin in range(0, len(params), 100):  # MLflow takes so many at once
        client.log_batch(run_id, params=params[begin : begin + 100])
    # seconds differ the second time, and MLflow would refuse two values of one figure when the model takes them over
    known = client.get_run(run_id).data.metrics
    figures = {name: value for name, value in candidates.metrics(evidence).items() if name not in known}
    metrics = [Metric(name, value, then, 0) for name, value in figures.items()]
    curve = [Metric("training/loss", loss, then, step) for step, loss in candidates.losses(evidence)]
    curve += [Metric(name, value, then, step) for step, name, value in candidates.looks(evidence)]
    for begin in range(0, len(metrics + curve), 1000):
        client.log_batch(run_id, metrics=(metrics + curve)[begin : begin + 1000])
    _log_datasets(client, run_id, evidence)
    for folder, paths in evidence.attachments.items():
        for path in paths:
            client.log_artifact(run_id, str(path), folder)
    client.log_text(run_id, evidence.judgement.model_dump_json(indent=1, by_alias=True), JUDGEMENT_ARTIFACT)
    if evidence.calibration is not None:
        client.log_text(run_id, evidence.calibration.model_dump_json(indent=1, by_alias=True), CALIBRATION_ARTIFACT)
    if evidence.champion is not None:
        client.log_text(run_id, evidence.champion.model_dump_json(indent=1, by_alias=True), CHAMPION_ARTIFACT)


def _log_datasets(client: "MlflowClient", run_id: str, evidence: Candidate) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for name, path, digest in (
        ("documents", evidence.documents, evidence.digests.snapshot),
        ("rows", evidence.rows, evidence.digests.rows),
    ):
        # MLflow keeps 36 characters of a digest; the whole one stands in the tag.
        source = json.dumps({"uri": path.resolve().as_uri()})
        dataset = Dataset(name=name, digest=digest[:32], source_type="local", source=source)
        tags = [InputTag("mlflow.data.context", "training"), InputTag("digest", digest)]
        inputs.append(DatasetInput(dataset, tags))
    client.log_inputs(run_id, inputs)


@contextlib.contextmanager
def fetched(workspace: Workspace, run: str, path: str) -> Iterator[Path | None]:
    """A copy of a file that was attached to a run, gone afterwards; None: there is none of this name."""
    folder = path.rpartition("/")[0]
    with _temporary_folder() as place:
        with reaching(workspace) as client:
            is_there = path in [entry.path for entry in client.list_artifacts(run, folder)]
            copy = Path(client.download_artifacts(run, path, place)) if is_there else None
        yield copy


def _temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    try:
        return tempfile.TemporaryDirectory()
    except OSError as error:  # where no disk takes a byte Python says that there is no such folder
        raise OutsideError(
            f"No temporary folder can be made ({error.strerror or error}). Free the disk, or set TMPDIR to a folder "
            "that can be written to, then run the same command again."
        ) from error


def log_pyfunc(
    client: "MlflowClient", workspace: Workspace, run: "Run", base: str, adapter: Path | None
) -> tuple[str, str]:
    """Log the pyfunc model under the active run; an unfinished one of a killed process is dropped first."""
    import mlflow

    left = f"source_run_id = '{run.info.run_id}'"
    for model in client.search_logged_models([run.info.experiment_id], filter_string=left):
        client.delete_logged_model(model.model_id)
    config, artifacts = _weights(workspace, base, adapter)
    logged = mlflow.pyfunc.log_model(
        name="model",
        python_model=str(MODEL_FILE),
        artifacts=artifacts or None,
        model_config=config,
        input_example=None,
        pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in PINNED],
    )
    return str(logged.model_uri), str(logged.model_id)


def _weights(workspace: Workspace, base: str, adapter: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    """What the pyfunc model is told, and the folders that are copied into it."""
    assess = workspace.params().assess
    size = sum(path.stat().st_size for path in Path(base).rglob("*") if path.is_file())
    folders = {"base": base} if size <= COPIED_BASE_BYTES else {}
    if adapter is not None:
        folders["adapter"] = str(adapter)
    weights = {
        "base": base,
        "base_digest": digest_tree(Path(base)),
        "adapter_digest": digest_tree(adapter) if adapter is not None else "",
        "new_tokens": assess.new_tokens,
        "batch": assess.batch,
    }
    # a block of its own: MLflow logs it among the run's parameters
    return {"weights": weights}, folders
