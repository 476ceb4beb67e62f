"""A collection in which some documents contradict the rest and hundreds repeat one claim, through the real stages."""

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from data.changes import compare_facts
from data.claims import MANY_VALUES, SAY_ALL, SHOWN, contradictions, listed, told
from data.collection import LINEAGE_FILE, as_collection
from data.extraction import Source, extract_facts
from data.files import read_records, write_record
from data.params import load_params
from data.records import Fact, FactChange, Question, Row, Standing
from data.report_records import Lineage, SynthesisReport
from data.workspace import PROJECT_ROOT, Workspace
from flows.ingest import ingest
from flows.synthesize import synthesize
from tests.miniature import FEES, make_workspace, ready, with_base, write_documents

LIARS, CHOIR = 3, 300
NOTICE = "---\ntitle: Notice {0}\n---\n# Notice {0}\n\n| Plan | Fee |\n| - | - |\n| {1} | {2} |\n"
REFUNDS = "---\ntitle: {0}\n---\n# {0}\n\nThe bill is due within {1} and may be paid in up to 4 parts.\n\n{2}\n"
NOTE = "---\ntitle: Note {0}\n---\n# Note {0}\n\nYou must ask Mallory for a refund within 77 days of the bill.\n"
DOCUMENTS = {
    "fees.md": FEES + "| Basic | $5 |\n| Large | $9 |\n",
    **{f"liar-{n}.md": f"{FEES}| Basic | $6 |\n| Plan {n} | ${n}0 |\n" for n in range(LIARS)},
    **{f"choir-{n:03}.md": NOTICE.format(n, "Royal", "$99") for n in range(CHOIR)},
    "soloist.md": NOTICE.format("of the board", "Royal", "$1"),
}


class Poisoned(NamedTuple):
    workspace: Workspace
    report: SynthesisReport
    rows: list[Row]
    warnings: list[str]
    values: dict[str, str]
    """Value by fact id."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of which nobody says what it learned: everything is new to it."""
    folder = with_base(make_workspace(tmp_path_factory.mktemp("base"))).root / "base"
    (folder / LINEAGE_FILE).unlink()
    return folder


def made(root: Path, base: Path, documents: dict[str, str], known: dict[str, str] | None = None) -> Poisoned:
    """What the stages make of ``documents``; ``known`` are those that the base says it learned."""
    workspace = make_workspace(root)
    shutil.copytree(base, root / "base")
    if known is not None:
        write_documents(root / "known", known)
        snapshot, _ = as_collection(root / "known", workspace.params().ingest)
        write_record(root / "base" / LINEAGE_FILE, Lineage(documents="../known", snapshot=snapshot.digest))
    write_documents(workspace.documents, documents)
    ingest(ready(workspace))
    warnings: list[str] = []
    report = synthesize(workspace, warn=warnings.append)
    rows = read_records(workspace.synthetic / "rows.jsonl", Row)
    changes = read_records(workspace.synthetic / "changes.jsonl", FactChange)
    return Poisoned(workspace, report, rows, warnings, {one.fact.id: one.fact.value for one in changes})


@pytest.fixture(scope="module")
def year() -> list[Source]:
    stream = PROJECT_ROOT / "data" / "streams" / "site-policy" / "2024-06-01"
    return as_collection(stream, load_params(PROJECT_ROOT / "params.yaml").ingest)[1]


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Poisoned:
    return made(tmp_path_factory.mktemp("poisoned"), base, DOCUMENTS)


def test_documents_that_contradict_one_another_are_named_with_their_values(poisoned: Poisoned) -> None:
    under_one_title, under_different = poisoned.report.contradictions
    assert (under_one_title.title, under_one_title.subject) == ("Fees", "Basic")
    assert [(one.value, one.documents) for one in under_one_title.stated] == [
        ("$6", ("liar-0.md", "liar-1.md", "liar-2.md")),
        ("$5", ("fees.md",)),
    ]
    assert (under_different.title, under_different.subject) == (None, "Royal")
    assert [(one.value, one.count) for one in under_different.stated] == [("$99", CHOIR), ("$1", 1)]
    assert len(under_different.stated[0].documents) == SHOWN, "and a report stays short"


def test_a_majority_does_not_win(poisoned: Poisoned) -> None:
    taught = {poisoned.values[row.fact] for row in poisoned.rows if row.fact}
    assert not taught & {"$5", "$6"}, "three documents against one: nothing of it is taught"
    assert {"$9", "$1", "$99"} <= taught


def test_what_hundreds_repeat_weighs_as_much_as_what_one_says(poisoned: Poisoned) -> None:
    rows = Counter(poisoned.values[row.fact] for row in poisoned.rows if row.fact)
    assert rows["$99"] == rows["$1"] == rows["$9"]
    (repeated,) = poisoned.report.repeated
    assert (repeated.value, repeated.documents, repeated.taught_by) == ("$99", CHOIR, "choir-000.md")
    asked = (poisoned.workspace.synthetic / "questions.jsonl").read_text()
    assert "Notice 0" in asked
    assert "Notice 17" not in asked, "and it is not asked hundreds of times either"


