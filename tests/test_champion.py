"""Not worse than the champion: what the gate says of constructed figures, and how a cycle comes by them."""

from pathlib import Path

import pytest

from data.errors import InputError, MissingFigureError
from data.evaluation_records import (
    ChampionComparison,
    Check,
    CohortFigures,
    Compared,
    EvaluationReport,
    Outcome,
    Verdict,
)
from data.files import read_record, read_records, write_json
from data.records import Answer, Cohort, Grade
from data.workspace import Workspace
from flows.champion import beside_champion
from flows.decide import candidate, decide
from flows.judged import Judged
from flows.promote import promote
from models.champion_check import SLICES, champion_check
from models.gates import rejudge
from models.generation import answer
from models.statistics import figures
from tasks import registry, serving, weights
from tasks.candidate import Decision
from tasks.evidence import read_evidence
from tasks.tracking import CHAMPION_ARTIFACT, fetched, reaching
from tests.fault_miniature import MORE, At, Fault, command, copied, kill, turn
from tests.judgements import BASE_SERVES, GOOD, cohort, judged, outcome, would
from tests.judgements import answer as answered
from tests.miniature import NEW, write_documents

LIMIT = 0.03


def beside(*cohorts: CohortFigures, compared: Compared = Compared.ASKED, why: str = "") -> ChampionComparison:
    return ChampionComparison(candidate="adapter", version=2, compared=compared, why=why, cohorts=cohorts)


def checked(*cohorts: CohortFigures) -> Check:
    return champion_check(beside(*cohorts), LIMIT)


# --- the gate --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        (cohort(Cohort.HELD, 1000, 950, 931), Outcome.PASS),
        (cohort(Cohort.HELD, 1000, 950, 930), Outcome.INSUFFICIENT),
        (cohort(Cohort.HELD, 1000, 950, 908), Outcome.INSUFFICIENT),
        (cohort(Cohort.HELD, 1000, 950, 907), Outcome.FAIL),
        (cohort(Cohort.NEW, 100, 5, 90), Outcome.PASS),
        (cohort(Cohort.NEW, 100, 95, 60), Outcome.FAIL),
        (cohort(Cohort.RESTATED, 124, 124, 124), Outcome.INSUFFICIENT),
        (cohort(Cohort.WITHDRAWN, 125, 125, 125), Outcome.PASS),
        (cohort(Cohort.HANDBOOK, 400, 400, 380), Outcome.FAIL),
    ],
)
def test_the_ends_of_the_fall_decide_in_every_cohort(figures: CohortFigures, expected: Outcome) -> None:
    found = checked(figures)
    assert found.outcome is expected
    assert f"Against champion version 2, {SLICES[figures.cohort]} fall by" in found.reason
    assert ("would: " in found.reason) is (expected is Outcome.INSUFFICIENT)
    assert ("McNemar" in found.reason) is (expected is Outcome.FAIL)


def test_the_worst_slice_decides_and_is_named() -> None:
    good, unsure = cohort(Cohort.HELD, 400, 380, 380), cohort(Cohort.RESTATED, 50, 50, 49)
    bad = cohort(Cohort.HANDBOOK, 400, 400, 360)
    assert "facts that still hold" in checked(good, cohort(Cohort.NEW, 400, 8, 390)).reason
    found = checked(good, unsure)
    assert found.outcome is Outcome.INSUFFICIENT
    assert "another title" in found.reason
    assert would(found.reason) > 50
    for order in ((good, unsure, bad), (bad, unsure, good)):
        found = checked(*order)
        assert found.outcome is Outcome.FAIL
        assert "handbook facts fall by +0.100 from 1.000 to 0.900" in found.reason


def test_a_small_slice_without_a_fall_is_left_to_the_others_where_there_are_any() -> None:
    good, small = cohort(Cohort.HELD, 400, 380, 380), cohort(Cohort.RESTATED, 50, 40, 40)
    found = checked(small, good)
    assert found.outcome is Outcome.PASS
    assert "facts that still hold" in found.reason
    assert found.reason.endswith("too few to tell alone: facts known under another title or heading (50 questions).")
    for alone in ((small,), (small, cohort(Cohort.HANDBOOK, 60, 60, 60))):
        assert checked(*alone).outcome is Outcome.INSUFFICIENT


def test_a_small_slice_that_lost_answers_holds_though_it_gained_as_many() -> None:
    grades = [*[(Grade.RIGHT, Grade.WRONG)] * 5, *[(Grade.WRONG, Grade.RIGHT)] * 5, *[(Grade.RIGHT, Grade.RIGHT)] * 2]
    (small,) = figures([answered(Cohort.WITHDRAWN, i, *both) for i, both in enumerate(grades)])
    found = checked(cohort(Cohort.HELD, 1400, 1400, 1400), small)
    assert found.outcome is Outcome.INSUFFICIENT
    assert "refusals of withdrawn facts" in found.reason


