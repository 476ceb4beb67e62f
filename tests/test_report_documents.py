"""Every question leads to its document and every document to its questions, sentences and changes."""

import numpy as np
import pytest

from bench.false_regressions import Truth, drawn
from data.evaluation_records import Check, EvaluationReport, Outcome
from data.records import Answer, Cohort, FactChange, Grade, Standing
from data.report_records import DocumentTexts
from models.directions import LEVEL, Direction
from models.statistics import figures
from tasks.pages import pair
from tasks.report_documents import (
    ALL_CHARACTERS,
    ALL_QUESTIONS,
    DOCUMENTS,
    LOST_SEEN,
    QUESTIONS,
    DocumentLine,
    Documents,
    document_views,
    share_of,
)
from tasks.report_headlines import headlines
from tasks.reports import render
from tests.html_page import Page
from tests.report_miniature import answer, change, checks, report

KNEW, LEARNED, SAME = (Grade.RIGHT, Grade.WRONG), (Grade.WRONG, Grade.RIGHT), (Grade.RIGHT, Grade.RIGHT)


def asked(document: str, grades: tuple[Grade, Grade], count: int) -> list[Answer]:
    base, candidate = grades
    made = [
        answer(
            Cohort.RECALL, place, candidate, id=f"recall/{document}/{place}/{base}", source=document, document=document
        )
        for place in range(count)
    ]
    return [one.model_copy(update={"base_grade": base}) for one in made]


def views(answers: list[Answer], texts: tuple[DocumentTexts, ...] = ()) -> Documents:
    """Of questions on documents, and on facts that were read from them."""
    questions = [one.question for one in answers]
    paths = {one.document: f"{one.document}.md" for one in questions}
    sources = {one.source: one.document for one in questions if one.source != one.document}
    return document_views(answers, read_from(sources), texts, {}, paths, {})


def read_from(documents: dict[str, str]) -> list[FactChange]:
    """Facts, by the document of each."""
    one = change(Standing.HELD, 0)
    return [
        one.model_copy(update={"fact": one.fact.model_copy(update={"id": source, "document": document})})
        for source, document in documents.items()
    ]


def by_path(found: Documents) -> dict[str, DocumentLine]:
    return {line.path: line for group in found.groups for line in group.lines}


def test_documents_go_where_their_facts_go_and_the_worst_comes_first() -> None:
    answers = [
        *asked("fell", KNEW, 12),
        *asked("fell-less", KNEW, 8),
        *asked("fell-less", SAME, 4),
        *asked("rose", LEARNED, 12),
        *asked("noise", KNEW, 1),
        *asked("noise", SAME, 20),
        *asked("quiet", SAME, 5),
        *asked("quiet", LEARNED, 1),
    ]
    found = views(answers)
    groups = {group.direction: group for group in found.groups}
    assert [line.path for line in groups[Direction.REGRESSION].lines] == ["fell.md", "fell-less.md"]
    assert [line.path for line in groups[Direction.IMPROVEMENT].lines] == ["rose.md"]
    assert [line.path for line in groups[Direction.LOST_SOME].lines] == ["noise.md"]
    assert [line.path for line in groups[Direction.NO_CHANGE].lines] == ["quiet.md"]
    assert groups[Direction.REGRESSION].lost == 20
    assert (groups[Direction.LOST_SOME].lost, groups[Direction.NO_CHANGE].lost) == (1, 0)
    assert found.asked == 5


def fact(document: str, name: str, grades: tuple[Grade, Grade], wordings: int) -> list[Answer]:
    """Questions on one fact, all answered alike."""
    made = asked(document, grades, wordings)
    return [
        one.model_copy(update={"question": one.question.model_copy(update={"id": f"{name}/{place}", "source": name})})
        for place, one in enumerate(made)
    ]


def test_questions_on_one_fact_stand_or_fall_together() -> None:
    """Twelve lost answers on twelve facts are beyond chance; twelve on two facts are two coins that fell one way."""
    apart, together = asked("doc", KNEW, 12), [*fact("doc", "a", KNEW, 6), *fact("doc", "b", KNEW, 6)]
    named, lost = by_path(views(apart))["doc.md"], by_path(views(together))["doc.md"]
    assert (named.direction, named.movement.p) == (Direction.REGRESSION, 2 / 2**12)
    assert (lost.direction, lost.movement.p) == (Direction.LOST_SOME, 1 / 2)
    assert (lost.movement.lost, lost.movement.facts, lost.movement.differing) == (12, 2, 2)
    assert "Too few facts" in lost.why_no_regression


