"""A line in miniature: its stages are made up in a moment, and everything that decides is real.

Two documents exist in two versions each; what an adapter learned depends on them alone. Files, MLflow, ledger,
evidence, switch and probe are those of a real line; reading, training and measuring are replaced by their outcomes.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data.cycle_records import Cycle, CycleResult
from data.decisions import Action
from data.errors import InputError, PersonNeededError, RelearnError
from data.evaluation_records import EvaluationReport
from data.files import digest_text, digest_tree, read_cached, write_json, write_record, write_records
from data.identity import sketch
from data.records import Answer, DocumentVersion, Grade, Row, Snapshot
from data.snapshots import snapshot_digest
from data.workspace import Workspace
from flows.decide import candidate, decide
from flows.enrol import enrol, enrol_base
from flows.policy import follow
from flows.promote import promote, promote_base
from flows.recovery import is_settled, recover
from flows.reject import reject
from flows.resting import rests_on
from flows.rollback import rollback
from flows.succession import follow_gates, settle, withdraw_champion
from flows.withdraw import reinstate, withdraw
from models.statistics import figures
from tasks import ledger, mirrors, registry, serving
from tasks.evidence import read_evidence
from tasks.places import ledger_uri
from tests.accepted_miniature import layers, stand, write_spectra
from tests.fault_miniature import FORKS, LENIENT, At, Fault, install, kill
from tests.judgements import NO_MARKS
from tests.registry_miniature import answers, base_digest, make_workspace

NAMES = ("fees", "hours")
LEARNED = {("fees", 1): 9, ("fees", 2): 9, ("hours", 1): 9, ("hours", 2): 1}
"""Of ten new facts right where this version is among the documents; the worst counts."""
POLICIES = {"lenient": 0.02, "usual": 0.05, "strict": 0.5, "impossible": 0.99}
"""``min_new_right``: nine of ten pass up to strict; one of ten passes lenient only, and fails strict."""
INSTANTS = (
    At("tasks.registry.set_alias"),
    At("tasks.registry.set_alias", after=True),
    At("tasks.serving.probe"),
    At("tasks.registry.fetch_lock"),
    At("tasks.report_mark.mark"),
    At("flows.switch.keep_approvals"),
    At("tasks.serving.point_to"),
    At("tasks.serving.point_to", after=True),
    At("flows.enrol.write_evidence"),
    At("flows.enrol.write_evidence", after=True),
    At("flows.enrol.keep_approvals"),
    At("flows.policy.mirror"),
    At("tasks.ledger.append"),
    At("tasks.ledger.append", after=True),
    At("tasks.ledger.append", number=2),
    At("tasks.ledger.append", number=2, after=True),
)
"""Where a process may be killed."""


@dataclass(frozen=True)
class Step:
    """One thing that somebody does."""

    name: str
    arguments: tuple[Any, ...] = ()


def document(name: str, version: int) -> DocumentVersion:
    """A document whose text is made of its name and version."""
    text = f"{name} in version {version}"
    return DocumentVersion(
        id=digest_text("document", name), path=f"{name}.md", digest=digest_text(text), title=name,
        characters=len(text), sketch=sketch(text),
    )  # fmt: skip


def make_template(root: Path, weights: Path, ledger_address: str = "") -> Workspace:
    """A line on which some versions were made already; all its documents are in their first version.

    Args:
        root: its folder.
        weights: of base and adapters.
        ledger_address: of its ledger; empty: SQLite in the workspace.
    """
    workspace = make_workspace(root, weights)
    if ledger_address:
        keep_ledger_at(workspace, ledger_address)
    params = yaml.safe_load(workspace.params_file.read_text())
    params["gates"] |= LENIENT | {"min_new_right": POLICIES["usual"]}
    params["gates"]["modes"] = {**params["gates"]["modes"], "retention": "shadow", "champion": "shadow"}
    workspace.params_file.write_text(yaml.safe_dump(params))
    put(workspace, dict.fromkeys(NAMES, 1))
    for present in ({"fees": 1}, {"fees": 2, "hours": 1}, {"fees": 1, "hours": 2}, {"fees": 1, "hours": 1}):
        put(workspace, present)
        do(workspace, weights, Step("run"))
    return workspace


def keep_ledger_at(workspace: Workspace, address: str) -> None:
    """Let the line's decisions stand in the database at this address."""
    params = yaml.safe_load(workspace.params_file.read_text())
    params["registry"]["ledger_uri"] = address
    workspace.params_file.write_text(yaml.safe_dump(params))


