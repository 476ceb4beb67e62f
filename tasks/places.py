"""Where the databases of a workspace are: MLflow's and the ledger's, from one set of parameters."""

from typing import TYPE_CHECKING, Any

from data.addresses import without_passwords
from data.errors import InputError, quoted
from data.workspace import Workspace

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

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


def database_url(uri: str, setting: str) -> "URL":
    """The address of a database, taken apart.

    Raises:
        InputError: it is none; ``setting`` is the parameter that says so.
    """
    import sqlalchemy as sa

    try:
        return sa.make_url(uri)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise InputError(
            f"{without_passwords(uri)} is no address of a database ({quoted(without_passwords(str(error)))}). Set "
            f"{setting} in params.yaml to an SQLite file or to postgresql+psycopg://HOST/NAME."
        ) from error


def connect_args(uri: str) -> dict[str, Any]:
    """How long a connection waits for others; servers know that themselves."""
    return {"timeout": WAIT_SECONDS} if uri.startswith("sqlite") else {}
