"""How many questions decide: the smallest number that does, never one less; and equals are told apart seldom enough."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from data.errors import InputError, MissingFigureError
from models.power import (
    MOST,
    detectable_drop,
    effect_reaching,
    noise_between_equals,
    questions_for_difference,
    questions_for_share,
)
from models.statistics import PairedTable, mcnemar, wilson_interval


def leaves_out(limit: float, low: float, high: float) -> bool:
    return low >= limit or high < limit


SHARES = st.integers(0, 500).map(lambda hits: hits / 500)


@given(SHARES, SHARES, st.floats(1, 20))
def test_the_number_for_a_share_is_the_smallest_that_decides(share: float, limit: float, effect: float) -> None:
    found = questions_for_share(share, effect, lambda low, high: leaves_out(limit, low, high))
    if found is None:
        assert not leaves_out(limit, *wilson_interval(share, MOST / effect))
        return
    assert leaves_out(limit, *wilson_interval(share, found / effect))
    assert all(not leaves_out(limit, *wilson_interval(share, n / effect)) for n in range(max(1, found - 50), found))
    assert leaves_out(limit, *wilson_interval(share, 3 * found / effect))


TABLES = st.builds(PairedTable, *[st.integers(0, 400)] * 4).filter(lambda table: table.n > 0)


@settings(deadline=None)
@given(TABLES, st.floats(0, 0.5), st.floats(1, 20))
def test_the_number_for_a_difference_is_the_smallest_that_decides(
    table: PairedTable, limit: float, effect: float
) -> None:
    def decides(low: float, high: float) -> bool:
        return -low <= limit or -high > limit

    found = questions_for_difference(table, effect, decides)
    if found is None:
        assert not decides(*table.interval(MOST / effect))
        return
    assert decides(*table.interval(found / effect))
    assert all(not decides(*table.interval(n / effect)) for n in range(max(1, found - 50), found))


def test_worked_numbers() -> None:
    """A score interval ends at p where n = z^2 p (1 - p) / (share - p)^2: 0 and 3 %: 124.2; 92 and 90 %: 864.3."""
    kept = PairedTable(both=300, gained=0, lost=0, neither=0)
    assert questions_for_difference(kept, 1.0, lambda low, high: -low <= 0.03) == 125
    assert questions_for_difference(kept, 2.0, lambda low, high: -low <= 0.03) == 249
    assert questions_for_share(0.92, 1.0, lambda low, high: leaves_out(0.9, low, high)) == 865
    assert questions_for_share(0.9, 1.0, lambda low, high: high < 0.9) is None


@given(st.floats(0.9001, 1.0), st.floats(0.9001, 1.0), st.floats(1, 5))
def test_what_lies_further_from_the_limit_needs_fewer_and_what_is_alike_needs_more(
    one: float, other: float, effect: float
) -> None:
    near, far = sorted((one, other))

    def needed(share: float, alike: float) -> int:
        return questions_for_share(share, alike, lambda low, high: low >= 0.9) or MOST + 1

    assert needed(far, 1.0) <= needed(near, 1.0) <= needed(near, effect)


@given(st.integers(5, 5000), st.integers(5, 5000), st.floats(0, 1), st.floats(0, 1))
def test_more_questions_find_smaller_falls(one: int, other: int, discordant: float, more: float) -> None:
    few, many = sorted((one, other))
    quiet, loud = sorted((discordant, more))
    assert 0 < detectable_drop(many, discordant) <= detectable_drop(few, discordant) <= 1
    assert detectable_drop(few, quiet) <= detectable_drop(few, loud)


@pytest.mark.parametrize(("n", "discordant"), [(300, 0.05), (800, 0.1), (2000, 0.04)])
def test_a_fall_that_can_be_found_is_found_in_four_of_five_samples(n: int, discordant: float) -> None:
    """Against the exact test on drawn tables; the approximation errs by a few points, as Connor's own tables do."""
    fall = detectable_drop(n, discordant)
    draw = np.random.default_rng(2)
    share = max(discordant, fall)
    lost, gained = (share + fall) / 2, (share - fall) / 2
    tables = draw.multinomial(n, [gained, lost, 1 - gained - lost], size=2000)
    found = sum(mcnemar(int(g), int(m)) <= 0.05 for g, m, _ in tables) / 2000
    assert 0.68 <= found <= 0.9


@given(TABLES, st.floats(1, 3), st.floats(0, 1))
def test_a_wider_interval_is_met_by_the_smallest_effect_that_reaches_it(
    table: PairedTable, least: float, share: float
) -> None:
    low, high = table.interval(table.n / least)
    wide, _ = table.interval(table.n / (4 * least))
    end = low + share * (wide - low)
    effect = effect_reaching(table, least, end)
    assert effect >= least
    if 4 * least <= table.n:
        assert table.interval(table.n / effect)[0] <= end + 1e-12
        assert effect <= 4 * least + 1e-6
        assert effect == least or table.interval(table.n / (effect * 0.999))[0] > end
    assert effect_reaching(table, least, (low + high) / 2) == least
    mirrored = PairedTable(table.both, table.lost, table.gained, table.neither)
    assert effect_reaching(mirrored, least, -end) == pytest.approx(effect, rel=1e-6)


# --- A/A -------------------------------------------------------------------------------------------


def test_equals_are_told_apart_in_at_most_five_of_a_hundred_pairs() -> None:
    """Two models of one recipe: each question has its chance, and both draw from it."""
    draw = np.random.default_rng(5)
    chances = draw.beta(8, 1, size=400)
    pairs = [((draw.random(400) < chances).tolist(), (draw.random(400) < chances).tolist()) for _ in range(1500)]
    noise = noise_between_equals(pairs)
    assert noise.called_different.value <= 0.05
    assert noise.called_different.value >= 0.01, "a test that never speaks is of no use"
    assert noise.widest == pytest.approx(max(abs(np.mean(b) - np.mean(a)) for a, b in pairs))
    assert len(noise.differences) == 1500


def test_questions_that_fail_together_raise_false_alarms_which_the_run_shows() -> None:
    draw = np.random.default_rng(5)
    chances = draw.beta(8, 1, size=40)

    def answered() -> list[bool]:
        return [bool(right) for right in np.repeat(draw.random(40) < chances, 10)]

    noise = noise_between_equals([(answered(), answered()) for _ in range(300)])
    assert noise.called_different.low > 0.05


def test_an_a_a_run_of_nothing_is_no_measurement() -> None:
    with pytest.raises(MissingFigureError, match="two seeds"):
        noise_between_equals([])
    with pytest.raises(MissingFigureError):
        noise_between_equals([([], [])])
    with pytest.raises(InputError):
        noise_between_equals([([True], [True, False])])


def test_the_exact_test_of_scipy_agrees_on_the_level() -> None:
    """The largest number of losses among 40 discordant questions that is not yet a difference, by the binomial."""
    edge = next(k for k in range(20, 41) if 2 * binom.sf(k - 1, 40, 0.5) <= 0.05)
    assert mcnemar(40 - edge, edge) <= 0.05 < mcnemar(41 - edge, edge - 1)
