"""The budget of a run: the worst that a call can cost is held back before it is sent, and settled afterwards.

Whatever runs at once, what was spent and what is held back together never exceed the budget. An attempt whose
answer was cut off or came too late may have been charged all the same, so it counts at its worst.
"""

import asyncio
from dataclasses import dataclass

from data.param_stages import EndpointParams

MILLION = 1_000_000


@dataclass(frozen=True)
class Tokens:
    """What a call sends and receives."""

    sent: int
    received: int

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.sent + other.sent, self.received + other.received)

    def __sub__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.sent - other.sent, self.received - other.received)

    @property
    def total(self) -> int:
        return self.sent + self.received

    def cost(self, params: EndpointParams) -> float:
        """In the currency of the prices."""
        return (self.sent * params.price_in + self.received * params.price_out) / MILLION


NOTHING = Tokens(0, 0)


class BudgetSpentError(Exception):
    """The worst case of the next attempt does not fit into what is left."""


class Purse:
    """What one run has spent and holds back."""

    def __init__(self, params: EndpointParams) -> None:
        self.params = params
        self.spent = NOTHING
        self._held = NOTHING
        self._holders = 0
        self._changed = asyncio.Condition()

    async def hold(self, worst: Tokens) -> None:
        """Hold ``worst`` back; waits while calls under way may still turn out cheaper.

        Raises:
            BudgetSpentError: it does not fit, and no call under way could change that.
        """
        async with self._changed:
            while not self._fits(worst):
                if not self._holders:
                    raise BudgetSpentError
                await self._changed.wait()
            self._held += worst
            self._holders += 1

    async def settle(self, worst: Tokens, used: Tokens) -> None:
        """Give ``worst`` back and spend ``used``."""
        async with self._changed:
            self._held -= worst
            self._holders -= 1
            self.spent += used
            self._changed.notify_all()

    def _fits(self, worst: Tokens) -> bool:
        after = self.spent + self._held + worst
        return after.total <= self.params.budget_tokens and after.cost(self.params) <= self.params.budget


class Attempts:
    """The attempts of one call, of which at most one is under way."""

    def __init__(self, purse: Purse, worst: Tokens) -> None:
        self._purse = purse
        self._worst = worst
        self._open = False

    async def begin(self) -> None:
        """Before an attempt is sent; one that is still open got no answer.

        Raises:
            BudgetSpentError: it does not fit into the budget.
        """
        await self.end(self._worst)
        await self._purse.hold(self._worst)
        self._open = True

    async def end(self, used: Tokens | None = None) -> None:
        """After an attempt: what it used; None where that is unknown, which counts at its worst."""
        if self._open:
            self._open = False
            await self._purse.settle(self._worst, self._worst if used is None else used)
