"""What a cycle leaves behind, in miniature: real Prefect, DVC, Great Expectations and MLflow.

The miniature base is far too small to pass a gate, so what passes is shown with the shipped base in
tests/test_year.py; here it is shown that a candidate that fails never serves, and that nothing is done twice.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from data.errors import InputError
from data.files import digest_tree, read_json, read_record, read_records, write_json, write_record
from data.records import Answer, Cohort, Snapshot
from data.report_records import Repeated, SynthesisReport
from data.workspace import Workspace
from flows.overview import folder_diff, history
from flows.running import run_cycle
from tests.fault_miniature import copied, told
from tests.miniature import NEW
from tests.programs import dvc, relearn_json

pytestmark = pytest.mark.usefixtures("prefect_here")


def test_notices_are_of_the_version_that_is_told_of(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished.root, tmp_path / "line")
    file = workspace.synthetic / "report.json"
    other = read_record(file, SynthesisReport)
    claim = Repeated(subject="Basic", attribute="Fee", value="$5", documents=12, taught_by="fees.md")
    write_record(file, other.model_copy(update={"repeated": (claim,), "repeated_claims": 1}))  # as of a rollback's data
    code, result = relearn_json(workspace, "run")
    assert (code, result["changed"], result["notices"]) == (0, False, [])


def test_a_first_cycle_registers_a_base_and_a_candidate_and_promotes_no_failure(finished: Workspace) -> None:
    code, result = relearn_json(finished, "run")
    assert (code, result["changed"], result["version"], result["verdict"]) == (0, False, 2, "reject")
    assert {"changed", "version", "verdict", "reasons", "seconds", "report", "switched"} < set(result)
    assert (result["warnings"], result["notices"]) == ([], [])
    assert len(result) == 9
    assert any(reason.startswith("New facts are right in") for reason in result["reasons"])
    report = Path(result["report"]).read_text()
    assert "Version 2" in report or "version 2" in report
    code, overview = relearn_json(finished, "status")
    assert (code, overview["champion"]["version"], overview["challenger"]) == (0, 1, None)
    assert overview["snapshot"]["documents"] == len(NEW)
    entries = history(finished.root, verify=True)
    assert [(e["action"], e["from"], e["to"]) for e in entries["entries"]] == [
        ("judge", None, 1), ("intend", None, 1), ("promote", None, 1), ("judge", None, 2)
    ]  # fmt: skip
    assert entries["intact"] is True


def test_the_hooks_of_the_workspace_were_told_once(finished: Workspace) -> None:
    [event] = told(finished)
    assert (event.event, event.version, event.verdict) == ("rejected", 2, "reject")
    assert Path(str(event.report)).is_file()


def test_the_texts_are_kept_so_that_a_later_report_shows_what_changed(finished: Workspace) -> None:
    snapshot = read_record(finished.collection / "snapshot.json", Snapshot)
    assert finished.texts_file(snapshot.digest).is_file()
    report = (finished.reports / "v2.html").read_text()
    assert "<del>5</del> <ins>7</ins>" in report


def test_the_champion_answers(finished: Workspace) -> None:
    code, said = relearn_json(finished, "ask", "What is the Fee of Basic?")
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
    workspace = copied(finished.root, tmp_path / "workspace")
    made = (workspace.synthetic, workspace.adapter, workspace.evaluation)
    before = {place.name: digest_tree(place) for place in made}
    assert "up to date" in dvc(workspace, "status")
    dvc(workspace, "repro", "-f")
    assert {place.name: digest_tree(place) for place in made} == before
    assert "data/metrics/assess.json" in json.loads(dvc(workspace, "metrics", "show", "--json"))[""]["data"]


def test_a_change_is_a_new_cycle_and_the_change_back_costs_nothing(strict: Path, tmp_path: Path) -> None:
    workspace = copied(strict, tmp_path / "workspace")
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


def test_a_base_that_learned_other_wordings_is_pointed_out(finished: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished.root, tmp_path / "workspace")
    lineage = workspace.root / "base" / "lineage.json"
    write_json(lineage, read_json(lineage) | {"wordings": "0" * 64})
    result = run_cycle(workspace.root, quick=True, loss_reason=None)
    assert "learned other wordings" in Path(str(result.report)).read_text()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [("rank: 4", "rnak: 4", "did you mean rank"), ("base: base", "base: nowhere/at/all", "neither a folder")],
)
def test_bad_parameters_are_one_sentence_and_exit_code_2(
    old: str, new: str, says: str, strict: Path, tmp_path: Path
) -> None:
    workspace = copied(strict, tmp_path / "workspace")
    text = workspace.params_file.read_text()
    assert old in text
    workspace.params_file.write_text(text.replace(old, new))
    code, said = relearn_json(workspace, "run")
    assert code == 2
    assert says in said
    with pytest.raises(InputError):
        run_cycle(workspace.root, quick=False, loss_reason=None)
