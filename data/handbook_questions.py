"""Questions on a handbook that changes: one fact in several forms, each with its right and its stale answers.

A form says what a right answer shows. *Held-out* wordings were never trained for what a stream adds or amends; *seen*
ones were. *Reverse* gives the value and wants the product, as a sentence to be ended; *two-hop* names the product by
another of its facts, by one that changed if it can: what is asked then is a consequence of the change. *Before* asks
for the value that the last change ended, which is right there and stale everywhere else; *dated* asks for it by the
date on which that change took effect. *Choice* asks in a held-out wording for one of ``CHOICES`` answers: who knows
nothing is right in one of as many cases.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from data import wordings
from data.handbook import POOLS
from data.handbook_history import DATED, UNDATED, worded
from data.handbook_stream import Story, Told
from data.param_stages import SynthesizeParams
from data.records import Cohort, Question
from data.wordings import REFUSAL, question_prompt

_QUESTION = wordings.Form.QUESTION
_UNCHANGED = (Story.UNTOUCHED, Story.SAME_SUBJECT, Story.SAME_VALUE)
_COHORTS = {Story.RETRACTED: Cohort.WITHDRAWN, **dict.fromkeys(_UNCHANGED, Cohort.HANDBOOK)}
_BY_VALUE = "the product with the {attribute} {value}"
_REVERSED = "{value} is the {attribute} of"
CHOICES = 4
"""Of a choice question, the right one among them."""


class Form(StrEnum):
    """How a fact is asked about."""

    HELD_OUT = "held-out"
    SEEN = "seen"
    REVERSE = "reverse"
    TWO_HOP = "two-hop"
    BEFORE = "before"
    DATED = "dated"
    CHOICE = "choice"

    @property
    def looks_back(self) -> bool:
        """Whether a value that no longer holds is the right answer."""
        return self in (Form.BEFORE, Form.DATED)


@dataclass(frozen=True)
class Asked:
    """A question with the fact behind it."""

    question: Question
    form: Form
    told: Told
    wording: str
    """Its name; empty where the form has only one."""
    choices: tuple[str, ...] = ()
    """What may be answered, in a drawn order; empty: anything."""


def ask(told: Sequence[Told], form: Form, params: SynthesizeParams, seed: int) -> list[Asked]:
    """Every question of one form that these facts allow, in a drawn order: each fact once before any twice.

    Args:
        told: all facts as of a day; the products that two-hop and reverse questions speak of are looked up in them.
        form: reverse and two-hop need a value that one product alone has, those that look back one that ended, choice
            a pool of at least ``CHOICES`` values.
        params: says which wordings are held out.
        seed: of the order, of which other fact names the product in a two-hop question, and of choices.
    """
    draw = random.Random(f"ask/{form}/{seed}")
    only = _only_ones(told)
    ways: dict[Form, Callable[[Told], Iterator[Asked]]] = {
        Form.HELD_OUT: lambda one: _worded(one, form, wordings.split(one.fact.kind, _QUESTION, params)[1]),
        Form.SEEN: lambda one: _worded(one, form, wordings.split(one.fact.kind, _QUESTION, params)[0]),
        Form.REVERSE: lambda one: _reversed(one, only),
        Form.TWO_HOP: lambda one: _two_hop(one, only, draw),
        Form.BEFORE: lambda one: _before(one, Form.BEFORE, UNDATED),
        Form.DATED: lambda one: _before(one, Form.DATED, DATED),
        Form.CHOICE: lambda one: _chosen_from(one, wordings.split(one.fact.kind, _QUESTION, params)[1], seed),
    }
    make = ways[form]
    asked = [draw.sample(found, len(found)) for one in draw.sample(list(told), len(told)) if (found := list(make(one)))]
    longest = max(map(len, asked), default=0)
    return [each[place] for place in range(longest) for each in asked if place < len(each)]


_Only = dict[tuple[str, str], Told]
"""Attribute and value -> the one fact in force that has it."""


def _only_ones(told: Sequence[Told]) -> _Only:
    in_force = [one for one in told if one.values[-1] is not None]
    counts = Counter((one.fact.attribute, one.fact.value) for one in in_force)
    return {key: one for one in in_force if counts[key := (one.fact.attribute, one.fact.value)] == 1}


def _worded(one: Told, form: Form, chosen: Sequence[wordings.Wording]) -> Iterator[Asked]:
    for wording in chosen:
        yield _asked(one, form, question_prompt(wording.render(one.fact)), _answers(one), one.former, wording.name)


def _answers(one: Told) -> tuple[str, ...]:
    """What is right now; nothing: the refusal."""
    return () if one.values[-1] is None else (one.values[-1],)


def _reversed(one: Told, only: _Only) -> Iterator[Asked]:
    fact = one.fact
    if only.get((fact.attribute, fact.value)) is one:
        prompt = _REVERSED.format(attribute=fact.attribute, value=fact.value)
        yield _asked(one, Form.REVERSE, prompt, (fact.subject,), ())


def _two_hop(one: Told, only: _Only, draw: random.Random) -> Iterator[Asked]:
    bridges = [other for other in only.values() if other.fact.subject == one.fact.subject and other is not one]
    if bridges:
        changed = [other for other in bridges if other.changed]  # so that the answer is a consequence of the change
        bridge = draw.choice(changed or bridges).fact
        attribute, value = bridge.attribute, bridge.value
        described = one.fact.model_copy(update={"subject": _BY_VALUE.format(attribute=attribute, value=value)})
        wording = wordings.wordings(one.fact.kind, _QUESTION)[0]
        prompt = question_prompt(wording.render(described))
        yield _asked(one, Form.TWO_HOP, prompt, _answers(one), one.former, wording.name)


def _before(one: Told, form: Form, template: str) -> Iterator[Asked]:
    if one.replaced is not None:
        stale = tuple(value for value in one.values if value is not None and value != one.replaced)
        yield _asked(one, form, question_prompt(worded(template, one)), (one.replaced,), stale)


def _chosen_from(one: Told, held_out: Sequence[wordings.Wording], seed: int) -> Iterator[Asked]:
    """Once, in a drawn wording; wording and choices follow from the seed, the fact and its values alone."""
    pool = POOLS.get(one.fact.attribute, ())
    if len(pool) >= CHOICES:
        draw = random.Random(f"choice/{seed}/{one.fact.id}")
        (asked,) = _worded(one, Form.CHOICE, [draw.choice(held_out)])
        yield replace(asked, choices=_choices(one, pool, draw))


def _choices(one: Told, pool: Sequence[str], draw: random.Random) -> tuple[str, ...]:
    """What is right, the values that held last before, and others of the pool."""
    right = one.values[-1] or REFUSAL
    olds = one.former[1 - CHOICES :]
    others = [value for value in pool if value != right and value not in olds]
    named = [right, *olds, *draw.sample(others, CHOICES - 1 - len(olds))]
    return tuple(draw.sample(named, CHOICES))


def _asked(
    one: Told, form: Form, prompt: str, answers: tuple[str, ...], stale: tuple[str, ...], wording: str = ""
) -> Asked:
    question = Question(
        id="/".join(filter(None, (one.fact.id, form, wording))),
        cohort=_COHORTS.get(one.story, Cohort.NEW),
        question=prompt,
        answers=answers,
        stale=stale,
        source=one.fact.id,
    )
    return Asked(question, form, one, wording)
