"""From the answers of all arms to figures: what was learned, what was kept, and what is stale, with intervals.

What a matrix of shares says has the interval of a Bayesian bootstrap (Rubin, Annals of Statistics 9, 1981) over the
products of each seed, whose facts stand or fall together: weights are drawn, and none is 0, so that a small group never
vanishes. Where weights change nothing, as where every answer is right, the interval is Wilson's with each product as
one answer. A share has Wilson's, at an effective number of questions. All speak of other products, not of other
trainings: what those differ by is measured between equals (bench/forgetting_compared.py).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import harmonic_mean
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.forgetting_arms import Reads, arm
from bench.forgetting_asking import SAMPLES
from bench.forgetting_plans import BASE_GROUP, PLANS, POLICIES, Groups
from bench.measured import Figure
from data.handbook import POOLS
from data.handbook_questions import CHOICES, Form
from data.handbook_stream import Story
from data.records import Grade
from models.clusters import Clusters, design_effect
from models.continual import (
    Matrix,
    backward_transfer,
    base_lost,
    bits_known,
    final_average,
    learned_when_taught,
    worst_drop,
)
from models.statistics import wilson, wilson_interval
from tasks.pages import number

DRAWS = 1000
SEED = 20240601
_SAME = 1e-9
"""Draws that are no further apart are equal."""
_COSTS = (
    ("steps", "steps", 1),
    ("thousand tokens", "tokens", 1e3),
    ("seconds of training, since it was last started", "training_seconds", 1),
)
Array = npt.NDArray[np.float64]
Measure = Callable[[Matrix], float]
CHANGED = (Story.NEW, Story.FLIPPED, Story.REVERTED, Story.RETRACTED)
BY_SEEDS = "(range of seeds)"
"""Of a figure whose ends are no interval: the least and the largest of the seeds."""
BY_CHOICE = f"choice of {CHOICES} (chance {1 / CHOICES:.2f})"
IN_SAMPLES = f"old answer in any of {SAMPLES} samples"
SCORE = "score: harmonic mean of new answer, 1 - leakage and locality"


@dataclass(frozen=True)
class Learned:
    """One arm of one experiment: its answers, seed by seed."""

    plan: str
    arm: str
    answers: pd.DataFrame
    days: pd.DataFrame
    """What each day cost, and what it did to texts."""
    command: str

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted(self.answers["seed"].unique().tolist()))

    @cached_property
    def groups(self) -> list[str]:
        """The base's facts first, then the days in order."""
        found = set(self.answers["group"]) - {POLICIES, BASE_GROUP}
        days = sorted(found, key=lambda name: int(name.split()[1]))
        return [BASE_GROUP, *days]

    def asked(self, groups: Sequence[str]) -> int:
        """Questions about some groups after the last day, in held-out wordings, of all seeds."""
        last = self.answers[self.answers["day"] == self.answers["day"].max()]
        return int(((last["form"] == Form.HELD_OUT.value) & last["group"].isin(groups)).sum())

    def matrix(self, seed: int) -> Matrix:
        """R of one seed: rows are days from 0, columns ``groups``."""
        everything = np.ones((1, len(self._counts[seed][0])))
        return np.asarray(self._matrices(seed, everything)[0], dtype=np.float64)

    def mean(self, measure: Measure) -> float:
        """Over seeds."""
        return float(np.mean([measure(self.matrix(seed)) for seed in self.seeds]))

    def draws(self, measure: Measure) -> Array:
        """The mean over seeds in each draw of weights, [draw]; a product weighs the same in every arm and seed."""
        each = [[measure(R) for R in self._drawn[seed]] for seed in self.seeds]
        return np.asarray(np.mean(each, axis=0), dtype=np.float64)

    def drawn(self, measure: Measure) -> tuple[float, float, float]:
        """The measure's mean over seeds, with its interval: the spread of the draws, about the mean.

        The worst of many noisy drops is too large on average, and draws of it are too large once more; of that excess
        the interval is rid, so that it lies about what was measured.
        """
        value, draws = self.mean(measure), self.draws(measure)
        certain = measure not in _SHARES and not arm(self.arm).trains  # the same model on every day
        if agree(draws) and not certain:
            return value, *self._left_open(measure)
        low, high = np.quantile(draws, (0.025, 0.975)) - draws.mean() + value
        return value, float(low), float(high)

    def _left_open(self, measure: Measure) -> tuple[float, float]:
        """Ends of a measure whose draws all agree.

        Each share is moved to either end of Wilson's interval with each product as one answer. What the measure moves
        by is squared and added (Newcombe's way of independent shares); of the worst of many drops the largest counts.
        """
        R = np.mean([self.matrix(seed) for seed in self.seeds], axis=0)
        moves = [self._moves(measure, R, cell) for cell in zip(*np.nonzero(np.isfinite(R)), strict=True)]
        order = np.inf if measure in _LARGEST else 2
        down, up = (float(np.linalg.norm(each, order)) for each in np.array(moves).T)
        return measure(R) - down, measure(R) + up

    def _moves(self, measure: Measure, R: Matrix, cell: tuple[np.intp, ...]) -> tuple[float, float]:
        """How far down and up the measure goes with one share of R."""
        found = [0.0]
        for end in wilson_interval(R[cell], self._products[cell]):
            moved = R.copy()
            moved[cell] = end
            found.append(measure(moved) - measure(R))
        return min(found), max(found)

    @cached_property
    def _drawn(self) -> dict[int, Array]:
        """R of each draw, [draw, day, group], by seed."""
        return {seed: self._matrices(seed, _weights(self._counts[seed][0])) for seed in self.seeds}

    def _matrices(self, seed: int, weights_WS: Array) -> Array:
        """R with each product weighted so, [weights, day, group]."""
        _, hits_SDG, asked_SDG = self._counts[seed]
        hits_WDG, asked_WDG = (np.tensordot(weights_WS, counts, axes=1) for counts in (hits_SDG, asked_SDG))
        shares_WDG = np.full(hits_WDG.shape, np.nan)
        np.divide(hits_WDG, asked_WDG, out=shares_WDG, where=asked_WDG > 0)
        return shares_WDG

    @cached_property
    def _counts(self) -> dict[int, tuple[list[str], Array, Array]]:
        """Products, their right answers and their questions, both [product, day, group], by seed."""
        asked = self.answers[(self.answers["form"] == Form.HELD_OUT.value) & self.answers["group"].isin(self.groups)]
        found = {}
        for seed in self.seeds:
            mine = asked[asked["seed"] == seed]
            numbers, names = pd.factorize(mine["subject"])
            places = (
                numbers,
                mine["day"].to_numpy(),
                pd.Index(self.groups).get_indexer(pd.Index(mine["group"])),
            )
            shape = (len(names), places[1].max() + 1, len(self.groups))
            right, every = np.zeros(shape), np.zeros(shape)
            np.add.at(right, places, (mine["grade"] == Grade.RIGHT.value).to_numpy(dtype=np.float64))
            np.add.at(every, places, 1.0)
            found[seed] = [str(name) for name in names], right, every
        return found

    @cached_property
    def _products(self) -> Array:
        """How many products each share of R is about, in all seeds together: the same one counts once."""
        names = np.concatenate([names for names, _, _ in self._counts.values()])
        asked_SDG = np.concatenate([asked_SDG > 0 for _, _, asked_SDG in self._counts.values()])
        each = [asked_SDG[names == name].any(axis=0) for name in np.unique(names)]
        return np.asarray(np.sum(each, axis=0), dtype=np.float64)


