"""MLflow's registry half: the versions of the model, their verdicts and digests, and who is the champion.

The base and every candidate are versions of one registered model. A version is created last and in one
transaction with all its tags, so a version that exists is complete; what a kill leaves behind is a run
and perhaps a model without a version, which the next registration of the same candidate completes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from data.collection import read_lineage
from data.errors import InputError, OutsideError
from data.evaluation_records import Verdict
from data.files import digest_text, read_record
from data.records import Record, Snapshot
from data.workspace import Workspace
from tasks import candidate as candidates
from tasks import ledger, weights
from tasks.candidate import Candidate
from tasks.places import ledger_uri
from tasks.tracking import (
    fetched,
    log_evidence,
    log_pyfunc,
    reaching,
    tracked_run,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

Alias = Literal["champion", "challenger"]
CHAMPION: Alias = "champion"
CHALLENGER: Alias = "challenger"
LOCK_ARTIFACT = "versioning/dvc.lock"
"""Where a candidate's run keeps what DVC recorded of its stages."""

SNAPSHOT_ARTIFACT = "documents/snapshot.json"


class VersionInfo(Record):
    """One registered version."""

    version: int
    kind: str
    """``base`` or ``candidate``."""
    verdict: Verdict | None
    snapshot: str | None
    """Digest of the documents it knows; None for a base that knows none."""
    tags: dict[str, str]
    source: str
    """MLflow's address of the model."""
    run: str
    """Id of the MLflow run that holds its parameters, metrics and reports."""


def register_base(workspace: Workspace, base: str, base_digest: str) -> int:
    """The version of the base alone ("no adapter" is a champion like any other), registered if it is new.

    Its verdict is ``promote``: it answers as it did before anything was taught.

    Raises:
        OutsideError: MLflow is out of reach.
    """
    lineage = read_lineage(base)
    tags = {"kind": "base", "key": digest_text("base", base_digest), "verdict": Verdict.PROMOTE.value}
    tags |= {
        "base": base_digest,
        "adapter": "",
        **({"snapshot": lineage.snapshot} if lineage.snapshot else {}),
    }
    text = f"The base {Path(base).name} without an adapter ({base_digest[:12]})."
    with reaching(workspace) as client:
        found = _find(client, workspace, tags["key"])
        if found is not None:
            _finish_run(client, workspace, found)
            weights.put_back(client, workspace, found, base, None)
            return found
        with tracked_run(client, workspace, tags, f"base {base_digest[:8]}") as run:
            return _create_version(client, workspace, run, tags, text, base, None)


def register_candidate(workspace: Workspace, evidence: Candidate) -> int:
    """The version of the candidate; the same candidate registered again is the same version.

    Raises:
        InputError: adapter and reports do not belong together.
        OutsideError: MLflow is out of reach.
    """
    candidates.check(evidence)
    tags = candidates.tags(evidence)
    with reaching(workspace) as client:
        version = _find(client, workspace, tags["key"])
        if version is None:
            with tracked_run(client, workspace, tags, f"candidate {evidence.digests.snapshot[:8]}") as run:
                log_evidence(client, run, evidence)
                text = candidates.description(evidence)
                version = _create_version(client, workspace, run, tags, text, evidence.base, evidence.adapter)
        _finish_run(client, workspace, version)
        weights.put_back(client, workspace, version, evidence.base, evidence.adapter)
        if evidence.judgement.verdict is Verdict.PROMOTE:
            client.set_registered_model_alias(_model(workspace), CHALLENGER, str(version))
    return version


def attach(workspace: Workspace, version: int, path: Path, folder: str) -> None:
    """Attach a file that speaks of the version, such as its HTML report, to the version's run."""
    run = get_version(workspace, version).run
    with reaching(workspace) as client:
        client.log_artifact(run, str(path), folder)


def get_version(workspace: Workspace, version: int) -> VersionInfo:
    """What the registry holds of a version.

    Raises:
        InputError: there is no such version.
    """
    known = {info.version: info for info in get_versions(workspace)}
    if version not in known:
        listed = ", ".join(str(number) for number in known) or "none"
        raise InputError(f"There is no version {version}; the registry holds {listed}. Name one of them.")
    return known[version]


def get_versions(workspace: Workspace) -> list[VersionInfo]:
    """All registered versions, oldest first."""
    with reaching(workspace) as client:
        return sorted((_info(found) for found in _versions(client, workspace)), key=lambda info: info.version)


def get_alias(workspace: Workspace, alias: str) -> int | None:
    """The version under an alias; None: nothing has it."""
    with reaching(workspace) as client:
        for model in client.search_registered_models(f"name = '{_model(workspace)}'"):
            if alias in model.aliases:
                return int(model.aliases[alias])
    return None


def set_alias(workspace: Workspace, alias: Alias, version: int) -> None:
    """Point an alias at a version; ``champion`` only ever follows the ledger.

    Raises:
        PersonNeededError: the ledger's champion is another version.
    """
    if alias == CHAMPION:
        ledger.require_champion(ledger_uri(workspace), version)
    with reaching(workspace) as client:
        client.set_registered_model_alias(_model(workspace), alias, str(version))


