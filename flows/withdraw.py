"""A document is withdrawn: nothing may draw on it from now on, and what learned from it is looked at.

The decision stands in the ledger under the document's id, so that it holds for every version of it, former ones too.
Stages leave the document out from the next cycle on (data/withheld.py); what becomes of the champion says
``registry.on_withdrawal``.
"""

import time
from typing import Any

from pydantic import Field

from data.collection import known_collection
from data.decisions import Action, Decisions
from data.errors import InputError
from data.files import shortened, write_record
from data.records import Record
from data.withheld import read_withheld
from data.workspace import Workspace
from flows.impact import Found, find_document
from flows.inputs import last_snapshot, tombstones
from flows.people import acting
from flows.recovery import end_open_switch
from flows.succession import champion_rests_on, withdraw_champion
from tasks import ledger
from tasks.places import ledger_uri


class Withdrawal(Record):
    """What was withdrawn or reinstated, and what came of it."""

    document: str
    """Its id."""
    path: str
    """Where it lay last."""
    from_version: int | None = Field(alias="from")
    """The champion before."""
    to_version: int | None = Field(alias="to")
    """The champion now."""
    actor: str
    reason: str
    seconds: float
    waits: bool = Field(exclude=True)
    """Whether the champion rests on it and waits for a person."""
    notes: tuple[str, ...] = ()


def withdraw(workspace: Workspace, document: str, reason: str, actor: str | None = None) -> Withdrawal:
    """Let nothing rest on a document any longer; withdrawn again, what a kill left undone is done.

    Raises:
        PersonNeededError: the actor may not, or the ledger was tampered with.
        InputError: no reason, or no such document.
        OutsideError: MLflow or the ledger is out of reach.
    """
    begun = time.monotonic()
    _require_reason(reason, "A withdrawal")
    who = acting(workspace, "operator", "A withdrawal", actor)
    end_open_switch(workspace)
    uri, found = ledger_uri(workspace), find_document(workspace, document)
    state = ledger.state(uri)
    if found.id not in state.withdrawn:
        _enter(workspace, found, reason, who)
    before, done = state.version, withdraw_champion(workspace)
    state = ledger.state(uri)
    rests = done is None and found.id in {one.id for one in champion_rests_on(workspace, state)}
    return Withdrawal(
        document=found.id,
        path=found.path,
        from_version=before,
        to_version=state.version,
        actor=who,
        reason=reason,
        seconds=round(time.monotonic() - begun, 3),
        waits=rests and workspace.params().registry.on_withdrawal == "hold",
        notes=(*(done.notes if done else ()), _next_step(workspace, state, rests)),
    )


def reinstate(workspace: Workspace, document: str, reason: str, actor: str | None = None) -> Withdrawal:
    """Let a withdrawn document be learned again, from the next cycle on.

    Raises:
        PersonNeededError: the actor may not, or the ledger was tampered with.
        InputError: no reason, no such document, or it is not withdrawn.
        OutsideError: the ledger is out of reach.
    """
    begun = time.monotonic()
    _require_reason(reason, "A reinstatement")
    who = acting(workspace, "approver", "A reinstatement", actor)
    state = ledger.state(ledger_uri(workspace))
    what = _withdrawn(workspace, state, document)
    ledger.append(ledger_uri(workspace), action=Action.REINSTATE, reason=reason, evidence=what, actor=who)
    _tell_stages(workspace)
    return Withdrawal(
        document=what["document"],
        path=what["path"],
        from_version=state.version,
        to_version=state.version,
        actor=who,
        reason=reason,
        seconds=round(time.monotonic() - begun, 3),
        waits=False,
        notes=("It is learned again by the next cycle: relearn run.",),
    )


def _withdrawn(workspace: Workspace, state: Decisions, named: str) -> dict[str, Any]:
    """What the ledger keeps of a withdrawn document, by its id, the beginning of it, or its path."""
    whats = [entry.evidence for entry in state.withdrawn.values()]
    fitting = [one for one in whats if one["path"] == named or (len(named) >= 8 and one["document"].startswith(named))]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        ids = ", ".join(one["document"][:12] for one in fitting)
        raise InputError(f"Several withdrawn documents are called {shortened(named)}: {ids}. Name one by its id.")
    found = find_document(workspace, named)
    raise InputError(f"{found.path} is not withdrawn by a decision, so there is nothing to reinstate.")


def _enter(workspace: Workspace, found: Found, reason: str, who: str) -> None:
    what = {
        "document": found.id,
        "path": found.path,
        "digests": sorted({*found.digests, *_known_to_base(workspace, found.id)}),
        "latest": found.latest.model_dump(mode="json", by_alias=True),
    }
    ledger.append(ledger_uri(workspace), action=Action.WITHDRAW, reason=reason, evidence=what, actor=who)
    _tell_stages(workspace)


def _tell_stages(workspace: Workspace) -> None:
    """Let a stage that is called by itself know at once; a cycle writes this down anew when it begins."""
    known = read_withheld(workspace.withheld)
    write_record(workspace.withheld, known.model_copy(update={"tombstones": tombstones(workspace)}))


def _known_to_base(workspace: Workspace, id: str) -> set[str]:
    """Digests of what the base read of the document: its rows may name that copy."""
    current = last_snapshot(workspace)
    if current is None:
        return set()
    known, _ = known_collection(workspace.base(), workspace.params().ingest, current)
    return {one.digest for one in known.documents if one.id == id} if known is not None else set()


def _next_step(workspace: Workspace, state: Decisions, rests: bool) -> str:
    if not rests:
        return "The next cycle makes a version without it: relearn run."
    if workspace.params().registry.on_withdrawal == "hold":
        return (
            f"Version {state.version} rests on it and goes on serving (registry.on_withdrawal: hold). Decide: relearn "
            "rollback --reason WHY, or make a version without it: relearn run."
        )
    return (
        f"Version {state.version} rests on it; asked, it does not answer from it, and it serves until the next cycle "
        "has made its successor: relearn run."
    )


def _require_reason(reason: str, what: str) -> None:
    if not reason.strip():
        raise InputError(f"{what} needs a reason. Say why with --reason.")
