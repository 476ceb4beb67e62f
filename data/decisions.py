"""What the ledger's entries amount to, and which entry may follow them.

Entries in, state out: which version serves, which switch is under way, which verdicts hold under the gate policy in
force, what people rejected and what is withdrawn. The rules stand here and not with the callers, because the ledger
itself asks them under its write lock: whoever appends, from whatever process, a version becomes champion only by an
intent that its verdict or a marked override allows, and one switch is under way at a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeVar

from data.cycle_records import LedgerEntry
from data.errors import InputError, PersonNeededError
from data.evaluation_records import Verdict
from data.files import shortened

K = TypeVar("K")
V = TypeVar("V")


class Action(StrEnum):
    """What was decided."""

    JUDGE = "judge"
    """A version was registered with this verdict."""
    GATES = "gates"
    """Another gate policy is in force; it says what becomes of every version."""
    APPROVE = "approve"
    """One person agrees to a promotion that needs several."""
    INTEND = "intend"
    """A switch begins; nothing has changed yet."""
    PROMOTE = "promote"
    """A version serves from now on."""
    ROLLBACK = "rollback"
    """A version serves again, or instead."""
    ABANDON = "abandon"
    """The switch that was intended did not come about."""
    REJECT = "reject"
    """A person does not want a version, whatever its verdict."""
    WITHDRAW = "withdraw"
    """Nothing may rest on a document any longer."""
    REINSTATE = "reinstate"
    """A withdrawn document may be learned again."""
    ACCEPT_LOSS = "accept-loss"
    """A person agreed to a snapshot although it lacks much of the one accepted before."""


class Cause(StrEnum):
    """Why the line rolled back by itself; an entry without one is a person's."""

    WITHDRAWAL = "withdrawal"
    """The champion rested on a withdrawn document."""
    GATES = "gates"
    """The gate policy changed, and the champion does not pass it."""


SWITCHES = frozenset({Action.PROMOTE, Action.ROLLBACK})
"""What makes another version the champion."""


@dataclass(frozen=True)
class Ruling:
    """A version's verdict under one gate policy."""

    verdict: Verdict
    reasons: tuple[str, ...]
    policy: str
    """Digest of the gate policy."""
    evidence: str
    """Digest of the evidence that it rests on."""
    entry: int
    """Number of the ledger's entry that holds it."""


