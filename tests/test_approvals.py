"""The decisions on a version, beside what they rest on: complete, readable without this code, not on the list."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from data.errors import OutsideError, PersonNeededError
from data.files import digest_text
from data.workspace import Workspace
from flows.leftovers import half_built
from flows.policy import mirror
from flows.promote import promote
from flows.reject import reject
from flows.rollback import rollback
from tasks import ledger, registry, serving, tracking
from tasks.approvals import keep_approvals
from tasks.evidence import read_evidence
from tasks.places import ledger_uri
from tests import line_miniature as line
from tests.fault_miniature import At, copied
from tests.line_miniature import Step

SERVES, PASSES, HELD, ALSO = 2, 3, 4, 5


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    return line.make_template(tmp_path_factory.mktemp("approvals") / "line", weights).root


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Workspace:
    """A line on which version 2 serves, 3 and 5 pass and 4 is held."""
    return copied(template, tmp_path / "line")


def kept(workspace: Workspace, version: int) -> list[dict[str, object]]:
    text = (workspace.evidence(version) / "approvals.jsonl").read_text()
    return [json.loads(entry) for entry in text.splitlines()]


def actions(workspace: Workspace, version: int) -> list[object]:
    return [entry["action"] for entry in kept(workspace, version)]


def attached(workspace: Workspace, version: int) -> str | None:
    run = registry.get_version(workspace, version).run
    with tracking.fetched(workspace, run, "evidence/approvals.jsonl") as file:
        return file.read_text() if file is not None else None


def test_every_decision_stands_in_the_folders_of_the_versions_that_it_concerns(workspace: Workspace) -> None:
    assert actions(workspace, PASSES) == ["judge"]
    promote(workspace, PASSES, "checked")
    assert actions(workspace, PASSES) == ["judge", "promote"]
    assert actions(workspace, SERVES) == ["judge", "promote", "promote"], "it was replaced"
    rollback(workspace, "it was wrong", SERVES)
    reject(workspace, ALSO, "nobody wants it")
    promote(workspace, HELD, "we take the risk", override=True)
    assert actions(workspace, PASSES) == ["judge", "promote", "rollback"]
    assert actions(workspace, ALSO) == ["judge", "reject"]
    override = kept(workspace, HELD)[-1]
    evidence = override["evidence"]
    assert isinstance(evidence, dict)
    assert (override["reason"], evidence["overridden"]) == ("we take the risk", True)


def test_each_approval_stands_there_before_the_last_one_is_given(workspace: Workspace) -> None:
    params = yaml.safe_load(workspace.params_file.read_text())
    params["people"]["approvals"] = 2
    workspace.params_file.write_text(yaml.safe_dump(params))
    with pytest.raises(PersonNeededError):
        promote(workspace, PASSES, "I agree", actor="ann")
    assert [(one["action"], one["actor"]) for one in kept(workspace, PASSES)][-1] == ("approve", "ann")
    promote(workspace, PASSES, "I agree, too", actor="bob")
    assert actions(workspace, PASSES) == ["judge", "approve", "approve", "promote"]


def test_other_gates_are_a_decision_on_every_version(workspace: Workspace, weights: Path) -> None:
    line.do(workspace, weights, Step("gates", ("impossible",)))
    line.do(workspace, weights, Step("run"))
    assert {actions(workspace, version)[1] for version in (PASSES, ALSO)} == {"gates"}


def test_other_gates_that_change_nothing_for_a_version_are_not_written_to_its_folder(
    workspace: Workspace, weights: Path
) -> None:
    """Each such entry holds the rulings on all versions, so that a hundred versions would hold them a hundred times."""
    before = {version: actions(workspace, version) for version in (PASSES, HELD, ALSO)}
    params = yaml.safe_load(workspace.params_file.read_text())
    params["gates"]["max_held_drop"] *= 0.999
    workspace.params_file.write_text(yaml.safe_dump(params))
    line.do(workspace, weights, Step("run"))
    entries = ledger.entries(ledger_uri(workspace))
    (gates,) = (entry for entry in entries if entry.action == "gates")
    assert set(gates.evidence["rulings"]) >= {str(version) for version in before}
    assert {version: actions(workspace, version) for version in before} == before


def test_a_damaged_file_stops_no_switch_and_is_written_anew(workspace: Workspace) -> None:
    file = workspace.evidence(PASSES) / "approvals.jsonl"
    file.write_bytes(file.read_bytes() + "café".encode("latin-1"))
    promote(workspace, PASSES, "checked")
    assert actions(workspace, PASSES) == ["judge", "promote"]


def test_the_pointer_follows_a_switch_though_mlflow_takes_no_approvals(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise OutsideError("MLflow does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr("flows.switch.keep_approvals", gone)
        with pytest.raises(OutsideError):
            promote(workspace, PASSES, "checked")
    pointed = serving.pointer(workspace)
    assert pointed is not None
    assert pointed.version == PASSES
    mirror(workspace)
    assert actions(workspace, PASSES) == ["judge", "promote"]


def test_the_lines_are_the_ledgers_own_and_each_can_be_checked_by_itself(workspace: Workspace) -> None:
    promote(workspace, PASSES, "checked")
    entries = {entry.number: entry for entry in ledger.entries(ledger_uri(workspace))}
    for text in (workspace.evidence(PASSES) / "approvals.jsonl").read_text().splitlines():
        said = json.loads(text)
        assert said["digest"] == entries[said["number"]].digest
        digest = said.pop("digest")
        bare = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert digest == digest_text(said["previous"], bare)


def test_mlflow_has_them_too_and_the_list_does_not_name_them(workspace: Workspace) -> None:
    promote(workspace, PASSES, "checked")
    file = workspace.evidence(PASSES) / "approvals.jsonl"
    assert attached(workspace, PASSES) == file.read_text()
    assert "approvals.jsonl" not in json.loads((file.parent / "manifest.json").read_bytes())
    info, ruling = registry.get_version(workspace, PASSES), ledger.state(ledger_uri(workspace)).rulings[PASSES]
    read_evidence(workspace, info, ruling.evidence)
    shutil.rmtree(file.parent)
    read_evidence(workspace, info, ruling.evidence)
    assert actions(workspace, PASSES) == ["judge", "promote"], "it came back with the folder"


def test_what_a_kill_kept_from_the_folders_is_made_up_for(workspace: Workspace, weights: Path) -> None:
    killed = line.do_and_be_killed(workspace, weights, Step("reject", (ALSO - 1,)), At("flows.policy.keep_approvals"))
    assert killed
    assert actions(workspace, ALSO) == ["judge"]
    mirror(workspace)
    assert actions(workspace, ALSO) == ["judge", "reject"]
    assert attached(workspace, ALSO) == (workspace.evidence(ALSO) / "approvals.jsonl").read_text()


def test_nothing_is_asked_of_mlflow_where_nothing_was_decided(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.registry.get_versions", lambda _: pytest.fail("MLflow was asked"))
    keep_approvals(workspace)


def test_what_a_kill_left_half_written_is_found(workspace: Workspace) -> None:
    drafts = [workspace.evidence(9).with_name(".v9.x.tmp"), workspace.evidence(PASSES) / ".approvals.jsonl.x.tmp"]
    for draft in drafts:
        draft.write_text("half")
    assert set(drafts) <= set(half_built(workspace))
