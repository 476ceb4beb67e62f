"""Back to an earlier version: alias, data and pointer together, without training, and never people's documents."""

from pathlib import Path

import pytest

from data.decisions import SWITCHES
from data.files import digest_tree, read_record
from data.records import Snapshot
from data.workspace import Workspace
from flows.overview import status
from flows.promote import promote
from flows.rollback import rollback
from tasks import ledger, registry, serving
from tasks.places import ledger_uri
from tests.fault_miniature import MORE, command, copied
from tests.miniature import NEW, write_documents
from tests.programs import dvc

QUESTION = "What is the Fee of Basic?"


@pytest.fixture
def workspace(second_day: Workspace, tmp_path: Path) -> Workspace:
    """Version 2 serves; version 3 was made from one document more, and passes."""
    return copied(second_day.root, tmp_path / "workspace")


def snapshot_of_data(workspace: Workspace) -> str:
    return read_record(workspace.collection / "snapshot.json", Snapshot).digest


def test_alias_data_and_pointer_go_back_together_and_documents_stay(workspace: Workspace, server: str) -> None:
    two, three = (registry.get_version(workspace, version) for version in (2, 3))
    before = serving.ask(workspace, QUESTION)
    promote(workspace, 3, "it passed")
    assert (snapshot_of_data(workspace), digest_tree(workspace.adapter)) == (three.snapshot, three.tags["adapter"])
    documents = digest_tree(workspace.documents)
    done = rollback(workspace, "it was wrong")
    assert (done.from_version, done.to_version, done.notes) == (3, 2, ())
    assert (snapshot_of_data(workspace), digest_tree(workspace.adapter)) == (two.snapshot, two.tags["adapter"])
    assert serving.ask(workspace, QUESTION) == before
    assert digest_tree(workspace.documents) == documents
    assert "data/adapter" not in dvc(workspace, "status")
    overview = status(workspace.root)
    assert overview["snapshot"]["digest"] == three.snapshot, "what was read last"
    ended = command(workspace, server, "run", "--quick")
    assert (ended.code, "Nothing changed" in ended.said) == (0, True), "and the next cycle does not undo it"
    assert registry.champion(workspace) == 2


def test_documents_that_come_back_bring_their_version_back_without_training(workspace: Workspace, server: str) -> None:
    promote(workspace, 3, "it passed")
    write_documents(workspace.documents, NEW)
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    assert "Champion  Version 2 serves now: The documents are again exactly those of version 2" in ended.said
    assert not [line for line in ended.said.splitlines() if line.startswith(("ingest", "train"))], "no stage ran"
    assert registry.champion(workspace) == 2
    assert digest_tree(workspace.adapter) == registry.get_version(workspace, 2).tags["adapter"]
    assert [info.version for info in registry.get_versions(workspace)] == [1, 2, 3]
    write_documents(workspace.documents, NEW | MORE)
    rollback(workspace, "it was wrong", 1)
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    switches = [entry for entry in ledger.entries(ledger_uri(workspace)) if entry.action in SWITCHES]
    assert switches[-1].to_version == 3, "it left by a promotion, not by a rollback"


def test_what_was_rolled_back_from_is_not_brought_back(workspace: Workspace, server: str) -> None:
    promote(workspace, 3, "it passed")
    rollback(workspace, "it was wrong")
    write_documents(workspace.documents, NEW)
    assert command(workspace, server, "run", "--quick").code == 0
    write_documents(workspace.documents, NEW | MORE)
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    assert "relearn promote 3" in ended.said, "that is a person's to say"
    assert registry.champion(workspace) == 2


def test_data_that_the_cache_no_longer_holds_stay_and_that_is_said(workspace: Workspace) -> None:
    promote(workspace, 3, "it passed")
    for file in (workspace.root / ".dvc" / "cache" / "files").rglob("*"):
        if file.is_file():
            file.chmod(0o644)
            file.unlink()
    adapter, lock = digest_tree(workspace.adapter), workspace.dvc_lock.read_bytes()
    (note,) = rollback(workspace, "it was wrong").notes
    assert "no longer all in DVC's cache" in note
    assert (digest_tree(workspace.adapter), workspace.dvc_lock.read_bytes()) == (adapter, lock)
    assert serving.ask(workspace, QUESTION)[1] == 2