@dataclass(frozen=True)
class Decisions:
    """What all entries so far amount to."""

    champion: LedgerEntry | None = None
    """The entry that made the version that serves the champion."""
    intent: LedgerEntry | None = None
    """The switch under way."""
    policy: str = ""
    """Digest of the gate policy in force; empty: no entry speaks of one."""
    rulings: Mapping[int, Ruling] = field(default_factory=lambda: MappingProxyType({}))
    """By version; one that is missing was registered before verdicts stood in the ledger."""
    rejected: Mapping[int, LedgerEntry] = field(default_factory=lambda: MappingProxyType({}))
    """By version."""
    approvals: Mapping[int, tuple[LedgerEntry, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """By version, since it was last switched to or rejected."""
    withdrawn: Mapping[str, LedgerEntry] = field(default_factory=lambda: MappingProxyType({}))
    """By document id."""
    served: frozenset[int] = frozenset()
    """Versions that were champion at some time."""
    left: Mapping[int, LedgerEntry] = field(default_factory=lambda: MappingProxyType({}))
    """What took its place, by version that was champion and is not."""

    @property
    def version(self) -> int | None:
        """The champion."""
        return self.champion.to_version if self.champion is not None else None

    def verdict(self, version: int) -> Verdict | None:
        """A version's verdict under the policy in force; None: nobody has judged it by that."""
        ruling = self.rulings.get(version)
        return ruling.verdict if ruling is not None and ruling.policy == self.policy else None


def decisions(entries: Iterable[LedgerEntry]) -> Decisions:
    """What these entries, in order, amount to."""
    state = Decisions()
    for entry in entries:
        state = _after(state, entry)
    return state


def require_may_follow(entries: Sequence[LedgerEntry], content: Mapping[str, Any]) -> None:
    """Refuse an entry that the ones before do not allow.

    Args:
        entries: all that stand in the ledger.
        content: action, from_version, to_version and evidence of the next one.

    Raises:
        PersonNeededError: the barrier; or somebody else decided meanwhile, and it says who, what and why.
        InputError: an entry that ends a switch which nobody intended.
    """
    state, action = decisions(entries), content["action"]
    if action == Action.INTEND:
        _require_intent(state, content)
    elif action in SWITCHES or action == Action.ABANDON:
        _require_end(state, content)


def passes(state: Decisions, version: int) -> bool:
    """Whether the barrier lets a version become champion without an override."""
    return state.verdict(version) is Verdict.PROMOTE and version not in state.rejected


def told(entry: LedgerEntry) -> str:
    """Who decided an entry, when and why."""
    return f'{entry.actor} at {entry.time[:19]} ("{shortened(entry.reason)}")'


def _after(state: Decisions, entry: LedgerEntry) -> Decisions:
    action, version = entry.action, entry.to_version
    if action == Action.INTEND:
        return replace(state, intent=entry)
    if action == Action.ABANDON:
        return replace(state, intent=None)
    if action == Action.GATES:
        return _under_other_gates(state, entry)
    if action == Action.WITHDRAW:
        return replace(state, withdrawn={**state.withdrawn, _document(entry): entry})
    if action == Action.REINSTATE:
        return replace(state, withdrawn=_without(state.withdrawn, _document(entry)))
    if version is None:
        return state
    if action in SWITCHES:
        return _switched(state, entry, version)
    if action == Action.JUDGE:
        ruling = _ruling(entry, entry.evidence, (entry.reason,), str(entry.evidence["evidence"]))
        return replace(state, rulings={**state.rulings, version: ruling}, policy=state.policy or ruling.policy)
    if action == Action.APPROVE:
        agreed = (*state.approvals.get(version, ()), entry)
        return replace(state, approvals={**state.approvals, version: agreed})
    if action == Action.REJECT:
        approvals = _without(state.approvals, version)
        return replace(state, rejected={**state.rejected, version: entry}, approvals=approvals)
    return state


def was_wrong(left: LedgerEntry) -> bool:
    """Whether a version was left by a rollback for what it is, and not because a document was withdrawn meanwhile."""
    return left.action == Action.ROLLBACK and left.evidence.get("cause") != Cause.WITHDRAWAL


def _switched(state: Decisions, entry: LedgerEntry, version: int) -> Decisions:
    left = _without(state.left, version)
    if state.version is not None and state.version != version:
        left = {**left, state.version: entry}
    return replace(
        state,
        champion=entry,
        intent=None,
        left=left,
        served=state.served | {version},
        approvals=_without(state.approvals, version),
        rejected=_without(state.rejected, version),
    )


def _under_other_gates(state: Decisions, entry: LedgerEntry) -> Decisions:
    found = {
        int(version): _ruling(entry, {**said, "policy": entry.evidence["policy"]}, said["reasons"], said["evidence"])
        for version, said in entry.evidence["rulings"].items()
    }
    return replace(state, policy=str(entry.evidence["policy"]), rulings={**state.rulings, **found})


def _ruling(entry: LedgerEntry, said: Mapping[str, Any], reasons: Iterable[str], evidence: str) -> Ruling:
    return Ruling(Verdict(said["verdict"]), tuple(reasons), str(said["policy"]), evidence, entry.number)


def _document(entry: LedgerEntry) -> str:
    return str(entry.evidence["document"])


def _without(found: Mapping[K, V], key: K) -> Mapping[K, V]:
    return {other: value for other, value in found.items() if other != key}


# --- what may follow -------------------------------------------------------------------------------


def _require_intent(state: Decisions, content: Mapping[str, Any]) -> None:
    version = content["to_version"]
    if state.intent is not None:
        raise PersonNeededError(
            f"A switch to version {state.intent.to_version} is under way, begun by {told(state.intent)}. Look at "
            "relearn status, then decide again."
        )
    if content["from_version"] != state.version:
        champion = state.champion
        by = f", by {told(champion)}" if champion is not None else ""
        raise PersonNeededError(
            f"Version {state.version} serves by now{by}, not version {content['from_version']}. Look at relearn "
            "status, then decide again."
        )
    if not content["evidence"].get("overridden"):
        _require_verdict(state, version)


def _require_verdict(state: Decisions, version: int) -> None:
    """The barrier."""
    verdict, rejection = state.verdict(version), state.rejected.get(version)
    otherwise = f"to decide otherwise: relearn promote {version} --override --reason WHY."
    if rejection is not None:
        raise PersonNeededError(f"Version {version} was rejected by {told(rejection)}; {otherwise}")
    if verdict is not Verdict.PROMOTE:
        said = "missing" if verdict is None else verdict.value
        raise PersonNeededError(
            f"The verdict of version {version} under the gate policy in force is {said}, and only promote is "
            f"promoted. Read its report; {otherwise}"
        )


def _require_end(state: Decisions, content: Mapping[str, Any]) -> None:
    intent, action = state.intent, content["action"]
    if intent is None or content["to_version"] != intent.to_version:
        raise InputError(
            f"Nobody intends a switch to version {content['to_version']}, so there is none to {action}. A version is "
            "switched to with relearn promote or relearn rollback."
        )
