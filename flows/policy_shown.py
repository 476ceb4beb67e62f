"""The gate policy as people see it: what is in force, and what another one would do; changes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.cycle_records import LedgerEntry
from data.decisions import Action, Decisions, Ruling, decisions
from data.errors import InputError
from data.param_stages import GateParams
from data.params import load_params
from data.workspace import Workspace, open_workspace
from flows.policy import changes, edited, known_policies, rejudged
from models.gates import policy_digest
from tasks import ledger
from tasks.places import ledger_uri

CURRENT = "current"
"""What ``gates diff`` calls the policy that the ledger holds to be in force."""


@dataclass(frozen=True)
class Policy:
    """A gate policy as somebody named it."""

    digest: str
    thresholds: Mapping[str, Any]
    """As JSON; empty: the ledger does not say."""
    gates: GateParams | None
    """None: the ledger's own, whose verdicts stand there."""


def show(root: Path) -> dict[str, Any]:
    """The policy in ``params.yaml``, and whether it is the one that the ledger holds to be in force.

    Raises:
        PersonNeededError: the ledger was tampered with.
        OutsideError: the ledger is out of reach.
    """
    workspace = open_workspace(root)
    entries = ledger.intact_entries(ledger_uri(workspace))
    gates, state = load_params(workspace.params_file).gates, decisions(entries)
    digest, since = policy_digest(gates), _since(entries)
    warning = (
        "params.yaml holds another gate policy than the ledger; the next relearn run, promote or rollback judges every "
        "version by it (relearn gates diff shows which would fall)."
    )
    return {
        "policy": digest,
        "in_force": state.policy or None,
        "since": since.time if since else None,
        "by": since.actor if since else None,
        "entry": since.number if since else None,
        **gates.model_dump(mode="json"),
        "warnings": [warning] if state.policy not in ("", digest) else [],
    }


def difference(root: Path, old: str, new: str) -> dict[str, Any]:
    """Which thresholds differ between two policies, and which versions would fall or rise; changes nothing.

    Args:
        root: the workspace.
        old: a ``params.yaml``, the beginning of a policy's digest in the ledger, or ``current``.
        new: the same; empty: the workspace's ``params.yaml`` as it lies.

    Raises:
        InputError: one of them is no policy.
        PersonNeededError: the ledger was tampered with.
        OutsideError: MLflow or the ledger is out of reach.
    """
    workspace = open_workspace(root)
    entries = ledger.intact_entries(ledger_uri(workspace))
    state = decisions(entries)
    before = _policy(workspace, entries, old)
    after = _policy(workspace, entries, new or str(workspace.params_file))
    differ = before.digest != after.digest
    rulings = _rulings(workspace, state, after) if differ else {}
    verdicts = {version: one.verdict for version, one in _rulings(workspace, state, before).items()} if differ else {}
    return {
        "old": before.digest,
        "new": after.digest,
        "changed": [
            {"name": name, "old": was, "new": now} for name, was, now in edited(before.thresholds, after.thresholds)
        ],
        "versions": [
            found.model_dump(mode="json", exclude={"schema_"}) for found in changes(verdicts, rulings, state.version)
        ],
        "judged": len(rulings),
    }


def _rulings(workspace: Workspace, state: Decisions, policy: Policy) -> dict[int, Ruling]:
    """By version: as they stand in the ledger, or else judged again."""
    if policy.gates is not None:
        return dict(rejudged(workspace, state, policy.gates))
    return {version: ruling for version, ruling in state.rulings.items() if ruling.policy == policy.digest}


def _since(entries: Sequence[LedgerEntry]) -> LedgerEntry | None:
    """The entry by which the policy in force came into force."""
    since = None
    for entry in entries:
        if since is None:
            since = entry if entry.action in (Action.JUDGE, Action.GATES) else None
        elif entry.action == Action.GATES and entry.evidence["policy"] != since.evidence["policy"]:
            since = entry
    return since


def _policy(workspace: Workspace, entries: Sequence[LedgerEntry], named: str) -> Policy:
    in_force, kept = decisions(entries).policy, known_policies(entries)
    if named == CURRENT and in_force:
        return Policy(in_force, kept.get(in_force, {}), None)
    if named == CURRENT or Path(named).is_file():
        gates = load_params(workspace.params_file if named == CURRENT else Path(named)).gates
        return Policy(policy_digest(gates), gates.model_dump(mode="json"), gates)
    found = [digest for digest in kept if digest.startswith(named)]
    if len(found) > 1:
        raise InputError(f"{len(found)} gate policies in the ledger begin with {named}. Give more of the digest.")
    if not found:
        raise InputError(
            f"{named} is neither a params.yaml, nor {CURRENT}, nor the beginning of a gate policy's digest in the "
            "ledger. See relearn gates show, or name a file."
        )
    return Policy(found[0], kept[found[0]], _readable(found[0], kept[found[0]]))


def _readable(digest: str, thresholds: Mapping[str, Any]) -> GateParams:
    try:
        return GateParams.model_validate(thresholds)
    except ValueError as error:
        raise InputError(
            f"The gate policy {digest[:12]} was written by another release and this one cannot judge by it. "
            "Name a params.yaml instead."
        ) from error
