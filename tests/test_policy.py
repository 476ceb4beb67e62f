"""Another gate policy: what becomes of versions that were judged, said once in the ledger, and seen beforehand."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from data.cycle_records import LedgerEntry
from data.decisions import Action
from data.errors import InputError
from data.evaluation_records import Verdict
from data.files import write_bytes
from data.workspace import Workspace
from flows.policy import GONE, follow, mirror
from flows.policy_shown import difference, show
from models.gates import policy_digest
from tasks import ledger, registry
from tasks.places import ledger_uri
from tasks.tracking import reaching
from tests.fault_miniature import copied, turn
from tests.ledger_miniature import enthroned
from tests.policy_miniature import enrolled, make_line
from tests.programs import relearn, relearn_json
from tests.registry_miniature import make_workspace

PROMOTE, HOLD = Verdict.PROMOTE, Verdict.HOLD
STRICTER, LOOSER = {"min_new_right": 0.94}, {"min_new_right": 0.8}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Workspace:
    return make_line(make_workspace(tmp_path_factory.mktemp("judged") / "workspace", weights), weights)


@pytest.fixture
def line(judged: Workspace, tmp_path: Path) -> Workspace:
    """Versions 2 and 3 pass, version 4 is held, nothing serves."""
    return copied(judged.root, tmp_path / "workspace")


def entries(line: Workspace) -> list[LedgerEntry]:
    return ledger.intact_entries(ledger_uri(line))


def verdicts(line: Workspace) -> dict[int, Verdict | None]:
    """As the ledger, and with it MLflow's tags, says."""
    state = ledger.state(ledger_uri(line))
    said = {info.version: state.verdict(info.version) for info in registry.get_versions(line)}
    assert {info.version: info.verdict for info in registry.get_versions(line)} == said
    return said


# --- following -------------------------------------------------------------------------------------


def test_nothing_is_done_while_the_policy_is_the_same(line: Workspace) -> None:
    before = entries(line)
    assert follow(line) == ()
    assert entries(line) == before
    assert verdicts(line) == {1: PROMOTE, 2: PROMOTE, 3: PROMOTE, 4: HOLD}


def test_a_stricter_threshold_lets_a_version_fall_and_says_so_once(line: Workspace) -> None:
    enthroned(ledger_uri(line), 3)
    before = entries(line)
    turn(line, gates=STRICTER)
    (fallen,) = follow(line)
    assert (fallen.version, fallen.old, fallen.new, fallen.champion) == (3, PROMOTE, HOLD, True)
    assert "at least 94.0% wanted" in fallen.reasons[0]
    (entry,) = entries(line)[len(before) :]
    assert (entry.action, entry.to_version) == (Action.GATES, None)
    assert entry.reason == "Gates changed (min_new_right 0.9 -> 0.94): 4 versions judged; no longer promote: 3."
    now = line.params().gates
    assert entry.evidence["policy"] == policy_digest(now) != entry.evidence["before"]
    assert entry.evidence["thresholds"] == now.model_dump(mode="json")
    signed = {str(one.to_version): one.evidence["evidence"] for one in before if one.action == Action.JUDGE}
    assert {version: one["evidence"] for version, one in entry.evidence["rulings"].items()} == signed
    assert verdicts(line) == {1: PROMOTE, 2: PROMOTE, 3: HOLD, 4: HOLD}
    assert registry.get_alias(line, "challenger") == 2
    assert follow(line) == ()
    assert entries(line)[-1] == entry


def test_a_looser_threshold_lets_a_version_rise(line: Workspace) -> None:
    turn(line, gates=LOOSER)
    (risen,) = follow(line)
    assert (risen.version, risen.old, risen.new, risen.champion) == (4, HOLD, PROMOTE, False)
    assert entries(line)[-1].reason.endswith("(min_new_right 0.9 -> 0.8): 4 versions judged; now promote: 4.")
    assert verdicts(line)[4] is PROMOTE
    assert registry.get_alias(line, "challenger") == 4


def test_where_no_candidate_passes_nothing_is_the_challenger(line: Workspace) -> None:
    turn(line, gates={"min_new_right": 1.0})
    assert [found.version for found in follow(line)] == [2, 3, 4]
    assert verdicts(line)[1] is PROMOTE, "the base alone always passes"
    assert registry.get_alias(line, "challenger") is None


def test_what_is_complete_is_known_without_mlflow(line: Workspace) -> None:
    turn(line, gates=STRICTER)
    follow(line)
    turn(line, registry={"mlflow_uri": "sqlite:////proc/none/mlflow.db"})
    assert follow(line) == ()


