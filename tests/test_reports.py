"""A report is one page that fetches nothing, escapes everything, and says what its records say."""

import itertools
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from data.evaluation_records import Check, Judgement, Leak, LeakFigures, MarkKind, Outcome, Verdict
from data.records import (
    Cohort,
    Grade,
    Quarantined,
    Snapshot,
    SnapshotDiff,
    Standing,
)
from data.report_records import Contradiction, DocumentTexts, Funnel, Repeated, Stated
from data.spectral_records import Calibration, SpectralReport
from models.spectral_checks import CANNOT
from tasks.figures import loss_curve
from tasks.pages import duration, number, share, signed
from tasks.report_views import SAMPLES, by_gap, by_severity, fact_groups, key_figures, samples
from tasks.reports import ReportInput, render, write_report
from tests.html_page import Page
from tests.report_miniature import (
    answer,
    change,
    checks,
    cohort_answers,
    coverage,
    documents,
    layer,
    report,
)

ATTACK = '<script>alert("x")</script><img src=x onerror=alert(1)>\'"&'


# --- the page --------------------------------------------------------------------------------------


def test_the_page_fetches_and_runs_nothing() -> None:
    html = render(report())
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "embed", "img", "base", "form"} & set(page.names())
    for name, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on")], name
        assert "src" not in attributes
        for key in ("href", "xlink:href"):
            target = attributes.get(key)
            assert target is None or target.startswith(("#", "../gx/")), target
    without_names = html.replace("http://www.w3.org/1999/xlink", "").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|url\((?!#)", without_names)


def test_equal_input_gives_equal_bytes_and_other_input_others() -> None:
    assert render(report()) == render(report())
    assert render(report()) != render(report(serving="Version 5 serves now."))


def test_every_id_is_unique_and_every_reference_has_its_target() -> None:
    page = Page(render(report()))
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    pointed = [attributes.get("aria-labelledby") for _, attributes in page.elements]
    pointed += [
        target[1:]
        for _, attributes in page.elements
        for key in ("href", "xlink:href")
        if (target := attributes.get(key)) and target.startswith("#")
    ]
    assert {target for target in pointed if target} <= set(ids)


def test_headings_descend_in_order_and_tables_and_pictures_speak() -> None:
    page = Page(render(report()))
    levels = [int(name[1]) for name in page.names() if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels))
    assert page.names().count("table") == page.names().count("caption") > 10
    assert all("scope" in attributes for name, attributes in page.elements if name == "th")
    pictures = [attributes for name, attributes in page.elements if name == "svg"]
    assert len(pictures) > 15
    assert all(one["role"] == "img" and one["aria-label"] for one in pictures)
    assert ("html", {"lang": "en"}) in page.elements


def attacked() -> ReportInput:
    """Hostile text in every place that documents, models, people or files can reach."""
    asked = answer(Cohort.NEW, 1, Grade.WRONG, question=ATTACK, answers=(ATTACK,), source="fact-replaced-1")
    hostile = asked.model_copy(update={"base": ATTACK, "candidate": ATTACK})
    probe = answer(Cohort.PROBE, 1, Grade.WRONG, question=ATTACK).model_copy(update={"candidate": ATTACK})
    fact = change(Standing.REPLACED, 1, title=ATTACK, subject=ATTACK, attribute=ATTACK, value=ATTACK)
    plain = report()
    check = Check(check=ATTACK, outcome=Outcome.FAIL, reason=ATTACK, layer=ATTACK)
    dropped = Funnel(recipe=ATTACK, proposed=2, kept=1, dropped={ATTACK: 1}, examples={ATTACK: (ATTACK,)})
    names = {"recipe": ATTACK, "teacher": ATTACK, "rows": {ATTACK: 3}, "dropped": {ATTACK: 1}, "funnel": (dropped,)}
    stated = Stated(value=ATTACK, documents=(ATTACK, ATTACK), count=2)
    against = Contradiction(title=ATTACK, subject=ATTACK, attribute=ATTACK, stated=(stated, stated), values=2)
    copied = Repeated(subject=ATTACK, attribute=ATTACK, value=ATTACK, documents=300, taught_by=ATTACK)
    claims = {"contradictions": (against,), "contradicted": 1, "repeated": (copied,), "repeated_claims": 1}
    gap = coverage()[3].model_copy(update={"path": ATTACK, "title": ATTACK})
    return report(
        created=ATTACK,
        judgement=Judgement(verdict=Verdict.REJECT, reasons=(ATTACK,), checks=(check,)),
        snapshot=Snapshot(
            digest=ATTACK,
            documents=(documents()[0].model_copy(update={"path": ATTACK, "title": ATTACK}),),
            quarantined=(Quarantined(path=ATTACK, digest=ATTACK, reasons=(ATTACK,)),),
        ),
        diff=SnapshotDiff(added=(ATTACK,), changed=(ATTACK,), moved=((ATTACK, ATTACK),), withdrawn=(ATTACK,)),
        compared_with=ATTACK,
        texts=(
            DocumentTexts(path=ATTACK, old_path=f"old {ATTACK}", old=f"{ATTACK} one two", new=f"{ATTACK} three two"),
            DocumentTexts(path=ATTACK, old_path=None, old="", new=ATTACK),
        ),
        paths={"doc-1": ATTACK},
        other_languages={ATTACK: ATTACK},
        synthesis=plain.synthesis.model_copy(update={**names, "coverage": (gap,), **claims}),
        changes=(fact.model_copy(update={"old_value": ATTACK}), change(Standing.WITHDRAWN, 2, value=ATTACK)),
        training=plain.training.model_copy(update={"method": ATTACK, "device": ATTACK, "base": ATTACK}),
        spectral=SpectralReport(adapter=ATTACK, base=ATTACK, layers=(layer(0, ATTACK), layer(1, ATTACK))),
        answers=(hostile, probe),
        digests={ATTACK: ATTACK + "2"},
        warnings=(ATTACK,),
        seconds={ATTACK: 1.0},
        data_docs=f"javascript:{ATTACK}",
        next_command=ATTACK,
    )


def test_hostile_text_stays_text() -> None:
    html = render(attacked())
    page = Page(html)
    assert "<script" not in html.lower()
    assert not {"script", "img"} & set(page.names())
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert not [a for _, a in page.elements if (a.get("href") or "").lower().startswith("javascript:")]
    assert page.text().count(ATTACK) >= 40


def test_contradictions_and_what_many_repeat_are_listed_with_who_says_so() -> None:
    basic = (
        Stated(value="$6", documents=("a.md", "b.md"), count=2),
        Stated(value="$5", documents=("fees.md",), count=1),
    )
    claims = {
        "contradicted": 2,
        "contradictions": (
            Contradiction(title="Fees", subject="Basic", attribute="Fee", stated=basic, values=2),
            Contradiction(title=None, subject="Service", attribute="meaning", stated=basic, values=2),
        ),
        "repeated_claims": 1,
        "repeated": (Repeated(subject="Royal", attribute="Fee", value="$99", documents=300, taught_by="c.md"),),
    }
    text = Page(render(report(synthesis=report().synthesis.model_copy(update=claims)))).text()
    assert "contradict one another: 2" in text
    assert "“$6”: a.md and 1 more “$5”: fees.md" in text
    assert "Service, meaning different ones" in text
    assert "“$99” (300 documents, taught by c.md )" in text
    assert "contradict one another" not in Page(render(report())).text()


def test_the_verdict_its_reasons_and_the_next_command_come_first() -> None:
    text = Page(render(report())).text()
    start = text[text.index("Version 7") :]
    order = ["reject", "Version 6 serves now", "fall by +0.033", "relearn diff"]
    order += ["Did it get better?", "Did it forget?", "Is anything stale?", "1 quarantined", "REGRESSIONS: "]
    assert [start.index(part) for part in order] == sorted(start.index(part) for part in order)


@pytest.mark.parametrize(
    ("verdict", "word"), [(Verdict.PROMOTE, "Every gate passed"), (Verdict.HOLD, "A person decides")]
)
def test_each_verdict_says_what_it_means(verdict: Verdict, word: str) -> None:
    judged = Judgement(verdict=verdict, reasons=("Because.",), checks=checks())
    text = Page(render(report(judgement=judged, version=None, champion=None, serving="No version serves yet."))).text()
    assert word in text
    assert "Candidate without a version" in text
    assert "No version serves yet" in text


def test_figures_stand_with_their_interval_difference_and_n() -> None:
    html = render(report())
    text = Page(html).text()
    assert "0.964 [0.922, 0.984]" in text, "as 160 would: 249 questions, of 69 facts two each"
    assert "+0.964 [+0.916, +0.984]" in text
    assert "−0.033 [−0.060, −0.014]" in text
    assert 'aria-label="Learned: base 0.000 [0.000, 0.023], n = 249; candidate 0.964' in html


def test_nothing_that_the_version_rests_on_is_missing() -> None:
    given = report()
    text = Page(render(given)).text()
    digests = {
        *given.digests.values(),
        given.snapshot.digest,
        given.spectral.adapter,
        given.evaluation.questions,
    }
    assert all(digest in text for digest in digests)
    wanted = ["template", "20240601", "draft.md", "It is empty.", "duplicate", "4 min 11 s"]
    assert [part for part in wanted if part not in text] == []
    assert all(one.path in text for one in given.synthesis.coverage)
    paths = (*given.diff.added, *given.diff.changed, *given.diff.withdrawn, given.diff.moved[0][0])
    assert all(path in text for path in paths)
    assert all(check.reason in text for check in given.judgement.checks)


def test_a_first_run_with_nothing_to_compare_or_to_ask_is_still_a_page() -> None:
    plain = report()
    bare = report(
        diff=SnapshotDiff(added=(), changed=(), moved=(), withdrawn=()),
        changes=(),
        synthesis=plain.synthesis.model_copy(
            update={"coverage": (), "rows": {}, "dropped": {}, "facts": dict.fromkeys(Standing, 0)}
        ),
        training=plain.training.model_copy(update={"losses": ()}),
        spectral=plain.spectral.model_copy(update={"layers": ()}),
        evaluation=plain.evaluation.model_copy(update={"cohorts": ()}),
        answers=(),
        warnings=(),
        seconds={},
        data_docs="",
        texts=(),
        paths={},
        other_languages={},
    )
    text = Page(render(bare)).text()
    assert "no such questions" in text
    assert "No loss was logged." in text
    assert "Data Docs" not in text


def test_figures_that_are_not_finite_are_said_in_words() -> None:
    broken = layer(0, "q_proj", finite=False, norm=math.nan, stable_rank=math.inf, alpha=None)
    given = report()
    html = render(
        report(
            spectral=given.spectral.model_copy(update={"layers": (broken,)}),
            training=given.training.model_copy(update={"losses": (math.nan, math.inf)}),
        )
    )
    assert "not finite" in html
    assert not re.search(r"\bnan\b", html)


def test_a_training_that_was_ended_early_is_said() -> None:
    given = report().training.model_copy(update={"stopped": "Training ended early, at step 200 of 1600: <it> grew."})
    assert "Training ended early, at step 200 of 1600: &lt;it&gt; grew." in render(report(training=given))
    assert "ended early" not in render(report())


def test_writing_leaves_one_file_with_the_page(tmp_path: Path) -> None:
    path = write_report(tmp_path / "reports" / "7.html", report())
    assert path.read_text(encoding="utf-8") == render(report())
    assert [entry.name for entry in path.parent.iterdir()] == ["7.html"]


def test_checks_that_only_report_stand_apart_from_those_that_decide() -> None:
    shadow = Check(check="unstructured", outcome=Outcome.FAIL, reason="Like random numbers.", decides=False)
    html = render(report())
    section = html[html.index('id="checks"') : html.index('id="coverage"')]
    assert "does not decide" not in section
    given = report().judgement
    html = render(report(judgement=given.model_copy(update={"checks": (shadow, *given.checks)})))
    section = html[html.index('id="checks"') : html.index('id="coverage"')]
    deciding, _, reported = section.partition('class="shadow"')
    assert "Like random numbers." in reported
    assert "Like random numbers." not in deciding
    assert "Reported, does not decide" in reported
    assert all(check.reason in deciding for check in given.checks)


def test_what_came_out_is_shown_masked_with_its_documents() -> None:
    leak = Leak(
        kind=MarkKind.CANARY, mark="ma… (21 characters)", paths=("<b>.md",), probes=8, probed=7, answered=1, base=0
    )
    given = report().evaluation
    looked = LeakFigures(canaries=2, secrets=3, probes=40, answers=900, out=(leak,))
    for figures, words in (
        (None, "Nothing was looked for"),
        (given.leaks, "no document in force holds what looks like a secret"),
        (looked.model_copy(update={"out": ()}), "in 40 continuations and 900 answers. None came out."),
        (looked, "ma… (21 characters)"),
    ):
        html = render(report(evaluation=given.model_copy(update={"leaks": figures})))
        section = html[html.index('id="leaks"') : html.index('id="samples"')]
        assert words in section
    assert "&lt;b&gt;.md" in section
    assert "7 of 8" in section


def test_the_weights_are_shown_with_what_their_checks_cannot_say() -> None:
    calibration = Calibration(base="b", rank=16, adapters=24, false_alarms=1, modules={})
    text = Page(render(report())).text()
    assert text.count(CANNOT) == 1
    assert "Thresholds: uncalibrated." in text
    known = Page(render(report(calibration=calibration))).text()
    assert "calibrated on 24 adapters (false alarms 1 of 24 left one out)" in known
    assert "uncalibrated" not in known
    html = render(report())
    for name in ("Size of the update", "Share of the weights", "Effective rank", "Alpha", "Density of the eigenvalues"):
        assert f'aria-label="{name}' in html
    assert html.count('<td class="mark ') == 30 * 9


# --- what is chosen --------------------------------------------------------------------------------


def test_samples_mix_right_and_wrong_show_every_probe_and_do_not_depend_on_order() -> None:
    answers = cohort_answers()
    groups = {group.cohort: group for group in samples(answers)}
    for cohort in (Cohort.NEW, Cohort.HELD, Cohort.WITHDRAWN):
        right = [one.candidate_grade is Grade.RIGHT for one in groups[cohort].answers]
        assert (len(right), sum(right)) == (SAMPLES, SAMPLES // 2)
    assert sum(one.candidate_grade is Grade.RIGHT for one in groups[Cohort.HANDBOOK].answers) == SAMPLES - 3
    assert sum(one.candidate_grade is Grade.RIGHT for one in groups[Cohort.RECALL].answers) == 4
    assert len(groups[Cohort.PROBE].answers) == 38
    for group in samples(answers[::-1]):
        assert {one.question.id for one in group.answers} == {one.question.id for one in groups[group.cohort].answers}


def test_key_figures_stand_beside_the_check_that_decides_on_them() -> None:
    given = report()
    lines = {line.name: line for line in key_figures(given.evaluation, given.judgement)}
    names = "Learned Restated Kept Handbook Withdrawn Stale Recall Probes Unanswerable"
    assert list(lines) == names.split()
    assert lines["Kept"].outcome is Outcome.FAIL
    assert lines["Probes"].outcome is None
    stale = lines["Stale"]
    assert stale.candidate is not None
    assert (stale.candidate.hits, stale.candidate.n) == (2, 83)
    nothing = given.evaluation.model_copy(update={"cohorts": ()})
    assert all(line.candidate is None for line in key_figures(nothing, given.judgement))


def test_key_figures_say_how_many_facts_they_rest_on_and_which_interval_decides() -> None:
    given = report()
    (kept,) = [line for line in key_figures(given.evaluation, given.judgement) if line.name == "Kept"]
    assert kept.paired is not None
    assert (kept.paired.gained, kept.paired.lost) == (0, 10)
    page = render(given)
    assert "+0 -10, p 0.002" in page
    assert f"{kept.paired.facts} facts" in page
    bare = [figures.model_copy(update={"paired": None}) for figures in given.evaluation.cohorts]
    earlier = given.evaluation.model_copy(update={"cohorts": tuple(bare)})
    assert "p 0.002" not in render(report(evaluation=earlier))


def test_failures_and_gaps_come_first_and_no_fact_is_lost() -> None:
    assert [check.outcome for check in by_severity(checks())][:2] == [Outcome.FAIL, Outcome.WARN]
    gaps = [one.changed_statements - one.changed_with_fact for one in by_gap(coverage())]
    assert gaps == sorted(gaps, reverse=True)
    changes = tuple(change(Standing.NEW, place) for place in range(900))
    for group in fact_groups(changes):
        assert len(group.open) + len(group.folded) + group.left_out == group.count
    assert sum(group.count for group in fact_groups(changes)) == 900


# --- figures and numbers ---------------------------------------------------------------------------


def test_the_loss_is_svg_that_takes_the_pages_colours() -> None:
    svg = str(loss_curve(report().training))
    root = ElementTree.fromstring(svg)
    assert "viewBox" in root.attrib
    assert "var(--accent)" in svg
    assert not re.search(r"#[0-9a-f]{3,6}", svg)


def test_numbers_are_written_in_one_way() -> None:
    assert [signed(value) for value in (0.5, -0.0321, -0.0004)] == ["+0.500", "−0.032", "0.000"]
    assert [number(None), number(math.nan), number(1234.5678, 2)] == ["–", "not finite", "1,234.57"]
    assert [share(1, 4), share(0, 0)] == ["25 %", "–"]
    assert [duration(seconds) for seconds in (4.21, 59.97, 251.3, 7260)] == [
        "4.2 s",
        "1 min 00 s",
        "4 min 11 s",
        "2 h 01 min",
    ]
