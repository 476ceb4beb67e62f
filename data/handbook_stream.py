"""Days of changes to the handbook: what is added, amended, withdrawn and reinstated, and on which date.

An experiment knows every truth. A stream starts from what a base knows; each of its days changes some facts; and for
every day it is known which value of a fact holds, which held before, and to which cohort the fact belongs. Two cohorts
are unchanged and near a change: other facts of the same product, and facts of another product for which the value that
was replaced is still right. A model that learns the change too broadly gets those wrong.
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from data.handbook import POOLS, Handbook, newcomers, other_value
from data.records import Fact, FactChange, Standing

ATTRIBUTES = (
    *("price", "warranty", "weight", "colour"),
    *("place of manufacture", "designer", "launch date", "child lock"),
)
"""Of a newcomer: numbers with units, names, places, a date, yes or no; 44.2 bits a product."""
FIRST_DAY = date(2025, 1, 1)


def date_of(day: int) -> date:
    """The date of a day of a stream, counted from 1."""
    return FIRST_DAY + timedelta(days=day - 1)


class Story(StrEnum):
    """What has happened to a fact up to a day: the cohort by which it is reported."""

    NEW = "new"
    """Added by the stream and not changed since."""
    FLIPPED = "flipped"
    """Amended: another value holds now than ever before."""
    RETRACTED = "retracted"
    """Withdrawn: no value is in force."""
    REVERTED = "reverted"
    """Back at a value that held before the last change."""
    SAME_SUBJECT = "same subject"
    """Known to the base and unchanged, of a product of which another fact was changed."""
    SAME_VALUE = "same value"
    """Known to the base and unchanged, with a value that was replaced or withdrawn for another product."""
    UNTOUCHED = "untouched"
    """Known to the base, unchanged and near no change."""


@dataclass(frozen=True)
class Event:
    """One fact takes a value, or loses it, on a day."""

    day: int
    """Counted from 1."""
    fact: Fact
    """With the value that holds from then on; of a withdrawal, the one that held."""
    withdrawn: bool = False

    @property
    def effective(self) -> date:
        return date_of(self.day)

    @property
    def value(self) -> str | None:
        return None if self.withdrawn else self.fact.value


@dataclass(frozen=True)
class Told:
    """A fact as of a day."""

    fact: Fact
    """With the value in force; of a retracted one, the last."""
    story: Story
    values: tuple[str | None, ...]
    """Every value it had up to that day, the present one last; None while withdrawn."""
    added: int
    """Day on which it was first in force; 0: the base knows it."""
    changed: int
    """Day of its last event; 0: there was none."""

    @property
    def effective(self) -> date | None:
        """The date from which it is as it is; None: since before the stream."""
        return date_of(self.changed) if self.changed else None

    @property
    def replaced(self) -> str | None:
        """The value that its last event ended; None: it ended none."""
        return self.values[-2] if len(self.values) > 1 else None

    @property
    def former(self) -> tuple[str, ...]:
        """Values that held and do not hold now."""
        return tuple(dict.fromkeys(one for one in self.values[:-1] if one is not None and one != self.values[-1]))


@dataclass(frozen=True)
class Stream:
    """What the base knows, and what happens to it day by day."""

    known: tuple[Fact, ...]
    events: tuple[Event, ...]
    days: int

    def told(self, day: int) -> list[Told]:
        """Every fact that was ever in force up to a day."""
        past = [event for event in self.events if event.day <= day]
        by_fact: dict[str, list[Event]] = {}
        for event in past:
            by_fact.setdefault(event.fact.id, []).append(event)
        start = {fact.id: fact for fact in self.known}
        facts = {**start, **{id_: events[-1].fact for id_, events in by_fact.items()}}
        near = _Near(start, by_fact)
        return [_told(fact, start.get(id_), by_fact.get(id_, []), near) for id_, fact in facts.items()]

    def changes(self, day: int, since: int = 0) -> list[FactChange]:
        """How the facts stand on a day against those of an earlier one, 0 being the base.

        What was added and withdrawn in between is withdrawn, too: somebody may have been told it meanwhile.
        """
        before = {one.fact.id: one for one in self.told(since)}
        return [change for one in self.told(day) if (change := _change(one, before.get(one.fact.id))) is not None]


class _Near:
    """Which products and which values were changed."""

    def __init__(self, start: Mapping[str, Fact], by_fact: Mapping[str, Sequence[Event]]) -> None:
        touched = [start[id_] for id_ in by_fact if id_ in start]
        for id_, events in by_fact.items():
            if id_ not in start and len(events) > 1:
                touched.append(events[0].fact)
        self.subjects = {fact.subject for fact in touched}
        self.values = {(fact.attribute, fact.value) for fact in touched}


def _told(fact: Fact, start: Fact | None, events: Sequence[Event], near: _Near) -> Told:
    values = (*([start.value] if start else []), *(event.value for event in events))
    story = _story(values, start is None, fact, near)
    added = 0 if start else events[0].day
    return Told(fact, story, values, added, events[-1].day if events else 0)


def _story(values: Sequence[str | None], added: bool, fact: Fact, near: _Near) -> Story:
    if len(values) == 1:
        if added:
            return Story.NEW
        if fact.subject in near.subjects:
            return Story.SAME_SUBJECT
        return Story.SAME_VALUE if (fact.attribute, fact.value) in near.values else Story.UNTOUCHED
    if values[-1] is None:
        return Story.RETRACTED
    return Story.REVERTED if values[-1] in values[:-1] else Story.FLIPPED


def _change(now: Told, before: Told | None) -> FactChange | None:
    """None: withdrawn on both days."""
    value, old = now.values[-1], before.values[-1] if before else None
    if value is None:
        already = before is not None and old is None
        return None if already else FactChange(standing=Standing.WITHDRAWN, fact=now.fact)
    if value == old:
        return FactChange(standing=Standing.HELD, fact=now.fact)
    standing = Standing.NEW if old is None else Standing.REPLACED
    return FactChange(standing=standing, fact=now.fact, old_value=old)


# --- the streams of the experiments ------------------------------------------------------------------


def growing(book: Handbook, seed: int, days: int, entities: int) -> Stream:
    """New products alone: ``entities`` a day, each with all ``ATTRIBUTES``."""
    facts = newcomers(seed, days * entities, book, ATTRIBUTES)
    per_day = entities * len(ATTRIBUTES)
    events = tuple(Event(1 + number // per_day, fact) for number, fact in enumerate(facts))
    return Stream(book.known, events, days)


@dataclass(frozen=True)
class Daily:
    """How much happens on one day of a changing stream."""

    entities: int = 5
    """New products."""
    amended: int = 12
    """Facts in force that take another value."""
    withdrawn: int = 6
    restored: int = 6
    """Amended or withdrawn facts that return to a value they had; none on the first day."""


def changing(book: Handbook, seed: int, days: int, daily: Daily) -> Stream:
    """Every day some of everything; no fact has two events on one day."""
    draw = random.Random(f"changing/{seed}")
    fresh = newcomers(seed, days * daily.entities, book, ATTRIBUTES)
    per_day = daily.entities * len(ATTRIBUTES)
    stream = Stream(book.known, (), 0)
    for day in range(1, days + 1):
        added = [Event(day, fact) for fact in fresh[(day - 1) * per_day : day * per_day]]
        stream = Stream(book.known, (*stream.events, *added, *_changed(stream, day, daily, draw)), day)
    return stream


def _changed(stream: Stream, day: int, daily: Daily, draw: random.Random) -> list[Event]:
    told = stream.told(day - 1)
    back = _some([one for one in told if one.former], daily.restored, draw)
    gone = {one.fact.id for one in back}
    able = [one for one in told if one.values[-1] is not None and one.fact.id not in gone and _has_another(one)]
    chosen = _some(able, daily.amended + daily.withdrawn, draw)
    return [
        *(Event(day, _valued(one.fact, one.former[-1])) for one in back),
        *(_amended(day, one, draw) for one in chosen[: daily.amended]),
        *(Event(day, one.fact, withdrawn=True) for one in chosen[daily.amended :]),
    ]


def flipping(book: Handbook, seed: int, facts: int, entities: int) -> Stream:
    """Three days: facts that the base knows are replaced, withdrawn, or replaced and put back; then others are added.

    Day 1 adds ``entities`` products and changes three times ``facts`` facts, two of each product that it touches, which
    has others that hold; day 2 puts the last third back; day 3 adds products again.
    """
    draw = random.Random(f"flipping/{seed}")
    by_subject: dict[str, list[Told]] = {}
    for one in Stream(book.known, (), 0).told(0):
        by_subject.setdefault(one.fact.subject, []).append(one)
    pairs = [draw.sample(known, 2) for known in draw.sample(list(by_subject.values()), len(by_subject))]
    chosen = _some(list(itertools.chain.from_iterable(pairs))[: 3 * facts], 3 * facts, draw)
    per_day = entities * len(ATTRIBUTES)
    fresh = newcomers(seed, 2 * entities, book, ATTRIBUTES)
    replaced, withdrawn, put_back = chosen[:facts], chosen[facts : 2 * facts], chosen[2 * facts :]
    events = [
        *(Event(1, fact) for fact in fresh[:per_day]),
        *(_amended(1, one, draw) for one in (*replaced, *put_back)),
        *(Event(1, one.fact, withdrawn=True) for one in withdrawn),
        *(Event(2, one.fact) for one in put_back),
        *(Event(3, fact) for fact in fresh[per_day:]),
    ]
    return Stream(book.known, tuple(events), 3)


def _some(pool: Sequence[Told], count: int, draw: random.Random) -> list[Told]:
    return draw.sample(list(pool), min(count, len(pool)))


def _has_another(one: Told) -> bool:
    return len(set(one.values) - {None}) < len(POOLS[one.fact.attribute])


def _amended(day: int, one: Told, draw: random.Random) -> Event:
    past = {value for value in one.values if value is not None}
    return Event(day, _valued(one.fact, other_value(one.fact, draw, past)))


def _valued(fact: Fact, value: str) -> Fact:
    return fact.model_copy(update={"value": value})