def test_reports_of_a_deleted_folder_come_from_mlflow(line: Workspace) -> None:
    shutil.rmtree(line.state / "evidence")
    turn(line, gates=STRICTER)
    assert [found.version for found in follow(line)] == [3]


def test_what_was_altered_is_held_never_passed(line: Workspace) -> None:
    file = line.evidence(2) / "evaluation.json"
    write_bytes(file, file.read_bytes() + b" ")
    turn(line, gates=LOOSER)
    found = {one.version: one for one in follow(line)}
    assert found[2].new is HOLD
    assert "cannot be judged by this policy" in found[2].reasons[0]
    assert str(file) in found[2].reasons[0]
    assert registry.get_alias(line, "challenger") == 4
    assert follow(line) == ()


def test_what_is_gone_everywhere_is_held(line: Workspace) -> None:
    shutil.rmtree(line.evidence(2))
    with reaching(line) as client:
        run = registry.get_version(line, 2).run
        place = client.get_run(run).info.artifact_uri
    shutil.rmtree(Path(str(place).removeprefix("file://")))
    turn(line, gates=LOOSER)
    found = {one.version: one for one in follow(line)}
    assert found[2].new is HOLD
    assert "There is no evidence of version 2" in found[2].reasons[0]


def test_a_version_that_was_deleted_from_mlflow_asks_nobody_twice(line: Workspace) -> None:
    with reaching(line) as client:
        client.delete_model_version(line.params().registry.model, "3")
    turn(line, gates=LOOSER)
    assert {one.version: one.reasons for one in follow(line)}[3] == (GONE,)
    count = len(entries(line))
    assert follow(line) == ()
    assert len(entries(line)) == count


def test_versions_from_before_verdicts_stood_in_the_ledger_are_entered(line: Workspace) -> None:
    before = verdicts(line)
    Path(ledger_uri(line).removeprefix("sqlite:///")).unlink()
    shutil.rmtree(line.state / "evidence")
    assert follow(line) == (), "they have no verdict there that could change"
    (entry,) = entries(line)
    assert entry.reason == "Verdicts entered under the gate policy in force: 4 versions judged."
    assert verdicts(line) == before


def test_a_policy_of_another_release_is_followed_by_the_next(line: Workspace) -> None:
    in_force = _entered(line, {**line.params().gates.model_dump(mode="json"), "min_retired": 0.5})
    assert follow(line) == ()
    assert entries(line)[-1].reason == "Gates changed (min_retired 0.5 -> None): 4 versions judged."
    with pytest.raises(InputError, match="written by another release"):
        difference(line.root, in_force, "")


def _entered(line: Workspace, thresholds: dict[str, Any]) -> str:
    """Another policy in the ledger under which every verdict is what it was; returns its digest."""
    rulings = {
        str(version): {"verdict": one.verdict.value, "reasons": list(one.reasons), "evidence": one.evidence}
        for version, one in ledger.state(ledger_uri(line)).rulings.items()
    }
    evidence = {"policy": "f00d", "before": "", "thresholds": thresholds, "rulings": rulings}
    ledger.append(ledger_uri(line), action=Action.GATES, reason="by another release", evidence=evidence)
    return "f00d"


def test_a_version_judged_by_the_gates_that_its_cycle_began_with_is_judged_again(
    line: Workspace, weights: Path
) -> None:
    turn(line, gates=STRICTER)
    follow(line)
    turn(line, gates={"min_new_right": 0.9})
    version = enrolled(line, weights, "a day on which gates were edited", 380)
    turn(line, gates=STRICTER)
    assert [(found.version, found.old, found.new) for found in follow(line)] == [(version, PROMOTE, HOLD)]
    assert verdicts(line)[version] is HOLD


