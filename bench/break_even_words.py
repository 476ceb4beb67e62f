"""What a comparison of costs says, in sentences, lines and figures."""

import math
from collections.abc import Sequence
from dataclasses import replace

from bench.break_even import Comparison, Line, compare
from bench.break_even_case import TRAINED, Way
from bench.measured import Figure

NAMES = {
    Way.CLOSED: "the base alone",
    Way.CONTEXT: "all documents in context",
    Way.CACHED: "all documents in context, cached",
    Way.RETRIEVAL: "retrieval",
    Way.ADAPTER: "training",
    Way.BOTH: "training with retrieval",
}


def sentences(found: Comparison) -> list[str]:
    """The outcome in plain words: what is cheapest here, when training beats retrieval, when neither is best."""
    still = compare(replace(found.case, load=replace(found.case.load, changed=0.0)))
    return [
        _cheapest(found),
        *_stretches(found),
        *(told for way in sorted(TRAINED) if (told := _against_retrieval(found, still, way))),
    ]


def money(value: float) -> str:
    """An amount: cents where they tell something, else four digits."""
    return f"{value:,.2f}" if value >= 1 or value == 0 else f"{value:.4g}"


def count(queries: float) -> str:
    """Questions a day, whole where there are many: rounded up, so that from there on the cost is lower."""
    return f"{math.ceil(queries):,}" if queries >= 10 else f"{queries:.2g}"


def lines(found: Comparison) -> list[str]:
    """A table for a terminal, and the sentences."""
    head = f"{'way':<34}{'fixed a day':>13}{'a question':>13}{'a day':>14}{'a right answer':>16}{'right':>7}"
    return [head, *(_row(one, found.case.load.queries) for one in found.lines), "", *sentences(found)]


def figures(found: Comparison, command: str) -> list[Figure]:
    """Costs and crossings; computed from what was given, so that n is 0 and the interval nothing but the value."""
    queries = found.case.load.queries
    values: list[tuple[str, float | None]] = []
    for one in found.lines:
        values += [
            (f"{one.way}/cost a day", one.cost(queries)),
            (f"{one.way}/cost of a right answer", one.per_right(queries)),
            (f"{one.way}/fixed a day", one.fixed),
            (f"{one.way}/a question", one.each),
        ]
    values += [(f"{one.below} to {one.above}/questions a day", one.queries) for one in found.crossings]
    return [Figure(name, value, value, value, 0, (), command) for name, value in values if value is not None]


def _row(one: Line, queries: float) -> str:
    right = one.per_right(queries)
    cells = f"{money(one.fixed):>13}{money(one.each):>13}{money(one.cost(queries)):>14}"
    said = f"{NAMES[one.way]:<34}{cells}{'none' if right is None else money(right):>16}{one.right:>7.1%}"
    return f"{said}  no choice: {one.hindrance}" if one.hindrance else said


def _cheapest(found: Comparison) -> str:
    queries, best = found.case.load.queries, found.cheapest
    if best is None:
        return _none(found)
    right = best.per_right(queries)
    each = f", {money(right)} for a right answer" if right is not None else ""
    return (
        f"At {queries:,.10g} questions a day the cheapest way that reaches {found.case.floor:.1%} is "
        f"{NAMES[best.way]}: {money(best.cost(queries))} a day{each}."
    )


def _stretches(found: Comparison) -> list[str]:
    if not found.stretches:
        return []
    (_, first), *later = found.stretches
    if not later:
        return [f"However many questions are asked, {NAMES[first]} is cheapest."]
    then = ", ".join(f"from {count(queries)} a day on {NAMES[way]}" for queries, way in later)
    return [f"With few questions {NAMES[first]} is cheapest, {then}."]


def _against_retrieval(found: Comparison, still: Comparison, way: Way) -> str:
    """When this way of training beats retrieval, and when it would if nothing changed; empty where one is not asked."""
    one, other = found.line(way), found.line(Way.RETRIEVAL)
    if one is None or other is None:
        return ""
    if one.hindrance or other.hindrance:
        return f"There is no break-even of {NAMES[way]} and retrieval: {_hindered([one, other])}."
    now, unchanged = _beats(found, way), _beats(still, way)
    then = f"with no change at all it {unchanged}" if unchanged != now else "with no change at all it is the same"
    crossing = found.crossing(way, Way.RETRIEVAL)
    beyond = "" if crossing is None else f", {'below' if crossing.above is way else 'beyond'} that retrieval costs less"
    return f"{NAMES[way].capitalize()} {now}{beyond}; {then}."


def _beats(found: Comparison, way: Way) -> str:
    one, other = found.line(way), found.line(Way.RETRIEVAL)
    assert one is not None
    assert other is not None
    crossing = found.crossing(way, Way.RETRIEVAL)
    if crossing is None:
        if (one.fixed, one.each) == (other.fixed, other.each):
            return "costs what retrieval costs"
        better = one.fixed <= other.fixed and one.each <= other.each
        return "beats retrieval, however many questions are asked" if better else "never beats retrieval"
    if crossing.above is way:
        return f"beats retrieval from {count(crossing.queries)} questions a day on"
    return f"beats retrieval up to {count(crossing.queries)} questions a day"


def _none(found: Comparison) -> str:
    """Why no way is a choice: the best of those that can be had is not good enough."""
    had = [one for one in found.lines if one.fits]
    if not had:
        return "No way is a choice: of those that were named, none fits into what the model reads."
    best = max(had, key=lambda one: one.right)
    return (
        f"No way is a choice: {found.case.floor:.1%} right are asked for, and the best that can be had is "
        f"{NAMES[best.way]} with {best.right:.1%}."
    )


def _hindered(lines: Sequence[Line]) -> str:
    return "; ".join(f"{NAMES[one.way]}: {one.hindrance}" for one in lines if one.hindrance)
