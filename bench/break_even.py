"""When training documents into weights pays: what each way of answering costs a day, and where the costs cross.

Every way costs so much a day whatever is asked, and so much a question, so that its cost is a straight line over the
questions a day. Training pays its share of the fixed part to be spared the tokens that retrieval and long prompts send
with every question; which is less depends on the numbers that go in (bench/break_even_case.py).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.break_even_case import MILLION, SEARCHED, TRAINED, Case, Way


@dataclass(frozen=True)
class Line:
    """What a way costs: ``fixed`` a day and ``tokens`` + ``wrong`` a question."""

    way: Way
    fixed: float
    tokens: float
    wrong: float
    """Of wrong answers, on average over questions."""
    right: float
    fits: bool
    """Whether what stands before the question can be read at all."""
    hindrance: str
    """Why it is no choice; empty: it is one."""

    @property
    def each(self) -> float:
        """Of one question more."""
        return self.tokens + self.wrong

    def cost(self, queries: float) -> float:
        """A day, wrong answers included."""
        return self.fixed + self.each * queries

    def per_right(self, queries: float) -> float | None:
        """Of a right answer; None where there is none."""
        answered = self.right * queries
        return self.cost(queries) / answered if answered else None


@dataclass(frozen=True)
class Crossing:
    """Two ways that cost the same at ``queries`` a day."""

    below: Way
    """The cheaper one with fewer questions."""
    above: Way
    """The cheaper one with more."""
    queries: float


@dataclass(frozen=True)
class Comparison:
    """What comes out."""

    case: Case
    lines: tuple[Line, ...]
    cheapest: Line | None
    """At the case's questions a day, of those that are a choice; None: none is."""
    crossings: tuple[Crossing, ...]
    """Of every two ways that are a choice and whose costs cross above 0 questions."""
    stretches: tuple[tuple[float, Way], ...]
    """From how many questions a day on which way is the cheapest choice, the first from 0; empty: none is one."""

    def line(self, way: Way) -> Line | None:
        return next((one for one in self.lines if one.way is way), None)

    def crossing(self, one: Way, other: Way) -> Crossing | None:
        return next((each for each in self.crossings if {each.below, each.above} == {one, other}), None)


def compare(case: Case) -> Comparison:
    """Cost lines of all ways, which is cheapest, and where they cross. A pure function."""
    lines = tuple(_line(case, way, share) for way, share in case.right)
    chosen = [one for one in lines if not one.hindrance]
    queries = case.load.queries
    cheapest = min(chosen, key=lambda one: (one.cost(queries), -one.right), default=None)
    crossings = (cross(one, other) for one, other in itertools.combinations(chosen, 2))
    return Comparison(case, lines, cheapest, tuple(one for one in crossings if one), stretches(chosen))


def cross(one: Line, other: Line) -> Crossing | None:
    """Where two lines meet above 0 questions; None where one is never cheaper, or they are the same."""
    steep, flat = (one, other) if one.each > other.each else (other, one)
    gap = steep.each - flat.each
    if not gap > 0 or not flat.fixed > steep.fixed:
        return None
    queries = (flat.fixed - steep.fixed) / gap
    return Crossing(steep.way, flat.way, queries) if math.isfinite(queries) else None


def stretches(lines: Sequence[Line]) -> tuple[tuple[float, Way], ...]:
    """The lower envelope of lines: where each begins to be the cheapest."""
    if not lines:
        return ()
    now = min(lines, key=lambda one: (one.fixed, one.each, -one.right))
    found = [(0.0, now.way)]
    while True:
        met = [
            (crossing.queries, one.each, one) for one in lines if one.each < now.each and (crossing := cross(now, one))
        ]
        if not met:
            return tuple(found)
        queries, _, now = min(met, key=lambda each: each[:2])
        found.append((queries, now.way))


def _line(case: Case, way: Way, right: float) -> Line:
    load, prices = case.load, case.prices
    before, price = _before(case, way)
    tokens = (load.prompt_tokens * prices.input + load.answer_tokens * prices.output + before * price) / MILLION
    fixed = 0.0
    if way in TRAINED:
        tokens *= prices.adapter_factor
        fixed += _training(case)
    if way in SEARCHED:
        tokens += load.prompt_tokens * prices.index / MILLION
        fixed += _indexing(case)
    if way is Way.CACHED:
        fixed += case.training.cache_writes * load.documents_tokens * prices.cache_write / MILLION
    needed = before + load.prompt_tokens + load.answer_tokens
    hindrance = ""
    if needed > load.window:
        hindrance = f"{needed:,.0f} tokens with question and answer, {load.window:,.0f} can be read"
    elif right < case.floor:
        hindrance = f"{right:.1%} right, {case.floor:.1%} asked for"
    return Line(way, fixed, tokens, (1 - right) * prices.wrong, right, needed <= load.window, hindrance)


def _before(case: Case, way: Way) -> tuple[float, float]:
    """Tokens that stand before a question, and what a million of them costs."""
    documents, prices = case.load.documents_tokens, case.prices
    if way is Way.CONTEXT:
        return documents, prices.input
    if way is Way.CACHED:
        return documents, prices.cached
    return (min(case.load.retrieved_tokens, documents) if way in SEARCHED else 0.0), prices.input


def _indexing(case: Case) -> float:
    """A day's share of the index: the first one spread, what changes, and keeping it."""
    tokens = case.load.documents_tokens * (1 / case.training.horizon + case.load.changed)
    return tokens * case.prices.index / MILLION + case.prices.index_day


def _training(case: Case) -> float:
    """A day's share of training: the first one spread, rows for what changes, cycles, and serving."""
    load, prices, plan = case.load, case.prices, case.training
    row_tokens = load.documents_tokens * plan.rows
    first = row_tokens * (prices.written + plan.epochs * prices.trained) / plan.horizon
    written = load.changed * row_tokens * prices.written
    trained = plan.cycles * min(1.0, load.changed * plan.days) * row_tokens * plan.epochs * prices.trained
    evaluated = plan.cycles * prices.evaluation if load.changed > 0 else 0.0
    return (first + written + trained) / MILLION + evaluated + prices.serving_day
