"""Where the databases of a workspace are: MLflow's and the ledger's, from one set of parameters."""

import re
from typing import Any

from data.workspace import Workspace

WAIT_SECONDS = 30
"""How long another process may hold an SQLite database before it counts as out of reach."""


def resolve_uri(workspace: Workspace, uri: str) -> str:
    """``uri`` with a relative SQLite path resolved below the workspace, wherever the command was started."""
    prefix = "sqlite:///"
    path = uri.removeprefix(prefix)
    if not uri.startswith(prefix) or path.startswith("/"):
        return uri
    return f"{prefix}{(workspace.root / path).resolve()}"


def ledger_uri(workspace: Workspace) -> str:
    """Where this workspace's ledger is."""
    return resolve_uri(workspace, workspace.params().registry.ledger_uri)


def mlflow_uri(workspace: Workspace) -> str:
    """Where this workspace's runs, models and versions are."""
    return resolve_uri(workspace, workspace.params().registry.mlflow_uri)


def connect_args(uri: str) -> dict[str, Any]:
    """How long a connection waits for others; servers know that themselves."""
    return {"timeout": WAIT_SECONDS} if uri.startswith("sqlite") else {}


def without_passwords(text: str) -> str:
    """``text`` with every password of an address in it (``scheme://user:password@host``) masked."""
    return re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)