def mirror_verdicts(workspace: Workspace, verdicts: Mapping[int, Verdict], challenger: int | None) -> None:
    """Let tags repeat what the ledger says of these versions, and the alias challenger which passed last."""
    name = _model(workspace)
    with reaching(workspace) as client:
        for version, verdict in verdicts.items():
            client.set_model_version_tag(name, str(version), "verdict", verdict.value)
        if challenger is None:
            client.delete_registered_model_alias(name, CHALLENGER)
        else:
            client.set_registered_model_alias(name, CHALLENGER, str(challenger))


def drop_alias(workspace: Workspace, alias: Alias) -> None:
    """Let an alias point at nothing."""
    with reaching(workspace) as client:
        client.delete_registered_model_alias(_model(workspace), alias)


def champion(workspace: Workspace) -> int | None:
    """The version under the alias ``champion``, which mirrors the ledger."""
    return get_alias(workspace, CHAMPION)


def fetch_model(workspace: Workspace, version: int) -> Path:
    """Local folder of the logged model: in place where the store is a folder, otherwise downloaded."""
    from mlflow.artifacts import download_artifacts

    source = get_version(workspace, version).source
    with reaching(workspace) as client:
        location = str(client.get_logged_model(source.removeprefix("models:/")).artifact_location)
        if location.startswith(("file:", "/")):
            return Path(download_artifacts(artifact_uri=location)).resolve()
        target = workspace.state / "models" / str(version)
        target.mkdir(parents=True, exist_ok=True)
        return Path(download_artifacts(artifact_uri=location, dst_path=str(target))).resolve()


def fetch_snapshot(workspace: Workspace, run: str) -> Snapshot:
    """The documents that a candidate was made from, from the run that registered it.

    Raises:
        OutsideError: MLflow is out of reach, or the run holds no snapshot.
    """
    with fetched(workspace, run, SNAPSHOT_ARTIFACT) as file:
        if file is None:
            raise OutsideError(
                f"MLflow's run {run} holds no {SNAPSHOT_ARTIFACT}. Restore its artifacts, then run the same again."
            )
        return read_record(file, Snapshot)


def fetch_lock(workspace: Workspace, version: int) -> bytes | None:
    """What DVC recorded of the stages that made a version; None: it was made by none, such as the base."""
    with fetched(workspace, get_version(workspace, version).run, LOCK_ARTIFACT) as file:
        return file.read_bytes() if file is not None else None


def find_candidate(workspace: Workspace, key: str) -> VersionInfo | None:
    """The version that a candidate with this key was registered as; None: it never was."""
    return next((info for info in get_versions(workspace) if info.tags.get("key") == key), None)


def model_parts(folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """What a logged model says of its weights, and their folders (``base``, ``adapter``), without MLflow."""
    flavor = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))["flavors"]["python_function"]
    parts = {name: folder / entry["path"] for name, entry in (flavor.get("artifacts") or {}).items()}
    return flavor["config"]["weights"], parts


def _create_version(
    client: "MlflowClient",
    workspace: Workspace,
    run: "Run",
    tags: dict[str, str],
    text: str,
    base: str,
    adapter: Path | None,
) -> int:
    model_uri, model_id = log_pyfunc(client, workspace, run, base, adapter)
    name = _model(workspace)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description="A language model kept up to date with documents.")
    made = client.create_model_version(
        name, model_uri, run_id=run.info.run_id, tags=tags, description=text, model_id=model_id
    )
    return int(made.version)


def _finish_run(client: "MlflowClient", workspace: Workspace, version: int) -> None:
    """End the run of a version that was made just before a kill."""
    run = client.get_model_version(_model(workspace), str(version)).run_id
    if run is not None and client.get_run(run).info.status == "RUNNING":
        client.set_terminated(run)


def _find(client: "MlflowClient", workspace: Workspace, key: str) -> int | None:
    found = [int(version.version) for version in _versions(client, workspace, f" and tags.key = '{key}'")]
    return min(found, default=None)


def _versions(client: "MlflowClient", workspace: Workspace, also: str = "") -> list["ModelVersion"]:
    query, token, found = f"name = '{_model(workspace)}'{also}", None, []
    while True:
        page = client.search_model_versions(query, max_results=1000, page_token=token)
        found += list(page)
        token = page.token
        if not token:
            return found


def _info(version: "ModelVersion") -> VersionInfo:
    tags = dict(version.tags)
    verdict = tags.get("verdict")
    return VersionInfo(
        version=int(version.version),
        kind=tags.get("kind", ""),
        verdict=Verdict(verdict) if verdict in set(Verdict) else None,
        snapshot=tags.get("snapshot"),
        tags=tags,
        source=str(version.source),
        run=str(version.run_id),
    )


def _model(workspace: Workspace) -> str:
    return workspace.params().registry.model