def put(workspace: Workspace, present: dict[str, int]) -> None:
    """What lies in the documents folder."""
    write_json(workspace.root / "present.json", present)


def present(workspace: Workspace) -> dict[str, int]:
    found: dict[str, int] = yaml.safe_load((workspace.root / "present.json").read_text())
    return found


def do(workspace: Workspace, weights: Path, step: Step) -> RelearnError | None:
    """Let somebody do something; what is refused, as it should be, is given back."""
    try:
        DEEDS[step.name](workspace, weights, *step.arguments)
    except (InputError, PersonNeededError) as refused:
        return refused
    return None


def do_and_be_killed(workspace: Workspace, weights: Path, step: Step, instant: At) -> bool:
    """The same in a process of its own, which is killed when it comes to that instant; whether it did."""
    process = FORKS.Process(target=_die, args=(workspace, weights, step, instant))
    process.start()
    process.join(60)
    assert not process.is_alive(), f"{step} at {instant} hangs"
    assert process.exitcode in (0, -9), f"{step} at {instant} ended with {process.exitcode}"
    return process.exitcode == -9


def _die(workspace: Workspace, weights: Path, step: Step, instant: At) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    install(Fault(instant, kill))
    do(workspace, weights, step)


# --- what people do ---------------------------------------------------------------------------------


def run(workspace: Workspace, weights: Path) -> None:
    """One cycle: what flows/cycle.py does around the stages."""
    follow_gates(workspace)
    recover(workspace)
    follow(workspace)
    promote_base(workspace, enrol_base(workspace, workspace.base(), base_digest(workspace)))
    snapshot = _read(workspace)
    if not snapshot.documents:
        raise InputError("no usable document")
    key = digest_text("cycle", snapshot.digest)
    write_record(workspace.cycle, Cycle(key=key))
    if not _has_learned(workspace, snapshot):  # as DVC would find
        _learn(workspace, weights, snapshot)
    withdraw_champion(workspace)
    decision = decide(workspace)
    version = enrol(workspace, candidate(workspace, decision, {}), key)
    settle(workspace, version)
    result = CycleResult(changed=True, version=version, verdict=decision.judgement.verdict)
    write_record(workspace.cycle, Cycle(key=key, result=result, finished="now", snapshot=snapshot.digest))


def _read(workspace: Workspace) -> Snapshot:
    """Stage ingest: what is withdrawn is left out."""
    withdrawn = ledger.state(ledger_uri(workspace)).withdrawn
    found = (document(name, version) for name, version in sorted(present(workspace).items()))
    documents = tuple(one for one in found if one.id not in withdrawn)
    digest = snapshot_digest((one.path, one.digest) for one in documents)
    snapshot = Snapshot(digest=digest, documents=documents)
    write_record(workspace.snapshot_file(digest), snapshot)
    return snapshot


def _has_learned(workspace: Workspace, snapshot: Snapshot) -> bool:
    made = read_cached(workspace.collection / "snapshot.json", Snapshot)
    return made == snapshot and (workspace.evaluation / "report.json").is_file()


def _learn(workspace: Workspace, weights: Path, snapshot: Snapshot) -> None:
    """The other stages: an adapter that is known by its documents, and what it learned of them."""
    stand(workspace, weights, snapshot.digest)
    write_json(workspace.adapter / "made-from.json", {"snapshot": snapshot.digest})
    adapter, base = digest_tree(workspace.adapter), base_digest(workspace)
    write_spectra(workspace, layers(snapshot.digest))
    spectral = workspace.spectral / "report.json"
    write_json(spectral, yaml.safe_load(spectral.read_text()) | {"adapter": adapter})
    rows = [_row(one) for one in snapshot.documents for _ in range(3)]
    write_records(workspace.synthetic / "rows.jsonl", rows)
    said = list(_said(snapshot))
    write_records(workspace.evaluation / "answers.jsonl", said)
    report = EvaluationReport(
        adapter=adapter, base=base, questions="q", adapter_active=True, logit_shift=1.5, cohorts=figures(said),
        leaks=NO_MARKS,
    )  # fmt: skip
    write_record(workspace.evaluation / "report.json", report)
    write_record(workspace.collection / "snapshot.json", snapshot)  # last: what a kill cut short is made again


