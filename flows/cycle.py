"""The cycle: from the documents to a decision, as a Prefect flow with one task per stage.

DVC says what has to run: a stage whose outputs are those of its inputs is not run again, so that a killed
cycle goes on from its last finished stage and a collection that returns to an earlier state costs no training.
Registration and promotion are never replayed from a cache.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed
from prefect.tasks import Task

from data.cycle_records import Cycle, CycleResult, StageRun
from data.decisions import Action
from data.errors import OutsideError
from data.evaluation_records import Verdict
from data.files import read_record, write_bytes, write_record
from data.records import Accepted, Snapshot
from data.report_records import IngestReport
from data.snapshots import losses
from data.withheld import read_withheld
from data.workspace import STAGES, Workspace, open_workspace
from flows.advice import next_command
from flows.decide import candidate, decide, publish_report
from flows.enrol import enrol, enrol_base
from flows.inputs import (
    accepted_snapshot,
    base_digest,
    fix_inputs,
    is_of_folder,
    require_same_code,
    require_same_settings,
)
from flows.judged import Judged, decided, keep, left_by_another
from flows.notices import tell_of_cycle, to_look_at
from flows.people import acting
from flows.policy import follow, mirror
from flows.progress import Lines
from flows.promote import promote_base
from flows.recovery import recover
from flows.report_texts import keep_texts
from flows.stages import perform
from flows.succession import settle, withdraw_champion
from tasks import dvc_sharing, ledger, registry, revisions, versioning
from tasks.places import ledger_uri

STATE_NAMES = {Verdict.PROMOTE: "Passed", Verdict.HOLD: "Held", Verdict.REJECT: "Rejected"}


def run_stage(workspace: Workspace, stage: str, check: Callable[[Workspace], None] | None = None) -> StageRun:
    """Run a stage unless DVC knows its outputs for these inputs, and record them, unless ``check`` refuses them."""
    if versioning.is_current(workspace, stage) or versioning.restore(workspace, stage):
        require_same_settings(workspace)
        _say(stage, "unchanged")
        return StageRun(stage=stage, ran=False, seconds=0.0)
    made_from = versioning.inputs(workspace, stage)
    require_same_settings(workspace)
    require_same_code(workspace, stage)
    begun = time.monotonic()
    perform(workspace, stage)
    if check is not None:
        check(workspace)
    seconds = round(time.monotonic() - begun, 1)
    versioning.commit(workspace, stage, made_from)
    _say(stage, f"done in {seconds:.1f} s")
    return StageRun(stage=stage, ran=True, seconds=seconds)


def _say(stage: str, text: str) -> None:
    """On the terminal and in the run's log."""
    Lines(stage).show(text, done=True)
    get_run_logger().info("%s %s", stage, text)


def _outside(_: Task[Any, Any], __: TaskRun, state: State[Any]) -> bool:
    """Only what lies outside is worth a second try."""
    return isinstance(state.result(raise_on_failure=False), OutsideError)


@task(task_run_name="ingest {key:.8}", cache_policy=NO_CACHE)
def ingest(workspace: Workspace, key: str) -> StageRun:
    """Documents to snapshot; the snapshot is kept, so that later ones can be compared with it."""
    run = run_stage(workspace, "ingest", _require_read_as_it_lies)
    if fix_inputs(workspace, workspace.is_quick()) != key:  # else the result would stand for other documents
        raise _changed_meanwhile()
    file = workspace.collection / "snapshot.json"
    snapshot = read_record(file, Snapshot)
    write_bytes(workspace.snapshot_file(snapshot.digest), file.read_bytes())
    keep_texts(workspace, snapshot)
    _record_accepted_loss(workspace)
    if workspace.params().versioning.commit:
        dvc_sharing.keep_documents(workspace)
    return run


def _require_read_as_it_lies(workspace: Workspace) -> None:
    """A file that was changed and put back while it was read has left no other trace."""
    if not is_of_folder(workspace, read_record(workspace.collection / "snapshot.json", Snapshot)):
        raise _changed_meanwhile()


def _changed_meanwhile() -> OutsideError:
    return OutsideError(
        "The documents or the settings changed while the documents were read. Run the same command again; it "
        "takes up the change."
    )


@task(task_run_name="{stage} {snapshot}", cache_policy=NO_CACHE)
def work_on(workspace: Workspace, stage: str, snapshot: str) -> StageRun:
    """One of the stages that follow from the snapshot."""
    return run_stage(workspace, stage)


@task(task_run_name="judge {snapshot}", cache_policy=NO_CACHE, retry_condition_fn=_outside)
def judge(workspace: Workspace, key: str, snapshot: str, seconds: dict[str, float]) -> Judged:
    """Reports to verdict, which is kept until its cycle has ended; a verdict that was spoken stays."""
    decision = decided(workspace, key) or decide(workspace)
    return keep(workspace, key, candidate(workspace, decision, seconds), seconds)


@task(task_run_name="prepare registry", cache_policy=NO_CACHE, retry_condition_fn=_outside)
def prepare_registry(workspace: Workspace) -> None:
    """Mend what a kill left half done, and make the base a version like any other."""
    for done in recover(workspace):
        _say("switch", done)
    base = enrol_base(workspace, workspace.base(), base_digest(workspace))
    follow(workspace)
    mirror(workspace)  # what a kill kept from MLflow
    promote_base(workspace, base)


