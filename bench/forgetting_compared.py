"""Arms beside one another: whether two that answered the same questions differ by more than equals do.

Every arm is held against the shipped way, or else the first that trains, and another draw of an arm against that arm,
question by question: difference with the interval that gates read (``deciding``), and the p-value of sign flips over
products, adjusted for the number of comparisons (Holm). Before any of it is believed, equals are compared: two arms
that differ in nothing but the draw of their training (``draw=1``). What they differ by is noise of the training, which
no interval over questions contains.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import pandas as pd

from bench.forgetting_arms import ARMS, arm
from bench.forgetting_figures import Learned, by_product, changed_for
from bench.measured import Figure
from data.handbook_questions import Form
from data.records import Grade
from models.clusters import bootstrap, design_effect, sign_flips
from models.power import LEVEL, noise_between_equals
from models.statistics import deciding, holm, paired_table


@dataclass(frozen=True)
class Comparison:
    """One arm against the reference, on what was taught or on what was to be kept."""

    plan: str
    arm: str
    reference: str
    about: str
    """``taught`` or ``kept``."""
    equals: bool
    """Whether the two differ in nothing but the draw of their training."""
    difference: float
    """Share right on the last day: arm minus reference."""
    low: float
    high: float
    gained: int
    """Questions that the arm alone answered right."""
    lost: int
    p: float
    """Of sign flips over products, adjusted for all comparisons of the plan."""
    n: int
    between_equals: float | None = None
    """By how much equals of the plan differ in the same at most; None: none were run, and the noise of training is not
    known."""

    @property
    def said(self) -> str:
        """What may be believed of it, in a few words."""
        if self.equals:
            return "noise of the training"
        if self.p > LEVEL:
            return "not beyond chance"
        if self.between_equals is None:
            return "beyond chance; no equals were run"
        beyond = abs(self.difference) > self.between_equals
        return "beyond chance and noise" if beyond else "no more than equals differ by"


def comparisons(arms: Sequence[Learned]) -> list[Comparison]:
    """Every arm of each plan against the plan's reference, and another draw of an arm against that arm."""
    found: list[Comparison] = []
    for plan in dict.fromkeys(one.plan for one in arms):
        mine = [one for one in arms if one.plan == plan]
        reference = _reference(mine)
        pairs = [pair for one in mine if one is not reference for pair in _pairs(one, _equal(one, mine) or reference)]
        adjusted = holm([pair.p for pair in pairs])
        apart = sorted((abs(pair.difference), pair.about) for pair in pairs if pair.equals)
        most = {about: difference for difference, about in apart}  # the largest comes last
        both = zip(pairs, adjusted, strict=True)
        found += [replace(pair, p=p, between_equals=most.get(pair.about)) for pair, p in both]
    return found


def noise(arms: Sequence[Learned]) -> list[Figure]:
    """Of each arm whose equal is there: how far apart the two lie, and how often a test calls them different."""
    found: list[Figure] = []
    for one in arms:
        equal = _equal(one, arms)
        if equal is not None:
            found += _noise(one, equal)
    return found


def _equal(one: Learned, arms: Sequence[Learned]) -> Learned | None:
    """The arm of which ``one`` is another draw."""
    return next((other for other in arms if other.plan == one.plan and _are_equals(one, other)), None)


def _are_equals(one: Learned, other: Learned) -> bool:
    """Whether ``one`` is the other's recipe under another draw."""
    return arm(one.arm).draw > 0 and arm(one.arm).model_copy(update={"draw": 0}) == arm(other.arm)


def _noise(one: Learned, equal: Learned) -> Iterator[Figure]:
    both = _beside(one, equal)
    pairs = [(list(mine["right_reference"]), list(mine["right"])) for _, mine in both.groupby(["seed", "group"])]
    found = noise_between_equals(pairs)
    away, name = sorted(map(abs, found.differences)), f"{one.plan}/{one.arm}/equals"
    command, alarms = (one.seeds, one.command), found.called_different
    yield Figure(f"{name}: difference of a group's share, median", median(away), away[0], away[-1], len(away), *command)
    yield Figure(f"{name}: called different at 5 %", alarms.value, alarms.low, alarms.high, alarms.n, *command)


def _beside(one: Learned, reference: Learned) -> pd.DataFrame:
    """Questions that both answered, with ``right`` and ``right_reference``."""
    return pd.merge(_last(one), _last(reference), on=["seed", "group", "question"], suffixes=("", "_reference"))


def _reference(arms: Sequence[Learned]) -> Learned:
    """The shipped way, however long it trains; without it the first that trains, or the first."""
    at_length = {"steps": None, "passes": None}
    shipped = [one for one in arms if arm(one.arm).model_copy(update=at_length) == ARMS["default"]]
    training = [one for one in arms if arm(one.arm).trains]
    return next(iter([*shipped, *training, *arms]))


def _pairs(one: Learned, reference: Learned) -> Iterator[Comparison]:
    """On what was taught, and on what was to be kept."""
    both = _beside(one, reference)
    taught = both["group"].isin(changed_for(one.arm)) | both["group"].str.startswith("day ")
    for about, mine in (("taught", both[taught]), ("kept", both[~taught])):
        if len(mine):
            yield _compared(one, reference, about, mine)


def _last(one: Learned) -> pd.DataFrame:
    last = one.answers[(one.answers["day"] == one.answers["day"].max()) & (one.answers["form"] == Form.HELD_OUT.value)]
    last = last.assign(right=last["grade"] == Grade.RIGHT.value)
    return pd.DataFrame(last[["seed", "group", "question", "subject", "right"]])


def _compared(one: Learned, reference: Learned, about: str, mine: pd.DataFrame) -> Comparison:
    values = mine["right"].to_numpy(dtype=np.float64) - mine["right_reference"].to_numpy(dtype=np.float64)
    products = by_product(mine)
    table = paired_table(mine["right_reference"].tolist(), mine["right"].tolist())
    low, high = deciding(table, design_effect(values, products), bootstrap(values, products))
    return Comparison(
        plan=one.plan,
        arm=one.arm,
        reference=reference.arm,
        about=about,
        equals=_are_equals(one, reference),
        difference=table.difference,
        low=low,
        high=high,
        gained=table.gained,
        lost=table.lost,
        p=sign_flips(values, products),
        n=table.n,
    )
