"""The gate policy: block ``gates`` of ``params.yaml``, under a digest; another one judges every version again.

Nothing is computed anew for it: reports are stored with each version, and a verdict is a function of reports and
policy. The verdicts under the policy in force stand in the ledger, MLflow's tags repeat them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data.cycle_records import LedgerEntry
from data.decisions import Action, Decisions, Ruling, decisions, passes
from data.errors import RelearnError
from data.evaluation_records import Verdict
from data.param_stages import GateParams
from data.params import load_params
from data.records import Record
from data.workspace import Workspace
from flows.people import acting
from flows.progress import Lines
from models.gates import policy_digest, rejudge
from tasks import ledger, registry
from tasks.approvals import keep_approvals
from tasks.evidence import read_evidence
from tasks.places import ledger_uri
from tasks.registry import VersionInfo

NAMED = 4
"""Edits that a reason names."""
GONE = "The registry does not hold it any longer."


class Rejudged(Record):
    """A version under two policies."""

    version: int
    old: Verdict | None
    """None: nobody judged it by that."""
    new: Verdict
    reasons: tuple[str, ...]
    """Of the new verdict."""
    champion: bool


def follow(workspace: Workspace) -> tuple[Rejudged, ...]:
    """Judge every registered version by the policy in force, if that is another one than the ledger's.

    Returns those whose verdict is another now. Nothing is done, and MLflow is not asked, where the ledger holds the
    verdict of every version that it knows of under this policy.

    Raises:
        PersonNeededError: the ledger was tampered with.
        OutsideError: MLflow or the ledger is out of reach.
    """
    uri, gates = ledger_uri(workspace), load_params(workspace.params_file).gates
    entries = ledger.intact_entries(uri)
    state, policy = decisions(entries), policy_digest(gates)
    if state.policy == policy and all(ruling.policy == policy for ruling in state.rulings.values()):
        return ()
    rulings = dict(rejudged(workspace, state, gates))
    if not rulings:
        return ()
    for version in state.rulings.keys() - rulings.keys():
        rulings[version] = Ruling(Verdict.HOLD, (GONE,), policy, state.rulings[version].evidence, 0)
    known = {version: ruling.verdict for version, ruling in state.rulings.items()}
    changed = tuple(found for found in changes(known, rulings, state.version) if found.old is not None)
    thresholds = gates.model_dump(mode="json")
    evidence = {
        "policy": policy,
        "before": state.policy,
        "thresholds": thresholds,
        "rulings": {str(version): _told(ruling) for version, ruling in sorted(rulings.items())},
    }
    edits = edited(known_policies(entries).get(state.policy, {}), thresholds)
    who = acting(workspace, "viewer", "A change of the gate policy")  # who may do what led here was asked before
    ledger.append(uri, action=Action.GATES, reason=_reason(edits, len(rulings), changed), evidence=evidence, actor=who)
    mirror(workspace)
    return changed


def mirror(workspace: Workspace) -> None:
    """Let MLflow's tags, the alias challenger and the evidence folders repeat what the ledger says of each version.

    Raises:
        OutsideError: MLflow or the ledger is out of reach.
    """
    state, infos = ledger.state(ledger_uri(workspace)), registry.get_versions(workspace)
    verdicts = {info.version: verdict for info in infos if (verdict := state.verdict(info.version)) is not info.verdict}
    passing = [info.version for info in infos if info.kind == "candidate" and passes(state, info.version)]
    registry.mirror_verdicts(
        workspace, {version: verdict for version, verdict in verdicts.items() if verdict}, max(passing, default=None)
    )
    keep_approvals(workspace)


# --- judging again ---------------------------------------------------------------------------------


def rejudged(workspace: Workspace, state: Decisions, gates: GateParams) -> Iterator[tuple[int, Ruling]]:
    """Every registered version's verdict under a policy, oldest first."""
    policy, lines = policy_digest(gates), Lines("gates")
    infos = registry.get_versions(workspace)
    for number, info in enumerate(infos, start=1):
        known = state.rulings.get(info.version)
        evidence = known.evidence if known is not None else ""
        verdict, reasons = _judged(workspace, info, gates, evidence)
        lines.show(f"{number}/{len(infos)} versions judged", done=number == len(infos))
        yield info.version, Ruling(verdict, reasons, policy, evidence, 0)


def _judged(
    workspace: Workspace, info: VersionInfo, gates: GateParams, evidence: str
) -> tuple[Verdict, tuple[str, ...]]:
    if info.kind == "base":
        return Verdict.PROMOTE, ("The base alone passes under every policy.",)
    try:
        judgement = rejudge(read_evidence(workspace, info, evidence or None), gates)
    except RelearnError as error:
        if error.exit_code == 1:
            raise
        return Verdict.HOLD, (f"It cannot be judged by this policy. {error}",)  # never a pass
    return judgement.verdict, judgement.reasons


def changes(before: Mapping[int, Verdict], after: Mapping[int, Ruling], champion: int | None) -> tuple[Rejudged, ...]:
    """Versions whose verdict is another than before, or that had none, oldest first."""
    return tuple(
        Rejudged(
            version=version,
            old=before.get(version),
            new=ruling.verdict,
            reasons=ruling.reasons,
            champion=version == champion,
        )
        for version, ruling in sorted(after.items())
        if before.get(version) is not ruling.verdict
    )


def _told(ruling: Ruling) -> dict[str, Any]:
    return {"verdict": ruling.verdict.value, "reasons": list(ruling.reasons), "evidence": ruling.evidence}


def _reason(edits: Sequence[tuple[str, Any, Any]], judged: int, changed: Sequence[Rejudged]) -> str:
    named = [f"{name} {was} -> {now}" for name, was, now in edits[:NAMED]]
    more = [f"{len(edits) - NAMED} others"] if len(edits) > NAMED else []
    what = f"Gates changed ({'; '.join(named + more)})" if edits else "Verdicts entered under the gate policy in force"
    fell = [str(found.version) for found in changed if found.old is Verdict.PROMOTE]
    rose = [str(found.version) for found in changed if found.new is Verdict.PROMOTE]
    said = [f"{judged} version{'' if judged == 1 else 's'} judged"]
    said += [f"no longer promote: {', '.join(fell)}"] if fell else []
    said += [f"now promote: {', '.join(rose)}"] if rose else []
    return f"{what}: {'; '.join(said)}."


# --- policies --------------------------------------------------------------------------------------


def known_policies(entries: Sequence[LedgerEntry]) -> dict[str, Mapping[str, Any]]:
    """The policies whose thresholds stand in the ledger, by digest."""
    kept = [entry.evidence for entry in entries if "thresholds" in entry.evidence]
    return {str(evidence["policy"]): evidence["thresholds"] for evidence in kept}


def edited(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Name, old and new value of everything that differs; nothing where one of them is not known."""
    one, other = _flat(before), _flat(after)
    if not one or not other:
        return []
    return [(name, one.get(name), other.get(name)) for name in {**other, **one} if one.get(name) != other.get(name)]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
