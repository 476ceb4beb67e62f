"""The experiments of ``relearn bench forgetting``: which stream, which questions, and by what they are reported.

*day*: new products, once. *stages*: new products day after day, and what each day leaves of the days before. *changes*:
ten days of additions, amendments, withdrawals and returns. *flips*: facts that the base knows are replaced, withdrawn,
or put back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from data.handbook import Handbook
from data.handbook_questions import Asked, Form, ask
from data.handbook_stream import Daily, Stream, Told, changing, flipping, growing
from data.params import Params

BASE_GROUP = "base"
"""Facts that the base knows and that no day touches."""
POLICIES = "policies"
"""Facts of documents that the base knows; no stream touches them."""


CHOICE_QUESTIONS = 160
"""Of a group; each is as many texts as it has choices, and costs two or three times what an answer does."""


@dataclass(frozen=True)
class Size:
    """How large an experiment is."""

    days: int
    entities: int
    """New products, of a day; of flips, in all."""
    questions: int
    """Asked at most, of each form and group; of choices no more than ``CHOICE_QUESTIONS``."""
    flips: int = 0
    """Facts replaced; as many are withdrawn, and replaced and put back."""


class Groups(StrEnum):
    """What a fact is counted under, from its state on the last day it is asked about."""

    DAYS = "days"
    """The day whose teaching it stands for: that of its last event."""
    STORIES = "stories"
    """What has happened to it."""

    def of(self, told: Told) -> str:
        if self is Groups.STORIES:
            return told.story.value
        return f"day {told.changed}" if told.changed else BASE_GROUP


@dataclass(frozen=True)
class Plan:
    """One experiment."""

    name: str
    title: str
    about: str
    whole: Size
    quick: Size
    forms: tuple[Form, ...]
    make: Callable[[Handbook, int, Size], Stream]
    groups: Groups
    arms: tuple[str, ...]
    """Those that run unless others are named."""
    quick_arms: tuple[str, ...]
    leaks: bool = False
    """Whether old answers are looked for in samples and likelihoods, too."""


PASSES = "passes=1.5"
"""As much as a day needs; the shipped number of steps is for a year of documents."""
PLANS = {
    plan.name: plan
    for plan in (
        Plan(
            "day",
            "One day of new products",
            "Forty products that the base has never seen, 320 facts, taught on one day in the ways of the arms and "
            "asked about in wordings that were never trained, beside facts that the base knew.",
            Size(days=1, entities=40, questions=640),
            Size(days=1, entities=10, questions=160),
            (Form.HELD_OUT, Form.SEEN, Form.CHOICE),
            lambda book, seed, size: growing(book, seed, size.days, size.entities),
            Groups.DAYS,
            (
                *("none", "context", "retrieval", "raw,steps=300"),
                *("told,steps=150", "told,steps=300"),
                *("asked,steps=75", "asked,steps=150"),
                *("default,replay=0.1,steps=75", "default,replay=0.1,steps=150"),
                *("default,steps=300", "default,steps=150", "default,draw=1,steps=150"),
                "default,rate=0.002,steps=300",
                *("full,steps=150", "full,steps=300"),
            ),
            ("none", "raw,steps=60", "told,steps=60", "asked,steps=60", "default,steps=60"),
        ),
        Plan(
            "stages",
            "New products, day after day",
            "Every day adds products that the base has never seen. Each day's facts are asked about on every later "
            "day, in wordings that were never trained, beside facts that the base knew.",
            Size(days=6, entities=40, questions=200),
            Size(days=2, entities=10, questions=60),
            (Form.HELD_OUT,),
            lambda book, seed, size: growing(book, seed, size.days, size.entities),
            Groups.DAYS,
            (f"default,replay=0,{PASSES}", "warm,passes=1"),
            ("default,steps=60", "default,replay=0,steps=60"),
        ),
        Plan(
            "changes",
            "Days of changes",
            "Every day adds products, amends facts, withdraws some and puts some back. A fact counts under the day of "
            "its last change.",
            Size(days=10, entities=5, questions=200),
            Size(days=3, entities=2, questions=60),
            (Form.HELD_OUT,),
            lambda book, seed, size: changing(book, seed, size.days, Daily(entities=size.entities)),
            Groups.DAYS,
            ("warm,passes=1", "warm,rate=0.002,passes=1", f"default,{PASSES}"),
            ("default,steps=60",),
        ),
        Plan(
            "flips",
            "Rules that change",
            "Facts that the base knows are replaced, withdrawn, or replaced and put back: whether the new answer is "
            "given, the old one leaks, and what stands beside a change still holds; and whether that lasts when other "
            "things are learned.",
            Size(days=3, entities=10, questions=160, flips=40),
            Size(days=3, entities=3, questions=40, flips=10),
            tuple(Form),
            lambda book, seed, size: flipping(book, seed, size.flips, size.entities),
            Groups.STORIES,
            ("joint", f"default,{PASSES}", f"default,stale=true,{PASSES}"),
            ("default,steps=60",),
            leaks=True,
        ),
    )
}


def examine(plan: Plan, size: Size, stream: Stream, day: int, params: Params, seed: int) -> dict[str, list[Asked]]:
    """What is asked after a day, by group and form (``group/form``), at most ``size.questions`` of each.

    Facts of later days are asked about on day 0 alone, as they will be: what the base guesses. Of facts that change
    again later the day's question is left out where groups are days, so that a group is of the same facts for good.
    """
    last = {one.fact.id: one for one in stream.told(stream.days)}
    now = stream.told(stream.days if day == 0 else day)
    if plan.groups is Groups.DAYS:
        now = [one for one in now if one.changed == last[one.fact.id].changed]
    found: dict[str, list[Asked]] = {}
    for form in plan.forms:
        for asked in ask(now, form, params.synthesize, seed):
            group = found.setdefault(f"{plan.groups.of(asked.told)}/{form}", [])
            if len(group) < (min(size.questions, CHOICE_QUESTIONS) if form is Form.CHOICE else size.questions):
                group.append(asked)
    return found