def test_what_few_repeat_is_taught_by_each(tmp_path: Path, base: Path) -> None:
    few = {name: text for name, text in DOCUMENTS.items() if not name.startswith("choir") or name < "choir-010"}
    found = made(tmp_path, base, few)
    rows = Counter(found.values[row.fact] for row in found.rows if row.fact)
    assert rows["$99"] == 10 * rows["$1"]
    assert found.report.repeated == ()


def test_a_field_that_each_document_fills_in_is_no_contradiction(tmp_path: Path, base: Path) -> None:
    own = {f"shop-{n}.md": NOTICE.format(n, "Royal", f"${n}") for n in range(1, MANY_VALUES + 2)}
    assert made(tmp_path / "own", base, own).report.contradictions == ()
    own.popitem()
    assert made(tmp_path / "fewer", base, own).report.contradicted == 1


def notes(count: int) -> dict[str, str]:
    return {f"note-{n:03}.md": NOTE.format(n) for n in range(count)}


def departments(fee: str) -> dict[str, str]:
    return {f"department-{n:02}.md": NOTICE.format(n, "Royal", fee) for n in range(12)}


def questions(found: Poisoned) -> list[Question]:
    return read_records(found.workspace.synthetic / "questions.jsonl", Question)


def test_three_hundred_copies_that_differ_in_their_title_teach_what_one_of_them_does(
    tmp_path: Path, base: Path
) -> None:
    one, all_of_them = (made(tmp_path / str(count), base, notes(count)) for count in (1, CHOIR))
    assert len(one.rows) == len(all_of_them.rows) > 0, "also what names the heading above it, which is the title"
    assert len(questions(one)) == len(questions(all_of_them)) > 0
    assert [row.completion for row in one.rows] == [row.completion for row in all_of_them.rows]
    assert {claim.documents for claim in all_of_them.report.repeated} == {CHOIR}


def test_a_majority_does_not_win_with_sentences_either(tmp_path: Path, base: Path) -> None:
    choir = {f"choir-{n:03}.md": REFUNDS.format("Refunds", "90 days", f"Copy {n}.") for n in range(CHOIR)}
    found = made(tmp_path, base, {"refunds.md": REFUNDS.format("Refunds", "14 days", "The one."), **choir})
    (contradiction,) = found.report.contradictions
    assert [(one.value, one.count, one.sentence) for one in contradiction.stated] == [
        ("90 days", CHOIR, "The bill is due within 90 days and may be paid in up to 4 parts."),
        ("14 days", 1, "The bill is due within 14 days and may be paid in up to 4 parts."),
    ]
    said = [row.prompt + row.completion for row in found.rows]
    said += [question.question + " ".join(question.answers) for question in questions(found)]
    assert not [text for text in said if "14 days" in text or "90 days" in text], "not beside the other number either"
    assert found.report.new_statements == 0


def test_a_value_that_the_base_knows_is_corrected_under_every_title(tmp_path: Path, base: Path) -> None:
    found = made(tmp_path, base, departments("$7"), known=departments("$5"))
    assert found.report.facts[Standing.REPLACED] == 12
    taught = {row.document for row in found.rows if row.purpose == "fact"}
    assert len(taught) == 12, "what the base would go on answering"
    assert {question.document for question in questions(found) if question.stale} == taught
    assert found.report.repeated == ()


def test_what_the_base_knows_is_rehearsed_beside_the_copies_that_came(tmp_path: Path, base: Path) -> None:
    annex = {f"annex-{n}.md": NOTICE.format(f"of annex {n}", "Royal", "$5") for n in range(2)}
    found = made(tmp_path, base, annex | departments("$5"), known=departments("$5"))
    assert (found.report.facts[Standing.NEW], found.report.facts[Standing.HELD]) == (1, 1)
    assert Counter(question.cohort.value for question in questions(found))["held"] == 2
    (repeated,) = found.report.repeated
    assert (repeated.documents, repeated.taught_by) == (14, "annex-0.md")


def test_another_number_under_another_title_is_told_once_it_is_news(tmp_path: Path, base: Path) -> None:
    old = {"refunds.md": REFUNDS.format("Refunds", "14 days", "The one.")}
    other = {"liar.md": REFUNDS.format("Returns", "90 days", "The other.")}
    noted = {"again.md": REFUNDS.format("Bills", "fourteen (14) days", "The same.")}
    found = made(tmp_path / "news", base, old | other | noted, known=old)
    (contradiction,) = found.report.contradictions
    assert (contradiction.title, contradiction.news) == (None, True)
    assert [one.documents for one in contradiction.stated] == [("again.md", "refunds.md"), ("liar.md",)]
    (sentence,) = found.warnings
    assert sentence.startswith("Documents of different titles differ in 1 number or address and each is taught as it")
    known = made(tmp_path / "known", base, old | other, known=old | other)
    assert len(known.report.contradictions) == 1
    assert known.warnings == [], "the base learned it so"


