"""Weights that MLflow stores with each version: how much they take, freeing them, and putting them back.

A version keeps its records, figures and reports for good. The tag says that its weights are gone before the first
file of them goes, so that a kill in between leaves no version that looks whole and is not.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from data.errors import PersonNeededError
from data.workspace import Workspace
from tasks.tracking import reaching

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from tasks.registry import VersionInfo

TAG, FREED = "weights", "freed"
FOLDER = "artifacts"
"""Where MLflow puts the folders of a pyfunc model, below the model."""


def require(info: "VersionInfo") -> None:
    """Refuse a version whose weights were freed.

    Raises:
        PersonNeededError: they were.
    """
    if info.tags.get(TAG) == FREED:
        raise PersonNeededError(
            f"The weights of version {info.version} were freed by relearn gc. Promote a version that was kept, or put "
            "its documents back and let relearn run make it again."
        )


def stored_bytes(workspace: Workspace, info: "VersionInfo") -> int:
    """Size of a version's weights in MLflow's store."""
    with reaching(workspace) as client:
        if not _is_ours(client, workspace, info.source):
            return 0
        return _size(_store(client, info.source), FOLDER)


def free(workspace: Workspace, info: "VersionInfo") -> None:
    """Delete a version's weights; its record, figures and reports stay."""
    with reaching(workspace) as client:
        if not _is_ours(client, workspace, info.source):
            return
        client.set_model_version_tag(workspace.params().registry.model, str(info.version), TAG, FREED)
        store = _store(client, info.source)
        if store.list_artifacts(FOLDER):
            store.delete_artifacts(FOLDER)


def put_back(client: "MlflowClient", workspace: Workspace, version: int, base: str, adapter: Path | None) -> None:
    """Store the weights of a version again, if they were freed: the same candidate was made anew."""
    model = workspace.params().registry.model
    found = client.get_model_version(model, str(version))
    if found.tags.get(TAG) != FREED:
        return
    from tasks.registry import model_parts

    store = _store(client, str(found.source))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(store.download_artifacts("MLmodel", place)).parent
        _, parts = model_parts(folder)
    folders = {"base": Path(base), **({"adapter": adapter} if adapter is not None else {})}
    for name, part in parts.items():
        store.log_artifacts(str(folders[name]), part.relative_to(folder).as_posix())
    client.delete_model_version_tag(model, str(version), TAG)


def _is_ours(client: "MlflowClient", workspace: Workspace, source: str) -> bool:
    """Whether weights lie in this workspace or on a server; a shared database names files of other workspaces, too."""
    place = str(client.get_logged_model(source.removeprefix("models:/")).artifact_location)
    if not place.startswith(("file:", "/")):
        return True
    return Path(unquote(urlparse(place).path)).resolve().is_relative_to(workspace.root.resolve())


def _store(client: "MlflowClient", source: str) -> Any:
    """MLflow's store of a model's files; its methods are untyped."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    model = client.get_logged_model(source.removeprefix("models:/"))
    return get_artifact_repository(str(model.artifact_location))


def _size(store: Any, folder: str) -> int:
    entries = store.list_artifacts(folder)
    return sum(_size(store, entry.path) if entry.is_dir else int(entry.file_size or 0) for entry in entries)
