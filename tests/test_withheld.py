"""What is withdrawn reaches no stage again, and comes back as it was; what holds only later waits for its day."""

import json
import os
from functools import partial
from pathlib import Path

import pytest
import yaml

from data.collection import read_collection
from data.decisions import Action
from data.documents import parse
from data.errors import InputError
from data.files import read_record, read_records, write_record, write_records
from data.fingerprint import read_inputs
from data.records import Accepted, Cohort, Question, Row, Standing
from data.report_records import IngestReport
from data.snapshots import look_through
from data.withheld import Withheld, effective_in, read_withheld, require_questions_in_force
from data.workspace import PROJECT_ROOT, Workspace
from flows import inputs
from flows.assess import assess, choose_questions
from flows.cycle import _record_accepted_loss
from flows.ingest import ingest
from flows.inputs import fix_inputs, is_of_folder, last_snapshot, look_at, tombstones
from flows.overview import folder_diff
from flows.synthesize import synthesize
from flows.train import train
from flows.withdraw import reinstate, withdraw
from tasks import ledger
from tasks.places import ledger_uri
from tests.miniature import NEW, make_workspace, ready, under_version_control, with_base, write_documents


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Documents read once, by a base that knows the former ones."""
    made = ready(under_version_control(with_base(make_workspace(tmp_path / "workspace"))))
    ingest(made)
    return made


def read_again(workspace: Workspace) -> IngestReport:
    """What a cycle would read now."""
    fix_inputs(workspace, quick=False)
    write_record(workspace.accepted, Accepted(snapshot=last_snapshot(workspace)))
    return ingest(workspace)


def paths(workspace: Workspace) -> list[str]:
    """Of the documents in force."""
    return [document.path for document in read_collection(workspace.collection)[0].documents]


def test_a_document_that_says_it_is_withdrawn_is_left_out_and_is_no_loss(workspace: Workspace) -> None:
    text = NEW["fees.md"].replace("title: Fees", "title: Fees\nstatus: Withdrawn")
    write_documents(workspace.documents, NEW | {"fees.md": text})
    report = read_again(workspace)
    assert "fees.md" not in paths(workspace)
    assert any("fees.md (it says of itself that it is withdrawn)" in warning for warning in report.warnings)
    assert report.quarantined == 0
    snapshot = last_snapshot(workspace)
    assert snapshot is not None
    assert is_of_folder(workspace, snapshot), "status does not say for ever that the folder differs"
    assert folder_diff(workspace.root)["withdrawn"] == []
    report_metrics = workspace.metrics("ingest").read_text()
    assert '"lost_share": 0.0' in report_metrics


def test_a_document_waits_for_the_day_from_which_on_it_holds(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "---\ntitle: Holidays\neffective: 2031-02-01\n---\n# Holidays\n\nYou must ask 30 days before a holiday.\n"
    write_documents(workspace.documents, NEW | {"holidays.md": text})
    monkeypatch.setattr(inputs, "today", lambda: "2031-01-31")
    report = read_again(workspace)
    assert "holidays.md" not in paths(workspace)
    assert any("holidays.md (it holds from 2031-02-01 on)" in warning for warning in report.warnings)
    before = look_at(workspace).key
    monkeypatch.setattr(inputs, "today", lambda: "2031-02-01")
    assert look_at(workspace).key != before, "a new day alone makes a cycle"
    read_again(workspace)
    assert "holidays.md" in paths(workspace)
    after = look_at(workspace).key
    monkeypatch.setattr(inputs, "today", lambda: "2031-02-02")
    assert look_at(workspace).key == after, "any other day makes none"


@pytest.mark.parametrize(
    "line", ["effective: next spring", "effective: 2031-02-30", "effective : 2031-02-01", "{effective: 2031-02-01}"]
)
def test_a_date_that_is_none_or_that_no_look_would_find_sets_the_document_aside(line: str) -> None:
    text = f"---\n{line}\n---\n# Holidays\n\nYou must ask 30 days before a holiday.\n"
    assert effective_in(text.encode()) in ("", "2031-02-30")
    parsed = parse(text, "holidays.md")
    assert parsed.front_matter not in ("ok", "absent")
    assert "line with a date such as effective: 2025-01-31" in parsed.front_matter or "2031-02-30" in line


def test_a_document_with_a_date_that_is_none_is_quarantined(workspace: Workspace) -> None:
    text = NEW["fees.md"].replace("title: Fees", "title: Fees\neffective: next spring")
    more = {f"{name}.md": f"# {name}\n\nYou must ask within {days} days.\n" for days, name in enumerate("abc", 5)}
    write_documents(workspace.documents, NEW | more | {"fees.md": text})
    assert read_again(workspace).quarantined == 1


def test_a_page_waits_for_its_day_as_any_other_text_does(tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.html").write_text("---\neffective: 2030-01-02\n---\n<p>Text.</p>\n")
    assert look_through(tmp_path / "documents", [".html"], tmp_path / "cache.json").effective == {
        "a.html": "2030-01-02"
    }


def test_a_withdrawn_document_need_not_say_anything_else(workspace: Workspace) -> None:
    write_documents(workspace.documents, NEW | {"fees.md": "---\ntitle: Fees\nstatus: withdrawn\n---\n"})
    report = read_again(workspace)
    assert report.quarantined == 0, "it is too short for a document in force"
    assert "fees.md" not in paths(workspace)
    assert synthesize(workspace).facts[Standing.WITHDRAWN] > 0


@pytest.mark.parametrize(
    ("head", "date"),
    [
        (b"---\ntitle: A\neffective: 2030-01-02\n---\n", "2030-01-02"),
        (b"\xef\xbb\xbf---\r\neffective: '2030-01-02'\r\n---\r\n", "2030-01-02"),
        (b"---\ntitle: A\n---\neffective: 2030-01-02\n", ""),
        (b"effective: 2030-01-02\n", ""),
        (b"---\neffective: soon\n---\n", ""),
        (b"---\neffective: 2030-01-02\n", ""),
        (b"---\reffective: 2030-01-02  # as agreed\r---\r", "2030-01-02"),
        (b"---\ntitle: A\n---title: B\neffective: 2030-01-02\n---\n", "2030-01-02"),
    ],
)
def test_a_date_counts_in_the_front_matter_alone(head: bytes, date: str) -> None:
    assert effective_in(head) == date


def test_the_look_remembers_dates_of_files_that_it_does_not_read_again(tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.md").write_text("---\neffective: 2030-01-02\n---\nText.\n")
    os.utime(tmp_path / "documents" / "a.md", (1, 1))
    for _ in range(2):
        look = look_through(tmp_path / "documents", [".md"], tmp_path / "cache.json")
        assert look.effective == {"a.md": "2030-01-02"}


def test_a_withdrawn_document_is_left_out_refused_and_comes_back_as_it_was(workspace: Workspace) -> None:
    before = last_snapshot(workspace)
    assert before is not None
    done = withdraw(workspace, "fees.md", "the prices were wrong", actor="operations")
    assert (done.path, done.actor, done.from_version, done.to_version) == ("fees.md", "operations", None, None)
    (entry,) = [one for one in ledger.entries(ledger_uri(workspace)) if one.action == Action.WITHDRAW]
    assert entry.evidence["document"] == done.document
    report = read_again(workspace)
    assert "fees.md" not in paths(workspace)
    assert any(f"withdrawn by ledger entry {entry.number}" in warning for warning in report.warnings)
    made = synthesize(workspace)
    assert made.facts[Standing.WITHDRAWN] > 0, "what the base knows of it is to be refused"
    rows = read_records(workspace.synthetic / "rows.jsonl", Row)
    withheld = read_withheld(workspace.withheld)
    named = [row for row in rows if withheld.names(row.document, row.digest)]
    assert {row.purpose for row in named} <= {"refusal"}
    asked = read_records(workspace.synthetic / "questions.jsonl", Question)
    assert not [one for one in asked if withheld.names(one.document) and one.answers]
    reinstate(workspace, done.document[:10], "they were right after all")
    read_again(workspace)
    after = last_snapshot(workspace)
    assert after is not None
    assert (after.digest, [one.id for one in after.documents]) == (before.digest, [one.id for one in before.documents])


def test_a_withdrawn_document_is_known_under_another_name_and_edited(workspace: Workspace) -> None:
    withdraw(workspace, "fees.md", "the prices were wrong")
    texts = {name: text for name, text in NEW.items() if name != "fees.md"}
    write_documents(workspace.documents, texts | {"prices/all.md": NEW["fees.md"].replace("$30", "$31")})
    read_again(workspace)
    assert "prices/all.md" not in paths(workspace)
    read_again(workspace)
    assert "prices/all.md" not in paths(workspace), "though the last snapshot no longer knows it"


def test_a_withdrawn_document_that_somebody_empties_or_deletes_is_no_loss_and_is_refused(workspace: Workspace) -> None:
    id = withdraw(workspace, "fees.md", "the prices were wrong").document
    for texts in (NEW | {"fees.md": ""}, {name: text for name, text in NEW.items() if name != "fees.md"}):
        write_documents(workspace.documents, texts)
        fix_inputs(workspace, quick=False)  # the snapshot to compare with still has it
        assert ingest(workspace).quarantined == 0
        assert '"lost_share": 0.0' in workspace.metrics("ingest").read_text()
        assert synthesize(workspace).facts[Standing.WITHDRAWN] == 3, "Basic, Large and Trial, which the base knows"
    write_documents(workspace.documents, NEW)
    fix_inputs(workspace, quick=False)
    ingest(workspace)
    synthesize(workspace)
    rows = read_records(workspace.synthetic / "rows.jsonl", Row)
    assert {row.document for row in rows if row.purpose == "refusal"} == {id}, "the base's copy is known as it"


def test_a_document_that_withdrew_itself_and_is_then_deleted_is_no_loss(workspace: Workspace) -> None:
    """Until a version is promoted the snapshot to compare with still has it, however many cycles later."""
    accepted = last_snapshot(workspace)
    lost = []
    text = NEW["fees.md"].replace("title: Fees", "title: Fees\nstatus: withdrawn")
    without = {name: text for name, text in NEW.items() if name != "fees.md"}
    for texts in (NEW | {"fees.md": text}, without, without, NEW, without):
        write_documents(workspace.documents, texts)
        fix_inputs(workspace, quick=False)
        write_record(workspace.accepted, Accepted(snapshot=accepted, last=last_snapshot(workspace)))
        ingest(workspace)
        lost.append(json.loads(workspace.metrics("ingest").read_text())["lost_share"])
    assert lost == [0, 0, 0, 0, 0.25], "it held again when it was deleted the second time"


def test_an_accepted_loss_names_what_is_lost_and_nothing_that_was_withdrawn(workspace: Workspace) -> None:
    accepted = last_snapshot(workspace)
    withdraw(workspace, "fees.md", "the prices were wrong")
    text = NEW["policy/refunds.md"].replace("title: Refunds", "title: Refunds\nstatus: withdrawn")
    write_documents(workspace.documents, {"policy/refunds.md": text, "hours.html": NEW["hours.html"]})
    params = yaml.safe_load(workspace.params_file.read_text())
    params["ingest"]["max_lost_share"] = 0.0
    workspace.params_file.write_text(yaml.safe_dump(params))
    fix_inputs(workspace, quick=False)
    write_record(workspace.accepted, Accepted(snapshot=accepted, loss_reason="the house was closed"))
    assert ingest(workspace).loss_accepted
    _record_accepted_loss(workspace)
    (entry,) = [one for one in ledger.entries(ledger_uri(workspace)) if one.action == Action.ACCEPT_LOSS]
    assert entry.evidence["lost"] == ["contact.txt"]


def test_a_reinstated_document_keeps_its_id_though_it_was_edited_before(workspace: Workspace) -> None:
    write_documents(workspace.documents, NEW | {"fees.md": NEW["fees.md"].replace("$30", "$31")})
    read_again(workspace)
    before = last_snapshot(workspace)
    withdraw(workspace, "fees.md", "the prices were wrong")
    read_again(workspace)
    read_again(workspace)
    reinstate(workspace, "fees.md", "they were right after all")
    read_again(workspace)
    assert last_snapshot(workspace) == before


def test_a_withdrawal_trains_nothing_where_no_row_rests_on_the_document(workspace: Workspace) -> None:
    deps = yaml.safe_load((PROJECT_ROOT / "dvc.yaml").read_text())["stages"]
    assert {stage for stage in deps if "data/inputs/withheld.json" in deps[stage]["deps"]} == {"ingest"}
    write_documents(workspace.documents, NEW | {"desk.md": "# Desk\n\nSee above. See below. And so on. Thank you.\n"})
    read_again(workspace)
    assert "desk.md" in paths(workspace)
    synthesize(workspace)
    files = [workspace.root / name for name in deps["train"]["deps"]]
    before = [file.read_bytes() for file in files]
    withdraw(workspace, "desk.md", "that house is sold")
    read_again(workspace)
    synthesize(workspace)
    assert "desk.md" not in paths(workspace)
    assert [file.read_bytes() for file in files] == before
    assert "data/decisions.py" not in read_inputs(workspace).code["train"]["files"], "rules of decisions train nothing"


def test_a_probe_that_rests_on_a_withdrawn_document_wants_the_refusal(workspace: Workspace) -> None:
    evidence = {"2023": {"path": "fees.md", "quote": "| Huge | $30 |"}}
    probe = {"id": "huge", "question": "How much is Huge?", "answers": [{"answer": "$30", "evidence": evidence}]}
    (workspace.probes / "fees.jsonl").write_text(json.dumps(probe) + "\n")
    synthesize(workspace)
    asked = partial(choose_questions, workspace, workspace.params().assess, 1)
    assert asked()[-1].answers == ("$30",)
    withdraw(workspace, "fees.md", "the prices were wrong")
    fix_inputs(workspace, quick=False)
    (workspace.synthetic / "questions.jsonl").write_text("")
    assert asked()[-1].answers == (), "though the collection of yesterday still holds its text"
    read_again(workspace)
    assert (asked()[-1].cohort, asked()[-1].answers, asked()[-1].stale) == (Cohort.UNANSWERABLE, (), ("$30",))


def test_the_last_document_can_be_withdrawn(workspace: Workspace) -> None:
    write_documents(workspace.documents, {"fees.md": NEW["fees.md"]})
    fix_inputs(workspace, quick=False)
    write_record(workspace.accepted, Accepted())
    ingest(workspace)
    withdraw(workspace, "fees.md", "the prices were wrong")
    read_again(workspace)
    assert paths(workspace) == []
    assert synthesize(workspace).rows["refusal"] > 0


def test_the_cohort_of_a_question_excuses_no_answer_of_a_withdrawn_document(workspace: Workspace) -> None:
    id = withdraw(workspace, "fees.md", "the prices were wrong").document
    withheld = Withheld(tombstones=tombstones(workspace))
    asked = Question(id="q", cohort=Cohort.WITHDRAWN, question="How much is Huge?", answers=(), document=id)
    require_questions_in_force([asked], withheld)
    with pytest.raises(InputError, match="Question q rests on document"):
        require_questions_in_force([asked.model_copy(update={"answers": ("$30",)})], withheld)


def test_a_planted_row_or_question_of_a_withdrawn_document_is_refused_where_it_is_read(workspace: Workspace) -> None:
    synthesize(workspace)
    train(workspace)
    withdraw(workspace, "fees.md", "the prices were wrong")
    fix_inputs(workspace, quick=False)  # and the rows of yesterday still lie there
    with pytest.raises(InputError, match=r"Row \d+ \(\w+\) rests on document \w+, which is withdrawn"):
        train(workspace)
    with pytest.raises(InputError, match=r"Question .* rests on document \w+, which is withdrawn"):
        assess(workspace)
    rows = read_records(workspace.synthetic / "rows.jsonl", Row)
    withheld = read_withheld(workspace.withheld)
    write_records(
        workspace.synthetic / "rows.jsonl", [row for row in rows if not withheld.names(row.document, row.digest)]
    )
    assert read_record(workspace.adapter / "training.json", type(train(workspace))).steps > 0


def test_a_name_that_nothing_bears_names_the_nearest_and_a_reason_is_wanted(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"fee\.md.*fees\.md"):
        withdraw(workspace, "fee.md", "why not")
    with pytest.raises(InputError, match="--reason"):
        withdraw(workspace, "fees.md", " ")
    with pytest.raises(InputError, match="not withdrawn"):
        reinstate(workspace, "fees.md", "it holds")


def test_a_decision_alone_wants_a_cycle_as_a_changed_file_does(workspace: Workspace) -> None:
    before = look_at(workspace)
    withdraw(workspace, "fees.md", "the prices were wrong")
    after = look_at(workspace)
    assert (before.documents, before.key) != (after.documents, after.key)
    reinstate(workspace, "fees.md", "they were right after all")
    assert look_at(workspace) == before
