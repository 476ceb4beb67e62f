"""What learned from a document: counted over rows that are on record, in any version of it."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from data.errors import InputError
from data.files import digest_text, write_record, write_records
from data.records import DocumentVersion, Row, Snapshot
from data.report_records import Verdict
from data.workspace import Workspace
from flows.impact import find_document, impact
from tasks import registry
from tasks.evidence import write_base_evidence, write_evidence
from tests.programs import relearn, relearn_json
from tests.registry_miniature import base_digest, make_candidate, make_workspace

FEES, LEAVE = "f" * 12, "a" * 12


@dataclass(frozen=True)
class Day:
    """Documents by path -> (id, content), and the documents that the day's rows name."""

    name: str
    documents: dict[str, tuple[str, str]]
    rows: tuple[str, ...]


MONDAY = Day("monday", {"fees.md": (FEES, "10")}, (FEES, FEES, FEES))
TUESDAY = Day("tuesday", {"money/fees.md": (FEES, "20"), "leave.md": (LEAVE, "30 days")}, (FEES, FEES, LEAVE))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Workspace:
    """The base is version 1; two days are versions 2 and 3."""
    workspace = make_workspace(tmp_path_factory.mktemp("impact"), weights)
    digest = base_digest(workspace)
    base = registry.register_base(workspace, workspace.base(), digest)
    write_base_evidence(workspace, base, workspace.base(), digest)
    for day in (MONDAY, TUESDAY):
        made = make_candidate(workspace, weights, day.name, Verdict.PROMOTE)
        snapshot = Snapshot(digest=made.digests.snapshot, documents=_documents(day))
        write_record(workspace.collection / "snapshot.json", snapshot)
        write_record(workspace.snapshot_file(snapshot.digest), snapshot)
        write_records(workspace.synthetic / "rows.jsonl", [_row(id) for id in day.rows])
        write_evidence(workspace, made, registry.register_candidate(workspace, made))
    return workspace


def _documents(day: Day) -> tuple[DocumentVersion, ...]:
    return tuple(
        DocumentVersion(id=id, path=path, digest=digest_text(text), title=path, characters=len(text), sketch=b"")
        for path, (id, text) in day.documents.items()
    )


def _row(document: str) -> Row:
    return Row(
        prompt="Which fee?", completion="10", purpose="fact", wording="w", fact="f", document=document, digest="d",
        start=0, end=1, recipe="facts", teacher="template", seed=1,
    )  # fmt: skip


def test_rows_and_versions_are_counted_over_all_versions_of_a_document(workspace: Workspace) -> None:
    found = impact(workspace.root, FEES)
    assert found["document"]["path"] == "money/fees.md"
    assert set(found["document"]["digests"]) == {digest_text("10"), digest_text("20")}
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
    kept = [workspace.evidence(version) / "provenance.json" for version in (2, 3)]
    made = [json.loads(file.read_bytes()) for file in kept]
    counted = sum(one["rows"] for version in made for one in version["documents"] if one["id"] == FEES)
    assert counted == impact(workspace.root, FEES)["rows"]
