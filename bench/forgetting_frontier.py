"""What was forgotten where as much was learned: families of arms beside one another at one level of acquisition.

An arm that learns more forgets more, and how much it learns depends on its steps and rate: at equal steps, a way of
teaching is confused with how far it went. So arms that differ in rate, steps and passes alone are a *family*; each is a
point of what it learned and what it lost of what the base knew; and the loss is read off at a level that was learned,
between the measured points of the family's frontier (Pareto: no other arm of it learned as much and lost less). Nothing
is extrapolated: where all of the frontier learned more, the least of its losses is what was lost *at most*. A family of
more arms has more chances of a low loss; families are to be given alike.

Intervals are of the bootstrap over products that other figures have, the same weights for all arms of a seed. Where
fewer than ``ENOUGH`` of the draws reach the level, or all say the same, there is none.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.forgetting_arms import arm
from bench.forgetting_figures import Array, Learned
from bench.forgetting_plans import PLANS, Groups
from models.continual import base_lost, learned_when_taught

LEVELS = (0.90, 0.95)
"""Share of new facts right when they were taught."""
ENOUGH = 0.95
"""Of the draws."""


@dataclass(frozen=True)
class Point:
    """One arm of a family."""

    arm: str
    learned: float
    lost: float
    """Share of the base's facts."""


@dataclass(frozen=True)
class Family:
    """Arms that differ in rate, steps and passes alone."""

    plan: str
    name: str
    arms: tuple[Learned, ...]

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """Every arm, the mean of its seeds."""
        means = [one.mean(learned_when_taught) for one in self.arms], [one.mean(base_lost) for one in self.arms]
        return tuple(Point(one.arm, *both) for one, *both in zip(self.arms, *means, strict=True))

    @cached_property
    def draws(self) -> Array:
        """What each arm learned and lost in each draw of weights, [draw, arm, 2]."""
        drawn = [[one.draws(learned_when_taught), one.draws(base_lost)] for one in self.arms]
        return np.array(drawn).transpose(2, 0, 1)

    def losses(self, level: float) -> Array:
        """The loss at a level in each draw, [draw]; NaN where the level is not reached."""
        found = (read_off([(float(x), float(y)) for x, y in points], level) for points in self.draws)
        return np.array([np.nan if loss is None else loss for loss in found])


@dataclass(frozen=True)
class AtLevel:
    """What a family lost of the base's facts where it learned as much as the level says."""

    plan: str
    family: str
    level: float
    lost: float | None
    low: float | None
    high: float | None
    between: tuple[str, ...]
    """Arms between which the level lies; one where it was learned or all learned more; none: it is not reached."""
    said: str
    """Why there is no figure, or no interval, and whether it is a bound; empty where it is a figure with interval."""
    arms: tuple[str, ...]
    n: int
    """Questions of each of its arms."""
    seeds: tuple[int, ...]
    command: str


@dataclass(frozen=True)
class Apart:
    """By how much more a family lost than the reference at one level."""

    plan: str
    family: str
    reference: str
    level: float
    difference: float
    low: float | None
    high: float | None
    said: str
    """Why there is no interval, and whether it is a bound; empty where it is a figure with interval."""
    n: int
    seeds: tuple[int, ...]
    command: str


def families(arms: Sequence[Learned]) -> list[Family]:
    """Those that train, of experiments that are counted by days, in the order of their first arms."""
    found: dict[tuple[str, str], list[Learned]] = {}
    for one in arms:
        if arm(one.arm).trains and PLANS[one.plan].groups is Groups.DAYS:
            found.setdefault((one.plan, family_of(one.arm)), []).append(one)
    return [Family(plan, name, tuple(members)) for (plan, name), members in found.items()]


def family_of(name: str) -> str:
    """An arm's name without rate, steps and passes."""
    return arm(name).model_copy(update={"rate": None, "steps": None, "passes": None}).name


