"""The switch: the one way in which another version becomes the champion.

The order makes it safe to kill at any instruction. First an intent in the ledger, which the ledger itself refuses where
the barrier does not let the version pass or somebody else was faster (data/decisions.py). Then MLflow's alias, then a
probe: the version is loaded from where it will serve and answers. Then the commit, by which it is the champion; the
data of the workspace and the serving pointer follow that. Before the commit the old version is the champion, after it
the new one, and flows/recovery.py finishes or undoes what a kill left, so that there is always exactly one.
"""

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from pydantic import Field

from data.actor import current_actor
from data.cycle_records import LedgerEntry
from data.decisions import Action, Decisions, passes
from data.errors import quoted
from data.records import Record
from data.workspace import Workspace
from tasks import ledger, registry, report_mark, serving, versioning, weights
from tasks.approvals import keep_approvals
from tasks.places import ledger_uri
from tasks.registry import VersionInfo

HEAVY = ("data.wordings", "models.adapters", "models.base", "models.generation", "mlflow.artifacts", "dvc.repo")
"""Imported before the intent, so that little time passes until the commit."""


class Switched(Record):
    """Which version replaced which."""

    from_version: int | None = Field(alias="from")
    to_version: int = Field(alias="to")
    actor: str
    reason: str
    seconds: float
    """From the intent until alias, data and pointer had followed."""
    notes: tuple[str, ...] = ()
    """What a person should know of it, one sentence each."""
    entered: bool = Field(default=True, exclude=True)
    """Whether it is a new entry of the ledger; False: the version served already, and what is told is its old entry."""


@dataclass(frozen=True)
class Wanted:
    """A switch that somebody decided on."""

    version: int
    action: Action
    """``promote`` or ``rollback``."""
    reason: str
    actor: str
    override: bool = False
    """Although its verdict is not ``promote``."""
    data: bool = True
    """Whether the workspace's data go to that version's, too; within a cycle they are the cycle's own."""
    beside: dict[str, Any] = field(default_factory=dict)
    """What else the ledger keeps of the decision."""


def switch(workspace: Workspace, wanted: Wanted) -> Switched:
    """Make a version the champion.

    Raises:
        PersonNeededError: the barrier, another switch is under way, its weights were freed, or it does not answer.
        InputError: no such version, or its files were exchanged.
        OutsideError: MLflow, the ledger or the disk is out of reach; the next command finishes or undoes it.
    """
    uri, info = ledger_uri(workspace), registry.get_version(workspace, wanted.version)
    weights.require(info)
    serving.fetch_weights(workspace, wanted.version)  # what cannot serve is refused before it stands in the ledger
    for name in HEAVY:
        import_module(name)
    state = ledger.state(uri)
    begun = time.monotonic()
    intent = ledger.append(
        uri,
        action=Action.INTEND,
        reason=wanted.reason,
        from_version=state.version,
        to_version=wanted.version,
        evidence=_evidence(workspace, info, state, wanted),
        actor=wanted.actor,
    )
    return carry_out(workspace, intent, begun)


def put_right(workspace: Workspace, champion: LedgerEntry, version: int) -> Switched:
    """Let alias and pointer follow the champion that the ledger names; nothing is entered, and data stay."""
    begun = time.monotonic()
    registry.set_alias(workspace, registry.CHAMPION, version)
    serving.point_to(workspace, version)
    return _switched(champion, begun).model_copy(update={"entered": False})


# --- from the intent on ----------------------------------------------------------------------------


def carry_out(workspace: Workspace, intent: LedgerEntry, begun: float) -> Switched:
    """From an intent, written at ``begun`` of the monotonic clock, to a champion that alias, data and pointer follow.

    Raises:
        RelearnError: it cannot be had; the switch is undone, or still open where that cannot be done now either.
    """
    version = target_of(intent)
    try:
        registry.set_alias(workspace, registry.CHAMPION, version)
        probe = serving.probe(workspace, serving.fetch_weights(workspace, version))
        entry = ledger.append(
            ledger_uri(workspace),
            action=Action(intent.evidence["switch"]),
            reason=intent.reason,
            from_version=intent.from_version,
            to_version=version,
            evidence={**intent.evidence, "intent": intent.number, "probe": probe.model_dump(mode="json")},
            actor=intent.actor,
        )
    except Exception as error:
        undo(workspace, intent, quoted(error))
        raise
    notes = (*_other_answers(workspace, entry), *follow_commit(workspace, entry))
    return _switched(entry, begun, notes)