def test_what_would_do_alone_does_not_do_among_many() -> None:
    """Six facts lost of six, p 0.031; beside ten documents of which six facts differ, too, one such is chance."""
    fell = asked("fell", KNEW, 6)
    others = [one for place in range(10) for one in (*asked(f"d{place}", KNEW, 3), *asked(f"d{place}", LEARNED, 3))]
    assert by_path(views(fell))["fell.md"].direction is Direction.REGRESSION
    among = by_path(views([*fell, *others]))
    assert among["fell.md"].direction is Direction.LOST_SOME
    assert "Looked at alone it would count as worse" in among["fell.md"].why_no_regression
    assert among["d0.md"].why_no_regression == "Two equally good models differ as much by chance."


def test_documents_that_cannot_tell_take_no_level_from_those_that_can() -> None:
    quiet = [one for place in range(500) for one in (*asked(f"d{place}", KNEW, 2), *asked(f"d{place}", SAME, 3))]
    found = views([*asked("fell", KNEW, 6), *quiet])
    assert [line.path for line in found.groups[0].lines] == ["fell.md"]


def reports(truly: Truth, count: int, seed: int = 20240601) -> list[list[Answer]]:
    draw = np.random.default_rng(seed)
    return [[one for document in drawn(draw, truly) for one in document] for _ in range(count)]


def regressions(found: Documents) -> set[str]:
    return {line.path for group in found.groups for line in group.lines if group.direction is Direction.REGRESSION}


def test_reports_of_equal_models_name_no_regression_beyond_the_stated_level() -> None:
    """Of eighty documents each, whose facts fall whole. What corrects for many is tested below."""
    found = [views(answers) for answers in reports(Truth(together=1.0), 20)]
    alarms = sum(bool(regressions(one)) for one in found) / len(found)
    assert alarms <= LEVEL + 1.96 * np.sqrt(LEVEL * (1 - LEVEL) / len(found))
    lost = [sum(line.movement.lost for line in by_path(one).values()) for one in found]
    assert min(lost) > 0
    assert lost == [sum(group.lost for group in one.groups) for one in found], "what was lost is there nevertheless"


def test_a_document_that_lost_half_its_facts_is_named_and_no_other() -> None:
    """Sixteen facts in two wordings, eight of them lost, among eighty that did not change."""
    broken = [one for place in range(16) for one in fact("broken", f"broken/{place}", KNEW if place % 2 else SAME, 2)]
    named = [regressions(views([*equal, *broken])) for equal in reports(Truth(together=1.0), 10, seed=20240602)]
    assert sum("broken.md" in one for one in named) == len(named)
    assert sum(one != {"broken.md"} for one in named) <= 1


def test_the_page_says_in_plain_words_what_was_lost_within_chance() -> None:
    answers = [*asked("fell", KNEW, 12), *(one for place in range(30) for one in asked(f"d{place}", KNEW, 1))]
    paths = {one.question.document: f"{one.question.document}.md" for one in answers}
    page = render(report(answers=tuple(answers), paths=paths))
    text = " ".join(Page(page).text().split())
    assert "REGRESSIONS: 1 (12 questions right before and not now)" in text
    assert "LOST SOME, WITHIN CHANCE: 30 (30 questions right before and not now)" in text
    assert "beyond chance, corrected for how many were looked at (31)" in text
    assert f"Show the other {30 - LOST_SEEN}" in text
    assert "1 got worse , 30 lost some within chance , 0 got better , 0 did not change" in text
    assert text.count("Too few facts differ") == 30
    assert "0 questions gained, 12 lost; of 12 facts 12 differ (p 0.00049, this document alone)" in text


def test_a_pair_of_shares_is_written_in_one_way() -> None:
    share = share_of(
        [
            *asked("a", LEARNED, 76),
            *asked("a", SAME, 10),
            *asked("a", (Grade.WRONG, Grade.WRONG), 14),
        ]
    )
    assert pair(share.base, share.candidate) == "0.10 -> 0.86 (+0.76)"
    assert pair(0.5, 0.5) == "0.50 -> 0.50 (0.00)"
    assert pair(None, 0.5) == "– -> 0.50"


def test_a_document_shows_what_it_lost_first_beside_the_sentence_it_was_read_from() -> None:
    fact = change(Standing.NEW, 1, document="doc", sentence="You must ask within 14 days.")
    lost = answer(Cohort.HELD, 9, Grade.WRONG, source=fact.fact.id)
    fine = [answer(Cohort.NEW, place, Grade.RIGHT, source="doc") for place in range(3)]
    found = document_views([*fine, lost], [fact], (), {"doc": "rules.md"}, {}, {})
    line = next(line for group in found.groups for line in group.lines)
    assert (line.path, line.in_force) == ("rules.md", False)
    assert line.evidence[0].answers == (lost,)
    assert (line.evidence[0].sentence, line.evidence[0].end) == ("You must ask within 14 days.", 40)
    assert found.origin[fact.fact.id] == ((line.anchor, "rules.md"),)


