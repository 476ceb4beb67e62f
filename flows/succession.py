"""What the line does to the champion by itself, as block ``registry`` of ``params.yaml`` says, each time with a reason.

A champion may not rest on what is withdrawn. Where it still answers from such a document it goes at once; otherwise the
cycle under way makes its successor, and where that one may not serve, the newest version that may takes its place: at
the end of a cycle no champion rests on a withdrawn document, unless ``on_withdrawal`` leaves that to a person.
"""

from collections.abc import Sequence

from data.cycle_records import LedgerEntry
from data.decisions import Action, Cause, Decisions, passes, was_wrong
from data.files import shortened
from data.params import load_params
from data.records import DocumentVersion
from data.workspace import Workspace
from flows.policy import follow
from flows.promote import promote_by_line
from flows.recovery import end_open_switch
from flows.resting import rests_on
from flows.rollback import roll_back_by_line
from flows.stale import answers_from
from flows.switch import Switched
from tasks import ledger, registry
from tasks.places import ledger_uri

NAMED = 3
"""Documents that a reason names."""


def withdraw_champion(workspace: Workspace) -> Switched | None:
    """Let the champion go at once where it rests on a withdrawn document and the parameters want that.

    Raises:
        RelearnError: as a rollback.
    """
    state = ledger.state(ledger_uri(workspace))
    documents = champion_rests_on(workspace, state)
    action = workspace.params().registry.on_withdrawal
    if not documents or action in ("hold", "retrain"):
        return None
    reason = f"Version {state.version} rests on {_named(documents)}, withdrawn by now"
    if action == "rollback":
        return roll_back_by_line(workspace, f"{reason}.", Cause.WITHDRAWAL)
    stale = answers_from(workspace, registry.get_version(workspace, state.version or 0), documents)
    if not stale:
        return None
    first = stale[0]
    return roll_back_by_line(
        workspace,
        f"{reason}, and still answers from it ({len(stale)} of the questions asked; for one: "
        f'"{shortened(first.question)}" with "{shortened(first.answer)}").',
        Cause.WITHDRAWAL,
    )


def follow_gates(workspace: Workspace) -> Switched | None:
    """Judge every version by the gate policy in force; what becomes of a champion that it does not let pass.

    Nothing is done, and nothing heavy is imported, where policy and versions are those of before.

    Raises:
        RelearnError: as a rollback.
    """
    uri = ledger_uri(workspace)
    if not ledger.entries(uri):
        return None
    end_open_switch(workspace)
    known = ledger.state(uri).policy
    follow(workspace)
    state = ledger.state(uri)
    champion = state.champion
    if not known or champion is None or state.version is None:
        return None
    if champion.evidence.get("overridden") or passes(state, state.version):
        return None
    if load_params(workspace.params_file).registry.on_gates == "hold":
        return None
    ruling = state.rulings[state.version]
    return roll_back_by_line(
        workspace,
        f"The gate policy changed, and version {state.version} does not pass it: {' '.join(ruling.reasons)}",
        Cause.GATES,
    )


def settle(workspace: Workspace, version: int) -> Switched | None:
    """What becomes of the champion once a cycle has measured ``version``.

    Raises:
        RelearnError: as a promotion or a rollback.
    """
    follow(workspace)  # the gates may have been edited since the cycle began
    state = ledger.state(ledger_uri(workspace))
    if state.version == version:
        return None
    documents = champion_rests_on(workspace, state)
    if documents and workspace.params().registry.on_withdrawal != "hold":
        return _replace(workspace, state, version, documents)
    reason = _why_promote(workspace, state, version)
    return promote_by_line(workspace, version, reason) if reason else None


def champion_rests_on(workspace: Workspace, state: Decisions) -> tuple[DocumentVersion, ...]:
    """Withdrawn documents that the champion was made from."""
    if state.version is None:
        return ()
    return rests_on(workspace, state, registry.get_version(workspace, state.version))


def _replace(
    workspace: Workspace, state: Decisions, version: int, documents: Sequence[DocumentVersion]
) -> Switched | None:
    why = f"Version {state.version} rests on {_named(documents)}, withdrawn by now"
    candidate = registry.get_version(workspace, version)
    if passes(state, version) and not rests_on(workspace, state, candidate):
        done = promote_by_line(workspace, version, f"{why}; version {version} does not, and passed every gate.")
        if done is not None:
            return done
    return roll_back_by_line(workspace, f"{why}, and version {version} may not serve.", Cause.WITHDRAWAL)


def _why_promote(workspace: Workspace, state: Decisions, version: int) -> str:
    """Why the line promotes a version without a person; empty: it does not."""
    settings, left = workspace.params().registry, state.left.get(version)
    if not passes(state, version):
        return ""
    if settings.promote_first and not _served_a_candidate(workspace, state):
        return "The first candidate that passed every gate."
    taken_back = left is not None and _takes_back(left, version)
    if settings.bring_back and version in state.served and not taken_back:
        return f"The documents are again exactly those of version {version}, which served before."
    return ""


def _takes_back(left: LedgerEntry, version: int) -> bool:
    """Whether a version was left because it was wrong, and not because other documents came."""
    if left.action == Action.ROLLBACK:
        return was_wrong(left)
    return not left.evidence.get("by_line") and (left.to_version or 0) < version


def _served_a_candidate(workspace: Workspace, state: Decisions) -> bool:
    """A rollback to the base is a decision and stays one."""
    return any(registry.get_version(workspace, version).kind == "candidate" for version in state.served)


def _named(documents: Sequence[DocumentVersion]) -> str:
    names = [shortened(document.path) for document in documents[:NAMED]]
    more = f" and {len(documents) - NAMED} others" if len(documents) > NAMED else ""
    return f"{', '.join(names)}{more}"
