"""Every question leads to its document and every document to its questions, sentences and changes."""

import pytest

from data.records import Answer, Cohort, Grade, Standing
from data.report_records import Check, DocumentTexts, EvaluationReport, Outcome
from models.statistics import figures
from tasks.pages import pair
from tasks.report_documents import (
    ALL_CHARACTERS,
    ALL_QUESTIONS,
    DOCUMENTS,
    QUESTIONS,
    Direction,
    Documents,
    document_views,
    share_of,
)
from tasks.report_headlines import headlines
from tasks.reports import render
from tests.report_miniature import answer, change, checks, report

KNEW, LEARNED = (Grade.RIGHT, Grade.WRONG), (Grade.WRONG, Grade.RIGHT)


def asked(document: str, grades: tuple[Grade, Grade], count: int) -> list[Answer]:
    base, candidate = grades
    made = [
        answer(Cohort.RECALL, place, candidate, id=f"recall/{document}/{place}/{base}", source=document)
        for place in range(count)
    ]
    return [one.model_copy(update={"base_grade": base}) for one in made]


def views(answers: list[Answer], texts: tuple[DocumentTexts, ...] = ()) -> Documents:
    documents = {one.question.source: f"{one.question.source}.md" for one in answers}
    return document_views(answers, (), texts, {}, documents, {})


def test_documents_go_where_their_interval_goes_and_the_worst_comes_first() -> None:
    same = (Grade.RIGHT, Grade.RIGHT)
    answers = [
        *asked("fell", KNEW, 12),
        *asked("fell-less", KNEW, 8),
        *asked("fell-less", same, 4),
        *asked("rose", LEARNED, 12),
        *asked("noise", KNEW, 1),
        *asked("noise", same, 20),
    ]
    groups = {group.direction: group for group in views(answers).groups}
    assert [line.path for line in groups[Direction.REGRESSION].lines] == ["fell.md", "fell-less.md"]
    assert [line.path for line in groups[Direction.IMPROVEMENT].lines] == ["rose.md"]
    assert [line.path for line in groups[Direction.NO_CHANGE].lines] == ["noise.md"]
    assert groups[Direction.REGRESSION].lost == 20
    assert groups[Direction.NO_CHANGE].lines[0].lost == 1


def test_a_pair_of_shares_is_written_in_one_way() -> None:
    share = share_of(
        [
            *asked("a", LEARNED, 76),
            *asked("a", (Grade.RIGHT, Grade.RIGHT), 10),
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
