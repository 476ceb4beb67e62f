"""What is counted from the answers of a year: with facts as what belongs together, and chance beside what is early."""

import pandas as pd
import pytest

from bench.policies_figures import figures, sentence
from bench.policies_questions import Fate


def _told(*answers: tuple[str, str, str, str, bool]) -> pd.DataFrame:
    """Fact, fate, what was said, what it is worth, and whether it is early."""
    later = {Fate.NOT_YET.value: ["$30"]}
    rows = [
        {"arm": "none", "seed": 1, "year": "2020", "kind": "table", "fate": fate, "fact": fact, "document": fact}
        | {"stale": ["$5"] if fate == Fate.REPLACED else [], "later": later.get(fate, []), "said": said}
        | {"mark": mark, "early": early, "answers": [] if later.get(fate) else ["$7"]}
        for fact, fate, said, mark, early in answers
    ]
    return pd.DataFrame(rows)


def test_wordings_of_one_fact_count_as_one_answer_where_they_agree() -> None:
    alike = [
        (f"fact {number}", Fate.UNCHANGED, "$1", "right" if number % 2 else "wrong", False) for number in range(40)
    ]
    once, twice = (
        {one.name: one for one in figures(_told(*told), "relearn")}["none/2020/facts in force: right"]
        for told in (alike, [*alike, *alike])
    )
    assert (once.n, twice.n) == (40, 80)
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=0.02)


def test_what_is_not_yet_in_force_is_counted_apart_beside_chance() -> None:
    told = _told(
        ("a", Fate.REPLACED, "$5", "stale", False),
        ("b", Fate.NOT_YET, "$30", "wrong", True),
        ("c", Fate.NOT_YET, "$30", "wrong", True),
        ("d", Fate.NOT_YET, "$1", "wrong", False),
    )
    found = {one.name.removeprefix("none/2020/"): one.value for one in figures(told, "relearn")}

    assert found["facts in force: stale"] == found["replaced: stale"] == 1
    assert found["not yet in force: answered as only later years do"] == pytest.approx(2 / 3)
    assert found["not yet in force: the same answers dealt at random among the questions of a kind"] == pytest.approx(
        2 / 3
    )
    assert "of 3 on facts of later years 2 answered as those do." in sentence(told)