def _said(snapshot: Snapshot) -> Iterable[Answer]:
    versions = {document(*key).digest: right for key, right in LEARNED.items()}
    right = min(versions[one.digest] for one in snapshot.documents)
    for number, one in enumerate(answers()):
        is_new = one.question.cohort.value == "new"
        place = number % 10
        grade = (Grade.RIGHT if place < right else Grade.WRONG) if is_new else one.candidate_grade
        about = snapshot.documents[number % len(snapshot.documents)].id
        question = one.question.model_copy(update={"document": about})
        yield one.model_copy(update={"candidate_grade": grade, "question": question})


def _row(one: DocumentVersion) -> Row:
    return Row(
        prompt="Q", completion=" A", purpose="fact", wording="w", fact="f", document=one.id, digest=one.digest,
        start=0, end=1, recipe="facts", teacher="template", seed=1,
    )  # fmt: skip


def _amend(workspace: Workspace, _: Path, name: str, version: int) -> None:
    put(workspace, present(workspace) | {name: version})


def _vanish(workspace: Workspace, _: Path, name: str) -> None:
    put(workspace, {other: version for other, version in present(workspace).items() if other != name})


def _gates(workspace: Workspace, _: Path, policy: str) -> None:
    params = yaml.safe_load(workspace.params_file.read_text())
    params["gates"]["min_new_right"] = POLICIES[policy]
    workspace.params_file.write_text(yaml.safe_dump(params))


def _numbered(workspace: Workspace, place: int) -> int:
    """A version that exists, or now and then one that does not."""
    return place % (len(registry.get_versions(workspace)) + 1) + 1


DEEDS: dict[str, Callable[..., object]] = {
    "run": run,
    "amend": _amend,
    "vanish": _vanish,
    "gates": _gates,
    "withdraw": lambda workspace, _, name: withdraw(workspace, f"{name}.md", "it no longer holds"),
    "reinstate": lambda workspace, _, name: reinstate(workspace, f"{name}.md", "it holds again"),
    "promote": lambda workspace, _, place, override: promote(
        workspace, _numbered(workspace, place), "wanted", override=override
    ),
    "reject": lambda workspace, _, place: reject(workspace, _numbered(workspace, place), "unwanted"),
    "rollback": lambda workspace, _, place, override: rollback(
        workspace, "unwell", None if place is None else _numbered(workspace, place), override=override
    ),
}


# --- what must hold ---------------------------------------------------------------------------------


def assert_sound(workspace: Workspace) -> None:
    """At any time, after any kill: one champion, which may be it, in an intact ledger."""
    uri = ledger_uri(workspace)
    assert ledger.broken_at(uri) is None
    state = ledger.state(uri)
    assert state.champion is not None
    evidence = state.champion.evidence
    assert evidence["verdict"] == "promote" or evidence["overridden"], (
        "nobody may serve without a verdict or an override"
    )
    assert sum(entry.action == Action.INTEND for entry in ledger.entries(uri)) >= len(state.served)
    if is_settled(workspace):
        pointer = serving.pointer(workspace)
        assert pointer is not None
        assert (pointer.version, mirrors.champion_alias(workspace)) == (state.version, state.version)


def assert_recovers(workspace: Workspace) -> None:
    """After a kill: what answers is the champion, old or new; the next command leaves nothing open."""
    assert serving.load_champion(workspace)[1] == ledger.state(ledger_uri(workspace)).version
    recover(workspace)
    assert is_settled(workspace)
    assert mirrors.that_differ(workspace) == []
    assert_sound(workspace)


def assert_clean(workspace: Workspace) -> None:
    """After a finished cycle: the champion rests on nothing that is withdrawn or gone."""
    state = ledger.state(ledger_uri(workspace))
    assert state.version is not None
    assert rests_on(workspace, state, registry.get_version(workspace, state.version)) == ()


def assert_evidence_is_readable(workspace: Workspace) -> None:
    """Of every version that has a verdict."""
    state = ledger.state(ledger_uri(workspace))
    for info in registry.get_versions(workspace):
        ruling = state.rulings.get(info.version)
        if info.kind == "candidate" and ruling is not None and ruling.evidence:
            assert read_evidence(workspace, info, ruling.evidence).evaluation.adapter == info.tags["adapter"]
