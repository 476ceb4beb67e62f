"""Probes: evidence decides which answer holds, and it agrees with the people who wrote the probes."""

import json
from pathlib import Path

import pytest

from data.collection import as_collection
from data.errors import InputError
from data.extraction import Source
from data.params import load_params
from data.probes import Evidence, ProbeAnswer, holds, plain_collection, probe_questions, read_probes
from data.records import Cohort
from data.workspace import PROJECT_ROOT

STREAM = PROJECT_ROOT / "data" / "streams" / "site-policy"
DAYS = ("2019-06-01", "2020-06-01", "2021-06-01", "2022-06-01", "2023-06-01", "2024-06-01")
KNOWN_DISAGREEMENTS = {("2023-06-01", "open-dpo-email", "privacy@github.com")}
"""The quoted sentence outlived the role it named: it still stands in another document of 2023."""


def test_evidence_agrees_with_the_dates_that_people_noted() -> None:
    params, probes = load_params(PROJECT_ROOT / "params.yaml"), read_probes(PROJECT_ROOT / "data" / "probes")
    assert len(probes) == 165
    disagreements = set()
    for day in DAYS:
        text = plain_collection(as_collection(STREAM / day, params.ingest)[1])
        for probe in probes:
            for answer in probe.answers:
                if answer.answer is not None and holds(answer, text) is not (day in answer.valid_in):
                    disagreements.add((day, probe.id, answer.answer))
    assert disagreements == KNOWN_DISAGREEMENTS


PROBE = {
    "id": "age",
    "question": "How old?",
    "answers": [
        {
            "answer": "13",
            "aliases": ["thirteen"],
            "evidence": {"v1": {"path": "a.md", "quote": "at least 13 years"}},
        },
        {"answer": "16", "evidence": {"v2": {"path": "a.md", "quote": "at least 16 years"}}},
        {"answer": None},
    ],
}


@pytest.mark.parametrize(
    ("text", "answers", "stale"),
    [
        ("You are **at least\n13 years** old.", ("13", "thirteen"), ("16",)),
        ("You are at least 16 years old.", ("16",), ("13", "thirteen")),
        ("Age does not matter.", (), ("13", "thirteen", "16")),
    ],
)
def test_answers_follow_the_text(text: str, answers: tuple[str, ...], stale: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(json.dumps(PROBE) + "\n")
    (question,) = probe_questions(read_probes(tmp_path), [Source("i", "d", "T", text)])
    assert (question.answers, question.stale) == (answers, stale)
    assert question.cohort is (Cohort.PROBE if answers else Cohort.UNANSWERABLE)


@pytest.mark.parametrize(("line", "says"), [("{", "line 1"), ('{"id": "x"}', "question"), ("[]", "line 1")])
def test_a_bad_line_is_named(line: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(line)
    with pytest.raises(InputError, match=says):
        read_probes(tmp_path)


def test_two_probes_cannot_share_an_id(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(f"{json.dumps(PROBE)}\n{json.dumps(PROBE)}\n")
    with pytest.raises(InputError, match="twice"):
        read_probes(tmp_path)


def test_no_probes_is_no_error(tmp_path: Path) -> None:
    assert read_probes(tmp_path / "absent") == []


def test_a_quote_stands_as_whole_words_and_nothing_stands_nowhere(tmp_path: Path) -> None:
    def answer(quote: str) -> ProbeAnswer:
        return ProbeAnswer(answer="5", evidence={"v": Evidence(path="a.md", quote=quote)})

    text = plain_collection([Source("i", "d", "T", "Pay in 15 days.")])
    assert holds(answer("15 days"), text)
    assert not holds(answer("5 days"), text)
    assert not holds(answer("**"), text)


def test_probes_that_are_not_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_bytes(b"\xff")
    with pytest.raises(InputError, match="UTF-8"):
        read_probes(tmp_path)