def agree(draws: Array) -> bool:
    """Whether the weights of products changed nothing."""
    return bool(np.ptp(draws) < _SAME)


def _weights(products: Sequence[str]) -> Array:
    """Of each product in each draw, [draw, product]: they follow from its name, whatever else is asked.

    So what the base knows weighs the same in every seed: it is the same base and handbook.
    """
    drawn = [np.random.default_rng((SEED, *name.encode())).exponential(size=DRAWS) for name in products]
    return np.stack(drawn, axis=1)


def by_arm(answers: pd.DataFrame, days: pd.DataFrame, command: str) -> list[Learned]:
    """The arms in the order in which they stand."""
    keys = list(answers[["plan", "arm"]].drop_duplicates().itertuples(index=False, name=None))
    of_answers, of_days = (dict(list(table.groupby(["plan", "arm"]))) for table in (answers, days))
    return [Learned(key[0], key[1], of_answers[key], of_days[key], command) for key in keys]


def figures(arms: Sequence[Learned]) -> list[Figure]:
    """Every figure of every arm."""
    told = {Groups.DAYS: sequence, Groups.STORIES: stories}
    return [found for one in arms for found in told[PLANS[one.plan].groups](one)]


def sequence(one: Learned) -> list[Figure]:
    """Learning against forgetting over days."""
    taught, kept = one.asked(one.groups[1:]), one.asked([BASE_GROUP])
    measures: dict[str, tuple[Measure, int]] = {
        "learned when taught": (learned_when_taught, taught),
        "final average": (final_average, taught + kept),
        "backward transfer": (backward_transfer, taught),
        "worst drop": (worst_drop, taught + kept),
        "worst drop of what was taught": (_worst_taught, taught),
        "base's facts lost": (base_lost, kept),
        "base's facts lost on the first day": (lambda R: float(R[0, 0] - R[1, 0]), kept),
    }
    shown = [_figure(one, name, *one.drawn(measure), n) for name, (measure, n) in measures.items()]
    return [*shown, *_at_the_end(one), *_bits(one), *_texts(one), *_costs(one)]


