"""Figures of changed facts, from answers that can be counted by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.forgetting_compared import Comparison
from bench.forgetting_figures import Learned, agree, by_product, figures
from bench.forgetting_pictures import cohort_map
from data.handbook_questions import Form
from models.continual import base_lost, final_average, learned_when_taught, worst_drop
from models.statistics import wilson


def _flips(*answers: tuple[int, str, str, str, str, bool | None], arm: str = "default") -> Learned:
    """Answers to one question each: day, group, story, product, grade, and whether the old answer leaked."""
    rows = [
        {"plan": "flips", "arm": arm, "seed": 1, "day": day, "group": group, "form": "held-out", "story": story}
        | {"fact": f"{subject}/{group}", "subject": subject, "attribute": "colour", "question": f"{subject}/{group}"}
        | {"stale": ["red"] if leaked is not None else [], "grade": grade, "leaked": leaked, "old_likelier": leaked}
        for day, group, story, subject, grade, leaked in answers
    ]
    return Learned("flips", arm, pd.DataFrame(rows), pd.DataFrame([{"day": 0, "steps": 0}]), "relearn")


def test_flips_are_judged_on_the_day_on_which_all_were_changed_and_once_more_at_the_end() -> None:
    one = _flips(
        (0, "reverted", "reverted", "a", "right", True),
        (1, "flipped", "flipped", "a", "wrong", True),
        (2, "reverted", "reverted", "a", "right", False),
        (2, "flipped", "flipped", "b", "right", False),
        (2, "retracted", "retracted", "c", "stale", True),
        (2, "same subject", "same subject", "d", "right", None),
        (3, "reverted", "reverted", "a", "wrong", False),
        (3, "flipped", "flipped", "b", "right", True),
        (3, "retracted", "retracted", "c", "right", True),
        (3, "same subject", "same subject", "d", "right", None),
        (3, "new", "new", "e", "right", None),
    )
    found = {one.name.removeprefix("flips/default/"): one for one in figures([one])}
    later = "after learning other things: "

    assert found["new answer"].value == pytest.approx(2 / 3)
    assert found["new answer"].n == 3
    assert found["leakage, any of 16 samples"].value == pytest.approx(1 / 3)
    assert found["locality"].value == 1
    assert [found[f"retracted: old answer {how}"].value for how in ("in any of 16 samples", "likelier")] == [1, 1]
    assert [found[f"flipped: old answer {how}"].value for how in ("in any of 16 samples", "likelier")] == [0, 0]
    assert found[later + "flipped: old answer in any of 16 samples"].value == 1
    assert found[later + "reverted: old answer likelier"].value == 0
    assert found[later + "new answer"].n == 3
    assert found[later + "leakage, any of 16 samples"].value == pytest.approx(2 / 3)
    score = "score: harmonic mean of new answer, 1 - leakage and locality"
    assert found[score].value == pytest.approx(3 / (3 / 2 + 3 / 2 + 1))


@pytest.mark.parametrize("begins", ["joint", "none"])
def test_what_was_put_back_never_changed_for_who_begins_at_the_base_each_day(begins: str) -> None:
    answers = [
        (2, "reverted", "reverted", "a", "wrong", True),
        (2, "flipped", "flipped", "b", "right", False),
        (2, "same subject", "same subject", "d", "right", None),
    ]
    names = ("new answer", "leakage, any of 16 samples", "locality")
    found = {one.name: one for name in (begins, "default") for one in figures([_flips(*answers, arm=name)])}

    assert [(found[f"flips/{begins}/{name}"].value, found[f"flips/{begins}/{name}"].n) for name in names] == [
        (1.0, 1),
        (0.0, 1),
        (0.5, 2),
    ]
    assert [found[f"flips/default/{name}"].value for name in names] == [0.5, 0.5, 1.0]


def test_the_worst_of_many_noisy_drops_lies_within_its_interval() -> None:
    """Four seeds of six days, on each of which a few answers are missed, whatever they are about."""
    draw, days = np.random.default_rng(1), 6
    names = ["base", *(f"day {day}" for day in range(1, days + 1))]
    rows = [
        {"seed": seed, "day": day, "group": name, "subject": f"{name}/{product}", "fact": f"{name}/{product}"}
        | {"form": "held-out", "attribute": "colour", "grade": "wrong" if draw.random() < 0.03 else "right"}
        for seed in (1, 2, 3, 4)
        for day in range(days + 1)
        for name in names[: day + 1]
        for product in range(40)
    ]
    one = Learned("stages", "default", pd.DataFrame(rows), pd.DataFrame([{"day": 0, "steps": 0}]), "relearn")
    value, low, high = one.drawn(worst_drop)

    assert np.quantile(one.draws(worst_drop), 0.025) > value, "draws alone would leave it out"
    assert value - 0.05 < low < value < high < value + 0.05


def _days(
    right: dict[tuple[int, str], int], products: int, seeds: tuple[int, ...] = (1,), arm: str = "default"
) -> Learned:
    """One question on each product of a group, on each day of which it is said how many of them are right."""
    rows = [
        {"seed": seed, "day": day, "group": group, "subject": f"{group}/{product}", "fact": f"{group}/{product}"}
        | {"form": "held-out", "attribute": "colour", "grade": "right" if product < count else "wrong"}
        for seed in seeds
        for (day, group), count in right.items()
        for product in range(products)
    ]
    return Learned("day", arm, pd.DataFrame(rows), pd.DataFrame([{"day": 0, "steps": 0}]), "relearn")


ALL_RIGHT = {(0, "base"): 30, (0, "day 1"): 0, (1, "base"): 30, (1, "day 1"): 30}


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
def test_where_all_answers_are_right_the_interval_is_what_that_many_products_leave_open(seeds: tuple[int, ...]) -> None:
    """The same thirty products in every seed are thirty, not ninety."""
    least = wilson(30, 30).low
    one = _days(ALL_RIGHT, 30, seeds)

    assert one.drawn(learned_when_taught) == pytest.approx((1.0, least, 1.0))
    assert one.drawn(base_lost) == pytest.approx((0.0, least - 1, 1 - least)), "either might have missed one"
    assert one.drawn(final_average) == pytest.approx((1.0, 1 - (1 - least) / 2**0.5, 1.0))
    assert one.drawn(worst_drop) == pytest.approx((0.0, 0.0, 1 - least))


def test_an_arm_that_does_nothing_has_lost_nothing_for_certain_and_learned_nothing_as_far_as_is_known() -> None:
    one = _days(ALL_RIGHT | {(1, "day 1"): 0}, 30, arm="none")
    assert one.drawn(base_lost) == (0, 0, 0)
    assert one.drawn(learned_when_taught) == pytest.approx((0.0, 0.0, 1 - wilson(30, 30).low))


def test_one_and_the_same_wrong_answer_makes_nothing_certain() -> None:
    _, low, high = _days(ALL_RIGHT | {(0, "base"): 29, (1, "base"): 29}, 30).drawn(base_lost)
    assert low < -0.1
    assert high > 0.1


def test_the_worst_of_many_drops_may_be_as_large_as_one_share_leaves_open() -> None:
    right = {(day, f"day {taught}" if taught else "base"): 5 for day in range(7) for taught in range(day + 1)}
    value, low, high = _days(right, 5).drawn(worst_drop)
    assert (value, low, high) == pytest.approx((0.0, 0.0, 1 - wilson(5, 5).low))


def test_one_wrong_answer_is_seen_by_the_weights() -> None:
    one = _days(ALL_RIGHT | {(1, "base"): 29}, 30)
    value, low, high = one.drawn(base_lost)

    assert value == pytest.approx(1 / 30)
    assert low < value < high
    assert not agree(one.draws(base_lost))


def test_choices_are_counted_apart_with_their_chance_beside_them() -> None:
    told = ((2, "reverted", "reverted", "a", "right", None), (2, "flipped", "flipped", "b", "wrong", None))
    more = ((2, "flipped", "flipped", "c", "right", None), (2, "flipped", "flipped", "d", "stale", None))
    free = _flips((2, "same subject", "same subject", "d", "right", None), (2, "new", "new", "e", "wrong", True), *told)
    chosen = _flips(*told, *more).answers.assign(form=Form.CHOICE.value)
    found = {
        one.name.removeprefix("flips/default/"): one
        for one in figures([replace(free, answers=pd.concat([free.answers, chosen], ignore_index=True))])
    }

    assert found["flipped, choice of 4 (chance 0.25): right"].value == pytest.approx(1 / 3)
    assert found["flipped, choice of 4 (chance 0.25): right"].n == 3
    assert found["flipped, held-out: right"].value == 0
    assert found["new answer"].n == 3


def test_a_product_counts_once_however_many_seeds_ask_about_it() -> None:
    asked = pd.DataFrame({"seed": [1, 1, 2, 2], "subject": ["lamp", "scale", "lamp", "scale"]})
    assert by_product(asked).count == 2


def test_the_map_of_cohorts_shows_what_is_right_and_what_leaks() -> None:
    one = _flips(
        (1, "reverted", "reverted", "a", "right", False),
        (1, "flipped", "flipped", "b", "stale", True),
        (1, "flipped", "flipped", "c", "right", False),
        (1, "policies", "untouched", "d", "right", None),
    )
    drawn = str(cohort_map(one, figures([one])))
    rows = [drawn.index(f">{name}<") for name in ("flipped", "reverted", "policies")]

    assert rows == sorted(rows)
    assert drawn.count(">0.50<") == 3  # right, stale and in samples of what was replaced
    assert drawn.count(">1.00<") == 2
    assert ">retracted<" not in drawn


@pytest.mark.parametrize(
    ("difference", "p", "between_equals", "said"),
    [
        (0.20, 0.01, 0.05, "beyond chance and noise"),
        (-0.04, 0.01, 0.05, "no more than equals differ by"),
        (0.20, 0.20, 0.05, "not beyond chance"),
        (0.20, 0.01, None, "beyond chance; no equals were run"),
        (0.20, 0.20, None, "not beyond chance"),
    ],
)
def test_a_difference_is_believed_beyond_what_equals_differ_by(
    difference: float, p: float, between_equals: float | None, said: str
) -> None:
    one = Comparison("day", "raw", "default", "taught", False, difference, -1, 1, 5, 5, p, 100, between_equals)
    assert one.said == said
