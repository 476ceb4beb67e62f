"""What learned from a document: counted over rows that are on record, in any version of it."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from data.collection import as_collection
from data.errors import InputError, PersonNeededError
from data.evaluation_records import Verdict
from data.files import digest_bytes, digest_text, read_records, write_json, write_record, write_records, write_text
from data.identity import sketch
from data.records import DocumentVersion, Row, Snapshot
from data.report_records import Lineage
from data.workspace import Workspace
from flows.enrol import enrol, enrol_base
from flows.impact import find_document, impact
from flows.resting import rests_on
from tasks import ledger, registry
from tasks.places import ledger_uri
from tests.fault_miniature import copied
from tests.miniature import write_documents
from tests.programs import relearn, relearn_json
from tests.registry_miniature import BASE, base_digest, make_candidate, make_workspace

FEES, LEAVE, HOURS, QUIET = "f" * 12, "a" * 12, "c" * 12, "e" * 12
SEATS = "A seat costs {} dollars a month. It is paid in advance on the first working day, by card or by transfer."
OLD = {"charges.md": SEATS.format(5), "parking.md": "Nobody may park in front of the gate after nine."}
"""What the base was trained on; the first of them became the document on fees."""


@dataclass(frozen=True)
class Day:
    """Documents by path -> (id, content), and the documents that the day's rows name, with what they are for."""

    name: str
    documents: dict[str, tuple[str, str]]
    rows: tuple[tuple[str, str, str], ...]
    """Document, digest of its content, purpose."""


