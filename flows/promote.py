"""The switch: the one function through which a version becomes the champion.

The order makes it safe to kill: first the ledger entry, which is the authority, then MLflow's alias and
the serving pointer, which only mirror it and refuse any version that the ledger does not name. Whatever
a kill leaves undone, ``reconcile`` mends. The base is the first champion: its promotion is the ledger's
first entry, so that the first candidate replaces a version like every later one.
"""

import time
from typing import Any

from pydantic import Field

from data.addresses import without_passwords
from data.errors import InputError, PersonNeededError
from data.records import Record
from data.report_records import LedgerEntry, Verdict
from data.workspace import Workspace
from tasks import ledger, registry, serving, weights
from tasks.places import ledger_uri
from tasks.registry import VersionInfo


class Promotion(Record):
    """Which version replaced which."""

    from_version: int | None = Field(alias="from")
    to_version: int = Field(alias="to")
    actor: str
    reason: str
    seconds: float
    entered: bool = Field(exclude=True)
    """Whether it is a new entry of the ledger; False: the version served already, and what is told is its old entry."""


def promote(
    workspace: Workspace, version: int, reason: str, actor: str | None = None, override: bool = False
) -> Promotion:
    """Let ``version`` serve; the champion promoted again stays what it is, without a second entry.

    ``override`` lets a person promote a version whose verdict is not ``promote``; the entry says so.

    Raises:
        PersonNeededError: the verdict is not ``promote``, its weights were freed, or the ledger was tampered with.
        InputError: no reason, no such version, or its files were exchanged.
        OutsideError: MLflow or the ledger is out of reach.
    """
    begun = time.monotonic()
    _require_reason(reason)
    before = ledger.last_promotion(ledger_uri(workspace))
    if before is None:
        _require_no_pointer(workspace, serving.pointer(workspace))
    info = registry.get_version(workspace, version)
    _require_verdict(info, override)
    weights.require(info)
    serving.fetch_weights(workspace, version)  # what cannot serve is refused before it stands in the ledger
    entry = _enter(workspace, info, reason, actor, override)
    _mirror(workspace, version)
    return Promotion(
        from_version=entry.from_version,
        to_version=version,
        actor=entry.actor,
        reason=entry.reason,
        seconds=round(time.monotonic() - begun, 3),
        entered=before is None or entry.number != before.number,
    )


def promote_base(workspace: Workspace, version: int) -> Promotion | None:
    """Make the base the first champion of a workspace that has none; None where there is one already."""
    if ledger.last_promotion(ledger_uri(workspace)) is not None:
        return None
    return promote(workspace, version, "The base alone answers until a candidate passes.")


def is_settled(workspace: Workspace) -> bool:
    """Whether the serving pointer stands where the ledger's last promotion put it; MLflow is not asked.

    Raises:
        PersonNeededError: the ledger was tampered with.
    """
    entry, pointer = ledger.last_promotion(ledger_uri(workspace)), serving.pointer(workspace)
    return (entry.number if entry else None) == (pointer.entry if pointer else None)


def reconcile(workspace: Workspace) -> list[str]:
    """Make alias and serving pointer follow the ledger again; returns what was mended, one sentence each.

    Raises:
        PersonNeededError: the ledger was tampered with, or it is gone while a version serves.
    """
    entry = ledger.last_promotion(ledger_uri(workspace))
    pointer = serving.pointer(workspace)
    if entry is None or entry.to_version is None:
        _require_no_pointer(workspace, pointer)
        return []
    mended = []
    if registry.champion(workspace) != entry.to_version:
        registry.set_alias(workspace, "champion", entry.to_version)
        mended.append(f"The alias champion follows ledger entry {entry.number} to version {entry.to_version}.")
    if pointer is None or pointer.entry != entry.number or pointer.version != entry.to_version:
        serving.point_to(workspace, entry.to_version)
        mended.append(f"The serving pointer follows ledger entry {entry.number} to version {entry.to_version}.")
    return mended


def _enter(workspace: Workspace, info: VersionInfo, reason: str, actor: str | None, override: bool) -> LedgerEntry:
    uri = ledger_uri(workspace)
    last = ledger.last_promotion(uri)
    if last is not None and last.to_version == info.version:
        return last
    evidence: dict[str, Any] = {
        **info.tags,
        "run": info.run,
        "model": info.source,
        "overridden": override and info.verdict is not Verdict.PROMOTE,
    }
    return ledger.append(
        uri,
        action=ledger.PROMOTE,
        reason=reason,
        from_version=last.to_version if last else None,
        to_version=info.version,
        evidence=evidence,
        actor=actor,
    )


def _mirror(workspace: Workspace, version: int) -> None:
    registry.set_alias(workspace, "champion", version)
    serving.point_to(workspace, version)


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise InputError("A promotion needs a reason. Say why with --reason.")


def _require_verdict(info: VersionInfo, override: bool) -> None:
    if info.verdict is not Verdict.PROMOTE and not override:
        verdict = info.verdict.value if info.verdict else "missing"
        raise PersonNeededError(
            f"The verdict of version {info.version} is {verdict}, and only promote is promoted. Read its "
            f"report; to decide otherwise: relearn promote {info.version} --override --reason WHY."
        )


def _require_no_pointer(workspace: Workspace, pointer: serving.ServingPointer | None) -> None:
    if pointer is not None:
        raise PersonNeededError(
            f"Version {pointer.version} serves by ledger entry {pointer.entry}, but the ledger at "
            f"{without_passwords(ledger_uri(workspace))} holds no promotion. Restore the ledger from its backup."
        )
