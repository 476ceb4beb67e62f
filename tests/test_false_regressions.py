"""Reports that are drawn are what they are said to be, and every way of correcting judges the same ones."""

import numpy as np
import pytest

from bench.false_regressions import DOCUMENTS, RULES, Truth, benjamini_hochberg, drawn, main, tallies
from data.records import Grade
from models.directions import movement


def test_benjamini_hochberg_by_hand() -> None:
    """0.01, 0.02, 0.03, 0.04 times 4 over 1, 2, 3, 4, never above the one behind."""
    assert benjamini_hochberg([0.04, 0.01, 0.03, 0.5]) == pytest.approx((0.16 / 3, 0.04, 0.16 / 3, 0.5))
    assert benjamini_hochberg([]) == ()


def test_equal_models_differ_both_ways_and_a_broken_document_loses() -> None:
    found = drawn(np.random.default_rng(1), Truth(broken=2, taught=3))
    assert len(found) == DOCUMENTS
    assert all(5 <= len(answers) <= 60 for answers in found)
    moved = [movement(answers) for answers in found]
    assert all(2 <= one.facts <= 20 for one in moved)
    assert all(one.gained == 0 for one in moved[:2])
    assert all(one.lost == 0 < one.gained for one in moved[2:5])
    equal = [answer for answers in found[5:] for answer in answers]
    gained = sum(one.candidate_grade is Grade.RIGHT and one.base_grade is Grade.WRONG for one in equal)
    lost = sum(one.base_grade is Grade.RIGHT and one.candidate_grade is Grade.WRONG for one in equal)
    assert 0.01 < (gained + lost) / len(equal) < 0.06
    assert min(gained, lost) > 0.2 * (gained + lost)


def test_what_is_named_is_counted() -> None:
    found, sizes = tallies(Truth(broken=3, together=0.0), 3, seed=2)
    assert list(found) == list(RULES)
    assert {(one.reports, one.broken) for one in found.values()} == {(3, 9)}
    assert found["own interval"].named >= found["Holm, can tell"].named >= found["Holm"].named
    assert sum(sizes.values()) == 9
    assert sizes[True, True] + sizes[False, True] == found["Holm, can tell"].named


def test_the_table_has_a_row_for_every_truth(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["false_regressions", "--reports", "1"])
    monkeypatch.setattr("bench.false_regressions.TRUTHS", (Truth(), Truth(broken=1, restless=True)))
    main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["0, 0", "1, 0, restless"]
    assert lines[-1].startswith("Broken documents of ")