def _worst_taught(R: Matrix) -> float:
    """The base's facts left out."""
    return worst_drop(np.hstack([np.full((len(R), 1), np.nan), R[:, 1:]]))


_SHARES = (learned_when_taught, final_average)
"""Measures that are shares; the others are differences between days."""
_LARGEST = (worst_drop, _worst_taught)
"""Measures that are the largest of many differences."""


def _texts(one: Learned) -> Iterator[Figure]:
    """What the last day left of texts that the base knows: the mean of the seeds, with the least and the largest."""
    ends = {"before": 0, "at the end": one.days["day"].max()}
    for name, column in (
        ("bits per token of known sentences", "bits_known"),
        ("bits per token of unseen text", "bits_unseen"),
        ("KL to the base on known sentences, nats", "divergence_known"),
        ("KL to the base on unseen text, nats", "divergence_unseen"),
    ):
        for when, day in ends.items():
            values = one.days[one.days["day"] == day][column].dropna().to_numpy(dtype=np.float64)
            if len(values) and not (column.startswith("divergence") and day == 0):
                yield _over_seeds(one, f"{name}, {when}", values, len(values))


def _costs(one: Learned) -> Iterator[Figure]:
    """What all days took together, and what has to be kept at the end; of one that reads, its training is another's."""
    if not one.days["steps"].any() or arm(one.arm).reads is not Reads.NOTHING:
        return
    by_seed = one.days.sort_values("day").groupby("seed")
    for name, column, unit in _COSTS:
        values = by_seed[column].sum().to_numpy(dtype=np.float64) / unit
        yield _over_seeds(one, f"cost: {name}", values, len(values))
    kept = by_seed["bytes"].last().to_numpy(dtype=np.float64) / 1e6
    yield _over_seeds(one, "cost: megabytes kept", kept, len(kept))


def _over_seeds(one: Learned, name: str, values: Array, n: int) -> Figure:
    return _figure(one, f"{name} {BY_SEEDS}", values.mean(), values.min(), values.max(), n)


def _figure(one: Learned, name: str, value: float, low: float, high: float, n: int) -> Figure:
    return Figure(f"{one.plan}/{one.arm}/{name}", float(value), float(low), float(high), n, one.seeds, one.command)


def _at_the_end(one: Learned) -> Iterator[Figure]:
    """Facts of documents; and where those were asked, what was taught in wordings that were trained, and choices."""
    last = one.answers[one.answers["day"] == one.answers["day"].max()]
    yield _share(one, "facts of documents right at the end", last[last["group"] == POLICIES], Grade.RIGHT)
    seen = last[(last["form"] == Form.SEEN.value) & (last["group"] != BASE_GROUP)]
    if len(seen):
        yield _share(one, "taught facts right at the end, in seen wordings", seen, Grade.RIGHT)
    chosen = last[last["form"] == Form.CHOICE.value]
    for name, mine in (
        ("taught facts", chosen[chosen["group"] != BASE_GROUP]),
        ("base's facts", chosen[chosen["group"] == BASE_GROUP]),
    ):
        if len(mine):
            yield _share(one, f"{name} right at the end, {BY_CHOICE}", mine, Grade.RIGHT)


def _bits(one: Learned) -> Iterator[Figure]:
    """Least bits of what was taught that the model tells at the end: the mean of the seeds, the least and the largest.

    What was withdrawn has no value to tell.
    """
    last = one.answers[one.answers["day"] == one.answers["day"].max()]
    asked = last[(last["form"] == Form.HELD_OUT.value) & ~last["group"].isin((POLICIES, BASE_GROUP))]
    asked = asked[asked["story"] != Story.RETRACTED.value]
    per_fact = np.array([_bits_of(mine) for _, mine in asked.groupby("seed")])
    yield _over_seeds(one, "bits per taught fact, least", per_fact, len(asked))
    ends = one.days[one.days["day"] == one.days["day"].max()].sort_values("seed")
    if (ends["parameters"] > 0).all():
        stored = per_fact * (1000 * ends["taught"] / ends["parameters"]).to_numpy(dtype=np.float64)
        yield _over_seeds(one, "bits per 1,000 trained parameters, least", stored, len(asked))


def _bits_of(asked: pd.DataFrame) -> float:
    """Mean over the facts asked about, by attribute, as each has its own pool."""
    known = 0.0
    for attribute, mine in asked.groupby("attribute"):
        right = float((mine["grade"] == Grade.RIGHT.value).mean())
        known += bits_known(right, len(POOLS[str(attribute)])) * len(mine)
    return known / len(asked)


