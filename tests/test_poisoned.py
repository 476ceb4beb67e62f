"""A collection in which some documents contradict the rest and hundreds repeat one claim, through the real stages."""

import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from data.claims import MANY_VALUES, SHOWN
from data.collection import LINEAGE_FILE
from data.files import read_records
from data.records import FactChange, Row, Standing
from data.report_records import SynthesisReport
from data.workspace import Workspace
from flows.ingest import ingest
from flows.synthesize import synthesize
from tests.miniature import FEES, make_workspace, ready, with_base, write_documents

LIARS, CHOIR = 3, 300
NOTICE = "---\ntitle: Notice {0}\n---\n# Notice {0}\n\n| Plan | Fee |\n| - | - |\n| {1} | {2} |\n"
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


def made(root: Path, base: Path, documents: dict[str, str]) -> Poisoned:
    workspace = make_workspace(root)
    shutil.copytree(base, root / "base")
    write_documents(workspace.documents, documents)
    ingest(ready(workspace))
    warnings: list[str] = []
    report = synthesize(workspace, warn=warnings.append)
    rows = read_records(workspace.synthetic / "rows.jsonl", Row)
    changes = read_records(workspace.synthetic / "changes.jsonl", FactChange)
    return Poisoned(workspace, report, rows, warnings, {one.fact.id: one.fact.value for one in changes})


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


def test_a_person_is_told_in_a_sentence_each(poisoned: Poisoned) -> None:
    contradiction, repeated = poisoned.warnings
    assert contradiction == (
        "Documents in force contradict one another in 1 places, where nothing is taught; for one, Basic, Fee: "
        '"$6" (liar-0.md) and "$5" (fees.md). The report lists them.'
    )
    assert repeated.startswith("1 claims are taught once")
    assert '300 documents state Royal, Fee: "$99".' in repeated


def test_what_agrees_is_told_of_nobody(tmp_path: Path, base: Path) -> None:
    found = made(tmp_path, base, {"fees.md": DOCUMENTS["fees.md"], "soloist.md": DOCUMENTS["soloist.md"]})
    assert (found.report.contradictions, found.report.repeated, found.warnings) == ((), (), [])
    assert found.report.facts[Standing.AMBIGUOUS] == 0
