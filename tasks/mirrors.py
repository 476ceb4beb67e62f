"""What mirrors the ledger, looked at quickly: the alias in MLflow's registry, and the serving pointer.

An alias that somebody moved by hand is noticed by whoever asks or looks, so this must not cost the seconds that
importing MLflow takes: where MLflow keeps its registry in a database, an alias is one row of it, and so is a version. A
server is asked through MLflow's own client.
"""

from pathlib import Path

from data.addresses import without_passwords
from data.errors import OutsideError, quoted
from data.workspace import Workspace
from tasks import ledger, serving
from tasks.places import connect_args, database_url, ledger_uri, mlflow_uri

ALIAS = "SELECT version FROM registered_model_aliases WHERE name = :name AND alias = 'champion'"
VERSIONS = "SELECT version FROM model_versions WHERE name = :name AND current_stage <> 'Deleted_Internal'"
"""MLflow's word for versions that were deleted."""


def that_differ(workspace: Workspace) -> list[str]:
    """What does not follow the ledger, which alone says who the champion is; one sentence each.

    Raises:
        PersonNeededError: the ledger was tampered with.
        OutsideError: the registry or the ledger is out of reach.
    """
    state, pointer = ledger.state(ledger_uri(workspace)), serving.pointer(workspace)
    if state.intent is not None:
        return [
            f"A switch to version {state.intent.to_version} was begun by {state.intent.actor} and not ended; version "
            f"{state.version} goes on serving, and relearn doctor finishes or undoes the switch."
        ]
    mirrors = {
        "The alias champion in MLflow": champion_alias(workspace),
        "What answers (relearn ask)": pointer.version if pointer else None,
    }
    remedy = f'relearn promote {state.version} --reason "..." puts it right'
    return [
        f"{what} is {f'version {version}' if version else 'gone'}, but the ledger's champion is "
        f"{f'version {state.version}; {remedy}' if state.version else 'none; restore the backup of the ledger'}."
        for what, version in mirrors.items()
        if version != state.version
    ]


def looked_at(workspace: Workspace) -> tuple[list[str], list[str]]:
    """What differs; and, for one who goes on all the same, what could not be looked at."""
    try:
        return that_differ(workspace), []
    except OutsideError as error:
        return [], [f"Whether this is the champion could not be looked up. {error}"]


def champion_alias(workspace: Workspace) -> int | None:
    """The version under MLflow's alias ``champion``; None: nothing has it.

    Raises:
        OutsideError: the registry is out of reach.
    """
    uri = mlflow_uri(workspace)
    if uri.startswith("http"):
        from tasks import registry

        return registry.champion(workspace)
    return next(iter(_numbers(workspace, uri, ALIAS, "registered_model_aliases")), None)


def registered(workspace: Workspace) -> list[int]:
    """The registered versions, oldest first.

    Raises:
        OutsideError: the registry is out of reach.
    """
    uri = mlflow_uri(workspace)
    if uri.startswith("http"):
        from tasks import registry

        return [info.version for info in registry.get_versions(workspace)]
    return sorted(_numbers(workspace, uri, VERSIONS, "model_versions"))


def _numbers(workspace: Workspace, uri: str, statement: str, table: str) -> list[int]:
    """What a statement finds in a table of MLflow's database; nothing where there is none yet."""
    import sqlalchemy as sa

    url = database_url(uri, "registry.mlflow_uri")
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
        return []
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=connect_args(uri))
    try:
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table(table):
                return []
            found = connection.execute(sa.text(statement), {"name": workspace.params().registry.model}).scalars().all()
    except sa.exc.SQLAlchemyError as error:
        cause = quoted(without_passwords(str(getattr(error, "orig", None) or error)))
        raise OutsideError(
            f"The registry at {without_passwords(uri)} did not answer ({cause}). Check registry.mlflow_uri in "
            "params.yaml and that it runs, then run the same command again."
        ) from error
    return list(map(int, found))
