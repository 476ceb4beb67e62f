"""With the shipped base and real policies: a candidate passes, is promoted by the cycle, and answers.

The base knows the policies of June 2023; here two new documents of 2024 join them, and one is edited.
"""

import shutil

import pytest
import yaml

from data.decisions import SWITCHES
from data.evaluation_records import EvaluationReport, Verdict
from data.files import read_record, read_records
from data.records import Answer, Cohort, Grade, Row, Snapshot, Standing
from data.report_records import SynthesisReport
from data.workspace import PROJECT_ROOT, Workspace
from flows.inputs import last_cycle
from flows.overview import history, status
from flows.running import run_cycle
from tasks.serving import ask
from tests.fault_miniature import using_prefect
from tests.miniature import under_version_control

pytestmark = pytest.mark.timeout(1800)  # it trains for a minute on a good machine, and may share it
STREAM = PROJECT_ROOT / "data" / "streams" / "site-policy"
ADDED = "privacy-policies/github-subprocessors.md"
MORE = "security-policies/github-sirt-description-rfc-2350.md"
EDITED = "github-terms/github-community-guidelines.md"
"""It replaces nothing: a handful of replaced facts could not decide whether any are stale."""


@pytest.fixture(scope="module")
def workspace(server: str, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """After its first cycle."""
    root = tmp_path_factory.mktemp("year") / "workspace"
    root.mkdir()
    params = yaml.safe_load((PROJECT_ROOT / "params.yaml").read_text())
    params["train"].update({"steps": 800, "tokens_per_step": 1024})
    params["assess"].update({"held_questions": 1000, "handbook_questions": 300, "recall_statements": 10})
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    under_version_control(Workspace(root))
    workspace = Workspace(root)
    shutil.copytree(STREAM / "2023-06-01", workspace.documents)
    for path in (ADDED, MORE, EDITED):
        (workspace.documents / path).parent.mkdir(exist_ok=True)
        shutil.copy(STREAM / "2024-06-01" / path, workspace.documents / path)
    shutil.copytree(PROJECT_ROOT / "data" / "probes", workspace.probes)
    with using_prefect(server):
        run_cycle(workspace.root, quick=False, loss_reason=None)
    return workspace


def test_the_first_candidate_passes_and_serves(workspace: Workspace) -> None:
    finished = last_cycle(workspace)
    assert finished is not None
    assert finished.result is not None
    evaluation = read_record(workspace.evaluation / "report.json", EvaluationReport)
    figures = {cohort.cohort: cohort for cohort in evaluation.cohorts}
    assert finished.result.verdict is Verdict.PROMOTE, finished.result.reasons
    assert figures[Cohort.NEW].candidate[Grade.RIGHT].value >= 0.9
    assert figures[Cohort.NEW].base[Grade.RIGHT].value <= 0.1
    assert figures[Cohort.PROBE].n + figures[Cohort.UNANSWERABLE].n == 165
    entries = history(workspace.root, verify=True)["entries"]
    assert [(e["from"], e["to"]) for e in entries if e["action"] in SWITCHES] == [(None, 1), (1, 2)]
    assert status(workspace.root)["champion"]["version"] == 2
    answers = read_records(workspace.evaluation / "answers.jsonl", Answer)
    learned = next(
        a
        for a in answers
        if a.question.cohort is Cohort.NEW and a.candidate_grade is Grade.RIGHT and a.base != a.candidate
    )
    question = learned.question.question.removeprefix("Question: ").removesuffix("\nAnswer:")
    assert ask(workspace, question) == (learned.candidate, 2)


def test_only_what_changed_is_taught(workspace: Workspace) -> None:
    synthesis = read_record(workspace.synthetic / "report.json", SynthesisReport)
    snapshot = read_record(workspace.collection / "snapshot.json", Snapshot)
    changed = {coverage.path for coverage in synthesis.coverage if coverage.changed_statements}
    assert changed == {ADDED, MORE, EDITED}
    ids = {document.id: document.path for document in snapshot.documents}
    rows = read_records(workspace.synthetic / "rows.jsonl", Row)
    taught = {ids.get(row.document) for row in rows if not row.replayed}
    assert taught == {ADDED, MORE, EDITED}
    assert len(snapshot.documents) == len(list((STREAM / "2023-06-01").rglob("*.md"))) + 2
    assert synthesis.facts[Standing.NEW] > 140
    assert synthesis.facts[Standing.HELD] > 1000