def test_probes_count_in_every_document_that_their_evidence_names_and_the_handbook_in_none() -> None:
    given = report()
    probes = [one for one in given.answers if one.question.source in given.probe_documents]
    handbook = [one for one in given.answers if one.question.cohort is Cohort.HANDBOOK]
    in_force = {one.id: one.path for one in given.snapshot.documents}
    found = document_views([*probes, *handbook], (), (), given.paths, in_force, given.probe_documents)
    lines = [line for group in found.groups for line in group.lines]
    assert sorted(line.path for line in lines) == sorted(
        [in_force["doc-0"], in_force["doc-1"], "old/site-corporate-terms.md"]
    )
    assert set(found.unasked) == {path for id, path in in_force.items() if id not in ("doc-0", "doc-1")}


def test_nothing_is_lost_that_is_not_counted_and_the_page_stays_bounded() -> None:
    answers = [one for place in range(2 * DOCUMENTS) for one in asked(f"doc-{place:04}", KNEW, QUESTIONS + 6)]
    group = views(answers).groups[0]
    assert len(group.lines) + group.left_out == 2 * DOCUMENTS
    shown = [sum(len(one.answers) for one in line.evidence) for line in group.lines]
    assert sum(shown) <= ALL_QUESTIONS
    assert all(count + line.left_out == line.share.n for count, line in zip(shown, group.lines, strict=True))
    text = "\n\n".join(f"{number} " + "word " * 300 for number in range(60))
    texts = tuple(DocumentTexts(path=f"{n}.md", old_path=f"{n}.md", old=text, new=text.upper()) for n in range(60))
    page = render(report(answers=tuple(answers), texts=texts))
    assert len(page.encode()) < 3 * ALL_CHARACTERS + 1_500_000


def test_texts_before_and_after_are_told_and_a_missing_one_is_said() -> None:
    html = render(report())
    assert "<del>14</del> <ins>30 business</ins>" in html
    assert "The text of the version before was not kept" in html
    assert "moved from old/acceptable-use" in html
    kinds = [view.note for view in views([], report().texts).diffs]
    assert kinds == ["", "moved from old/acceptable-use/site-bullying-policy.md", "new", "withdrawn"]


def test_what_the_recipes_proposed_is_shown_where_there_is_a_funnel() -> None:
    html = render(report())
    assert "12&nbsp;not in the text" in html
    assert "What is the colour of the form?" in html
    plain = report()
    assert "Funnel" not in render(report(synthesis=plain.synthesis.model_copy(update={"funnel": ()})))


def test_the_first_screen_answers_with_the_checks_that_decide() -> None:
    given = report()
    better, forgot, stale = headlines(given.evaluation, given.judgement)
    assert (better.answer, forgot.answer) == ("Yes", "Yes, too much")
    assert (stale.answer, stale.tone) == ("A little: 7 of 136 answers", Outcome.WARN)
    none = given.evaluation.model_copy(update={"cohorts": ()})
    said = [one.answer for one in headlines(none, given.judgement)]
    assert said == ["There was nothing new to learn", "Nothing measures it", "Nothing was replaced or withdrawn"]


def test_within_noise_is_never_called_better() -> None:
    answers = (answer(Cohort.NEW, 1, Grade.RIGHT), *(answer(Cohort.NEW, place, Grade.WRONG) for place in range(2, 40)))
    given = report()
    measured: EvaluationReport = given.evaluation.model_copy(update={"cohorts": figures(answers)})
    quiet = given.judgement.model_copy(update={"checks": checks()[:1]})
    assert headlines(measured, quiet)[0].answer == "Not measurably"


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (Outcome.PASS, "Yes"),
        (Outcome.INSUFFICIENT, "Yes; too few questions to tell whether enough"),
        (Outcome.FAIL, "Yes, but not enough"),
    ],
)
def test_better_is_not_called_enough_where_the_check_does_not_say_so(outcome: Outcome, answer: str) -> None:
    given = report()
    learned = Check(check="learned", outcome=outcome, reason="It was measured.")
    verdict = given.judgement.model_copy(update={"checks": (learned,)})
    assert headlines(given.evaluation, verdict)[0].answer == answer


def test_where_a_gate_is_off_nothing_is_called_little() -> None:
    given = report()
    switched_off = given.judgement.model_copy(update={"checks": ()})
    lost = {"difference": -0.6, "difference_low": -0.7, "difference_high": -0.5}
    cohorts = tuple(
        one.model_copy(update=lost if one.cohort is Cohort.HELD else {}) for one in given.evaluation.cohorts
    )
    _, forgot, stale = headlines(given.evaluation.model_copy(update={"cohorts": cohorts}), switched_off)
    assert forgot.answer == "Yes, and the gate that says how much is off"
    assert stale.answer == "Yes, and a gate that says how much is off: 7 of 136 answers"