def test_of_several_slices_one_that_chance_may_have_made_bad_does_not_fail() -> None:
    """Six of forty lost have a p of 0.031; of five slices one reaches that in one of seven cases, by chance alone."""
    bad = cohort(Cohort.HELD, 40, 40, 34)
    assert checked(bad).outcome is Outcome.FAIL
    alike = [cohort(kind, 400, 380, 380) for kind in (Cohort.NEW, Cohort.RESTATED, Cohort.WITHDRAWN, Cohort.HANDBOOK)]
    found = checked(bad, *alike)
    assert found.outcome is Outcome.INSUFFICIENT
    assert "McNemar's p, adjusted for 5 slices, is 0.16, above 0.05" in found.reason
    needed = would(found.reason)
    assert needed > 40
    lost = round(6 * needed / 40)
    assert checked(cohort(Cohort.HELD, needed, needed, needed - lost), *alike).outcome is Outcome.FAIL


def test_a_failure_rejects_and_what_cannot_be_told_holds() -> None:
    whole = {kind: figures for kind, figures in GOOD.items() if kind in SLICES}
    lost = cohort(Cohort.HELD, 400, 400, 380)
    unsure = cohort(Cohort.HELD, 400, 392, 380)
    for held, expected, verdict in (
        (GOOD[Cohort.HELD], Outcome.PASS, Verdict.PROMOTE),
        (lost, Outcome.FAIL, Verdict.REJECT),
        (unsure, Outcome.INSUFFICIENT, Verdict.HOLD),
    ):
        cohorts = {**whole, Cohort.HELD: held, Cohort.WITHDRAWN: cohort(Cohort.WITHDRAWN, 60, 0, 45)}
        judgement = judged(champion=beside(*cohorts.values()))
        assert outcome(judgement, "champion") is expected
        assert judgement.verdict is verdict


def test_the_base_is_not_judged_twice_and_nothing_is_worse_than_itself() -> None:
    for comparison, says in (
        (BASE_SERVES, "The base alone serves: forgotten, locality and restated"),
        (BASE_SERVES.model_copy(update={"version": None}), "Nothing serves yet"),
        (beside(compared=Compared.ITSELF), "version 2 is the same adapter"),
    ):
        found = champion_check(comparison, LIMIT)
        assert found.outcome is Outcome.PASS
        assert says in found.reason


def test_a_champion_that_could_not_be_asked_holds() -> None:
    for comparison in (beside(compared=Compared.UNAVAILABLE, why="Its weights are gone."), beside()):
        assert champion_check(comparison, LIMIT).outcome is Outcome.INSUFFICIENT
    judgement = judged(champion=beside(compared=Compared.UNAVAILABLE, why="Its weights are gone."))
    assert judgement.verdict is Verdict.HOLD
    assert judgement.reasons == (
        "Nothing says whether the candidate is worse than champion version 2, which could not be asked. Its weights "
        "are gone.",
    )


def test_figures_of_other_questions_or_of_another_candidate_are_refused() -> None:
    with pytest.raises(MissingFigureError, match="400 of cohort handbook"):
        judged(champion=beside(*(figures for kind, figures in GOOD.items() if kind is not Cohort.HANDBOOK)))
    with pytest.raises(InputError, match="one adapter"):
        judged(champion=BASE_SERVES.model_copy(update={"candidate": "other"}))
    with pytest.raises(MissingFigureError, match="earlier release"):
        checked(GOOD[Cohort.HELD].model_copy(update={"paired": None}))


# --- a cycle ---------------------------------------------------------------------------------------


def kept(workspace: Workspace, version: int) -> ChampionComparison:
    """What the version's run says of the champion."""
    with fetched(workspace, registry.get_version(workspace, version).run, CHAMPION_ARTIFACT) as file:
        assert file is not None
        return read_record(file, ChampionComparison)


def measured(workspace: Workspace) -> EvaluationReport:
    return read_record(workspace.evaluation / "report.json", EvaluationReport)


def deciding(workspace: Workspace) -> list[Answer]:
    every = read_records(workspace.evaluation / "answers.jsonl", Answer)
    return [one for one in every if one.question.cohort in SLICES]


def test_the_champion_answered_what_the_candidate_was_asked(second_day: Workspace) -> None:
    first, second = kept(second_day, 2), kept(second_day, 3)
    assert (first.version, first.compared, first.answers) == (1, Compared.BASE, {})
    assert (second.version, second.compared) == (2, Compared.ASKED)
    asked = deciding(second_day)
    assert len({one.question.id for one in asked}) == len(asked) > 30
    loaded = serving.load(serving.absolute(second_day, serving.fetch_weights(second_day, 2)))
    said = answer(loaded.model, loaded.tokenizer, [one.question.question for one in asked], 8, 64)
    assert second.answers == {one.question.id: text for one, text in zip(asked, said, strict=True)}
    assert set(said) - {one.base for one in asked}, "the base answered"
    assert [figures.cohort for figures in second.cohorts] == [
        figures.cohort for figures in measured(second_day).cohorts if figures.cohort in SLICES
    ]
    with reaching(second_day) as client:
        found = client.get_run(registry.get_version(second_day, 3).run).data.metrics
    differences = {figures.cohort: figures.difference for figures in second.cohorts}
    assert found["champion/held/difference"] == differences[Cohort.HELD]
    report = (second_day.reports / "v3.html").read_text()
    assert "Beside version 2, which served" in report
    assert "Beside version" not in (second_day.reports / "v2.html").read_text()


