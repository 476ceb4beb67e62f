"""The boundary to a teacher behind an endpoint: any server that speaks OpenAI's chat completions.

vLLM, Ollama, llama.cpp's server and vendors do. The client (openai) waits and tries again as the server's
headers ask. Here stand what it leaves open: that every attempt fits the budget before it is sent, which options a
server takes, and what its answer has to be; what the answer claims is judged in data/.
"""

import os
from base64 import b64encode
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data.addresses import without_passwords
from data.errors import InputError, quoted
from data.param_stages import EndpointParams
from data.prompting import Prompt
from tasks.purse import NOTHING, Attempts, Purse, Tokens
from tasks.replies import CHARACTERS_PER_TOKEN, Reply, usual_case, worst_case

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MOST_FAILURES = 3
"""Calls in a row without an answer, after which no more are sent."""
_NO_KEY = "none"
"""Sent where no key is set, so that a key of the environment never reaches another server."""

_attempts: ContextVar[Attempts] = ContextVar("attempts")
"""Those of the call under way; the client's hooks know no call, but run in its task."""


class NoCompletionError(Exception):
    """A server said yes, but what it sent is no chat completion."""


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Message(_Lenient):
    content: str | None = None
    refusal: str | None = None


class _Choice(_Lenient):
    message: _Message
    finish_reason: str | None = None


class _Usage(_Lenient):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class _Completion(_Lenient):
    choices: tuple[_Choice, ...] = Field(min_length=1)
    usage: _Usage | None = None


@dataclass(frozen=True)
class _Dialect:
    """Which options a server takes; it starts with all and gives up what is refused."""

    form: str = "json_schema"
    """Of the answer: ``json_schema``, ``json_object`` or ``text``."""
    limit: str = "max_tokens"
    temperature: bool = True

    def options(self, prompt: Prompt, params: EndpointParams) -> dict[str, Any]:
        chosen: dict[str, Any] = {self.limit: params.max_tokens}
        if self.temperature:
            chosen["temperature"] = params.temperature
        if self.form == "json_schema":
            schema = {"name": prompt.recipe, "schema": dict(prompt.schema), "strict": True}
            chosen["response_format"] = {"type": self.form, "json_schema": schema}
        elif self.form == "json_object":
            chosen["response_format"] = {"type": self.form}
        return chosen

    def without(self, said: str, proven: bool) -> "_Dialect | None":
        """What to try after a refusal; None where nothing is left that could be its cause.

        Args:
            said: the server's message.
            proven: whether a call in this dialect was ever taken.
        """
        if "max_completion_tokens" in said and self.limit == "max_tokens":
            return replace(self, limit="max_completion_tokens")
        if "temperature" in said and self.temperature:
            return replace(self, temperature=False)
        weaker = {"json_schema": "json_object", "json_object": "text"}.get(self.form)
        named = any(word in said for word in ("response_format", "schema", "json", "grammar"))
        return replace(self, form=weaker) if weaker and (named or not proven) else None


