"""Rollback: back to a version that was measured before, without training."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from data.decisions import Action, Cause, Decisions, passes, was_wrong
from data.errors import InputError, PersonNeededError
from data.params import load_params
from data.workspace import Workspace
from flows.people import acting
from flows.policy import follow
from flows.recovery import end_open_switch
from flows.resting import require_in_force, rests_on
from flows.switch import Switched, Wanted, switch
from tasks import ledger, registry, weights
from tasks.places import ledger_uri
from tasks.registry import VersionInfo


def rollback(
    workspace: Workspace, reason: str, to: int | None = None, actor: str | None = None, override: bool = False
) -> Switched:
    """Let another version serve instead of the champion: ``to``, or the newest that may.

    Raises:
        PersonNeededError: nothing may take its place, the barrier refuses ``to``, or the actor may not.
        InputError: no reason, no such version, it serves already, or its files were exchanged.
        OutsideError: MLflow or the ledger is out of reach.
    """
    if not reason.strip():
        raise InputError("A rollback needs a reason. Say why with --reason.")
    who = acting(workspace, "approver" if override else "operator", "An override" if override else "A rollback", actor)
    end_open_switch(workspace)
    follow(workspace)
    state = ledger.state(ledger_uri(workspace))
    if state.version is None:
        raise InputError("Nothing serves yet, so there is nothing to roll back. Train the first version: relearn run.")
    if to == state.version:
        raise InputError(f"Version {to} serves already. Name another one, or none: relearn rollback --reason WHY.")
    if to is None:
        return _to_newest(workspace, state, reason, who)
    registry.get_version(workspace, to)
    if not override:
        require_in_force(workspace, state, to)
    return switch(workspace, Wanted(to, Action.ROLLBACK, reason, who, override))


def roll_back_by_line(workspace: Workspace, reason: str, cause: Cause) -> Switched:
    """Let the newest version that may serve take the champion's place, as the parameters say.

    Raises:
        RelearnError: as ``rollback``.
    """
    who = acting(workspace, "operator", "A cycle")
    state = ledger.state(ledger_uri(workspace))
    return _to_newest(workspace, state, reason, who, data=False, beside={"cause": cause})


def _to_newest(
    workspace: Workspace,
    state: Decisions,
    reason: str,
    who: str,
    data: bool = True,
    beside: Mapping[str, Any] = MappingProxyType({}),
) -> Switched:
    target = newest(workspace, state)
    if target is None:
        raise PersonNeededError(
            f"No version may take the place of version {state.version}, not even a base alone: none has the verdict "
            "promote, or its weights are gone. Put the documents right, then: relearn run."
        )
    done = switch(workspace, Wanted(target.version, Action.ROLLBACK, reason, who, data=data, beside=dict(beside)))
    if target.kind != "base":
        return done
    note = "No adapter passes the gates in force without resting on a withdrawn document, so the base alone answers."
    return done.model_copy(update={"notes": (*done.notes, note)})


def newest(workspace: Workspace, state: Decisions) -> VersionInfo | None:
    """The newest version that may serve instead of the champion.

    Its verdict under the gate policy in force is ``promote``, nobody rejected it, it rests on no withdrawn document,
    its weights are there, and nobody rolled back from it. Where a promotion takes several people, only what served
    before counts; the base alone always does.
    """
    return next(_eligible(workspace, state), None)


def _eligible(workspace: Workspace, state: Decisions) -> Iterator[VersionInfo]:
    """Candidates, the newest first, then bases."""
    several = load_params(workspace.params_file).people.approvals > 1
    infos = sorted(registry.get_versions(workspace), key=lambda info: (info.kind == "base", -info.version))
    for info in infos:
        version, left = info.version, state.left.get(info.version)
        if version == state.version or not passes(state, version) or info.tags.get(weights.TAG) == weights.FREED:
            continue
        rolled_back = left is not None and was_wrong(left)
        unapproved = several and version not in state.served
        if info.kind == "base" or not (rolled_back or unapproved or rests_on(workspace, state, info)):
            yield info