@task(task_run_name="register {snapshot}", cache_policy=NO_CACHE, retry_condition_fn=_outside)
def register(workspace: Workspace, snapshot: str, judged: Judged) -> CycleResult:
    """Register the candidate, promote it if it is the first that passed, and write its report."""
    made, judgement, seconds = judged.candidate, judged.candidate.judgement, judged.seconds
    version = enrol(workspace, made, judged.key)
    switched = settle(workspace, version)
    command = next_command(workspace, version, judgement.verdict)
    report = publish_report(workspace, made, version, seconds, command)
    registry.attach(workspace, version, report, "report")
    return CycleResult(
        changed=True,
        version=version,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        seconds=seconds,
        report=str(report),
        next_command=command,
        switched=f"Version {switched.to_version} serves now: {switched.reason}" if switched else "",
        notices=to_look_at(workspace),
    )


@task(task_run_name="withdraw {snapshot}", cache_policy=NO_CACHE, retry_condition_fn=_outside)
def withdraw(workspace: Workspace, snapshot: str) -> None:
    """The champion goes before its successor is made, where it still answers from a withdrawn document."""
    done = withdraw_champion(workspace)
    if done is not None:
        _say("withdraw", f"Version {done.to_version} serves now: {done.reason}")


@task(task_run_name="publish {snapshot}", cache_policy=NO_CACHE, retry_condition_fn=_outside)
def publish(workspace: Workspace, snapshot: str, result: CycleResult) -> None:
    """Commit what this cycle followed from and wrote, and push it, so that another machine can take it up."""
    settings = workspace.params().versioning
    if not settings.commit:
        return
    message = f"Version {result.version}: {result.verdict}\n\nDocuments {snapshot}. {' '.join(result.reasons)}"
    revisions.commit(workspace, message, tag=f"v{result.version}")
    copied = dvc_sharing.push(workspace) if settings.push else None
    if copied:
        _say("publish", f"{copied} files to the DVC remote")


@flow(name="cycle", flow_run_name="cycle {key:.8}", persist_result=False, validate_parameters=False)
def cycle(root: str, key: str) -> State[Any]:
    """One cycle over the workspace at ``root``; its state is named after the verdict.

    The result lies in the workspace (``Workspace.cycle``), so that nothing depends on Prefect's storage.
    """
    workspace = open_workspace(Path(root)).pinned()
    prepare_registry.with_options(**_retried(workspace))(workspace)
    runs = [ingest(workspace, key)]
    snapshot = read_record(workspace.collection / "snapshot.json", Snapshot).digest[:8]
    withdraw.with_options(**_retried(workspace))(workspace, snapshot)
    for stage in STAGES[1:]:
        runs.append(work_on.with_options(name=stage)(workspace, stage, snapshot))
    seconds = {run.stage: run.seconds for run in runs}
    return _conclude(workspace, judge.with_options(**_retried(workspace))(workspace, key, snapshot, seconds))


@flow(name="conclude", flow_run_name="conclude {key:.8}", persist_result=False, validate_parameters=False)
def conclude(root: str, key: str) -> State[Any]:
    """What a killed cycle had left to do with its candidate, before one with other inputs (``key``) begins."""
    workspace = open_workspace(Path(root)).pinned()
    judged = left_by_another(workspace, key)
    if judged is None:
        return Completed(name="Nothing to do")
    prepare_registry.with_options(**_retried(workspace))(workspace)
    return _conclude(workspace, judged)


def _conclude(workspace: Workspace, judged: Judged) -> State[Any]:
    """From a judged candidate to the end of its cycle."""
    snapshot, judgement = judged.candidate.digests.snapshot[:8], judged.candidate.judgement
    registration = _retried(workspace)
    result = register.with_options(**registration)(workspace, snapshot, judged)
    publish.with_options(**registration)(workspace, snapshot, result)
    tell_of_cycle(workspace, result, judged.served)  # twice after a kill rather than never
    now = datetime.now(UTC).isoformat(timespec="seconds")
    in_force = judged.candidate.digests.snapshot
    write_record(workspace.cycle, Cycle(key=judged.key, result=result, finished=now, snapshot=in_force))
    workspace.judged.unlink(missing_ok=True)
    message = f"Version {result.version}: {' '.join(judgement.reasons)}"
    get_run_logger().info("%s. %s", STATE_NAMES[judgement.verdict], message)
    return Completed(name=STATE_NAMES[judgement.verdict], message=message)


def _retried(workspace: Workspace) -> dict[str, Any]:
    settings = workspace.params().registry
    delays = [settings.retry_seconds * 2**number for number in range(settings.retries)]
    return {"retries": settings.retries, "retry_delay_seconds": delays}


def _record_accepted_loss(workspace: Workspace) -> None:
    """A loss that a person accepted is a decision, so it stands in the ledger, once even if the cycle was killed."""
    now = read_record(workspace.collection / "snapshot.json", Snapshot)
    last = accepted_snapshot(workspace)
    compared = read_record(workspace.accepted, Accepted)
    accepted = read_record(workspace.collection / "report.json", IngestReport).loss_accepted
    recorded = last is not None and last.digest == now.digest
    if accepted and not recorded and compared.loss_reason is not None:
        lost = losses(compared.snapshot, now, read_withheld(workspace.withheld)).withdrawn
        evidence = {"snapshot": now.digest, "lost": lost}
        who, uri = acting(workspace, "operator", "A cycle"), ledger_uri(workspace)
        ledger.append(uri, action=Action.ACCEPT_LOSS, reason=compared.loss_reason, evidence=evidence, actor=who)