class Endpoint:
    """One server, and what was learned about it in this run."""

    def __init__(self, client: "AsyncOpenAI", params: EndpointParams, purse: Purse) -> None:
        self.client, self.params, self.purse = client, params, purse
        self.dialect = _Dialect()
        self.proven = False
        self.rejected = 0

    async def ask(self, prompt: Prompt) -> Reply:
        """One call, tried again by the client where that may help.

        Raises:
            openai.OpenAIError: no answer, whatever was tried.
            BudgetSpentError: an attempt did not fit into the budget.
            InputError: the server rejects every call.
        """
        attempts = Attempts(self.purse, worst_case(prompt, self.params))
        _attempts.set(attempts)
        try:
            return await self._ask(prompt, attempts)
        finally:
            await attempts.end()

    async def _ask(self, prompt: Prompt, attempts: Attempts) -> Reply:
        from openai import BadRequestError, UnprocessableEntityError

        dialect = self.dialect
        while True:
            try:
                text = await self._sent(prompt, dialect)
            except (BadRequestError, UnprocessableEntityError) as error:
                weaker = dialect.without(str(error).lower(), self.proven)
                if weaker is None:
                    return self._rejected(str(error))
                dialect = weaker
                continue
            self.dialect, self.proven = dialect, True  # what one call found out serves the others
            reply = _reply(text, prompt, self.params)
            await attempts.end(reply.tokens)
            return reply

    async def _sent(self, prompt: Prompt, dialect: _Dialect) -> str:
        """The body of a successful response; its form is checked by our own records, not the client's."""
        response = await self.client.chat.completions.with_raw_response.create(
            model=self.params.model,
            messages=[{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
            **dialect.options(prompt, self.params),
        )
        return str(response.http_response.text)

    def _rejected(self, said: str) -> Reply:
        """One call may be rejected for what it holds; all of them are so for how they are made."""
        self.rejected += 1
        if self.rejected >= MOST_FAILURES and not self.proven:
            raise InputError(
                f"{address(self.params)} rejects every call ({masked(said, self.params)}). Set endpoint.model and the "
                "other values of block endpoint to what this server takes."
            )
        return Reply(model=self.params.model, content=masked(said, self.params), problem="rejected")


def address(params: EndpointParams) -> str:
    """Where the teacher is, for people to read."""
    return without_passwords(params.url)


def masked(said: str, params: EndpointParams) -> str:
    """What a server or its client said, for people to read: one line, without the secrets that some servers repeat.

    These are the key, and the address's password, as it is and as the client sends it (RFC 7617).
    """
    line = " ".join(said.split())
    key = os.environ.get(params.key_variable, "").strip() if params.key_variable else ""
    for secret in filter(None, (key, *_sent_of(params.url))):
        line = line.replace(secret, "***")
    return quoted(without_passwords(line))


def _sent_of(url: str) -> tuple[str, ...]:
    """The forms in which an address's name and password, if it has one, are sent."""
    parts = urlsplit(url)
    if not parts.password:
        return ()
    name, password = unquote(parts.username or ""), unquote(parts.password)
    return b64encode(f"{name}:{password}".encode()).decode(), password


def open_client(params: EndpointParams) -> "AsyncOpenAI":
    """The client; every attempt that it sends goes through the purse.

    Raises:
        InputError: the environment variable of the key is not set.
    """
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    return AsyncOpenAI(
        base_url=params.url,
        api_key=_key(params),
        max_retries=params.retries,
        timeout=params.timeout_seconds,
        http_client=DefaultAsyncHttpxClient(event_hooks={"request": [_before], "response": [_after]}),
    )


def _key(params: EndpointParams) -> str:
    if not params.key_variable:
        return _NO_KEY
    key = os.environ.get(params.key_variable, "").strip()
    if not key:
        raise InputError(
            f"The environment variable {params.key_variable} (endpoint.key_variable) is not set. Put the key of "
            f"{address(params)} there, or leave endpoint.key_variable empty where the server wants none."
        )
    return key


async def _before(_: object) -> None:
    await _attempts.get().begin()


async def _after(response: Any) -> None:
    """A request that was turned down costs nothing; what a good one costs is in its body."""
    if not response.is_success:
        await _attempts.get().end(NOTHING)


def _reply(text: str, prompt: Prompt, params: EndpointParams) -> Reply:
    """A completion as a reply.

    Raises:
        NoCompletionError: the text is not a completion.
    """
    try:
        completion = _Completion.model_validate_json(text)
    except ValidationError as error:
        raise NoCompletionError(f"what it sent is no chat completion: {text[:100]!r}") from error
    choice = completion.choices[0]
    content = choice.message.refusal or choice.message.content or ""
    usual = replace(usual_case(prompt, params), received=len(content) // CHARACTERS_PER_TOKEN + 1)
    used = Tokens(completion.usage.prompt_tokens, completion.usage.completion_tokens) if completion.usage else usual
    return Reply(
        model=params.model,
        content=content,
        problem=_problem(choice),
        sent=used.sent,
        received=used.received,
        estimated=completion.usage is None,
    )


def _problem(choice: _Choice) -> str:
    if choice.message.refusal or choice.finish_reason == "content_filter":
        return "refused"
    if choice.finish_reason == "length":
        return "truncated"
    return "" if (choice.message.content or "").strip() else "empty"
