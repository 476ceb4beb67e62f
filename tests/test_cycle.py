"""The line from documents to decision, in miniature: real Prefect, DVC, Great Expectations and MLflow.

The miniature base is far too small to pass a gate, so what passes is shown with the shipped base in
tests/test_year.py; here it is shown that a candidate that fails never serves, and that nothing is done twice.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.logging.handlers import APILogHandler
from prefect.testing.utilities import prefect_test_harness

from data.collection import read_collection
from data.errors import InputError, OutsideError, PersonNeededError
from data.events import Event
from data.files import digest_tree, read_json, read_record, read_records, write_json
from data.records import Accepted, Answer, Cohort, Snapshot
from data.report_records import Verdict
from data.workspace import Workspace
from flows.decide import is_first_candidate
from flows.ingest import ingest
from flows.inputs import accepted_snapshot, fix_accepted, fix_inputs
from flows.overview import folder_diff, history, status
from flows.promote import promote
from flows.running import locked, run_cycle
from flows.train import train
from models.training import Trained, fit
from tasks.ledger import entries as ledger_entries
from tasks.places import ledger_uri
from tasks.tracking import reaching
from tasks.versioning import inputs
from tests.fault_miniature import copied
from tests.miniature import NEW, OLD, ROOT, make_workspace, with_base, write_documents

RELEARN = Path(sys.executable).with_name("relearn")


@pytest.fixture(scope="module", autouse=True)
def prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with its base, before the first run."""
    root = with_base(make_workspace(tmp_path_factory.mktemp("template") / "workspace")).root
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    shutil.copytree(ROOT / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    shutil.copy(ROOT / "dvc.yaml", root)
    shutil.rmtree(root / ".relearn", ignore_errors=True)
    return root


@pytest.fixture(scope="module")
def finished(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace after its first cycle, which told a program of what came of it."""
    workspace = copied(template, tmp_path_factory.mktemp("finished") / "workspace")
    append = "import sys; open('told.jsonl', 'a').write(sys.stdin.read())"
    hook = {"on": ["held", "rejected", "promoted", "failed"], "command": [sys.executable, "-c", append]}
    params = yaml.safe_load(workspace.params_file.read_text())
    workspace.params_file.write_text(yaml.safe_dump({**params, "notify": [hook]}))
    run_cycle(workspace.root, quick=False, loss_reason=None)
    return workspace


def relearn(workspace: Workspace, *arguments: str) -> tuple[int, Any]:
    """Call the command line in a process of its own: (exit code, its one JSON object)."""
    command = [str(RELEARN), *arguments, "--workspace", str(workspace.root), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def test_a_first_cycle_registers_a_base_and_a_candidate_and_promotes_no_failure(finished: Workspace) -> None:
    code, result = relearn(finished, "run")
    assert (code, result["changed"], result["version"], result["verdict"]) == (0, False, 2, "reject")
    assert set(result) == {"changed", "version", "verdict", "reasons", "seconds", "report"}
    assert any("0.9" in reason or "90" in reason for reason in result["reasons"])
    report = Path(result["report"]).read_text()
    assert "Version 2" in report or "version 2" in report
    code, overview = relearn(finished, "status")
    assert (code, overview["champion"]["version"], overview["challenger"]) == (0, 1, None)
    assert overview["snapshot"]["documents"] == len(NEW)
    entries = history(finished.root, verify=True)
    assert [(e["action"], e["from"], e["to"]) for e in entries["entries"]] == [("promote", None, 1)]
    assert entries["intact"] is True


def test_the_hooks_of_the_workspace_were_told_once(finished: Workspace) -> None:
    [event] = read_records(finished.root / "told.jsonl", Event)
    assert (event.event, event.version, event.verdict) == ("rejected", 2, "reject")
    assert Path(str(event.report)).is_file()


def test_the_texts_are_kept_so_that_a_later_report_shows_what_changed(finished: Workspace) -> None:
    snapshot = read_record(finished.collection / "snapshot.json", Snapshot)
    assert finished.texts_file(snapshot.digest).is_file()
    report = (finished.reports / "v2.html").read_text()
    assert "<del>5</del> <ins>7</ins>" in report


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


def test_the_champion_answers(finished: Workspace) -> None:
    code, said = relearn(finished, "ask", "What is the Fee of Basic?")
    assert (code, said["version"]) == (0, 1)
    assert isinstance(said["answer"], str)


def test_documents_keep_their_identity_and_the_difference_is_taught(finished: Workspace) -> None:
    snapshot = read_record(finished.collection / "snapshot.json", Snapshot)
    assert {document.path for document in snapshot.documents} == set(NEW)
    answers = read_records(finished.evaluation / "answers.jsonl", Answer)
    by_cohort = {cohort: [a for a in answers if a.question.cohort is cohort] for cohort in Cohort}
    replaced = [a for a in by_cohort[Cohort.NEW] if a.question.stale == ("$5",)]
    assert replaced
    assert all(a.question.answers == ("$7",) for a in replaced)
    assert {a.question.stale for a in by_cohort[Cohort.WITHDRAWN]} == {("$0",)}
    assert by_cohort[Cohort.HANDBOOK]


def test_nothing_changed_is_decided_before_anything_heavy_is_imported(finished: Workspace) -> None:
    program = (
        "import sys; from pathlib import Path; from flows.running import run_cycle\n"
        f"result = run_cycle(Path({str(finished.root)!r}), False, None)\n"
        "heavy = {'torch', 'mlflow', 'prefect', 'great_expectations', 'dvc', 'pandas'} & set(sys.modules)\n"
        "print(result.changed, sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False []\n"


def test_dvc_is_clean_after_a_run_and_rebuilds_the_same_candidate(finished: Workspace, tmp_path: Path) -> None:
    dvc = Path(sys.executable).with_name("dvc")
    before = {place.name: digest_tree(place) for place in (finished.synthetic, finished.adapter, finished.evaluation)}
    said = subprocess.run([dvc, "status"], cwd=finished.root, capture_output=True, text=True, check=True)
    assert "up to date" in said.stdout
    subprocess.run([dvc, "repro", "-f"], cwd=finished.root, capture_output=True, text=True, check=True)
    after = {place.name: digest_tree(place) for place in (finished.synthetic, finished.adapter, finished.evaluation)}
    assert after == before
    shown = subprocess.run([dvc, "metrics", "show", "--json"], cwd=finished.root, capture_output=True, check=True)
    assert "data/metrics/assess.json" in json.loads(shown.stdout)[""]["data"]


def test_killed_in_training_it_goes_on_and_ends_in_the_same_bits(
    template: Path, finished: Workspace, tmp_path: Path
) -> None:
    workspace = copied(template, tmp_path / "workspace")
    process = subprocess.Popen(
        [RELEARN, "run", "--workspace", workspace.root],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that Prefect's temporary server can be ended with it
    )
    deadline = time.monotonic() + 240
    while not list(workspace.checkpoints.glob("train-*/step-*")) and time.monotonic() < deadline:
        if process.poll() is not None:
            break
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (workspace.adapter / "training.json").exists()
    assert list(workspace.checkpoints.glob("train-*/step-*"))
    result = run_cycle(workspace.root, quick=False, loss_reason=None)
    assert (result.changed, result.seconds["ingest"], result.seconds["synthesize"]) == (True, 0.0, 0.0)
    assert digest_tree(workspace.adapter) == digest_tree(finished.adapter)
    assert [e["to"] for e in history(workspace.root, verify=True)["entries"]] == [1]


def test_where_memory_runs_out_activations_are_recomputed(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = copied(finished.root, tmp_path / "workspace")
    tried: list[bool] = []

    def fit_in_half_the_memory(model: Any, *rest: Any) -> Trained:
        tried.append(model.is_gradient_checkpointing)
        if not model.is_gradient_checkpointing:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return fit(model, *rest)

    monkeypatch.setattr("flows.train.fit", fit_in_half_the_memory)
    report = train(workspace)
    assert tried == [False, True]
    assert report.losses[-1] < report.losses[0]
    (workspace.root / "params.yaml").write_text(
        (workspace.root / "params.yaml")
        .read_text()
        .replace("gradient_checkpointing: auto", "gradient_checkpointing: never")
    )
    with pytest.raises(OutsideError, match="does not suffice"):
        train(workspace)


def test_a_change_is_a_new_cycle_and_the_change_back_costs_nothing(template: Path, tmp_path: Path) -> None:
    workspace = copied(template, tmp_path / "workspace")
    first = run_cycle(workspace.root, quick=True, loss_reason=None)
    (workspace.documents / "more.md").write_text("# More\n\nYou must pay within 30 days of the bill.\n")
    assert folder_diff(workspace.root)["added"] == ["more.md"]
    second = run_cycle(workspace.root, quick=True, loss_reason=None)
    assert (second.changed, second.version) == (True, 3)
    (workspace.documents / "more.md").unlink()
    third = run_cycle(workspace.root, quick=True, loss_reason=None)
    assert (third.changed, third.version) == (True, first.version)
    assert {stage for stage, seconds in third.seconds.items() if seconds} <= {"ingest"}


def test_documents_keep_their_identity_before_any_candidate_is_promoted(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished.root, tmp_path / "workspace")
    before = {d.path: d.id for d in read_record(workspace.collection / "snapshot.json", Snapshot).documents}
    for text in ("We open at nine and close in 7 hours.", "Nobody is there on Sundays."):
        (workspace.documents / "hours.html").write_text(f"<title>Hours</title><p>{text}</p>")
        run_cycle(workspace.root, quick=True, loss_reason=None)
    after = {d.path: d.id for d in read_record(workspace.collection / "snapshot.json", Snapshot).documents}
    assert after["hours.html"] == before["hours.html"]


@pytest.mark.parametrize("when", ["before anything is read", "before", "after"])
def test_documents_written_while_they_are_read_are_not_taken_for_the_others(
    when: str, finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = copied(finished.root, tmp_path / "workspace")
    file = workspace.documents / "late.md"
    old, new = (f"# Late\n\nYou must pay within {days} days of the bill.\n" for days in (5, 6))
    file.write_text(old)

    def ingest_while_somebody_writes(place: Workspace) -> object:
        if when == "before":
            file.write_text(new)
        report = ingest(place)
        file.write_text(new)
        return report

    def inputs_after_somebody_wrote(place: Workspace, stage: str) -> str:
        file.write_text(new)
        return inputs(place, stage)

    with monkeypatch.context() as patch:
        if when == "before anything is read":
            patch.setattr("tasks.versioning.inputs", inputs_after_somebody_wrote)
        else:
            patch.setattr("flows.ingest.ingest", ingest_while_somebody_writes)
        with pytest.raises(OutsideError, match="changed while"):
            run_cycle(workspace.root, quick=True, loss_reason=None)
    file.write_text(old)
    assert run_cycle(workspace.root, quick=True, loss_reason=None).changed
    _, sources = read_collection(workspace.collection)
    assert [" 5 days" in source.text for source in sources if "Late" in source.text] == [True]


def test_a_base_that_learned_other_wordings_is_pointed_out(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished.root, tmp_path / "workspace")
    lineage = workspace.root / "base" / "lineage.json"
    write_json(lineage, read_json(lineage) | {"wordings": "0" * 64})
    result = run_cycle(workspace.root, quick=True, loss_reason=None)
    assert "learned other wordings" in Path(str(result.report)).read_text()


def test_a_held_candidate_ends_in_a_state_of_its_own(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished.root, tmp_path / "workspace")
    params = yaml.safe_load(workspace.params_file.read_text())
    lenient = {"min_new_right": 0.0, "max_stale_share": 1.0, "max_held_drop": 1.0, "max_handbook_drop": 1.0}
    params["gates"].update(lenient, min_surviving_share=0.0, min_questions=1, min_coverage=1.0)
    workspace.params_file.write_text(yaml.safe_dump(params))
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
    assert is_first_candidate(workspace)
    promote(workspace, 2, "to have been promoted once", override=True)
    promote(workspace, 1, "back to the base")
    assert not is_first_candidate(workspace)
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
    code, said = relearn(workspace, "run")
    assert code == 3
    assert said.count("--accept-loss") == 1, said
    assert digest_tree(workspace.adapter) == adapter
    result = run_cycle(workspace.root, quick=False, loss_reason="the house was closed")
    assert result.verdict is not Verdict.PROMOTE
    losses = [e for e in history(workspace.root, verify=False)["entries"] if e["action"] == "accept-loss"]
    assert [entry["reason"] for entry in losses] == ["the house was closed"]
    assert ledger_entries(ledger_uri(workspace))[-1].evidence["lost"] == [
        "contact.txt",
        "hours.html",
        "policy/refunds.md",
    ]
    (workspace.documents / "hours.md").write_text("# Hours\n\nWe open at noon and close within 6 hours.\n")
    assert run_cycle(workspace.root, quick=True, loss_reason=None).changed  # what was accepted is asked once


def test_bad_documents_are_set_aside_with_their_reasons(template: Path, tmp_path: Path) -> None:
    from tests.miniature import ready

    workspace = ready(copied(template, tmp_path / "workspace"))
    good = {f"good{number}.md": f"# Good {number}\n\n{text}" for number, text in enumerate(OLD.values())}
    more = {f"more{number}.md": f"# More {number}\n\nThe house has {number} doors to open.\n" for number in range(20)}
    write_documents(workspace.documents, good | more)
    (workspace.documents / "binary.md").write_bytes(b"\x00\x01\x02")
    (workspace.documents / "latin.md").write_bytes("Ein Café in Köln, und noch mehr Text.".encode("latin-1"))
    (workspace.documents / "empty.md").write_bytes(b"")
    report = ingest(workspace)
    snapshot = read_record(workspace.collection / "snapshot.json", Snapshot)
    assert {document.path for document in snapshot.quarantined} == {"binary.md", "latin.md", "empty.md"}
    assert all(document.reasons for document in snapshot.quarantined)
    assert report.documents == 23


def test_documents_that_the_base_knows_teach_nothing(template: Path, tmp_path: Path) -> None:
    workspace = copied(template, tmp_path / "workspace")
    write_documents(workspace.documents, OLD)
    with pytest.raises(PersonNeededError, match="nothing to teach"):
        run_cycle(workspace.root, quick=False, loss_reason=None)


def test_two_cycles_at_once_one_says_who_holds_the_lock(finished: Workspace) -> None:
    with locked(finished, "a cycle"), pytest.raises(OutsideError, match="process") as refused:
        run_cycle(finished.root, quick=False, loss_reason=None)
    assert str(os.getpid()) in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [("rank: 4", "rnak: 4", "did you mean rank"), ("base: base", "base: nowhere/at/all", "neither a folder")],
)
def test_bad_parameters_are_one_sentence_and_exit_code_2(
    old: str, new: str, says: str, template: Path, tmp_path: Path
) -> None:
    workspace = copied(template, tmp_path / "workspace")
    text = workspace.params_file.read_text()
    assert old in text
    workspace.params_file.write_text(text.replace(old, new))
    code, said = relearn(workspace, "run")
    assert code == 2
    assert says in said
    with pytest.raises(InputError):
        run_cycle(workspace.root, quick=False, loss_reason=None)
