"""Families of arms where they learned alike: points that can be counted by hand, read off and never beyond."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.forgetting_figures import Learned
from bench.forgetting_frontier import LEVELS, apart, at_levels, families, family_of, frontier_of, read_off, table
from data.handbook_questions import Form

SHARES = st.floats(0, 1)
POINTS = st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=8)
PRODUCTS = 400


def _arm(name: str, learned: Sequence[float], lost: Sequence[float], products: int = PRODUCTS) -> Learned:
    """An arm of plan day, with shares by seed: one question about each product's new fact and one about a known one."""
    rows = []
    for seed, (new, gone) in enumerate(zip(learned, lost, strict=True), 1):
        for product in range(products):
            for day in (0, 1):
                kept = day == 0 or product >= gone * products
                taught = day == 1 and product < new * products
                for group, right in (("base", kept), ("day 1", taught)):
                    rows.append((seed, day, group, f"{group} {product}", right))
    answers = pd.DataFrame(rows, columns=["seed", "day", "group", "subject", "right"])
    answers["grade"] = np.where(answers["right"], "right", "wrong")
    answers["fact"], answers["form"] = answers["subject"], Form.HELD_OUT.value
    return Learned("day", name, answers, pd.DataFrame([{"day": 0}]), "relearn")


def test_what_another_arm_does_better_is_no_part_of_the_frontier() -> None:
    points = [(0.93, 0.10), (0.99, 0.05), (0.8, 0.02), (0.8, 0.03)]

    assert frontier_of(points) == [(0.8, 0.02), (0.99, 0.05)]
    assert read_off(points, 0.9) == pytest.approx(0.02 + 0.03 * 0.1 / 0.19)
    assert (read_off(points, 0.8), read_off(points, 0.99)) == (0.02, 0.05)
    assert read_off(points, 0.5) == 0.02, "the least loss of who learned at least so much"
    assert read_off(points, 1.0) is read_off([], 0.9) is None


@given(POINTS, SHARES)
def test_what_is_read_off_lies_on_or_above_no_arm_that_learned_as_much(
    points: list[tuple[float, float]], level: float
) -> None:
    edge, found = frontier_of(points), read_off(points, level)

    assert all(any(x >= learned and y <= lost for x, y in edge) for learned, lost in points)
    assert edge == sorted(set(edge)) == sorted(set(edge), key=lambda point: point[1])
    if found is not None:
        assert found <= min(lost for learned, lost in points if learned >= level) + 1e-12


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("default,rate=0.002,steps=150", "default"),
        ("default,passes=2", "default"),
        ("full,steps=300", "full"),
        ("full,rate=0.01,replay=0.1", "full,replay=0.1"),
        ("default,replay=0.1,steps=75", "default,replay=0.1"),
        ("default,draw=1,steps=75", "default,draw=1"),
    ],
)
def test_a_family_is_an_arm_without_its_rate_and_its_steps(name: str, family: str) -> None:
    assert family_of(name) == family


