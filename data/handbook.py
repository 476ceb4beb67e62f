"""The handbook: fictional products whose true attribute values are known.

A seeded generator. Population A trains the base, so that what an update does to knowledge that has
nothing to do with the documents (locality) can be measured; a smaller population of withdrawn products
teaches the base the one refusal. Newcomers, which no base has seen, are what an experiment teaches. Values are
drawn uniformly from stated pools, so that every fact has a known entropy.
"""

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from data.files import digest_text
from data.records import Fact

_ONSETS = (
    "b",
    "br",
    "d",
    "dr",
    "f",
    "g",
    "gr",
    "h",
    "k",
    "kl",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "r",
    "s",
    "st",
    "t",
    "v",
    "z",
)
_NUCLEI = ("a", "e", "i", "o", "u", "ai", "ea", "io")
_CODAS = ("", "l", "n", "r", "s", "x", "m", "th")
_TYPES = ("lamp", "kettle", "drill", "scooter", "router", "camera", "heater", "printer", "scale", "speaker")
_GIVEN = (
    "Amara",
    "Bruno",
    "Celia",
    "Dario",
    "Elin",
    "Farid",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kaya",
    "Leif",
)
_FAMILY = (
    "Abel",
    "Brandt",
    "Castro",
    "Dahl",
    "Eklund",
    "Ferro",
    "Grau",
    "Holm",
    "Ivers",
    "Jansen",
    "Keller",
    "Lund",
)
_CITIES = (
    "Bergen", "Cadiz", "Dijon", "Essen", "Faro", "Ghent", "Haarlem", "Izmir", "Jena", "Kaunas", "Lund", "Malmo",
    "Nantes", "Oulu", "Porto", "Quimper", "Riga", "Siena", "Turku", "Utrecht",
)  # fmt: skip
_COLOURS = (
    "amber",
    "black",
    "blue",
    "coral",
    "green",
    "grey",
    "ivory",
    "red",
    "silver",
    "teal",
    "violet",
    "white",
)
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip

POOLS: dict[str, tuple[str, ...]] = {
    "price": tuple(f"${amount}" for amount in range(19, 1000, 5)),
    "warranty": tuple(f"{months} months" for months in range(6, 61, 3)),
    "weight": tuple(f"{tenths / 10:.1f} kg" for tenths in range(3, 200)),
    "power draw": tuple(f"{watts} watts" for watts in range(5, 2000, 15)),
    "colour": _COLOURS,
    "place of manufacture": _CITIES,
    "designer": tuple(f"{given} {family}" for given in _GIVEN for family in _FAMILY),
    "launch date": tuple(
        f"{day} {month} {year}" for year in range(2015, 2023) for month in _MONTHS for day in (1, 9, 15, 24)
    ),
    "child lock": ("yes", "no"),
    "return period": tuple(f"{days} days" for days in (7, 10, 14, 21, 28, 30, 45, 60, 90)),
}
"""Attribute to pool of values, of which a fact's is drawn uniformly."""


@dataclass(frozen=True)
class Handbook:
    """What the base learns beside the documents."""

    known: tuple[Fact, ...]
    """Population A."""
    withdrawn: tuple[Fact, ...]
    """Facts of products that are out of the range: asked about them, the right answer is the refusal."""


def handbook(seed: int, entities: int = 120, withdrawn: int = 24) -> Handbook:
    """Draw the handbook.

    Args:
        seed: the same seed and sizes give the same facts.
        entities: products of population A; each has every attribute of ``POOLS``.
        withdrawn: products whose facts are no longer in force.
    """
    draw = random.Random(f"handbook/{seed}")
    names = _names(draw, entities + withdrawn)
    facts = [_fact(name, attribute, draw.choice(pool)) for name in names for attribute, pool in POOLS.items()]
    cut = entities * len(POOLS)
    return Handbook(tuple(facts[:cut]), tuple(facts[cut:]))


def newcomers(seed: int, entities: int, book: Handbook, attributes: Sequence[str] = tuple(POOLS)) -> tuple[Fact, ...]:
    """Facts of products that are not in ``book``, by product and within it by attribute.

    Args:
        seed: the same seed gives the same facts; with more entities, the same ones first.
        entities: products.
        book: whose names are taken.
        attributes: of ``POOLS``; each product has all of them.
    """
    draw = random.Random(f"newcomers/{seed}")
    names = _names(draw, entities, frozenset(fact.subject for fact in (*book.known, *book.withdrawn)))
    return tuple(
        _fact(name, attribute, random.Random(f"{seed}/{name}/{attribute}").choice(POOLS[attribute]))
        for name in names
        for attribute in attributes
    )


def entropy(fact: Fact) -> float:
    """Bits that it takes to know the fact's value: log2 of the size of its pool."""
    return math.log2(len(POOLS[fact.attribute]))


def other_value(fact: Fact, draw: random.Random, but: Collection[str] = ()) -> str:
    """A value of the fact's pool that is neither its own nor one of ``but``."""
    return draw.choice([value for value in POOLS[fact.attribute] if value != fact.value and value not in but])


def _names(draw: random.Random, count: int, taken: Collection[str] = ()) -> Sequence[str]:
    names: dict[str, None] = {}
    while len(names) < count:
        word = "".join(draw.choice(_ONSETS) + draw.choice(_NUCLEI) for _ in range(2)) + draw.choice(_CODAS)
        name = f"the {word.capitalize()} {draw.choice(_TYPES)}"
        if name not in taken:
            names[name] = None
    return list(names)


def _fact(name: str, attribute: str, value: str) -> Fact:
    return Fact(
        id=digest_text("handbook", name, attribute)[:16],
        document="",
        digest="",
        start=0,
        end=0,
        kind="property",
        title="",
        subject=name,
        attribute=attribute,
        value=value,
    )
