"""All calls of a run to a teacher behind an endpoint: so many at once, and when it makes no sense to go on.

What was answered before is not asked again. A run stops early when the budget is spent, when the server turns
every call down, and after a few calls in a row without an answer; calls under way are always awaited, since they
are paid for, and the next run goes on from what is there.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError, OutsideError, RelearnError, SpentError
from data.param_stages import EndpointParams
from data.prompting import Prompt
from tasks.endpoint import MOST_FAILURES, Endpoint, NoCompletionError, address, masked, open_client
from tasks.purse import BudgetSpentError, Purse, Tokens
from tasks.replies import Reply, keep_reply, known_reply


@dataclass(frozen=True)
class Spending:
    """How far a run is, and what it cost."""

    answered: int
    """Calls with an answer, those from the cache included."""
    of: int
    spent: Tokens
    """In this run."""
    money: float


def converse(
    prompts: Sequence[Prompt],
    params: EndpointParams,
    cache: Path,
    report: Callable[[Spending], None] = lambda spending: None,
) -> list[Reply]:
    """The reply to every prompt, in their order, from the cache where it has one.

    Raises:
        InputError: the environment has no key, or the server does not take the key, the model or the calls.
        OutsideError: calls got no answer; the others are in the cache.
        SpentError: the budget is spent; what was answered is in the cache.
    """
    replies = [known_reply(prompt, params, cache) for prompt in prompts]
    if None in replies:
        _Run(prompts, replies, params, cache, report).finish()
    return [reply for reply in replies if reply is not None]


class _Run:
    """The calls that no cache answers: so many at once, until done, or until it makes no sense to go on."""

    def __init__(
        self,
        prompts: Sequence[Prompt],
        replies: list[Reply | None],
        params: EndpointParams,
        cache: Path,
        report: Callable[[Spending], None],
    ) -> None:
        self.prompts, self.replies, self.params, self.cache, self.report = prompts, replies, params, cache, report
        self.purse = Purse(params)
        self.failures_in_a_row = 0
        self.failed: list[tuple[Prompt, Exception]] = []
        self.stopped: Exception | None = None

    def finish(self) -> None:
        """Get every reply that is missing, or raise why not; answers that came are kept either way."""
        asyncio.run(self._work())
        if isinstance(self.stopped, BudgetSpentError):
            raise SpentError(
                f"The next call no longer fits into the budget ({self.params.budget:g} and "
                f"{self.params.budget_tokens:,} tokens a run). {self._so_far()} Raise endpoint.budget or "
                "endpoint.budget_tokens, then run the same command again; it goes on from there."
            )
        if self.stopped is not None:
            raise self.stopped
        if self.failed:
            raise _explained(*self.failed[0], self.params, len(self.failed), self._so_far())

    async def _work(self) -> None:
        missing = iter([number for number, reply in enumerate(self.replies) if reply is None])
        async with open_client(self.params) as client:
            endpoint = Endpoint(client, self.params, self.purse)
            await asyncio.gather(*(self._worker(endpoint, missing) for _ in range(self.params.concurrency)))

    async def _worker(self, endpoint: Endpoint, missing: Iterator[int]) -> None:
        """Take the next call as long as there is reason to; what others have under way is always awaited."""
        from openai import OpenAIError

        for number in missing:
            prompt = self.prompts[number]
            try:
                self._keep(number, await endpoint.ask(prompt))
            except (OpenAIError, NoCompletionError) as error:
                self.failed.append((prompt, error))
                self.failures_in_a_row += 1
            except (BudgetSpentError, RelearnError) as error:
                self.stopped = self.stopped or error
            if self.stopped or self.failures_in_a_row >= MOST_FAILURES or self._is_hopeless():
                return

    def _keep(self, number: int, reply: Reply) -> None:
        if reply.problem != "rejected":  # that was not paid for, and another server may take it
            keep_reply(reply, self.prompts[number], self.params, self.cache)
        self.replies[number] = reply
        self.failures_in_a_row = 0
        self.report(self._spending())

    def _is_hopeless(self) -> bool:
        """Whether a failure is one that every other call would meet too."""
        return any(_is_refusal_of_all(error) for _, error in self.failed)

    def _spending(self) -> Spending:
        answered = sum(reply is not None for reply in self.replies)
        spent = self.purse.spent
        return Spending(answered, len(self.prompts), spent, spent.cost(self.params))

    def _so_far(self) -> str:
        now = self._spending()
        return (
            f"{now.answered} of {now.of} calls are answered and kept; this run used {now.spent.total:,} tokens "
            f"({now.money:.4f} in money)."
        )


def _is_refusal_of_all(error: Exception) -> bool:
    return getattr(error, "status_code", None) in (401, 403, 404)


def _explained(prompt: Prompt, error: Exception, params: EndpointParams, failures: int, so_far: str) -> RelearnError:
    """The failure as one that says who has to act."""
    said, server = masked(str(error), params), address(params)
    status = getattr(error, "status_code", None)
    if status in (401, 403):
        where = f"the environment variable {params.key_variable}" if params.key_variable else "endpoint.key_variable"
        return InputError(f"{server} takes no call with this key ({said}). Put a valid key into {where}.")
    if status == 404:
        return InputError(
            f"{server} knows no model {params.model!r}, or is not the address of chat completions ({said}). "
            "Set endpoint.model and endpoint.url, which usually ends in /v1."
        )
    wait = _wait_asked_for(error)
    return OutsideError(
        f"{server} left {failures} calls without an answer, first the one about {prompt.passage.title!r} "
        f"({said}{wait}). {so_far} Run the same command again; it goes on from there."
    )


def _wait_asked_for(error: Exception) -> str:
    response = getattr(error, "response", None)
    seconds = response.headers.get("retry-after") if response is not None else None
    return f"; it asks to wait {seconds} s" if seconds else ""