def _switched(champion: LedgerEntry, begun: float, notes: tuple[str, ...] = ()) -> Switched:
    return Switched(
        from_version=champion.from_version,
        to_version=target_of(champion),
        actor=champion.actor,
        reason=champion.reason,
        seconds=round(time.monotonic() - begun, 3),
        notes=notes,
    )


def undo(workspace: Workspace, intent: LedgerEntry, why: str) -> None:
    """Back to the old champion, unless the commit stands after all; what cannot be undone now stays open.

    Raises:
        OutsideError: MLflow or the ledger is out of reach.
    """
    uri = ledger_uri(workspace)
    state = ledger.state(uri)
    if state.intent is None or state.intent.number != intent.number:
        return
    if state.version is None:
        registry.drop_alias(workspace, registry.CHAMPION)
    else:
        registry.set_alias(workspace, registry.CHAMPION, state.version)
    ledger.append(
        uri,
        action=Action.ABANDON,
        reason=f"Undone: {why}",
        from_version=intent.from_version,
        to_version=intent.to_version,
        evidence={"intent": intent.number},
        actor=current_actor(workspace.params().people.actor),
    )


def follow_commit(workspace: Workspace, champion: LedgerEntry) -> tuple[str, ...]:
    """Let data, pointer and records follow the commit; until the pointer has, the switch counts as unfinished."""
    version = target_of(champion)
    here = champion.evidence.get("workspace") == str(workspace.root)
    lock = registry.fetch_lock(workspace, version) if here and champion.evidence.get("data") else None
    followed = lock is None or versioning.checkout(workspace, lock)
    report_mark.mark(workspace, champion)
    serving.point_to(workspace, version)
    keep_approvals(workspace, champion.from_version, version)
    if followed:
        return ()
    return (
        f"The data of version {version} are no longer all in DVC's cache, so data/ stays as it is; what serves is not "
        "touched by that.",
    )


def _other_answers(workspace: Workspace, entry: LedgerEntry) -> Sequence[str]:
    """A sentence where a version answers other than when it was last switched to."""
    before = [
        earlier
        for earlier in ledger.entries(ledger_uri(workspace))
        if earlier.number < entry.number and earlier.to_version == entry.to_version and "probe" in earlier.evidence
    ]
    if not before or before[-1].evidence["probe"]["digest"] == entry.evidence["probe"]["digest"]:
        return ()
    return (
        f"Its weights are the same, and yet version {entry.to_version} does not answer bit by bit as by ledger entry "
        f"{before[-1].number}: this is another machine, or its libraries changed.",
    )


def _evidence(workspace: Workspace, info: VersionInfo, state: Decisions, wanted: Wanted) -> dict[str, Any]:
    ruling = state.rulings.get(info.version)
    verdict = state.verdict(info.version)
    return {
        **info.tags,
        "run": info.run,
        "model": info.source,
        "switch": wanted.action.value,
        "verdict": verdict.value if verdict is not None else None,
        "policy": state.policy,
        "ruling": ruling.entry if ruling is not None else None,
        "evidence": ruling.evidence if ruling is not None else None,
        "overridden": wanted.override and not passes(state, info.version),
        "data": wanted.data,
        "host": socket.gethostname(),
        "workspace": str(workspace.root),
        "pid": os.getpid(),
        **wanted.beside,
    }


def target_of(intent: LedgerEntry) -> int:
    """The version that a switch leads to."""
    assert intent.to_version is not None  # an intent names where it leads
    return intent.to_version
