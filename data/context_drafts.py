"""What each context task hides in a text and asks about it, before the text has a length.

After RULER (Hsieh et al. 2024, "RULER: What's the Real Context Size of Your Long-Context Language Models?"), in our own
words. Needles are facts of handbook products that no base has seen, in the handbook's wordings, so that a base of this
project has a fair chance; filler is plain sentences that name no product.
"""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from data.context_text import Filler
from data.handbook import POOLS, Handbook, newcomers
from data.records import Fact
from data.wordings import Form, wordings

DISTRACTORS = 3
"""Other products with the attribute that is asked about."""
SEVERAL = 3
"""Values of one product, products of one question, and common words."""
CHAIN = 4
"""Codes that lead back to one number."""
_SHORT = 128
"""Up to this length one chain has to do."""
_GUESSED = {"child lock"}
"""Attributes that one guess in two gets right."""
_PLAIN = (
    "The office is open on weekdays.",
    "Please read this page with care.",
    "The next meeting takes place in the large room.",
    "Anyone who has a question may ask for help.",
    "Some people walk to work and others take the train.",
    "A short break was taken in the afternoon.",
    "The list is kept in order and looked at once a year.",
    "It was quiet in the street that evening.",
    "The form can be sent by mail or handed in.",
    "Visitors sign their names at the door.",
    "The garden behind the house was full of birds.",
    "All of this is written down for later.",
    "New members are made welcome by the team.",
    "The old bridge was closed for the winter.",
    "There is more than one way to do this.",
    "They talked about the weather and the news.",
)


class Task(StrEnum):
    """What is asked of a context."""

    SINGLE = "single needle"
    """One fact among filler."""
    KEYS = "multi-key"
    """One fact among the same of other products."""
    VALUES = "multi-value"
    """All values that one product has of one attribute."""
    QUERIES = "multi-query"
    """The same attribute of several products."""
    VARIABLES = "variable tracking"
    """All codes that lead back to one number."""
    WORDS = "common words"
    """The words that come up again and again among others."""
    QUESTION = "question"
    """One fact of a product's page, among statements about other products."""


@dataclass(frozen=True)
class Pool:
    """What drafts draw from."""

    products: tuple[tuple[Fact, ...], ...]
    """Facts of each product, the attributes in the same order."""
    words: tuple[str, ...]
    """Made-up words, each once, none of them a product's."""


@dataclass(frozen=True)
class Draft:
    """One question and what its text has to hold."""

    needles: tuple[str, ...]
    asked: tuple[int, ...]
    """Places of the needles that the question is about."""
    question: str
    answers: tuple[str, ...]
    filler: Filler
    together: bool = False
    """Needles stand in one place, in their order."""
    ordered: bool = False
    """Needles stand anywhere, in their order."""


def pool(seed: int, book: Handbook, products: int = 60, words: int = 900) -> Pool:
    """Products that are not in ``book``, and words that name none of them."""
    facts = newcomers(seed, products + words, book, ("colour",))
    names = [fact.subject.split()[1] for fact in facts]
    taken = set(names[:products])
    by_product = itertools.groupby(newcomers(seed, products, book), lambda fact: fact.subject)
    return Pool(
        tuple(tuple(fact for fact in facts if fact.attribute not in _GUESSED) for _, facts in by_product),
        tuple(dict.fromkeys(name for name in names[products:] if name not in taken)),
    )


def draft(task: Task, draw: random.Random, pool: Pool, length: int) -> Draft:
    """A question of this task; longer texts hide more where the task is about many."""
    return _DRAFTS[task](draw, pool, length)


def _told(fact: Fact) -> str:
    return wordings(fact.kind, Form.STATEMENT)[0].render(fact)


def _asked(fact: Fact) -> str:
    return wordings(fact.kind, Form.QUESTION)[0].render(fact)


def _plain(draw: random.Random) -> str:
    return draw.choice(_PLAIN)


def _alike(draw: random.Random, pool: Pool, number: int) -> list[Fact]:
    """The same attribute of several products, with as many values."""
    while True:
        chosen = draw.sample(pool.products, number)
        place = draw.randrange(len(chosen[0]))
        facts = [product[place] for product in chosen]
        if len({fact.value for fact in facts}) == number:
            return facts


def _one(draw: random.Random, pool: Pool, others: int) -> Draft:
    facts = _alike(draw, pool, 1 + others)
    return Draft(tuple(map(_told, facts)), (0,), _asked(facts[0]), (facts[0].value,), _plain)


def _values(draw: random.Random, pool: Pool, length: int) -> Draft:
    fact = draw.choice(draw.choice(pool.products))
    values = tuple(draw.sample(POOLS[fact.attribute], SEVERAL))
    needles = tuple(f"One {fact.attribute} of {fact.subject} is {value}." for value in values)
    question = f"What is each {fact.attribute} of {fact.subject}?"
    return Draft(needles, tuple(range(SEVERAL)), question, values, _plain)


def _queries(draw: random.Random, pool: Pool, length: int) -> Draft:
    facts = _alike(draw, pool, SEVERAL)
    *first, last = (fact.subject for fact in facts)
    question = f"What is the {facts[0].attribute} of {', of '.join(first)} and of {last}?"
    return Draft(tuple(map(_told, facts)), tuple(range(SEVERAL)), question, tuple(one.value for one in facts), _plain)


def _variables(draw: random.Random, pool: Pool, length: int) -> Draft:
    """The first code of a chain is a number, each later one is the code before; another chain is another number."""
    chains = 2 if length > _SHORT else 1
    words, numbers = draw.sample(pool.words, chains * CHAIN), draw.sample(range(100, 1_000), chains)
    needles = []
    for chain, number in enumerate(numbers):
        codes = words[chain * CHAIN : (chain + 1) * CHAIN]
        needles += [f"{one} is {before}." for before, one in itertools.pairwise([number, *codes])]
    asked = tuple(range(CHAIN))
    return Draft(tuple(needles), asked, f"Which codes are {numbers[0]}?", tuple(words[:CHAIN]), _plain, ordered=True)


def _common(draw: random.Random, pool: Pool, length: int) -> Draft:
    """The common words are a large part of the text at any length; of the others each comes up seldom."""
    common, times = draw.sample(pool.words, SEVERAL), max(3, length // 32)
    rest = [word for word in pool.words if word not in common]
    needles = tuple(common * times)
    question = f"Which {SEVERAL} words come up most often?"

    def seldom(draw: random.Random) -> str:
        return " ".join(draw.sample(rest, 6))

    return Draft(needles, tuple(range(len(needles))), question, tuple(common), seldom)


def _question(draw: random.Random, pool: Pool, length: int) -> Draft:
    product, *others = draw.sample(pool.products, len(pool.products))
    page = draw.sample(product, min(len(product), max(2, length // 40)))
    asked = draw.randrange(len(page))

    def elsewhere(draw: random.Random) -> str:
        return _told(draw.choice(draw.choice(others)))

    question, answers = _asked(page[asked]), (page[asked].value,)
    return Draft(tuple(map(_told, page)), (asked,), question, answers, elsewhere, together=True)


_DRAFTS: dict[Task, Callable[[random.Random, Pool, int], Draft]] = {
    Task.SINGLE: lambda draw, pool, length: _one(draw, pool, 0),
    Task.KEYS: lambda draw, pool, length: _one(draw, pool, DISTRACTORS if length > _SHORT else 1),
    Task.VALUES: _values,
    Task.QUERIES: _queries,
    Task.VARIABLES: _variables,
    Task.WORDS: _common,
    Task.QUESTION: _question,
}
