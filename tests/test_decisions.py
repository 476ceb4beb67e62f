"""What a person decides, and what a cycle makes of it: overrides, rollbacks, losses, a candidate that is held."""

from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.logging.handlers import APILogHandler

from data.decisions import Action
from data.errors import PersonNeededError
from data.evaluation_records import Verdict
from data.files import digest_tree, read_record
from data.records import Accepted, Snapshot
from data.workspace import Workspace
from flows.inputs import accepted_snapshot, fix_accepted, fix_inputs
from flows.overview import history, status
from flows.policy import follow
from flows.promote import promote
from flows.rollback import rollback
from flows.running import run_cycle
from flows.succession import settle
from tasks.ledger import entries as ledger_entries
from tasks.ledger import state
from tasks.places import ledger_uri
from tasks.tracking import reaching
from tests.fault_miniature import LENIENT, copied, turn
from tests.miniature import NEW, OLD, write_documents
from tests.programs import relearn_json

pytestmark = pytest.mark.usefixtures("prefect_here")


def test_a_rejected_candidate_serves_only_if_a_person_overrides(finished: Workspace) -> None:
    with pytest.raises(PersonNeededError, match="--override"):
        promote(finished, 2, "I like it")
    assert status(finished.root)["champion"]["version"] == 1


def test_what_to_type_next_follows_from_what_serves_now(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished.root, tmp_path / "workspace")
    assert run_cycle(workspace.root, quick=False, loss_reason=None).next_command == "relearn report 2"
    promote(workspace, 2, "it answers what we ask", override=True)
    result = run_cycle(workspace.root, quick=False, loss_reason=None)
    assert (result.changed, result.next_command) == (False, "relearn ask ..."), "it learned nothing to ask for"


def test_a_held_candidate_ends_in_a_state_of_its_own(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished.root, tmp_path / "workspace")
    turn(workspace, gates=LENIENT | {"min_coverage": 1.0})
    (workspace.documents / "prose.md").write_text(
        "# Prose\n\nNothing in here reads as a fact, however long one looks.\n"
    )
    result = run_cycle(workspace.root, quick=True, loss_reason=None)
    assert result.verdict is Verdict.HOLD, result.reasons
    APILogHandler().flush()
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(limit=1, sort=FlowRunSort.START_TIME_DESC)
        only = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        tasks = client.read_task_runs(flow_run_filter=only, limit=20, sort=TaskRunSort.END_TIME_DESC)
        logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])), limit=100, offset=0)
    assert (run.state_name, run.state_type) == ("Held", StateType.COMPLETED)
    snapshot = read_record(workspace.collection / "snapshot.json", Snapshot).digest[:8]
    assert {f"{stage} {snapshot}" for stage in ("synthesize", "train", "audit", "assess", "judge", "register")} <= {
        task.name for task in tasks
    }
    assert run.name.startswith("cycle ")
    for said in ("ingest done in", "train done in", "Held. Version"):
        assert any(log.message.startswith(said) for log in logs), said


def test_an_alias_moved_by_hand_is_seen(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished.root, tmp_path / "workspace")
    with reaching(workspace) as client:
        client.set_registered_model_alias(workspace.params().registry.model, "champion", "2")
    overview = status(workspace.root)
    assert overview["champion"]["version"] == 1
    assert ["relearn promote 1" in warning for warning in overview["warnings"]] == [True]


def test_a_rollback_to_the_base_is_not_undone_by_the_next_cycle(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished.root, tmp_path / "workspace")
    promote(workspace, 2, "to have been promoted once", override=True)
    rollback(workspace, "back to the base")
    shown = dict.fromkeys(workspace.params().gates.modes, "shadow")
    turn(workspace, gates={"modes": {**shown, "integrity": "enforce"}})
    follow(workspace)
    assert state(ledger_uri(workspace)).verdict(2) is Verdict.PROMOTE, "by other gates"
    assert settle(workspace, 2) is None, "and yet it is not brought back"
    assert status(workspace.root)["champion"]["version"] == 1
    accepted = accepted_snapshot(workspace)
    assert accepted is not None
    assert len(accepted.documents) == len(NEW)


def test_a_kill_after_the_loss_was_accepted_keeps_the_acceptance(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished.root, tmp_path / "workspace")
    key = fix_inputs(workspace, quick=False)
    fix_accepted(workspace, key, "the house was closed")
    fix_accepted(workspace, key, None)
    assert read_record(workspace.accepted, Accepted).loss_reason == "the house was closed"


def test_half_the_collection_gone_waits_for_a_person(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished.root, tmp_path / "workspace")
    promote(workspace, 2, "to have an accepted snapshot", override=True)
    write_documents(workspace.documents, {"fees.md": NEW["fees.md"]})
    adapter = digest_tree(workspace.adapter)
    code, said = relearn_json(workspace, "run")
    assert code == 3
    assert said.count("--accept-loss") == 1, said
    assert digest_tree(workspace.adapter) == adapter
    result = run_cycle(workspace.root, quick=False, loss_reason="the house was closed")
    assert result.verdict is not Verdict.PROMOTE
    losses = [e for e in history(workspace.root, verify=False)["entries"] if e["action"] == "accept-loss"]
    assert [entry["reason"] for entry in losses] == ["the house was closed"]
    (loss,) = [one for one in ledger_entries(ledger_uri(workspace)) if one.action == Action.ACCEPT_LOSS]
    assert loss.evidence["lost"] == [
        "contact.txt",
        "hours.html",
        "policy/refunds.md",
    ]
    (workspace.documents / "hours.md").write_text("# Hours\n\nWe open at noon and close within 6 hours.\n")
    assert run_cycle(workspace.root, quick=True, loss_reason=None).changed  # what was accepted is asked once


def test_documents_that_the_base_knows_teach_nothing(strict: Path, tmp_path: Path) -> None:
    workspace = copied(strict, tmp_path / "workspace")
    write_documents(workspace.documents, OLD)
    with pytest.raises(PersonNeededError, match="nothing to teach"):
        run_cycle(workspace.root, quick=False, loss_reason=None)


def test_a_base_that_says_nothing_of_what_it_learned_waits_for_a_person(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished.root, tmp_path / "workspace")
    (workspace.root / "base" / "lineage.json").unlink()
    turn(workspace, gates=LENIENT)
    result = run_cycle(workspace.root, quick=True, loss_reason=None)
    assert result.verdict is Verdict.HOLD, result.reasons
    assert status(workspace.root)["champion"]["version"] == 1
