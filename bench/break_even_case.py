"""What goes into the comparison of ways of answering: load, prices, training, and shares of right answers.

All of it is the caller's: nothing here knows a vendor or a model, and every value that stands here is an example.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum

from data.errors import InputError

MILLION = 1e6
MOST = 1e15
"""Of any number that is given: beyond it nothing is meant, and sums would no longer be finite."""


class Way(StrEnum):
    """A way of answering questions about documents."""

    CLOSED = "closed-book"
    """The base alone."""
    CONTEXT = "context"
    """All documents before every question."""
    CACHED = "cached-context"
    """The same, read from the provider's prompt cache."""
    RETRIEVAL = "retrieval"
    """What a search finds before the question."""
    ADAPTER = "adapter"
    """The documents trained into an adapter, nothing before the question."""
    BOTH = "adapter-retrieval"
    """The adapter, and what a search finds."""


TRAINED = frozenset({Way.ADAPTER, Way.BOTH})
SEARCHED = frozenset({Way.RETRIEVAL, Way.BOTH})
EXAMPLE_RIGHT = {
    Way.CLOSED: 0.10,
    Way.CONTEXT: 0.95,
    Way.CACHED: 0.95,
    Way.RETRIEVAL: 0.90,
    Way.ADAPTER: 0.90,
    Way.BOTH: 0.95,
}
"""Invented, so that a first call says something: each is to be replaced by what was measured."""


class _Numbers:
    """Refuses what is no amount."""

    def __post_init__(self) -> None:
        for one in fields(self):  # type: ignore[arg-type]
            value = getattr(self, one.name)
            if isinstance(value, int | float) and not 0 <= value <= MOST:
                raise InputError(f"{one.name} is {value}; expected a number from 0 to {MOST:.0e}. Give another.")


@dataclass(frozen=True)
class Load(_Numbers):
    """What is known, how fast it changes, and what is asked."""

    documents_tokens: float
    """Of all documents together."""
    queries: float
    """A day."""
    changed: float = 0.01
    """Share of the documents' tokens that changes a day, 0 to 1."""
    prompt_tokens: float = 100
    """Of the question and its instructions."""
    answer_tokens: float = 100
    retrieved_tokens: float = 2_000
    """That a search puts before a question; no more than there are."""
    window: float = 128_000
    """Most tokens that the model reads and answers; documents that do not fit rule out both ways of context."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.changed > 1:
            raise InputError(f"{self.changed} of the documents cannot change; expected a share from 0 to 1.")


@dataclass(frozen=True)
class Prices(_Numbers):
    """Money, in any one currency; tokens by the million. The values are round examples, and no vendor's."""

    input: float = 1.0
    output: float = 4.0
    cached: float = 0.1
    """Input read from the prompt cache."""
    cache_write: float = 1.25
    """Input written to it."""
    index: float = 0.02
    """Tokens embedded for search, of documents and of questions."""
    index_day: float = 1.0
    """A day of the search index, whatever is asked."""
    written: float = 4.0
    """Tokens of training rows, as the teacher writes them; 0: by rule."""
    trained: float = 0.5
    """Tokens trained; from the price of an hour: ``per_million``."""
    evaluation: float = 1.0
    """One cycle's evaluation."""
    serving_day: float = 10.0
    """A day of serving an adapter beyond its tokens; 0 where it shares a server with the base."""
    adapter_factor: float = 1.0
    """What tokens of an adapted model cost beside those of the base."""
    wrong: float = 0.0
    """What one wrong answer costs whoever asked."""


@dataclass(frozen=True)
class Training(_Numbers):
    """How documents become weights, and how far the beginning is spread."""

    rows: float = 10
    """Tokens of training rows written for a token of text."""
    epochs: float = 4
    """How often a cycle trains each."""
    cycles: float = 1
    """A day, if anything changes."""
    days: float = 30
    """How many days' changes a cycle trains: 1 where it goes on from the last adapter; where every cycle starts from
    the base, as in this project, half the days between two bases, on average. Never more than all documents."""
    horizon: float = 365
    """Days over which the first training and the first index are spread."""
    cache_writes: float = 24
    """How often a day the prompt cache is written, as it expires or the documents change."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.horizon < 1:
            raise InputError(f"The first training is spread over {self.horizon} days; expected 1 or more.")


@dataclass(frozen=True)
class Case:
    """Everything that goes in."""

    load: Load
    prices: Prices = field(default_factory=Prices)
    training: Training = field(default_factory=Training)
    right: tuple[tuple[Way, float], ...] = tuple(EXAMPLE_RIGHT.items())
    """Share of questions that each way answers right, as measured; a way that is not named is left out."""
    floor: float = 0.8
    """Share below which a way is no choice."""

    def __post_init__(self) -> None:
        for name, share in (*((way.value, share) for way, share in self.right), ("the floor", self.floor)):
            if not 0 <= share <= 1:
                raise InputError(f"{share} is no share of right answers for {name}; expected 0 to 1.")


def per_million(hour: float, tokens_per_second: float) -> float:
    """Price of a million trained tokens, from hardware by the hour.

    Raises:
        InputError: no token is trained.
    """
    if not 0 <= hour <= MOST:
        raise InputError(f"An hour of hardware costs {hour}; expected a number from 0 to {MOST:.0e}.")
    if not 0 < tokens_per_second <= MOST:
        raise InputError(f"{tokens_per_second} tokens a second; expected more than 0, and at most {MOST:.0e}.")
    return hour / 3600 / tokens_per_second * MILLION


def case(load: Load, prices: Sequence[str], training: Sequence[str], right: Sequence[str], floor: float) -> Case:
    """A case from what was typed: ``name=number`` for whatever is not to stay at its example.

    Args:
        load: as it is.
        prices: of ``Prices``.
        training: of ``Training``.
        right: of ``Way``; a way given as ``none`` is left out of the comparison.
        floor: as in ``Case``.

    Raises:
        InputError: a name is unknown, or a value is no number or none that can be meant.
    """
    ways = [way.value for way in Way]
    left_out = {text.partition("=")[0] for text in right if text.endswith("=none")}
    shares = _numbers([text for text in right if not text.endswith("=none")], ways)
    if unknown := sorted(left_out - set(ways)):
        raise InputError(f"{unknown[0]!r} is no way of answering. Name one of: {', '.join(ways)}.")
    if len(left_out) == len(ways):
        raise InputError("Every way of answering is left out. Give at least one of them a share.")
    if both := sorted(left_out & shares.keys()):
        raise InputError(f"{both[0]} has a share and is left out. Give one of the two.")
    kept = tuple(
        (way, shares.get(way.value, share)) for way, share in EXAMPLE_RIGHT.items() if way.value not in left_out
    )
    return Case(
        load,
        Prices(**_numbers(prices, [one.name for one in fields(Prices)])),
        Training(**_numbers(training, [one.name for one in fields(Training)])),
        kept,
        floor,
    )


def _numbers(given: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            if name not in names:
                raise ValueError
            found[name] = float(value)
        except ValueError:
            raise InputError(f"{text!r} is no NAME=NUMBER of this option. Its names: {', '.join(names)}.") from None
    return found
