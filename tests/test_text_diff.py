"""A diff says every change once, never looks at two whole documents word by word, and ends on hostile input."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.text_diff import LONGEST, Mark, TextDiff, compare, paragraphs, word_changes

LINES = st.lists(st.text(st.sampled_from("ab .#-|\n"), max_size=12), max_size=12).map("\n\n".join)


def side(diff: TextDiff, other: Mark) -> list[str]:
    """The changed paragraphs as they read on one side, without what stands on the other only."""
    texts = ["".join(piece.text for piece in change.pieces if piece.mark is not other) for change in diff.changes]
    return [text for text in texts if text]


@given(LINES, LINES)
def test_both_sides_can_be_read_back_from_what_is_shown(old: str, new: str) -> None:
    diff = compare(old, new, most=1000)
    left, right = paragraphs(old), paragraphs(new)
    kept = sum(change.folded for change in diff.changes)
    if not diff.changed:
        assert left == right
        return
    assert diff.more == 0
    for text in side(diff, Mark.NEW):
        left.remove(text)
    for text in side(diff, Mark.GONE):
        right.remove(text)
    assert sorted(left) == sorted(right)
    assert len(left) == kept


def test_a_changed_paragraph_shows_its_words_and_leaves_out_what_did_not_change() -> None:
    old = "You must ask within 14 days of the bill. " + "Nothing here ever changes at all, " * 9 + "says the house."
    pieces = word_changes(old, old.replace("14", "30 business"))
    assert [(piece.mark, piece.text) for piece in pieces[:3]] == [
        (Mark.SAME, "You must ask within "),
        (Mark.GONE, "14"),
        (Mark.NEW, "30 business"),
    ]
    assert pieces[-1].mark is Mark.LEFT_OUT
    assert sum(len(piece.text) for piece in pieces) < 0.5 * len(old)


def test_headings_list_items_and_table_rows_stand_alone_and_wrapped_lines_do_not() -> None:
    text = "# Fees\nSome text\nthat goes on.\n\n- one\n  goes on\n* two\n| a | b |\n| c | d |\n"
    assert paragraphs(text) == ["# Fees", "Some text that goes on.", "- one goes on", "- two", "| a | b |", "| c | d |"]


def test_what_is_not_shown_is_counted() -> None:
    old = "\n\n".join(f"line {number}" for number in range(50))
    diff = compare(old, old.replace("line", "row"), most=7)
    assert (sum(not change.folded for change in diff.changes), diff.changed - diff.more) == (7, 7)
    assert compare(old, old, most=7).changes == ()


@pytest.mark.timeout(60)  # Python's own comparison would need hours
@pytest.mark.parametrize("size", [LONGEST - 1, 40 * LONGEST])
@pytest.mark.parametrize("alphabet", ["ab", "".join(map(chr, range(97, 123)))])
def test_texts_that_repeat_themselves_are_compared_in_time(size: int, alphabet: str) -> None:
    draw = random.Random(size)
    old, new = ("\n\n".join(draw.choice(alphabet) + " x" for _ in range(size)) for _ in range(2))
    diff = compare(old, new, most=30)
    assert diff.by_sets is (size > LONGEST)
