"""Promotion: who may let which version serve, and by how many people's word.

What a promotion does stands in flows/switch.py. The base is the first champion: its promotion is the ledger's first
switch, so that the first candidate replaces a version like every later one.
"""

from data.cycle_records import LedgerEntry
from data.decisions import Action, Decisions, passes
from data.errors import InputError, PersonNeededError
from data.params import load_params
from data.workspace import Workspace
from flows.people import acting
from flows.policy import follow
from flows.recovery import end_open_switch, require_no_pointer
from flows.resting import require_in_force
from flows.switch import Switched, Wanted, put_right, switch
from tasks import ledger, registry
from tasks.approvals import keep_approvals
from tasks.places import ledger_uri

BY_LINE = {"by_line": True}
"""What the ledger keeps of a promotion that no person asked for."""


def promote(
    workspace: Workspace, version: int, reason: str, actor: str | None = None, override: bool = False
) -> Switched:
    """Let ``version`` serve, by a person's word; the champion promoted again has its mirrors put right.

    ``override`` lets a version serve that the barrier refuses; the ledger says so, and reports do while it serves.

    Raises:
        PersonNeededError: its verdict is not ``promote``, it rests on a withdrawn document, another approver has to
            agree, the actor may not, its weights were freed, or the ledger was tampered with.
        InputError: no reason, no such version, or its files were exchanged.
        OutsideError: MLflow or the ledger is out of reach.
    """
    _require_reason(reason)
    who = acting(workspace, "approver", "An override" if override else "A promotion", actor)
    state = _made_ready(workspace)
    if state.version == version and state.champion is not None:
        return put_right(workspace, state.champion, version)
    registry.get_version(workspace, version)
    if not override:
        require_in_force(workspace, state, version)
    agreed = _agreed(workspace, state, version, who, reason, override)
    beside = {"approvers": [entry.actor for entry in agreed]} if agreed else {}
    return switch(workspace, Wanted(version, Action.PROMOTE, reason, who, override, beside=beside))


def promote_by_line(workspace: Workspace, version: int, reason: str) -> Switched | None:
    """Let ``version`` serve as the parameters say, without a person; None where people have to agree first.

    Raises:
        RelearnError: as ``promote``.
    """
    if load_params(workspace.params_file).people.approvals > 1:
        return None
    who = acting(workspace, "operator", "A cycle")
    state = _made_ready(workspace)
    require_in_force(workspace, state, version)
    return switch(workspace, Wanted(version, Action.PROMOTE, reason, who, data=False, beside=BY_LINE))


def promote_base(workspace: Workspace, version: int) -> Switched | None:
    """Make the base the first champion of a workspace that has none; None where there is one already."""
    if ledger.state(ledger_uri(workspace)).champion is not None:
        return None
    _made_ready(workspace)
    who = acting(workspace, "operator", "A cycle")
    return switch(workspace, Wanted(version, Action.PROMOTE, "The base alone answers until a candidate passes.", who))


def _made_ready(workspace: Workspace) -> Decisions:
    """What the ledger says once nothing is left open and every verdict is that of the gate policy in force."""
    end_open_switch(workspace)
    uri = ledger_uri(workspace)
    if ledger.state(uri).champion is None:
        require_no_pointer(workspace)
    follow(workspace)
    return ledger.state(uri)


def _agreed(
    workspace: Workspace, state: Decisions, version: int, who: str, reason: str, override: bool
) -> tuple[LedgerEntry, ...]:
    """The approvals of as many different people as a promotion takes, this one included.

    Raises:
        PersonNeededError: more have to agree; this one's approval stands in the ledger.
    """
    needed = load_params(workspace.params_file).people.approvals
    if needed == 1:
        return ()
    agreed = state.approvals.get(version, ())
    if not override and not passes(state, version):
        return agreed  # refused at once, by the barrier
    if who not in {entry.actor for entry in agreed}:
        entry = ledger.append(
            ledger_uri(workspace), action=Action.APPROVE, reason=reason, to_version=version, actor=who
        )
        agreed = (*agreed, entry)
        keep_approvals(workspace, version)
    missing = needed - len({entry.actor for entry in agreed})
    if missing > 0:
        names = ", ".join(entry.actor for entry in agreed)
        flag = " --override" if override else ""
        raise PersonNeededError(
            f"Version {version} is approved by {names}; {missing} more approver{'s' if missing > 1 else ''} must agree "
            f"before it serves. Let another person run: relearn promote {version}{flag} --reason WHY."
        )
    return agreed


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise InputError("A promotion needs a reason. Say why with --reason.")
