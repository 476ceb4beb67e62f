"""An answer counts when it says the same, and never because it contains the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.records import Cohort, Grade, Question
from models.scoring import REFUSAL, grade, normalise


def _question(answers: tuple[str, ...], stale: tuple[str, ...] = ()) -> Question:
    return Question(id="q", cohort=Cohort.NEW, question="?", answers=answers, stale=stale)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("30 days", "  30\u00a0days.  "),
        ("30 days", '"30 days"'),
        ("30 days", "\u201c30 days.\u201d"),
        ("30 days", "**30 Days**"),
        ("30 days", "(30 days)"),
        ("Security team", "the security team"),
        ("owner's approval", "Owner\u2019s approval"),
        ("2019-2024", "2019\u20132024"),
        ("office", "o\ufb03ce"),
        ("Stra\u00dfe", "STRASSE"),
        ("30 days", "30\u00ad days"),
        ("-5 \u00b0C", "\u22125 \u00b0C"),
        ("1/2", "\u00bd"),
        ("15", "\uff11\uff15"),
        ("no longer in force", "No longer in force."),
    ],
)
def test_writing_does_not_matter(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.5", "15"),
        ("1,000", "1000"),
        ("1.5", "1,5"),
        (".5", "5"),
        ("-5", "5"),
        ("5%", "5"),
        ("$5", "5"),
        ("10\u00b2", "102"),
        ("1\u00bd", "11/2"),
        ("5\u2460", "51"),
        ("10\u207b\u00b3", "10-3"),
        ("30 days", "30 days or more"),
        ("30", "30 days"),
        ("US", "the US team"),
        ("theory", "ory"),
        ("a", "the"),
    ],
)
def test_another_meaning_stays_another_text(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(st.text(max_size=40))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_told_apart(one: float, other: float) -> None:
    assert (normalise(f"{one!r} days.") == normalise(f"{other!r} days.")) is (repr(one) == repr(other))
    assert (normalise(f"{one!r}.") == normalise(repr(other))) is (repr(one) == repr(other))


WORDS = st.text(st.characters(categories=["Ll", "Lu"]), min_size=1, max_size=8)


@given(WORDS.filter(lambda word: word.casefold() not in {"a", "an", "the"}), WORDS)
def test_part_of_an_answer_is_wrong(one: str, other: str) -> None:
    assert grade(f"{one} 7 {other}", _question((f"7 {other}",))) is Grade.WRONG


@pytest.mark.parametrize(
    ("answer", "answers", "stale", "expected"),
    [
        ("Thirty days.", ("30 days", "thirty days"), (), Grade.RIGHT),
        ("14 days", ("30 days",), ("14 days",), Grade.STALE),
        ("14 days", ("14 days",), ("14 days",), Grade.RIGHT),
        ("No longer in force.", ("30 days",), ("14 days",), Grade.REFUSED),
        ("no longer in force", (), ("14 days",), Grade.RIGHT),
        ("14 days", (), ("14 days",), Grade.STALE),
        ("15 days", (), ("14 days",), Grade.WRONG),
        ("15 days", ("30 days",), ("14 days",), Grade.WRONG),
        (REFUSAL, (REFUSAL,), (), Grade.RIGHT),
        ("", ("30 days",), (), Grade.WRONG),
        ("...", ("?",), ("!",), Grade.WRONG),
        ("", (), (), Grade.WRONG),
    ],
)
def test_grades(answer: str, answers: tuple[str, ...], stale: tuple[str, ...], expected: Grade) -> None:
    assert grade(answer, _question(answers, stale)) is expected
