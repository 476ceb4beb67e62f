"""Replies of a teacher behind an endpoint, one file per call, and what a call costs.

An answer that was paid for is never asked for again, whatever became of the run that asked: a file is written
as soon as its answer is there. A useless answer was paid for too, and is kept.
"""

from pathlib import Path

from pydantic import ConfigDict

from data.files import digest_text, read_cached, write_record
from data.param_stages import EndpointParams
from data.prompting import Prompt
from data.records import Record
from tasks.purse import Tokens

CHARACTERS_PER_TOKEN = 4
"""Of English text, roughly; for estimates."""
_OVERHEAD = 256
"""Tokens that a server's chat template may add to a prompt."""


class Reply(Record):
    """What came back from one call, as it was paid for.

    It is read for ever, by versions before and after the one that wrote it: a field that comes later has a default,
    and one that is not known here is left alone.
    """

    model_config = ConfigDict(extra="ignore")
    model: str
    content: str
    problem: str = ""
    """``refused``, ``truncated``, ``empty`` or ``rejected``; empty: there is an answer to read."""
    sent: int = 0
    """Tokens."""
    received: int = 0
    estimated: bool = False
    """The server did not count the tokens."""

    @property
    def tokens(self) -> Tokens:
        return Tokens(self.sent, self.received)


def known_reply(prompt: Prompt, params: EndpointParams, cache: Path) -> Reply | None:
    """The reply of an earlier run."""
    return read_cached(_file(prompt, params, cache), Reply)


def keep_reply(reply: Reply, prompt: Prompt, params: EndpointParams, cache: Path) -> None:
    """Write a reply down for later runs."""
    write_record(_file(prompt, params, cache), reply)


def worst_case(prompt: Prompt, params: EndpointParams) -> Tokens:
    """The most that one attempt can cost: a token is at least a byte, and the answer ends at its limit."""
    text = f"{prompt.system}{prompt.user}{prompt.schema}"
    return Tokens(len(text.encode()) + _OVERHEAD, params.max_tokens)


def usual_case(prompt: Prompt, params: EndpointParams) -> Tokens:
    """What a call costs as a rule, for the dry run."""
    sent = len(f"{prompt.system}{prompt.user}{prompt.schema}") // CHARACTERS_PER_TOKEN
    return Tokens(sent, min(prompt.expected // CHARACTERS_PER_TOKEN, params.max_tokens))


def _file(prompt: Prompt, params: EndpointParams, cache: Path) -> Path:
    """Named by all that the answer depends on but the address: the same model may move."""
    sampling = f"{params.temperature}/{params.max_tokens}"
    return cache / f"{digest_text(params.model, prompt.recipe, prompt.digest, sampling)}.json"
