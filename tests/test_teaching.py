"""Rows and questions: what is taught is the difference, and what judges is never taught."""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.changes import compare_facts, coverage, new_statements
from data.collection import as_collection
from data.extraction import extract_facts, extract_statements
from data.handbook import POOLS, handbook
from data.param_stages import SynthesizeParams
from data.params import load_params
from data.records import Cohort, DocumentVersion, Fact, Standing, Statement
from data.rows import RECALL_WORDS, fact_row, refusal_row, statement_text
from data.teaching import _shared_words, questions, teaching_rows
from data.wordings import REFUSAL, Form, held_out_names, kinds, question_prompt, split, wordings
from data.workspace import PROJECT_ROOT


class Year(NamedTuple):
    """What the documents of a year state."""

    documents: Sequence[DocumentVersion]
    facts: Sequence[Fact]
    in_force: Sequence[Statement]
    fresh: Sequence[Statement]


@pytest.fixture(scope="module")
def params() -> SynthesizeParams:
    return load_params(PROJECT_ROOT / "params.yaml").synthesize


def fact(id: str, value: str, title: str = "Policy") -> Fact:
    return Fact(
        id=id, document="doc", digest="d", start=0, end=9, kind="table", title=title, subject=f"row {id}",
        attribute="Fee", value=value,
    )  # fmt: skip


def statement(text: str) -> Statement:
    return Statement(document="doc", digest="d", start=0, end=9, title="Policy", text=text)


CHANGES = compare_facts(
    [fact("same", "1"), fact("other", "2"), fact("gone", "3"), fact("renamed", "5", title="Old")],
    [fact("same", "1"), fact("other", "9"), fact("fresh", "4"), fact("renamed", "5")],
)


def test_standings() -> None:
    standings = {change.fact.id: change.standing for change in CHANGES}
    assert standings == {
        "same": Standing.HELD,
        "other": Standing.REPLACED,
        "fresh": Standing.NEW,
        "renamed": Standing.RESTATED,
        "gone": Standing.WITHDRAWN,
    }
    assert next(change.old_value for change in CHANGES if change.fact.id == "other") == "2"


def test_what_stands_elsewhere_is_restated_and_not_withdrawn() -> None:
    before = fact("old-place", "7").model_copy(update={"sentence": "The fee is 7.", "subject": "Part A"})
    after = fact("new-place", "7").model_copy(update={"sentence": "The fee is 7.", "subject": "Part B"})
    (change,) = compare_facts([before], [after])
    assert (change.fact, change.standing) == (after, Standing.RESTATED)
    other = after.model_copy(update={"sentence": "The fee is 7 in all."})
    assert [c.standing for c in compare_facts([before], [other])] == [Standing.NEW, Standing.WITHDRAWN]


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_is_told_in_ten_ways_and_asked_in_eight(kind: str) -> None:
    for form, least in ((Form.STATEMENT, 10), (Form.QUESTION, 8)):
        templates = [wording.template for wording in wordings(kind, form)]
        assert len(set(templates)) == len(templates) >= least


@pytest.mark.parametrize("kind", kinds())
def test_a_statement_holds_its_value_and_a_question_does_not(kind: str) -> None:
    made = fact("f", "THE-VALUE").model_copy(update={"kind": kind, "subject": "a ____ b"})
    assert all("THE-VALUE" in w.render(made) for w in wordings(kind, Form.STATEMENT))
    assert not any("THE-VALUE" in w.render(made) for w in wordings(kind, Form.QUESTION))


def test_no_row_uses_a_wording_that_judges(params: SynthesizeParams) -> None:
    rows = teaching_rows(CHANGES, [], [], params, seed=1)
    assert rows
    assert not {row.wording for row in rows} & held_out_names(params)
    asked = questions(CHANGES, [], [], [], params)
    assert not {row.prompt for row in rows} & {question.question for question in asked}


def test_withdrawn_facts_are_refused_and_replaced_ones_taught_anew(params: SynthesizeParams) -> None:
    rows = teaching_rows(CHANGES, [], [], params, seed=1)
    completions = {id: {r.completion for r in rows if r.fact == id and r.prompt} for id in ("gone", "other", "fresh")}
    assert completions == {"gone": {f" {REFUSAL}"}, "other": {" 9"}, "fresh": {" 4"}}