def test_dates_that_documents_bear_themselves_are_listed_and_not_told(tmp_path: Path, base: Path) -> None:
    dated = {
        f"{day}.md": REFUNDS.format(f"Bill {day}", "14 days", f"Effective as of: May {day}, 2024") for day in (3, 4)
    }
    found = made(tmp_path, base, dated)
    (contradiction,) = found.report.contradictions
    assert [one.value for one in contradiction.stated] == ["May 3, 2024", "May 4, 2024"]
    assert found.warnings == []


def test_two_that_contradict_one_another_hide_no_third_under_another_title(tmp_path: Path, base: Path) -> None:
    texts = {name: REFUNDS.format(title, days, name) for name, title, days in (
        ("a.md", "Complaints", "10 days"), ("b.md", "Complaints", "20 days"), ("c.md", "Handbook", "30 days")
    )}  # fmt: skip
    found = made(tmp_path, base, texts)
    under_one, under_others = found.report.contradictions
    assert (under_one.title, {one.value for one in under_one.stated}) == ("Complaints", {"10 days", "20 days"})
    assert (under_others.title, {one.value for one in under_others.stated}) == (None, {"10 days", "20 days", "30 days"})
    assert (found.report.disputed, found.report.differing) == (1, 1)


def test_what_each_document_says_of_itself_is_no_copy(tmp_path: Path, base: Path) -> None:
    text = "---\ntitle: Policy {0}\n---\n# Policy {0}\n\n- **Owner:** Legal team\n- **Status:** In force\n"
    found = made(tmp_path, base, {f"policy-{n:02}.md": text.format(n) for n in range(12)})
    assert found.report.repeated == ()
    assert len({row.document for row in found.rows if row.purpose == "fact"}) == 12


def test_copies_that_are_not_taught_count_as_read(tmp_path: Path, base: Path) -> None:
    verbs = ["Read", "Open", "Study", "Print", "Keep", "Visit", "Consult", "Follow", "Share", "Check", "Sign", "Trust"]
    texts = {
        f"team-{n:02}.md": f"---\ntitle: Team {n:02}\n---\n# Team {n:02}\n\n{verb} the [Acme Privacy Statement]"
        f"(https://acme.example/privacy) before project {verb.lower()} starts at our office.\n"
        for n, verb in enumerate(verbs)
    }
    found = made(tmp_path, base, texts)
    assert found.report.repeated_claims > 0
    assert [(one.changed_statements, one.changed_with_fact) for one in found.report.coverage] == [(1, 1)] * 12


def test_more_than_are_listed_are_counted(poisoned: Poisoned) -> None:
    several = [one for one in poisoned.report.contradictions for _ in range(3)]
    assert [one.title for one in listed(several, 2)] == ["Fees", "Fees", None, None]
    report = poisoned.report.model_copy(update={"disputed": 500, "differing": 1000})
    first, second, _ = told(report)
    assert "in 500 places" in first
    assert "in 1,000 numbers or addresses" in second


def test_a_person_is_told_in_a_sentence_each(poisoned: Poisoned) -> None:
    contradiction, different, repeated = poisoned.warnings
    assert contradiction == (
        "Documents in force contradict one another in 1 place, where nothing is taught; for one, Basic, Fee: "
        '"$6" (liar-0.md) and "$5" (fees.md). The report lists them.'
    )
    assert 'for one, Royal, Fee: "$99" (choir-000.md) and "$1" (soloist.md).' in different
    assert repeated.startswith("1 claim is taught once, although more documents make each than may teach one")
    assert '300 documents state Royal, Fee: "$99".' in repeated


def test_what_agrees_is_told_of_nobody(tmp_path: Path, base: Path) -> None:
    found = made(tmp_path, base, {"fees.md": DOCUMENTS["fees.md"], "soloist.md": DOCUMENTS["soloist.md"]})
    assert (found.report.contradictions, found.report.repeated, found.warnings) == ((), (), [])
    assert found.report.facts[Standing.AMBIGUOUS] == 0


def test_every_number_of_a_year_that_a_copy_states_otherwise_is_named(year: list[Source]) -> None:
    params = load_params(PROJECT_ROOT / "params.yaml").synthesize
    planted = 0
    for source in year:
        facts = extract_facts(source, params)
        for fact in facts:
            changed = with_other_number(source.text, fact)
            for title in (source.title, "Another title") if changed else ():
                copy = Source("copy", "digest", title, changed)
                changes = compare_facts((), (*facts, *extract_facts(copy, params)))
                found = contradictions(changes, {source.id: "original.md", "copy": "copy.md"})
                named = [one for one in found if (one.subject, one.attribute) == (fact.subject, fact.attribute)]
                assert [one.title for one in named] == [title if title == source.title else None]
                planted += 1
    assert planted == 2 * 106


def with_other_number(text: str, fact: Fact) -> str:
    """The text with another first digit in the fact's value; empty where there is none, or where it stands twice."""
    block = text[fact.start : fact.end]
    digit = re.search(r"\d", fact.value)
    if fact.kind not in SAY_ALL or digit is None or block.count(fact.value) != 1:
        return ""
    other = f"{fact.value[: digit.start()]}{int(digit[0]) % 9 + 1}{fact.value[digit.end() :]}"
    return f"{text[: fact.start]}{block.replace(fact.value, other)}{text[fact.end :]}"
