"""A report compares texts with those of the last accepted snapshot, or of the base; what was not kept is missing."""

from pathlib import Path

import pytest

from data.collection import as_collection, read_collection, read_texts
from data.errors import InputError
from data.files import write_record
from data.probes import Evidence, Probe, ProbeAnswer
from data.records import Accepted
from data.report_records import Lineage
from flows.overview import report_path
from flows.report_texts import comparison, keep_texts, probe_documents
from tests.miniature import NEW, OLD, collect, ignorant


def test_texts_are_compared_with_those_of_the_accepted_snapshot(tmp_path: Path) -> None:
    workspace = ignorant(tmp_path)
    before = collect(workspace, OLD)
    keep_texts(workspace, before)
    now = collect(workspace, NEW, before)
    keep_texts(workspace, now)
    write_record(workspace.accepted, Accepted(snapshot=before))
    found = comparison(workspace, now)
    assert found.named == "the last accepted snapshot"
    by_path = {one.path: one for one in found.texts}
    assert set(by_path) == {"fees.md", "hours.html"}
    assert "| Basic | $5 |" in str(by_path["fees.md"].old)
    assert "| Basic | $7 |" in str(by_path["fees.md"].new)
    assert (by_path["hours.html"].old_path, by_path["hours.html"].old) == (None, "")


def test_a_text_that_was_not_kept_is_missing_and_no_failure(tmp_path: Path) -> None:
    workspace = ignorant(tmp_path)
    before = collect(workspace, OLD)
    now = collect(workspace, {"fees.md": NEW["fees.md"]}, before)
    write_record(workspace.accepted, Accepted(snapshot=before))
    found = comparison(workspace, now)
    assert {(one.path, one.old, one.withdrawn) for one in found.texts} == {
        ("fees.md", None, False),
        ("refunds.md", None, True),
        ("contact.txt", None, True),
    }
    assert set(found.paths.values()) == set(OLD)


def test_damaged_texts_are_missing_and_no_failure(tmp_path: Path) -> None:
    workspace = ignorant(tmp_path)
    before = collect(workspace, OLD)
    keep_texts(workspace, before)
    now = collect(workspace, NEW, before)
    write_record(workspace.accepted, Accepted(snapshot=before))
    for file in (workspace.texts_file(before.digest), workspace.collection / "texts.jsonl"):
        file.write_text("{")
    fees = next(one for one in comparison(workspace, now).texts if one.path == "fees.md")
    assert (fees.old, fees.new) == (None, None)


def test_a_first_report_compares_with_what_the_base_knows(tmp_path: Path) -> None:
    workspace = ignorant(tmp_path)
    known, _ = as_collection(tmp_path / "stream" / "2023-01-01", workspace.params().ingest)
    lineage = Lineage(documents="../stream/2023-01-01", snapshot=known.digest)
    write_record(tmp_path / "base" / "lineage.json", lineage)
    write_record(workspace.accepted, Accepted())
    now = collect(workspace, NEW, known)
    found = comparison(workspace, now)
    assert found.named == "what the base knows"
    assert found.before is not None
    assert found.before.digest == known.digest
    fees = next(one for one in found.texts if one.path == "fees.md")
    assert "| Basic | $5 |" in str(fees.old)


def test_a_snapshots_texts_are_kept_once_and_take_no_room_of_their_own(tmp_path: Path) -> None:
    workspace = ignorant(tmp_path)
    snapshot = collect(workspace, OLD)
    for _ in range(2):
        keep_texts(workspace, snapshot)
        assert [file.stem for file in (workspace.state / "texts").iterdir()] == [snapshot.digest]
        assert workspace.texts_file(snapshot.digest).samefile(workspace.collection / "texts.jsonl")


def test_a_collection_is_read_as_it_was_written_and_one_that_lacks_a_text_is_refused(tmp_path: Path) -> None:
    workspace = ignorant(tmp_path)
    snapshot = collect(
        workspace, OLD | {"odd.md": '# Odd\n\nA line\u2028 of \x85 odd ends, and \\ "more" \U0001f600.\n'}
    )
    again, sources = read_collection(workspace.collection)
    assert (again, {source.id: source.text for source in sources}) == (
        snapshot,
        {source.id: source.text for source in as_collection(workspace.documents, workspace.params().ingest)[1]},
    )
    file = workspace.collection / "texts.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match="every document"):
        read_collection(workspace.collection)


def test_where_files_cannot_be_linked_texts_are_copied_and_a_new_collection_leaves_old_ones_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = ignorant(tmp_path)
    before = collect(workspace, OLD)
    keep_texts(workspace, before)
    now = collect(workspace, NEW, before)

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    keep_texts(workspace, now)
    then, since = (read_texts(workspace.texts_file(one.digest), {"fees.md"})["fees.md"] for one in (before, now))
    assert "| Basic | $5 |" in then
    assert "| Basic | $7 |" in since


def test_a_probe_belongs_to_the_documents_in_force_that_its_evidence_names(tmp_path: Path) -> None:
    snapshot = collect(ignorant(tmp_path), {"fees.md": NEW["fees.md"]})
    fees = snapshot.documents[0].id
    evidence = {"now": Evidence(path="fees.md", quote="x"), "then": Evidence(path="gone.md", quote="y")}
    probe = Probe(id="fee", question="?", answers=(ProbeAnswer(answer="$7", evidence=evidence),))
    paths = {fees: "fees.md", "doc-gone": "gone.md", "doc-2": "other.md"}
    assert probe_documents([probe], paths, snapshot) == {"fee": (fees,)}
    assert probe_documents([probe], {"doc-gone": "gone.md"}, snapshot) == {"fee": ("doc-gone",)}


def test_a_report_that_is_not_there_is_not_promised_by_another_run(tmp_path: Path) -> None:
    workspace = ignorant(tmp_path)
    with pytest.raises(InputError, match="make a report with: relearn run"):
        report_path(tmp_path, None)
    workspace.reports.mkdir(parents=True)
    (workspace.reports / "v2.html").touch()
    assert report_path(tmp_path, 2).name == "v2.html"
    with pytest.raises(InputError, match=r"there are: v2\).*MLflow.*report/v3\.html"):
        report_path(tmp_path, 3)