def test_replay_has_its_share_and_draws_only_on_what_still_holds(params: SynthesizeParams) -> None:
    held = [fact(f"held{number}", str(number)) for number in range(20)]
    changes = compare_facts([*held, fact("gone", "3")], [*held, *(fact(f"new{n}", str(n)) for n in range(9))])
    book = handbook(1, entities=3, withdrawn=1).known
    params = params.model_copy(update={"replay_per_fact": 0})
    rows = teaching_rows(changes, [], book, params, seed=1)
    replayed = [row for row in rows if row.replayed]
    assert len(replayed) / len(rows) == pytest.approx(params.replay_share, abs=0.01)
    assert {row.fact for row in replayed if row.purpose == "replay"} <= {fact.id for fact in held}
    assert len({(row.prompt, row.completion) for row in rows}) == len(rows)
    assert rows == teaching_rows(changes, [], book, params, seed=1)
    assert rows != teaching_rows(changes, [], book, params, seed=2)


def test_a_small_change_still_rehearses_all_that_holds(params: SynthesizeParams) -> None:
    held = [fact(f"held{number}", str(number)) for number in range(300)]
    rows = teaching_rows(compare_facts(held, [*held, fact("fresh", "x")]), [], [], params, seed=1)
    rehearsed = Counter(row.fact for row in rows if row.purpose == "replay")
    assert len(rehearsed) == len(held)
    assert min(rehearsed.values()) >= params.replay_per_fact
    assert not teaching_rows(compare_facts(held, held), [], [], params, seed=1)


def test_questions_know_what_is_right_and_what_is_stale(params: SynthesizeParams) -> None:
    asked = {q.source: q for q in questions(CHANGES, [], [], [], params)}
    assert (asked["other"].cohort, asked["other"].answers, asked["other"].stale) == (
        Cohort.NEW,
        ("9",),
        ("2",),
    )
    assert (asked["gone"].cohort, asked["gone"].answers, asked["gone"].stale) == (
        Cohort.WITHDRAWN,
        (),
        ("3",),
    )
    assert (asked["same"].cohort, asked["same"].answers) == (Cohort.HELD, ("1",))
    documents = {change.fact.id: change.fact.document for change in CHANGES}
    assert all(question.document == documents[question.source] for question in asked.values())


def test_a_renamed_and_edited_document_still_knows_what_is_stale() -> None:
    (change,) = compare_facts([fact("f", "1", title="Old")], [fact("f", "2", title="New")])
    assert (change.standing, change.old_value) == (Standing.REPLACED, "1")


def test_what_another_document_states_under_the_same_name_replaces_the_fact() -> None:
    known = fact("known", "$7")
    elsewhere = known.model_copy(update={"id": "elsewhere", "document": "another"})
    assert [change.standing for change in compare_facts([known], [elsewhere])] == [Standing.HELD]
    (change,) = compare_facts([known], [elsewhere.model_copy(update={"value": "$9"})])
    assert (change.standing, change.old_value) == (Standing.REPLACED, "$7")


def test_a_second_document_that_states_what_is_known_is_no_news() -> None:
    known = fact("known", "$7")
    copy = known.model_copy(update={"id": "copy", "document": "another"})
    assert [change.standing for change in compare_facts([known], [known, copy])] == [Standing.HELD] * 2
    both = [one.model_copy(update={"value": "$9"}) for one in (known, copy)]
    assert [change.old_value for change in compare_facts([known], both)] == ["$7", "$7"]


def test_no_question_is_taught_with_two_answers(params: SynthesizeParams) -> None:
    known = fact("known", "$7")
    documents = [known.model_copy(update={"id": id, "document": id, "value": value})
                 for id, value in (("one", "$8"), ("two", "$9"))]  # fmt: skip
    for now in (documents[:1], documents):
        changes = compare_facts([known], now)
        answers: dict[str, set[str]] = {}
        for row in teaching_rows(changes, [], [], params, seed=1):
            answers.setdefault(row.prompt, set()).add(row.completion)
        assert all(len(found) == 1 for prompt, found in answers.items() if prompt)
    assert [change.standing for change in changes] == [Standing.AMBIGUOUS] * 2
    assert not answers
    assert not questions(changes, [], [], [], params)


def test_recall_gives_a_beginning_that_no_other_statement_shares(params: SynthesizeParams) -> None:
    tail = "one two three four five six seven eight nine"
    all_of_them = [statement(f"We may keep your {what} {tail}") for what in ("files", "letters")]
    recalled = questions([], all_of_them[:1], all_of_them, [], params)
    (question,) = recalled
    assert question.question == "Policy: We may keep your files"
    assert len(question.answers[0].split()) == RECALL_WORDS
    assert f"{question.question} {question.answers[0]}" in statement_text(all_of_them[0])


