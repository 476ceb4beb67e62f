"""A workspace that was moved is mended, and a copy never writes into its original."""

import shutil
from pathlib import Path

import pytest

from data.cycle_records import Cycle, CycleResult
from data.errors import InputError
from data.evaluation_records import Verdict
from data.files import digest_tree, read_json, write_record
from data.findings import Condition, Finding
from data.workspace import Workspace
from flows.collect_garbage import collect_garbage
from flows.doctor import doctor
from flows.enrol import enrol, enrol_base
from flows.overview import status
from flows.promote import promote
from flows.running import promote_version, run_cycle, watch_workspace
from tasks import registry, relocation, serving
from tests.fault_miniature import MORE, command, copied
from tests.miniature import NEW, write_documents
from tests.registry_miniature import base_digest, make_candidate, make_workspace

BASE, FIRST, SECOND = 1, 2, 3


@pytest.fixture
def workspace(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A base that is registered by its path, as a large one is, and a candidate that serves."""
    monkeypatch.setattr("tasks.tracking.COPIED_BASE_BYTES", 0)
    made = make_workspace(tmp_path / "an old place", weights)
    enrol_base(made, made.base(), base_digest(made))
    enrol(made, make_candidate(made, weights, "1", Verdict.PROMOTE), "1")
    promote(made, FIRST, "it passed")
    return made


def moved(workspace: Workspace, place: Path) -> Workspace:
    return Workspace(Path(shutil.move(workspace.root, place)))


def found(workspace: Workspace, check: bool) -> list[Finding]:
    return [finding for finding in doctor(workspace.root, check) if finding.what in ("place", "mlflow")]


def test_a_moved_workspace_says_so_and_doctor_lets_it_follow(
    workspace: Workspace, weights: Path, tmp_path: Path
) -> None:
    old, new = workspace.root, moved(workspace, tmp_path / "a new place")
    result = CycleResult(
        changed=True, version=2, verdict=Verdict.PROMOTE, report=str(old / ".relearn" / "reports" / "v2.html")
    )
    write_record(new.cycle, Cycle(key="k", result=result))
    for refused in (
        lambda: run_cycle(new.root, quick=False, loss_reason=None),
        lambda: promote_version(new.root, BASE, "back", override=False),
        lambda: collect_garbage(new.root, dry_run=False),
        lambda: watch_workspace(new.root),
        lambda: registry.get_versions(new),
    ):
        with pytest.raises(InputError, match=r"was moved from .*an old place.* to .*a new place.*relearn doctor"):
            refused()
    assert serving.ask(new, "Who?")[1] == FIRST  # what serves goes on answering
    assert [finding.state for finding in found(new, check=True)] == [Condition.WARNING, Condition.PROBLEM]
    assert [finding.state for finding in found(new, check=False)] == [Condition.MENDED, Condition.OK]
    assert [finding.what for finding in found(new, check=False)] == ["mlflow"]
    assert read_json(new.cycle)["result"]["report"] == str(new.reports / "v2.html")
    assert promote_version(new.root, BASE, "back", override=False).from_version == FIRST
    candidate = make_candidate(new, weights, "2", Verdict.PROMOTE)
    assert enrol(new, candidate, "2") == SECOND
    assert promote_version(new.root, SECOND, "newer", override=False).to_version == SECOND
    assert all(registry.fetch_model(new, number).is_relative_to(new.root) for number in (BASE, FIRST, SECOND))
    assert not old.exists()


def test_a_copy_is_refused_and_its_original_untouched(workspace: Workspace, tmp_path: Path) -> None:
    copy = Workspace(Path(shutil.copytree(workspace.root, tmp_path / "copy")))
    before = (digest_tree(workspace.state / "mlartifacts"), digest_tree(copy.state / "mlartifacts"))
    says = "is a copy of .*an old place.*git clone .*an old place DIR, or relearn init DIR"
    with pytest.raises(InputError, match=says):
        run_cycle(copy.root, quick=False, loss_reason=None)
    with pytest.raises(InputError, match=says):
        status(copy.root)
    (only,) = found(copy, check=False)
    assert (only.what, only.state) == ("mlflow", Condition.PROBLEM)
    assert (digest_tree(workspace.state / "mlartifacts"), digest_tree(copy.state / "mlartifacts")) == before
    assert promote_version(workspace.root, BASE, "the original goes on", override=False).to_version == BASE


def test_another_workspace_in_the_old_place_is_no_original(workspace: Workspace, weights: Path, tmp_path: Path) -> None:
    new = moved(workspace, tmp_path / "new")
    other = make_workspace(tmp_path / "other", weights)
    registry.register_base(other, other.base(), base_digest(other))
    moved(other, workspace.root)
    assert [finding.state for finding in found(new, check=False)] == [Condition.MENDED, Condition.OK]


def test_a_second_name_of_the_same_folder_is_no_move(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "name").symlink_to(workspace.root)
    assert relocation.former_root(Workspace(tmp_path / "name")) is None
    assert len(registry.get_versions(Workspace(tmp_path / "name"))) == FIRST


def test_a_line_that_moved_goes_on(undisturbed: Workspace, server: str, tmp_path: Path) -> None:
    workspace = moved(copied(undisturbed.root, tmp_path / "old"), tmp_path / "new")
    refused = command(workspace, server, "run", "--quick")
    assert (refused.code, refused.said.count("was moved from")) == (2, 1), refused.said
    assert command(workspace, server, "doctor").code == 0
    same = command(workspace, server, "run", "--quick")
    assert (same.code, "Nothing changed" in same.said, str(tmp_path / "old") in same.said) == (0, True, False)
    write_documents(workspace.documents, NEW | MORE)
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    assert not (tmp_path / "old").exists()
    assert command(workspace, server, "doctor", "--check").code == 0
