"""A person's no: a version that never becomes champion, whatever its verdict."""

from typing import Any

from data.decisions import Action
from data.errors import InputError
from data.workspace import Workspace
from flows.people import acting
from flows.policy import mirror
from flows.recovery import end_open_switch
from tasks import ledger, registry
from tasks.places import ledger_uri


def reject(workspace: Workspace, version: int, reason: str, actor: str | None = None) -> dict[str, Any]:
    """Enter the rejection; the champion is rolled back from instead.

    Raises:
        PersonNeededError: the actor may not, or the ledger was tampered with.
        InputError: no reason, no such version, or it serves now.
        OutsideError: MLflow or the ledger is out of reach.
    """
    if not reason.strip():
        raise InputError("A rejection needs a reason. Say why with --reason.")
    who = acting(workspace, "operator", "A rejection", actor)
    end_open_switch(workspace)
    info, uri = registry.get_version(workspace, version), ledger_uri(workspace)
    if ledger.state(uri).version == version:
        raise InputError(f"Version {version} serves now. Let another one serve first: relearn rollback --reason WHY.")
    entry = ledger.append(
        uri, action=Action.REJECT, reason=reason, to_version=version, evidence={**info.tags, "run": info.run}, actor=who
    )
    mirror(workspace)
    return {"version": version, "actor": entry.actor, "reason": entry.reason}