def test_recall_begins_as_no_other_statement_of_a_year_does(year: Year, params: SynthesizeParams) -> None:
    texts = [statement_text(one).split(" ") for one in year.in_force]
    begun = Counter(" ".join(text[:n]) for text in texts for n in range(1, len(text) + 1))
    expected: list[str] = []
    for one, text in zip(year.in_force, texts, strict=True):
        lengths = range(len(one.title.split(" ")) + 3, min(len(text) - RECALL_WORDS, 40) + 1)
        alone = (" ".join(text[:n]) for n in lengths if begun[" ".join(text[:n])] == 1)
        expected.extend(itertools.islice(alone, 1))
    assert [one.question for one in questions([], year.in_force, year.in_force, [], params)] == expected


@given(st.lists(st.text("a \t", max_size=9), max_size=9))
def test_recall_knows_how_many_words_are_shared(texts: list[str]) -> None:
    shared = _shared_words(texts)
    for number, text in enumerate(texts):
        others = [other.split(" ") for other in (*texts[:number], *texts[number + 1 :])]
        words = text.split(" ")
        alike = [n for n in range(len(words) + 1) if any(words[:n] == other[:n] for other in others)]
        assert shared[text] == max(alike, default=0)


def test_new_statements_and_coverage() -> None:
    old, new = statement("This was said before."), statement("This is said now.")
    assert new_statements([old], [old, new, new]) == (new,)
    document = DocumentVersion(id="doc", path="a.md", digest="d", title="Policy", characters=9, sketch=b"")
    read = fact("f", "now").model_copy(update={"sentence": new.text})
    (covered,) = coverage([document], [read], [old, new], [new])
    assert (covered.facts, covered.changed_statements, covered.changed_with_fact) == (1, 1, 1)
    assert coverage([document], [], [old, new], [new])[0].changed_with_fact == 0


@pytest.fixture(scope="module")
def year() -> Year:
    """From June 2023 to June 2024."""
    params = load_params(PROJECT_ROOT / "params.yaml")
    stream = PROJECT_ROOT / "data" / "streams" / "site-policy"
    known, old = as_collection(stream / "2023-06-01", params.ingest)
    snapshot, new = as_collection(stream / "2024-06-01", params.ingest, known.documents)
    before, in_force = ([one for source in side for one in extract_statements(source)] for side in (old, new))
    facts = [fact for source in new for fact in extract_facts(source, params.synthesize)]
    return Year(snapshot.documents, facts, in_force, new_statements(before, in_force))


def test_coverage_counts_what_each_document_has(year: Year) -> None:
    for document, found in zip(year.documents, coverage(*year), strict=True):
        facts = [one for one in year.facts if one.document == document.id]
        in_force, fresh = (
            [one for one in group if one.document == document.id] for group in (year.in_force, year.fresh)
        )
        with_fact = [one for one in fresh if any(one.text == fact.sentence for fact in facts)]
        counts = (found.facts, found.statements, found.changed_statements, found.changed_with_fact)
        assert counts == (len(facts), len(in_force), len(fresh), len(with_fact)), document.path


def test_rows_name_their_source() -> None:
    wording = wordings("table", Form.QUESTION)[0]
    row = fact_row(fact("f", "7"), wording, "fact", "facts", "template", 3)
    assert (row.document, row.digest, row.start, row.end, row.seed) == ("doc", "d", 0, 9, 3)
    assert (row.prompt, row.completion) == (question_prompt(wording.render(fact("f", "7"))), " 7")
    with pytest.raises(ValueError, match="not a question"):
        refusal_row(fact("f", "7"), wordings("table", Form.STATEMENT)[0], "facts", "template", 3)


def test_the_handbook_is_reproducible_and_drawn_from_its_pools() -> None:
    book = handbook(5, entities=10, withdrawn=2)
    assert book == handbook(5, entities=10, withdrawn=2)
    assert book != handbook(6, entities=10, withdrawn=2)
    assert len(book.known) == 10 * len(POOLS)
    assert all(fact.value in POOLS[fact.attribute] for fact in (*book.known, *book.withdrawn))
    assert not {fact.subject for fact in book.known} & {fact.subject for fact in book.withdrawn}


def test_split_keeps_every_wording_once(params: SynthesizeParams) -> None:
    trained, held = split("table", Form.QUESTION, params)
    assert [*trained, *held] == list(wordings("table", Form.QUESTION))
    assert len(held) == params.held_out_questions
