"""From twenty accepted adapters of one base on, the spectra of the next are held against them."""

import json
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from data.evaluation_records import Check, Judgement, Verdict
from data.files import read_json, read_record, write_bytes, write_json
from data.spectral_records import Calibration, SpectralReport
from data.workspace import Workspace
from flows.collect_garbage import collect_garbage
from flows.decide import candidate, decide
from flows.leftovers import half_built
from flows.spectra_report import Norm, Question, content, norm
from models.calibration import MIN_ADAPTERS, TOO_FEW, calibrate
from models.spectrum import DEFAULT
from tasks import registry
from tasks.accepted import SPECTRAL_ARTIFACT, accepted_spectra
from tasks.candidate import Decision
from tasks.places import ledger_uri
from tasks.tracking import CALIBRATION_ARTIFACT, JUDGEMENT_ARTIFACT, fetched, reaching
from tests.accepted_miniature import MODULES, USUAL, accept, layers, stand
from tests.fault_miniature import LENIENT, At, Fault, command, copied, kill, turn
from tests.ledger_miniature import enthroned
from tests.registry_miniature import base_digest, make_workspace
from tests.spectral_miniature import layer

DAYS = tuple(f"day {number}" for number in range(MIN_ADAPTERS))
FAR = 4 * USUAL
"""Usual nowhere, and allowed by the default thresholds."""