FIVE = digest_bytes(OLD["charges.md"].encode())
COPY = digest_text("charges.md", FIVE)[:12]
"""How rows name what the base was trained on once nothing in force goes on from it."""
TEN, TWENTY, DAYS, NOON = map(digest_text, (SEATS.format(10), SEATS.format(20), "30 days", "noon"))
MONDAY = Day("monday", {"fees.md": (FEES, SEATS.format(10))}, ((FEES, TEN, "fact"),) * 3)
TUESDAY = Day(
    "tuesday",
    {"money/fees.md": (FEES, SEATS.format(20)), "leave.md": (LEAVE, "30 days")},
    ((FEES, TWENTY, "fact"), (FEES, TWENTY, "statement"), (FEES, FIVE, "refusal"), (LEAVE, DAYS, "fact")),
)
WEDNESDAY = Day(
    "wednesday",
    {"hours.md": (HOURS, "noon"), "quiet.md": (QUIET, "Nothing that could be asked.")},
    ((HOURS, NOON, "fact"), (HOURS, NOON, "replay"), *((COPY, FIVE, "refusal"),) * 2, ("", "", "handbook")),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Workspace:
    """The base is version 1; three days are versions 2 to 4."""
    workspace = make_workspace(tmp_path_factory.mktemp("impact"), weights)
    stream = workspace.root / "stream"
    write_documents(stream, OLD)
    known, _ = as_collection(stream, workspace.params().ingest)
    write_record(workspace.root / BASE / "lineage.json", Lineage(documents="../../../stream", snapshot=known.digest))
    enrol_base(workspace, workspace.base(), base_digest(workspace))
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        candidate = make_candidate(workspace, weights, day.name, Verdict.PROMOTE)
        snapshot = Snapshot(digest=candidate.digests.snapshot, documents=_documents(day))
        write_record(workspace.collection / "snapshot.json", snapshot)
        write_record(workspace.snapshot_file(snapshot.digest), snapshot)
        write_records(workspace.synthetic / "rows.jsonl", [_row(*row) for row in day.rows])
        enrol(workspace, candidate, day.name)
    return workspace


@pytest.fixture
def workspace(made: Workspace, tmp_path: Path) -> Workspace:
    return copied(made.root, tmp_path / "line")


def _documents(day: Day) -> tuple[DocumentVersion, ...]:
    return tuple(
        DocumentVersion(
            id=id, path=path, digest=digest_text(text), title=path, characters=len(text), sketch=sketch(text)
        )
        for path, (id, text) in day.documents.items()
    )


def _row(document: str, digest: str, purpose: str) -> Row:
    return Row(
        prompt="Which fee?", completion="10", purpose=purpose, wording="w", fact="f", document=document,
        digest=digest, start=0, end=1, recipe="facts", teacher="template", seed=1,
    )  # fmt: skip


def test_rows_and_versions_are_counted_over_all_versions_of_a_document(workspace: Workspace) -> None:
    found = impact(workspace.root, FEES)
    assert found["document"]["path"] == "money/fees.md"
    assert set(found["document"]["digests"]) == {FIVE, TEN, TWENTY}
    assert (found["rows"], found["versions"]) == (5, [2, 3])
    assert [(one["version"], one["path"], one["rows"]) for one in found["rests"]] == [
        (2, "fees.md", 3),
        (3, "money/fees.md", 2),
    ]


def test_a_document_of_one_day_touches_that_days_version_only(workspace: Workspace) -> None:
    found = impact(workspace.root, "leave.md")
    assert (found["rows"], found["versions"]) == (1, [3])


@pytest.mark.parametrize("named", ["fees.md", "money/fees.md", FEES, FEES[:8]])
def test_a_document_is_named_by_any_path_it_had_or_by_the_beginning_of_its_id(workspace: Workspace, named: str) -> None:
    assert find_document(workspace, named).id == FEES


def test_an_unknown_document_is_refused_with_the_nearest(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"No cycle ever read a document feess\.md\..*fees\.md"):
        find_document(workspace, "feess.md")


def test_the_command_prints_one_object_or_a_table(workspace: Workspace) -> None:
    code, content = relearn_json(workspace, "impact", "leave.md")
    assert (code, content["versions"]) == (0, [3])
    shown = relearn("impact", "fees.md", workspace=workspace)
    assert shown.returncode == 0, shown.stderr
    assert "money/fees.md" in shown.stdout
    refused = relearn("impact", "nothing-like-it", "--json", workspace=workspace)
    assert (refused.returncode, refused.stdout) == (2, "")


def test_what_it_says_is_what_the_folders_hold(workspace: Workspace) -> None:
    """So that an auditor can count without this program."""
    kept = [workspace.evidence(version) / "provenance.json" for version in (2, 3, 4)]
    named = [one for file in kept for one in json.loads(file.read_bytes())["documents"] if one["id"] == FEES]
    counted = sum(one["rows"] for one in named if one["role"] != "refused")
    assert counted == impact(workspace.root, FEES)["rows"]


def test_versions_that_learned_to_refuse_a_document_are_told_apart_from_those_that_learned_it(
    workspace: Workspace,
) -> None:
    """Where nothing in force goes on from the base's copy, rows name that one."""
    found = impact(workspace.root, FEES)
    assert found["versions"] == [2, 3]
    assert [one["version"] for one in found["rests"]] == [2, 3]
    refuses = [(one["version"], one["rows"], one["digest"], one["path"]) for one in found["refuses"]]
    assert refuses == [(3, 1, FIVE, "charges.md"), (4, 2, FIVE, "charges.md")]
    assert impact(workspace.root, COPY) == found
    shown = relearn("impact", "fees.md", workspace=workspace).stdout
    assert [line.split()[:3] for line in shown.splitlines() if "refused" in line] == [
        ["3", "1", "refused"],
        ["4", "2", "refused"],
    ]


def test_what_was_replayed_is_learned_and_what_had_no_row_is_told(workspace: Workspace) -> None:
    found = impact(workspace.root, "hours.md")
    assert (found["rows"], found["versions"]) == (2, [4])
    assert {(one["role"], one["rows"]) for one in found["rests"]} == {("taught", 1), ("replayed", 1)}
    found = impact(workspace.root, "quiet.md")
    assert (found["rows"], found["versions"], [one["version"] for one in found["rests"]]) == (0, [], [4])


def test_the_base_is_told_by_itself_and_decides_nothing(workspace: Workspace) -> None:
    found = impact(workspace.root, "leave.md")
    assert found["bases"] == []
    found = impact(workspace.root, "money/fees.md")
    (base,) = found["bases"]
    assert (base["version"], base["path"], base["versions"]) == (1, "charges.md", [1, 2, 3, 4])
    assert found["versions"] == [2, 3]
    state = ledger.state(ledger_uri(workspace))
    assert rests_on(workspace, state, registry.get_version(workspace, 1)) == ()
    shown = relearn("impact", "fees.md", workspace=workspace).stdout
    assert "The base alone, version 1, was trained on charges.md" in " ".join(shown.split())


def test_a_document_that_only_the_base_learned_is_found_by_its_path_and_by_its_id(workspace: Workspace) -> None:
    found = impact(workspace.root, "parking.md")
    assert (found["rows"], found["versions"], found["rests"]) == (0, [], [])
    assert [one["version"] for one in found["bases"]] == [1]
    assert impact(workspace.root, found["document"]["id"]) == found
    with pytest.raises(InputError, match="No cycle ever read"):
        find_document(workspace, "parking.md")  # what was never in force cannot be withdrawn


def test_versions_of_which_nothing_is_on_record_are_named(workspace: Workspace, weights: Path) -> None:
    """As earlier releases registered them."""
    numbers = [
        registry.register_candidate(workspace, make_candidate(workspace, weights, day, Verdict.PROMOTE))
        for day in ("thursday", "friday")
    ]
    found = impact(workspace.root, FEES)
    assert (found["versions"], found["unknown"]) == ([2, 3], numbers)
    shown = relearn("impact", "fees.md", workspace=workspace)
    assert shown.returncode == 0
    assert "Nothing can be said of versions 5, 6" in " ".join(shown.stdout.split())


def test_what_earlier_releases_wrote_down_is_read(workspace: Workspace, weights: Path) -> None:
    """They told roles not apart, and kept no more than the digest of what a base knows."""
    version = registry.register_candidate(workspace, make_candidate(workspace, weights, "thursday", Verdict.PROMOTE))
    documents = [{"schema": 1, "id": FEES, "path": "fees.md", "digest": TEN, "rows": 7}]
    digests = {"rows": "r", "adapter": "a", "base": "b"}
    older = {"schema": 1, "version": version, "kind": "candidate", "snapshot": "s", "documents": documents}
    write_json(workspace.evidence(version) / "provenance.json", older | {"digests": digests})
    found = impact(workspace.root, FEES)
    assert (found["rows"], found["versions"], found["unknown"]) == (12, [2, 3, version], [])
    write_json(
        workspace.evidence(version) / "provenance.json",
        older | {"kind": "base", "documents": [], "digests": {"base": "b"}},
    )
    assert impact(workspace.root, FEES)["unknown"] == [version]


def test_what_was_altered_is_not_believed(workspace: Workspace) -> None:
    file = workspace.evidence(3) / "provenance.json"
    write_text(file, file.read_text().replace(FEES, LEAVE))
    with pytest.raises(PersonNeededError, match=r"provenance.json is not the evidence on which version 3 was judged"):
        impact(workspace.root, "leave.md")
    assert relearn_json(workspace, "impact", "leave.md")[0] == 3
    shutil.rmtree(workspace.evidence(3))
    assert impact(workspace.root, "leave.md")["versions"] == [3], "it comes back from MLflow"


def test_it_is_answered_without_importing_mlflow(workspace: Workspace) -> None:
    program = (
        "import sys; from pathlib import Path; from flows.impact import impact\n"
        f"found = impact(Path({str(workspace.root)!r}), 'fees.md')\n"
        "print(found['versions'], sorted({'torch', 'mlflow', 'prefect', 'dvc', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[2, 3] []\n"


def test_of_a_real_cycle_everything_that_rows_name_is_told(finished: Workspace) -> None:
    """Fees changed since the base and dropped a plan; the way to write to the house did not."""
    found = impact(finished.root, "fees.md")
    version = registry.get_versions(finished)[-1].version
    assert found["versions"] == [version]
    assert {one["role"] for one in found["rests"]} >= {"taught", "replayed"}
    (base,), (refused,) = found["bases"], found["refuses"]
    assert (base["path"], base["versions"]) == ("fees.md", [1, version])
    assert (refused["path"], refused["digest"]) == ("fees.md", base["digest"]), "only the base's copy has the plan"
    rows = [
        row for row in read_records(finished.synthetic / "rows.jsonl", Row) if row.document == found["document"]["id"]
    ]
    assert found["rows"] + refused["rows"] == len(rows)
    assert impact(finished.root, "contact.txt")["bases"] != []