def stories(one: Learned) -> list[Figure]:
    """What became of changed facts once all were changed, form by form, what leaks of old answers, and one score.

    On the days after that only other things are learned: what the last of them left.
    """
    done = one.answers[(one.answers["story"] == Story.REVERTED.value) & (one.answers["day"] > 0)]["day"].min()
    last = one.answers["day"].max()
    then = one.answers[one.answers["day"] == done]
    same = pd.MultiIndex.from_frame(then[["seed", "fact"]])
    after = one.answers[one.answers["day"] == last]
    after = after[pd.MultiIndex.from_frame(after[["seed", "fact"]]).isin(same)]
    later = [*_summed_up(one, after), *_leaks(one, after)] if last > done else []
    lasting = [replace(figure, name=_later(figure.name)) for figure in later]
    return [*_summed_up(one, then), *lasting, *_by_form(one, then), *_leaks(one, then), *_costs(one)]


def by_product(asked: pd.DataFrame) -> Clusters:
    """What is asked about one product, together, in all seeds: they ask the same base about it."""
    return Clusters(np.asarray(pd.factorize(asked["subject"])[0], dtype=np.int64))


def _later(name: str) -> str:
    plan, arm, what = name.split("/", 2)
    return f"{plan}/{arm}/after learning other things: {what}"


def _summed_up(one: Learned, asked: pd.DataFrame) -> list[Figure]:
    held_out = asked[asked["form"] == Form.HELD_OUT.value]
    changed = held_out["group"].isin(changed_for(one.arm))
    leaks = asked[asked["group"].isin(changed_for(one.arm))].dropna(subset=["leaked"])
    new = _share(one, "new answer", held_out[changed], Grade.RIGHT)
    near = _share(one, "locality", held_out[~changed], Grade.RIGHT)
    leak = counted(one, f"leakage, any of {SAMPLES} samples", leaks, leaks["leaked"])
    return [_figure(one, SCORE, *_score(new, leak, near), new.n + near.n), new, leak, near]


def changed_for(name: str) -> list[str]:
    """Stories that change what an arm's model knew.

    To the base alone, and to one that starts from it each day, what was put back never changed: they were not told what
    held in between.
    """
    goes_on = arm(name).trains and arm(name).order.goes_on
    told = [story for story in CHANGED if story is not Story.REVERTED or goes_on]
    return [story.value for story in told]


def _by_form(one: Learned, asked: pd.DataFrame) -> Iterator[Figure]:
    for _, mine in asked.groupby(["group", "form"], sort=False):
        group, form = mine["group"].iloc[0], mine["form"].iloc[0]
        name = f"{group}, {BY_CHOICE if form == Form.CHOICE.value else form}"
        yield _share(one, f"{name}: right", mine, Grade.RIGHT)
        if mine["stale"].map(len).any() and not Form(form).looks_back:
            yield _share(one, f"{name}: stale", mine, Grade.STALE)


def _leaks(one: Learned, asked: pd.DataFrame) -> Iterator[Figure]:
    """Whether the old answer is gone, story by story."""
    for _, mine in asked.dropna(subset=["leaked"]).groupby("group", sort=False):
        name = str(mine["group"].iloc[0])
        yield counted(one, f"{name}: {IN_SAMPLES}", mine, mine["leaked"])
        yield counted(one, f"{name}: old answer likelier", mine, mine["old_likelier"])


def _score(new: Figure, leak: Figure, near: Figure) -> tuple[float, float, float]:
    """Value, and what it would be with all three at their lower or their upper ends."""
    low, high = (new.low, 1 - leak.high, near.low), (new.high, 1 - leak.low, near.high)
    return harmonic_mean((new.value, 1 - leak.value, near.value)), harmonic_mean(low), harmonic_mean(high)


def _share(one: Learned, name: str, asked: pd.DataFrame, grade: Grade) -> Figure:
    return counted(one, name, asked, asked["grade"] == grade.value)


def counted(one: Learned, name: str, asked: pd.DataFrame, hits: "pd.Series[Any]") -> Figure:
    """A share whose interval counts what is known of one product as alike as it was."""
    values = np.asarray(hits.astype(bool), dtype=np.float64)
    share = wilson(int(values.sum()), len(values), design_effect(values, by_product(asked)))
    return _figure(one, name, share.value, share.low, share.high, share.n)


def table(found: Sequence[Figure]) -> list[str]:
    """One line per figure."""
    return [
        f"{one.name:<80} {number(one.value):>7} [{number(one.low):>6}, {number(one.high):>6}] n={one.n}"
        for one in found
    ]