def frontier_of(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points (learned, lost) of which no other learned as much and lost as little, by what was learned."""
    best: list[tuple[float, float]] = []
    for learned, lost in sorted(points, key=lambda point: (-point[0], point[1])):
        if not best or lost < best[-1][1]:
            best.append((learned, lost))
    return best[::-1]


def read_off(points: Sequence[tuple[float, float]], level: float) -> float | None:
    """The loss at a level, straight between the frontier's points; None where none of them reaches it.

    Where all of them learned more it is the least loss among those: with at least as much learned, no more was lost.
    """
    edge = frontier_of(points)
    if not edge or level > edge[-1][0]:
        return None
    learned, lost = zip(*edge, strict=True)
    return float(np.interp(level, learned, lost))


def at_levels(found: Sequence[Family], levels: Sequence[float] = LEVELS) -> list[AtLevel]:
    """Every family at every level."""
    return [_at(one, level) for level in levels for one in found]


def apart(found: Sequence[Family], levels: Sequence[float] = LEVELS) -> list[Apart]:
    """Every family against the reference of its plan, the shipped way or else the first, where both have a figure."""
    pairs = [(one, _reference(one.plan, found)) for one in found]
    told = (_apart(*pair, level) for level in levels for pair in pairs if pair[0] is not pair[1])
    return list(itertools.chain.from_iterable(told))


def _reference(plan: str, found: Sequence[Family]) -> Family:
    mine = [one for one in found if one.plan == plan]
    return next((one for one in mine if one.name == "default"), mine[0])


def _at(one: Family, level: float) -> AtLevel:
    lost = read_off(_pairs(one), level)
    low, high, said = _interval(one.losses(level)) if lost is not None else (None, None, _never(one, level))
    if low is not None and low == high:
        low, high, said = None, None, "no interval: all products agree"
    if _is_bound(one, level):
        least = frontier_of(_pairs(one))[0][0]
        said = "; ".join(filter(None, (f"at most: all of its frontier learned more, {least:.3f} at least", said)))
    between = _between(one, level) if lost is not None else ()
    names = tuple(each.arm for each in one.arms)
    return AtLevel(one.plan, one.name, level, lost, low, high, between, said, names, *_rests_on(one))


def _apart(one: Family, reference: Family, level: float) -> Iterator[Apart]:
    mine, other = (read_off(_pairs(each), level) for each in (one, reference))
    bounds = _is_bound(one, level), _is_bound(reference, level)
    if mine is not None and other is not None and not all(bounds):
        low, high, said = _interval(one.losses(level) - reference.losses(level))
        bound = "at most: it learned more" if bounds[0] else f"at least: {reference.name} learned more"
        said = "; ".join(filter(None, (bound if any(bounds) else "", said)))
        yield Apart(one.plan, one.name, reference.name, level, mine - other, low, high, said, *_rests_on(one))


def _is_bound(one: Family, level: float) -> bool:
    """Whether all of the frontier learned more."""
    return level < frontier_of(_pairs(one))[0][0]


def _pairs(one: Family) -> list[tuple[float, float]]:
    return [(point.learned, point.lost) for point in one.points]


def _rests_on(one: Family) -> tuple[int, tuple[int, ...], str]:
    first = one.arms[0]
    return first.asked(first.groups), first.seeds, first.command


def _between(one: Family, level: float) -> tuple[str, ...]:
    """Names of the frontier's points beside the level; one where it lies on a point or below all of them."""
    edge = frontier_of(_pairs(one))
    above = min(p for p in edge if p[0] >= level)
    below = max((p for p in edge if p[0] <= level), default=above)
    names = {(point.learned, point.lost): point.arm for point in one.points}
    return tuple(dict.fromkeys((names[below], names[above])))


def _never(one: Family, level: float) -> str:
    """In words, why nothing can be read off."""
    most = max(one.points, key=lambda p: p.learned)
    return f"never reaches {level:.2f}: learned {most.learned:.3f} at most ({most.arm})"


def _interval(losses: Array) -> tuple[float | None, float | None, str]:
    """The ends, and why there are none where too many draws lie beyond what was measured."""
    inside = losses[np.isfinite(losses)]
    share = len(inside) / len(losses)
    if share < ENOUGH:
        return None, None, f"no interval: the level is reached in {share:.0%} of draws only"
    low, high = np.quantile(inside, (0.025, 0.975))
    return float(low), float(high), ""


def table(found: Sequence[AtLevel], differences: Sequence[Apart]) -> list[str]:
    """One line per family and level, then one per difference."""
    lines = [_line(f"{one.plan}/{one.family}/lost at {one.level:.2f} learned", one.lost, one) for one in found]
    beside = [
        _line(f"{one.plan}/{one.family}/lost at {one.level:.2f} learned, minus {one.reference}", one.difference, one)
        for one in differences
    ]
    return [*lines, *beside]


def _line(name: str, value: float | None, one: AtLevel | Apart) -> str:
    ends = "" if one.low is None else f" [{one.low:6.3f}, {one.high:6.3f}] n={one.n}"
    return f"{name:<80}{'' if value is None else f' {value:7.3f}'}{ends}{f' {one.said}' if one.said else ''}"