@pytest.fixture(scope="module")
def nineteen(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Workspace:
    """One accepted version too few; the first was rejected by its gates, and a person let it serve nevertheless."""
    workspace = make_workspace(tmp_path_factory.mktemp("nineteen") / "workspace", weights)
    turn(workspace, gates=LENIENT | {"max_robust_z": 10.0, "warn_robust_z": 6.0})
    accept(workspace, weights, ["a bad day"], Verdict.REJECT)
    (overridden,) = accept(workspace, weights, DAYS[:1], Verdict.REJECT)
    enthroned(ledger_uri(workspace), overridden)
    accept(workspace, weights, DAYS[1:-1])
    return workspace


@pytest.fixture(scope="module")
def twenty(nineteen: Workspace, tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Workspace:
    """The same with one more."""
    workspace = copied(nineteen.root, tmp_path_factory.mktemp("twenty") / "workspace")
    accept(workspace, weights, DAYS[-1:])
    return workspace


def checked(judgement: Judgement, name: str) -> Check:
    (found,) = [check for check in judgement.checks if check.check == name]
    return found


def test_with_nineteen_the_default_thresholds_hold_and_nothing_is_fetched(
    nineteen: Workspace, weights: Path, tmp_path: Path
) -> None:
    workspace = copied(nineteen.root, tmp_path / "workspace")
    stand(workspace, weights, "today", FAR)
    decision = decide(workspace)
    assert (decision.judgement.verdict, decision.calibration) == (Verdict.PROMOTE, None)
    assert "times the base's noise edge" in checked(decision.judgement, "exploded").reason
    assert not workspace.spectra_file(1).parent.exists()


def test_from_twenty_on_the_next_is_held_against_them(twenty: Workspace, weights: Path, tmp_path: Path) -> None:
    workspace = copied(twenty.root, tmp_path / "workspace")
    stand(workspace, weights, "today")
    usual = decide(workspace)
    assert usual.judgement.verdict is Verdict.PROMOTE, usual.judgement.reasons
    assert usual.calibration is not None
    assert (usual.calibration.adapters, usual.calibration.false_alarms) == (20, 0)
    assert set(usual.calibration.modules) == set(MODULES)
    stand(workspace, weights, "today", FAR)
    far = decide(workspace)
    assert far.judgement.verdict is Verdict.REJECT
    assert "of 20 accepted adapters" in far.judgement.reasons[0]
    assert far.calibration == usual.calibration


def test_spectra_hold_an_adapter_against_the_workspaces_accepted_ones(
    twenty: Workspace, nineteen: Workspace, weights: Path, tmp_path: Path
) -> None:
    few, enough = copied(nineteen.root, tmp_path / "few"), copied(twenty.root, tmp_path / "enough")
    for workspace in (few, enough):
        stand(workspace, weights, "today", FAR)
    asked = Question(enough.adapter, Path(enough.base()), DEFAULT, 1)
    found = norm(asked, enough.root, layers("today", FAR), enough.params().gates)
    assert (found.calibration, found.why_not) == (decide(enough).calibration, "")
    said = content(layers("today", FAR), enough.params().gates, found)
    assert said["calibration"].startswith("calibrated on 20 adapters")
    assert "of 20 accepted adapters" in {one["check"]: one["reason"] for one in said["whole"]}["exploded"]
    asked = Question(few.adapter, Path(few.base()), DEFAULT, 1)
    assert norm(asked, few.root, layers("today"), few.params().gates) == Norm(why_not=TOO_FEW)
    (few.state / "ledger.db").write_bytes(b"no database")
    unread = norm(asked, few.root, layers("today"), few.params().gates)
    assert unread.calibration is None
    assert unread.why_not.startswith("What was accepted could not be read: ")


def test_what_was_fetched_is_not_fetched_again_unless_it_is_damaged(
    twenty: Workspace, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = copied(twenty.root, tmp_path / "workspace")
    stand(workspace, weights, "today")
    first = decide(workspace)
    kept = sorted(workspace.spectra_file(1).parent.iterdir())
    assert len(kept) == MIN_ADAPTERS
    asked: list[str] = []

    def counting(place: Workspace, run: str, path: str) -> AbstractContextManager[Path | None]:
        asked.append(path)
        return fetched(place, run, path)

    monkeypatch.setattr("tasks.accepted.fetched", counting)
    assert decide(workspace) == first
    assert asked == []
    whole = kept[0].read_bytes()
    other = read_json(kept[1])
    torn, false = whole[: len(whole) // 2], read_json(kept[0]) | {"layers": "none"}
    for damage in (torn, b"", json.dumps(other).encode(), json.dumps(false).encode()):
        write_bytes(kept[0], damage)
        assert decide(workspace) == first
        assert kept[0].read_bytes() == whole
    assert asked == [SPECTRAL_ARTIFACT] * 4


def test_versions_without_a_report_that_can_be_read_do_not_count_and_are_told_of(
    twenty: Workspace, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = copied(twenty.root, tmp_path / "workspace")
    accept(workspace, weights, ["one more"])
    stand(workspace, weights, "today", FAR)
    accepted = [info for info in registry.get_versions(workspace) if info.verdict is Verdict.PROMOTE]
    with reaching(workspace) as client:
        older, gone = (
            Path(client.get_run(info.run).info.artifact_uri.removeprefix("file://")) / SPECTRAL_ARTIFACT
            for info in accepted[:2]
        )
    write_json(older, {"schema": 1, "adapter": accepted[0].tags["adapter"], "base": "", "layers": []})
    gone.unlink()
    decision = decide(workspace)
    assert (decision.calibration, decision.judgement.verdict) == (None, Verdict.PROMOTE), "19 are left of 21"
    assert f"Of accepted version {accepted[0].version} and 1 others there is no" in capsys.readouterr().err
    older.unlink()  # it is known to be older, so that it is not asked for again
    assert workspace.spectra_file(accepted[0].version).is_file()
    found = accepted_spectra(workspace, base_digest(workspace), but="")
    assert found.unread == (accepted[0].version, accepted[1].version)


def test_other_bases_and_the_candidate_itself_do_not_count_and_an_adapter_counts_once(
    twenty: Workspace, weights: Path, tmp_path: Path
) -> None:
    workspace = copied(twenty.root, tmp_path / "workspace")
    base = base_digest(workspace)
    assert accepted_spectra(workspace, "another base", but="").reports == ()
    newest = registry.get_versions(workspace)[-1]
    assert accepted_spectra(workspace, base, but=newest.tags["adapter"]).reports == ()
    turn(workspace, assess={"batch": 32})  # another key, the same adapter
    accept(workspace, weights, DAYS[-2:])
    assert len(registry.get_versions(workspace)) == MIN_ADAPTERS + 3
    found = accepted_spectra(workspace, base, but="")
    assert len({report.adapter for report in found.reports}) == len(found.reports) == MIN_ADAPTERS
    with reaching(workspace) as client:
        client.set_model_version_tag(workspace.params().registry.model, str(newest.version - 2), "base", "another")
    assert accepted_spectra(workspace, base, but="").reports == ()


def test_adapters_of_another_rank_are_no_norm(twenty: Workspace, weights: Path, tmp_path: Path) -> None:
    workspace = copied(twenty.root, tmp_path / "workspace")
    report = stand(workspace, weights, "today", FAR)
    wider = [one.model_copy(update={"rank": 32, "declared_rank": 32}) for one in report.layers]
    file = workspace.spectral / "report.json"
    write_json(file, report.model_copy(update={"layers": tuple(wider)}).model_dump(mode="json", by_alias=True))
    decision = decide(workspace)
    assert (decision.calibration, decision.judgement.verdict) == (None, Verdict.PROMOTE)


def test_a_norm_that_rejects_its_own_is_recorded_and_judges_nobody(
    nineteen: Workspace, weights: Path, tmp_path: Path
) -> None:
    workspace = copied(nineteen.root, tmp_path / "workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.accepted_miniature.layers", lambda day: layers(day, FAR))
        accept(workspace, weights, ["far one", "far two", "far three"])
    stand(workspace, weights, "today", FAR)
    decision = decide(workspace)
    assert decision.calibration is not None
    assert (decision.calibration.adapters, decision.calibration.false_alarms) == (22, 3)
    assert decision.judgement.verdict is Verdict.PROMOTE
    assert "entries change in a bf16 merge" in checked(decision.judgement, "not_learned").reason


def test_the_norm_is_evidence_and_a_registered_verdict_stands(twenty: Workspace, weights: Path, tmp_path: Path) -> None:
    workspace = copied(twenty.root, tmp_path / "workspace")
    stand(workspace, weights, "today", FAR)
    decision = decide(workspace)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.registry.log_pyfunc", lambda _, __, run, *rest: (run.info.artifact_uri, None))
        version = registry.register_candidate(workspace, candidate(workspace, decision, {}))
    run = registry.get_version(workspace, version).run
    with fetched(workspace, run, CALIBRATION_ARTIFACT) as file:
        assert file is not None
        assert read_record(file, Calibration) == decision.calibration
    with fetched(workspace, run, JUDGEMENT_ARTIFACT) as file:
        assert file is not None
        assert read_record(file, Judgement) == decision.judgement
    with reaching(workspace) as client:
        figures = client.get_run(run).data.metrics
    assert (figures["calibration/adapters"], figures["calibration/false_alarms"]) == (20.0, 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.accepted_miniature.layers", lambda day: layers(day, FAR))
        accept(workspace, weights, ["a new day"])
    stand(workspace, weights, "today", FAR)
    assert decide(workspace) == decision, "the documents came back, and with them the verdict"
    stand(workspace, weights, "tomorrow", FAR)
    again = decide(workspace)
    assert again.calibration is not None
    assert again.calibration.adapters == MIN_ADAPTERS + 1


def test_what_the_next_cycle_would_not_look_at_is_freed(twenty: Workspace, weights: Path, tmp_path: Path) -> None:
    workspace = copied(twenty.root, tmp_path / "workspace")
    turn(workspace, gc={"keep_versions": 100})
    stand(workspace, weights, "today")
    decide(workspace)
    place = workspace.spectra_file(1).parent
    needed = sorted(place.iterdir())
    for name in ("999.json", "1.json"):
        write_bytes(place / name, b"{}")
    draft = place / ".3.json.abc.tmp"
    draft.write_bytes(b"{")
    assert draft in half_built(workspace)
    shutil.copytree(Path(__file__).parent.parent / ".dvc", workspace.root / ".dvc", ignore=lambda *_: ["tmp", "cache"])
    freed = collect_garbage(workspace.root, dry_run=False)
    assert freed.bytes["spectra"] == 4
    assert sorted(place.iterdir()) == needed


@pytest.mark.parametrize(
    ("changes", "places", "alarms"),
    [
        ({"sigma_ratio": 9.0}, (0,), 1),
        ({"sigma_ratio": 0.01}, (1,), 1),
        ({"survives_bf16": 0.1}, (0,), 0),
        ({"survives_bf16": 0.1}, (0, 1), 1),
        ({"null_share": None}, (0, 1), 0),
    ],
)
def test_left_out_an_adapter_is_judged_as_the_gate_would(
    changes: dict[str, float], places: tuple[int, ...], alarms: int
) -> None:
    """One module is enough to have exploded; for what was learned it takes more than half of them."""
    odd = [layer(name, **(changes if place in places else {})) for place, name in enumerate(MODULES)]
    spectra = [layers(day) for day in DAYS[1:]] + [tuple(odd)]
    reports = [SpectralReport(adapter=str(place), base="b", layers=found) for place, found in enumerate(spectra)]
    found = calibrate(reports, 10.0)
    assert found is not None
    assert (found.adapters, found.false_alarms) == (MIN_ADAPTERS, alarms)
    assert calibrate(reports[1:], 10.0) is None
    assert calibrate(reports, 10.0, like=reports[0].model_copy(update={"base": "another"})) is None


def test_a_report_of_an_older_form_is_no_report(tmp_path: Path) -> None:
    report = SpectralReport(adapter="a", base="b", layers=())
    content = report.model_dump(mode="json", by_alias=True)
    assert content["schema"] == 2
    with pytest.raises(ValueError, match="schema"):
        SpectralReport.model_validate(content | {"schema": 1})
    assert Decision.model_validate({"judgement": {"verdict": "hold", "reasons": [], "checks": []}}).calibration is None


def test_killed_between_verdict_and_registration_the_verdict_stays(lenient: Path, server: str, tmp_path: Path) -> None:
    workspace = copied(lenient, tmp_path / "workspace")
    turn(workspace, gates={"max_robust_z": 3.0, "warn_robust_z": 2.0})
    ended = command(workspace, server, "run", "--quick", fault=Fault(At("tasks.registry.register_candidate"), kill))
    assert ended.killed, ended.said
    accept_smaller(workspace, read_record(workspace.spectral / "report.json", SpectralReport))
    forgetful = copied(workspace.root, tmp_path / "forgetful")
    forgetful.judged.unlink()
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    judged_anew = command(forgetful, server, "run", "--quick")
    assert judged_anew.code == 3, judged_anew.said
    assert "of 20 accepted adapters" in judged_anew.said


def accept_smaller(workspace: Workspace, report: SpectralReport) -> None:
    """Twenty versions whose updates were a twentieth as large, which another line has registered meanwhile."""
    model = workspace.params().registry.model
    with reaching(workspace) as client:
        experiment = client.get_experiment_by_name(workspace.params().registry.experiment)
        assert experiment is not None
        for number in range(MIN_ADAPTERS):
            smaller = tuple(
                one.model_copy(update={"update": one.update.model_copy(update={"sigma_ratio": size})})
                for one in report.layers
                if one.update is not None
                for size in [one.update.sigma_ratio / (20 + number / 10)]
            )
            other = report.model_copy(update={"adapter": f"adapter {number}", "layers": smaller})
            run = client.create_run(experiment.experiment_id)
            client.log_text(run.info.run_id, other.model_dump_json(by_alias=True), SPECTRAL_ARTIFACT)
            tags = {"kind": "candidate", "verdict": "promote", "base": other.base, "adapter": other.adapter}
            client.create_model_version(model, run.info.artifact_uri, run_id=run.info.run_id, tags=tags)
            client.set_terminated(run.info.run_id)
