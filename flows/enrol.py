"""A version enters the records: MLflow's registry, its evidence, and its verdict in the ledger, in this order.

Each step done again changes nothing, so that a registration killed anywhere is completed by the next. A version whose
verdict does not stand in the ledger cannot become champion.
"""

from typing import Any

from data.decisions import Action
from data.evaluation_records import Verdict
from data.workspace import Workspace
from flows.people import acting
from models.gates import policy_digest
from tasks import ledger, registry
from tasks.approvals import keep_approvals
from tasks.candidate import Candidate
from tasks.evidence import write_base_evidence, write_evidence
from tasks.places import ledger_uri

BASE_PASSES = "The base alone answers as it did before anything was taught."


def enrol(workspace: Workspace, made: Candidate, cycle: str) -> int:
    """Register a judged candidate; returns its version, the old one where it was registered before.

    Args:
        workspace: whose registry and ledger it enters.
        made: the candidate.
        cycle: key of all that it follows from, by which it is found when that comes back.

    Raises:
        InputError: adapter and reports do not belong together.
        OutsideError: MLflow or the ledger is out of reach.
    """
    version = registry.register_candidate(workspace, made)
    evidence = write_evidence(workspace, made, version)
    reasons = made.judgement.reasons
    _enter(workspace, version, made.judgement.verdict, " ".join(reasons), {"evidence": evidence, "cycle": cycle})
    return version


def enrol_base(workspace: Workspace, base: str, base_digest: str) -> int:
    """Register the base alone, which passes under every gate policy; returns its version.

    Raises:
        OutsideError: MLflow or the ledger is out of reach.
    """
    version = registry.register_base(workspace, base, base_digest)
    if version in ledger.state(ledger_uri(workspace)).rulings:
        return version
    evidence = write_base_evidence(workspace, version, base, base_digest)
    _enter(workspace, version, Verdict.PROMOTE, BASE_PASSES, {"evidence": evidence})
    return version


def _enter(workspace: Workspace, version: int, verdict: Verdict, reason: str, what: dict[str, Any]) -> None:
    """The verdict's entry, unless it stands already."""
    uri, gates = ledger_uri(workspace), workspace.params().gates
    policy = policy_digest(gates)
    state = ledger.state(uri)
    known = state.rulings.get(version)
    if known is not None and (known.policy, known.evidence) == (policy, what["evidence"]):
        return
    info = registry.get_version(workspace, version)
    told: dict[str, Any] = {"policy": policy, "verdict": verdict.value, "run": info.run, "model": info.source}
    if state.policy != policy:  # the first verdict under it says what it is
        told["thresholds"] = gates.model_dump(mode="json")
    ledger.append(
        uri,
        action=Action.JUDGE,
        reason=reason,
        to_version=version,
        evidence={**info.tags, **told, **what},
        actor=acting(workspace, "operator", "A cycle"),
    )
    keep_approvals(workspace, version)