def test_an_actor_of_the_parameters_is_who_changed_the_gates(line: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELEARN_ACTOR", raising=False)
    turn(line, gates=STRICTER, people={"actor": "the line"})
    follow(line)
    assert entries(line)[-1].actor == "the line"


def test_tags_that_a_kill_left_behind_follow(line: Workspace) -> None:
    with reaching(line) as client:
        client.set_model_version_tag(line.params().registry.model, "3", "verdict", "reject")
        client.delete_registered_model_alias(line.params().registry.model, "challenger")
    mirror(line)
    assert verdicts(line)[3] is PROMOTE
    assert registry.get_alias(line, "challenger") == 3


# --- modes -----------------------------------------------------------------------------------------


def test_a_check_in_shadow_lets_a_version_rise_and_still_speaks(line: Workspace) -> None:
    modes = line.params().gates.modes
    turn(line, gates={"modes": {**modes, "learned": "shadow"}})
    assert [(found.version, found.new) for found in follow(line)] == [(4, PROMOTE)]
    assert "(modes.learned enforce -> shadow)" in entries(line)[-1].reason
    turn(line, gates={"modes": {**modes, "learned": "off"}})
    assert follow(line) == (), "what has no say changes nothing when it is silent"
    assert entries(line)[-1].evidence["rulings"]["4"]["reasons"] == ["All 14 checks passed."]


# --- looking ---------------------------------------------------------------------------------------


def test_show_says_what_is_in_force_and_that_the_file_says_otherwise(line: Workspace) -> None:
    first = show(line.root)
    assert (first["policy"], first["entry"], first["warnings"]) == (first["in_force"], 1, [])
    assert (first["min_new_right"], first["modes"]["alpha"]) == (0.9, "shadow")
    turn(line, gates=STRICTER)
    code, second = relearn_json(line, "gates", "show")
    assert code == 3
    assert second["in_force"] == first["policy"] != second["policy"]
    assert "judges every version by it" in second["warnings"][0]
    follow(line)
    turn(line, gates={"min_new_right": 0.9})
    follow(line)
    last = show(line.root)
    assert last["policy"] == first["policy"]
    assert last["entry"] == len(entries(line)), "since it came back, not since it was first in force"
    said = relearn("gates", "show", workspace=line)
    assert said.returncode == 0
    assert f"(ledger entry {last['entry']}), by {last['by']}" in " ".join(said.stdout.split())
    assert "min_new_right" in said.stdout


def test_diff_says_which_versions_would_fall_and_changes_nothing(line: Workspace) -> None:
    enthroned(ledger_uri(line), 3)
    before, tags = entries(line), verdicts(line)
    turn(line, gates=STRICTER)
    code, found = relearn_json(line, "gates", "diff")
    assert code == 0
    assert set(found) == {"old", "new", "changed", "versions", "judged"}
    assert found["old"] == ledger.state(ledger_uri(line)).policy
    assert found["new"] == policy_digest(line.params().gates)
    assert found["changed"] == [{"name": "min_new_right", "old": 0.9, "new": 0.94}]
    (falls,) = found["versions"]
    assert (falls["version"], falls["old"], falls["new"], falls["champion"]) == (3, "promote", "hold", True)
    said = relearn("gates", "diff", workspace=line).stdout
    assert "min_new_right: 0.9 -> 0.94\nVersion 3 (it serves): promote -> hold. New facts are right" in said
    assert entries(line) == before
    assert verdicts(line) == tags


def test_diff_takes_files_and_beginnings_of_digests(line: Workspace, tmp_path: Path) -> None:
    first = ledger.state(ledger_uri(line)).policy
    shipped = tmp_path / "shipped.yaml"
    shutil.copy(line.params_file, shipped)
    turn(line, gates=LOOSER)
    follow(line)
    for named in (first[:8], str(shipped)):
        found = difference(line.root, "current", named)
        assert found["new"] == first
        assert [(one["version"], one["old"], one["new"]) for one in found["versions"]] == [(4, "promote", "hold")]
    back = difference(line.root, first[:8], "current")
    assert [(one["version"], one["new"]) for one in back["versions"]] == [(4, "promote")]
    assert difference(line.root, "current", "")["versions"] == []
    assert "The two policies are the same." in relearn("gates", "diff", workspace=line).stdout


def test_diff_says_where_no_verdict_would_change(line: Workspace) -> None:
    turn(line, gates={"min_coverage": 0.3})
    said = relearn("gates", "diff", workspace=line).stdout
    assert said.splitlines()[-2:] == ["min_coverage: 0.2 -> 0.3", "No verdict of 4 versions would change."]


def test_what_names_no_policy_is_refused(line: Workspace) -> None:
    code, said = relearn_json(line, "gates", "diff", "nothing")
    assert (code, said.count("\n")) == (2, 1)
    assert "nothing is neither a params.yaml, nor current, nor the beginning" in said
    turn(line, gates=STRICTER)
    follow(line)
    with pytest.raises(InputError, match="2 gate policies in the ledger begin with"):
        difference(line.root, "", "")


def test_before_anything_was_judged_the_file_is_what_there_is(tmp_path: Path, weights: Path) -> None:
    fresh = make_workspace(tmp_path / "fresh", weights)
    content = show(fresh.root)
    assert (content["in_force"], content["since"], content["warnings"]) == (None, None, [])
    assert "not yet" in relearn("gates", "show", workspace=fresh).stdout
    assert difference(fresh.root, "current", "")["versions"] == []
