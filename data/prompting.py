"""What a teacher behind an endpoint is asked, and the form its answers must have.

The passage stands with its title between two marks made from the digest of both: no document can hold the mark
that would close them. The form is checked here by our own records, whatever the server promised; what an answer
claims is checked in data/prose_questions.py and data/rephrasings.py.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from data.files import digest_text
from data.param_stages import EndpointParams
from data.passages import Passage
from data.plain_yaml import parse_yaml

PROMPTS_FILE = Path(__file__).parent / "prompts" / "teacher.yaml"
QUESTIONS, REPHRASE = "questions", "rephrase"


class FromTeacher(BaseModel):
    """Base of what a teacher writes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class WrittenQuestion(FromTeacher):
    """One question with its answer and the words of the passage that state it."""

    kind: Literal["direct", "reverse", "choice"]
    wordings: list[str]
    answer: str
    quote: str
    choices: list[str]


class WrittenRephrasing(FromTeacher):
    """One numbered sentence told in other ways."""

    sentence: int
    texts: list[str]


class _Questions(FromTeacher):
    questions: list[WrittenQuestion]


class _Rephrasings(FromTeacher):
    rephrased: list[WrittenRephrasing]


W = TypeVar("W", WrittenQuestion, WrittenRephrasing)


@dataclass(frozen=True)
class Prompt:
    """One call to a teacher."""

    recipe: str
    passage: Passage
    system: str
    user: str
    schema: Mapping[str, Any]
    """JSON schema of the answer."""
    expected: int
    """Characters that a good answer has, roughly."""
    rows: int
    """Training rows that come of it if every proposal passes."""

    @property
    def digest(self) -> str:
        """Of what the model reads, wherever it runs."""
        return digest_text(self.recipe, self.system, self.user, json.dumps(self.schema, sort_keys=True))


class UnusableError(ValueError):
    """An answer has no usable form; the message is the filter's name."""


def prompts(recipes: Sequence[str], passages: Sequence[Passage], params: EndpointParams) -> list[Prompt]:
    """Every call of a run: one passage and one recipe each, recipe by recipe."""
    makers = {QUESTIONS: _questions_prompt, REPHRASE: _rephrase_prompt}
    return [makers[recipe](passage, params) for recipe in recipes for passage in passages]


def _questions_prompt(passage: Passage, params: EndpointParams) -> Prompt:
    most = params.questions * len(passage.statements)
    user = _filled(QUESTIONS, passage, most=most, wordings=params.wordings)
    # a question: its wordings, a quote of half a sentence, an answer, names of the keys
    size = most * (params.wordings * 90 + 160)
    return Prompt(
        QUESTIONS, passage, _catalogue()["system"], user, _schema(_Questions), size, most * (params.wordings - 1)
    )


def _rephrase_prompt(passage: Passage, params: EndpointParams) -> Prompt:
    user = _filled(REPHRASE, passage, ways=params.rephrasings)
    size = params.rephrasings * sum(len(sentence) + 8 for sentence in passage.sentences)
    rows = params.rephrasings * len(passage.statements)
    return Prompt(REPHRASE, passage, _catalogue()["system"], user, _schema(_Rephrasings), size, rows)


def _filled(recipe: str, passage: Passage, **values: int) -> str:
    numbered = "\n".join(f"[{number}] {sentence}" for number, sentence in enumerate(passage.sentences, start=1))
    mark = f"=== passage {digest_text(passage.title, numbered)[:16]} ==="
    return _catalogue()[recipe].format(title=passage.title, passage=numbered, mark=mark, **values)


@cache
def _catalogue() -> dict[str, str]:
    content: dict[str, str] = parse_yaml(PROMPTS_FILE.read_text(encoding="utf-8"))
    return content


@cache
def _schema(kind: type[FromTeacher]) -> dict[str, Any]:
    return kind.model_json_schema()


# --- reading answers -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts(Generic[W]):
    """What an answer holds."""

    items: tuple[W, ...]
    malformed: tuple[str, ...]
    """Items of another form, as JSON."""


def read_questions(content: str) -> Parts[WrittenQuestion]:
    """The questions of an answer.

    Raises:
        UnusableError: it is no JSON object, or holds no list of questions.
    """
    return _parts(_items(content, "questions"), WrittenQuestion)


def read_rephrasings(content: str) -> Parts[WrittenRephrasing]:
    """The rephrased sentences of an answer.

    Raises:
        UnusableError: it is no JSON object, or holds no list of rephrased sentences.
    """
    return _parts(_items(content, "rephrased"), WrittenRephrasing)


def _items(content: str, key: str) -> list[Any]:
    """The list under ``key``; servers that know no JSON mode wrap the object into fences or thoughts."""
    said = content.rpartition("</think>")[2]
    try:
        found = json.loads(said[said.find("{") : said.rfind("}") + 1])
    except (ValueError, RecursionError) as error:
        raise UnusableError("broken_json") from error
    if not isinstance(found, dict) or not isinstance(found.get(key), list):
        raise UnusableError("wrong_schema")
    return list(found[key])


def _parts(items: Sequence[Any], kind: type[W]) -> Parts[W]:
    good: list[W] = []
    malformed: list[str] = []
    for item in items:
        try:
            good.append(kind.model_validate_json(json.dumps(item)))  # as JSON: half a character is none there
        except ValidationError:
            malformed.append(json.dumps(item, ensure_ascii=False))
    return Parts(tuple(good), tuple(malformed))