def test_families_stand_side_by_side_where_they_learned_alike() -> None:
    """Means of two seeds: the shipped way lost 0 at 0.8 and 0.1 at 1.0, the other 0.2 and 0.4."""
    found = families(
        [
            _arm("none", (0.0, 0.0), (0.0, 0.0)),
            _arm("asked,steps=75", (0.75, 0.85), (0.15, 0.25)),
            _arm("asked,steps=150", (1.0, 1.0), (0.4, 0.4)),
            _arm("default,steps=150", (0.75, 0.85), (0.0, 0.0)),
            _arm("default,steps=300", (1.0, 1.0), (0.1, 0.1)),
            _arm("raw,steps=300", (0.5, 0.5), (0.4, 0.4)),
            _arm("told,steps=300", (0.98, 0.98), (0.3, 0.3)),
        ]
    )
    at = {(one.family, one.level): one for one in at_levels(found)}
    beside = {(one.family, one.level): one for one in apart(found)}

    assert LEVELS == (0.9, 0.95)
    assert [at["default", level].lost for level in LEVELS] == pytest.approx([0.05, 0.075])
    assert [at["asked", level].lost for level in LEVELS] == pytest.approx([0.3, 0.35])
    assert at["default", 0.9].between == ("default,steps=150", "default,steps=300")
    assert at["raw", 0.9].said == "never reaches 0.90: learned 0.500 at most (raw,steps=300)"
    assert at["told", 0.9].said == "at most: all of its frontier learned more, 0.980 at least"
    assert at["told", 0.9].lost == pytest.approx(0.3)
    assert at["told", 0.9].between == ("told,steps=300",)
    assert {(one.lost, one.low, one.high) for (name, _), one in at.items() if name == "raw"} == {(None,) * 3}
    assert set(beside) == {("asked", 0.9), ("asked", 0.95), ("told", 0.9), ("told", 0.95)}
    assert beside["told", 0.9].said == "at most: it learned more"
    assert beside["told", 0.9].difference == pytest.approx(0.25)
    assert [beside["asked", level].difference for level in LEVELS] == pytest.approx([0.25, 0.275])
    for one, value in ((at["default", 0.9], 0.05), (at["asked", 0.9], 0.3), (beside["asked", 0.9], 0.25)):
        assert one.low is not None
        assert one.high is not None
        assert one.low < value < one.high < one.low + 0.1
        assert (one.n, one.seeds, one.said) == (4 * PRODUCTS, (1, 2), "")
    lines = table(list(at.values()), list(beside.values()))
    assert [line for line in lines if "raw" in line and "never reaches 0.95" in line]
    assert [line for line in lines if "asked/lost at 0.90 learned, minus default" in line and "0.250 [" in line]


def test_products_weigh_the_same_in_all_arms_of_a_seed() -> None:
    """Two families of the same answers: drawn apart, the difference would spread; drawn together, it is none."""
    same = [((0.7, 0.7), (0.0, 0.0)), ((1.0, 1.0), (0.2, 0.2))]
    arms = [
        _arm(f"{name},steps={100 * (place + 1)}", *same[place]) for name in ("default", "asked") for place in (0, 1)
    ]
    (at, *_), (difference, *_) = at_levels(families(arms)), apart(families(arms))

    assert at.low is not None
    assert at.high is not None
    assert at.high - at.low > 0.01
    assert (difference.difference, difference.low, difference.high) == (0.0, 0.0, 0.0)
    one, two = (found.draws for found in families([arms[0], _arm("asked,steps=100", *same[1])]))
    assert not np.array_equal(one, two)


def test_draws_spread_as_shares_of_so_many_products_do() -> None:
    """Weights of a Bayesian bootstrap are Dirichlet: a share's variance is p (1 - p) / (n + 1)."""
    (found,) = families([_arm("default", (0.8,), (0.0,), products=50)])
    drawn = found.draws[:, 0, 0]

    assert drawn.mean() == pytest.approx(0.8, abs=0.01)
    assert drawn.var() == pytest.approx(0.8 * 0.2 / 51, rel=0.2)


def test_no_interval_is_given_where_draws_lie_beyond_what_was_measured() -> None:
    found = families([_arm("default,steps=100", (0.8,), (0.0,), 10), _arm("default,steps=200", (0.9,), (0.1,), 10)])
    at = at_levels(found, (0.85,))[0]

    assert at.lost == pytest.approx(0.05)
    assert (at.low, at.high) == (None, None)
    assert at.said.startswith("no interval: the level is reached in ")
    assert apart(found, (0.85,)) == []


def test_where_the_shipped_way_learned_more_everywhere_others_lost_at_least_so_much_more() -> None:
    """One arm of it beats all others in both, so that its frontier is one point."""
    default = [_arm("default,steps=150", (0.8,), (0.05,)), _arm("default,steps=300", (1.0,), (0.01,))]
    asked = [_arm("asked,steps=75", (0.8,), (0.2,)), _arm("asked,steps=150", (1.0,), (0.4,))]
    told = [_arm("told,steps=300", (1.0,), (0.3,))]
    found = families([*default, *asked, *told])
    at = {one.family: one for one in at_levels(found, (0.9,))}
    (difference,) = apart(found, (0.9,))

    assert at["default"].lost == pytest.approx(0.01)
    assert at["default"].between == ("default,steps=300",)
    assert at["default"].said.startswith("at most: ")
    assert difference.family == "asked", "of two bounds nothing follows"
    assert difference.difference == pytest.approx(0.29)
    assert difference.said == "at least: default learned more"
