"""What is counted from the answers of a year: with facts as what belongs together, and chance beside what is early."""

import pandas as pd
import pytest

from bench.policies_figures import figures, sentence
from bench.policies_questions import Fate

WENT = (Fate.WITHDRAWN, Fate.GONE)
HAD_ANOTHER = (Fate.REPLACED, *WENT)


def _told(*answers: tuple[str, str, str, str, bool]) -> pd.DataFrame:
    """Fact, fate, what was said, what it is worth, and whether it is early."""
    later = {Fate.NOT_YET.value: ["$30"]}
    rows = [
        {"arm": "none", "seed": 1, "year": "2020", "kind": "table", "fate": fate, "fact": fact, "document": fact}
        | {"stale": ["$5"] if fate in HAD_ANOTHER else [], "later": later.get(fate, []), "said": said}
        | {"mark": mark, "early": early, "answers": [] if later.get(fate) or fate in WENT else ["$7"]}
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


def test_what_is_stale_is_a_share_of_what_had_another_answer() -> None:
    told = _told(
        ("a", Fate.UNCHANGED, "$7", "right", False),
        ("b", Fate.UNCHANGED, "$8", "wrong", False),
        ("c", Fate.REPLACED, "$5", "stale", False),
        ("d", Fate.REPLACED, "$7", "right", False),
    )
    found = {one.name.removeprefix("none/2020/"): one for one in figures(told, "relearn")}

    assert (found["facts in force: stale"].value, found["facts in force: stale"].n) == (0.5, 2)
    assert (found["facts in force: right"].value, found["facts in force: right"].n) == (0.5, 4)
    assert "unchanged since the base: stale" not in found


def test_what_came_and_went_is_apart_from_what_the_base_knew() -> None:
    told = _told(
        ("a", Fate.WITHDRAWN, "no longer in force", "rightly refused", False),
        ("b", Fate.GONE, "$5", "stale", False),
        ("c", Fate.GONE, "$6", "wrong", False),
    )
    found = {one.name.removeprefix("none/2020/"): one for one in figures(told, "relearn")}

    assert (found["withdrawn facts: rightly refused"].value, found["withdrawn facts: rightly refused"].n) == (1, 1)
    assert (found["facts that came and went: stale"].value, found["facts that came and went: stale"].n) == (0.5, 2)
    assert "of 2 questions on facts that came and went 0 rightly refused, 1 stale, 1 wrong" in sentence(told)


def test_each_share_of_many_documents_has_an_interval_for_others_like_them() -> None:
    told = _told(
        *((f"fact {n}", Fate.WITHDRAWN, "", "rightly refused" if n % 3 else "wrong", False) for n in range(60))
    )
    crowded = told.assign(document=[f"document {n % 20}" for n in range(60)])
    names = [one.name.removeprefix("none/2020/") for one in figures(crowded, "relearn")]

    assert names[:2] == [
        "withdrawn facts: rightly refused",
        "withdrawn facts: rightly refused, these documents as a sample of others",
    ]