def test_a_killed_cycle_does_not_ask_again(
    undisturbed: Workspace, second_day: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = copied(undisturbed.root, tmp_path / "workspace")
    write_documents(workspace.documents, NEW | MORE)
    ended = command(workspace, server, "run", "--quick", fault=Fault(At("flows.decide.judge"), kill))
    assert ended.killed
    assert "questions answered" in ended.said.partition("champion: ")[2]
    ended = command(workspace, server, "run", "--quick", fault=Fault(At("tasks.registry.log_evidence"), kill))
    assert ended.killed
    assert "champion: " not in ended.said, "the answers lie in the cache"
    workspace.champion_answers.unlink()
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    assert "champion: " not in ended.said, "the verdict was spoken"
    assert kept(workspace, 3) == kept(second_day, 3)
    assert decide(workspace).champion == kept(second_day, 3), "a registered verdict keeps what it was spoken on"


@pytest.fixture
def again(second_day: Workspace, tmp_path: Path) -> Workspace:
    """The second day with another margin, so that its candidate is another and is judged anew; version 2 serves."""
    workspace = copied(second_day.root, tmp_path / "workspace")
    turn(workspace, gates={"max_champion_drop": 0.99}, train={"checkpoint_every": 10})
    return workspace


def reason(decision: Decision) -> str:
    (found,) = [check.reason for check in decision.judgement.checks if check.check == "champion"]
    return found


def test_few_questions_hold_at_the_shipped_margin(again: Workspace) -> None:
    turn(again, gates={"max_champion_drop": LIMIT})
    decision = decide(again)
    assert decision.judgement.verdict is Verdict.HOLD
    assert decision.judgement.reasons == (reason(decision),)
    assert "cannot tell" in reason(decision)


def test_freed_weights_hold_and_a_lost_folder_too(again: Workspace) -> None:
    assert decide(again).judgement.verdict is Verdict.PROMOTE
    again.champion_answers.unlink()
    champion = serving.pointer(again)
    assert champion is not None
    assert champion.weights.adapter is not None
    folder = again.root / champion.weights.adapter
    folder.rename(folder.with_name("elsewhere"))
    decision = decide(again)
    assert decision.judgement.verdict is Verdict.HOLD
    assert "which could not be asked. The adapter in" in reason(decision)
    folder.with_name("elsewhere").rename(folder)
    weights.free(again, registry.get_version(again, 2))
    decision = decide(again)
    assert decision.judgement.verdict is Verdict.HOLD
    assert "were freed by relearn gc" in reason(decision)
    assert not again.champion_answers.exists()


def test_other_questions_or_another_champion_are_answered_anew(again: Workspace) -> None:
    report = measured(again)
    first = beside_champion(again, report)
    assert first.compared is Compared.ASKED
    marked = again.champion_answers.read_text().replace('"answers"', '"answers" ')
    again.champion_answers.write_text(marked)
    assert beside_champion(again, report) == first
    assert again.champion_answers.read_text() == marked, "it was asked again"
    file = again.evaluation / "answers.jsonl"
    kept_lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(kept_lines[1:]))
    assert beside_champion(again, report).answers.items() < first.answers.items()
    assert again.champion_answers.read_text() != marked


def test_who_serves_says_how_it_is_compared(again: Workspace) -> None:
    report = measured(again)
    assert beside_champion(again, report).version == 2
    promote(again, 3, "checked")
    assert beside_champion(again, report).compared is Compared.ITSELF
    promote(again, 1, "back to the base")
    assert beside_champion(again, report).compared is Compared.BASE
    elsewhere = beside_champion(again, report.model_copy(update={"base": "another base"}))
    assert elsewhere.compared is Compared.ASKED, "on its own base, which no stage has asked"
    assert elsewhere.answers == {one.question.id: one.base for one in deciding(again)}


def test_what_an_earlier_release_wrote_is_read(second_day: Workspace, tmp_path: Path) -> None:
    """It compared with no champion, and said nothing of one."""
    workspace = copied(second_day.root, tmp_path / "workspace")
    decision = decide(workspace)
    judged = Judged(key="key", candidate=candidate(workspace, decision, {}), seconds={}, served=2)
    assert judged.candidate.champion == kept(workspace, 3)
    content = judged.model_dump(mode="json", by_alias=True)
    del content["candidate"]["champion"]
    write_json(workspace.judged, content)
    assert read_record(workspace.judged, Judged).candidate.champion is None
    info = registry.get_version(workspace, 3)
    (file,) = workspace.state.glob(f"mlartifacts/**/{info.run}/artifacts/{CHAMPION_ARTIFACT}")
    file.unlink()
    evidence = read_evidence(workspace, info, None)
    again = rejudge(evidence, workspace.params().gates)
    assert "champion" not in {check.check for check in again.checks}, "what was never compared is not held against it"
    others = [check for check in decision.judgement.checks if check.check != "champion"]
    assert list(again.checks) == others
