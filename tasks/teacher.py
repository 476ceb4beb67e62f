"""The teacher that works by rule: facts and statements read out of documents (data/extraction.py).

What it read is cached by document digest, title, recipe, teacher and the code that reads, so that only changed
documents are worked on again. The teacher for prose, a language model, is asked in tasks/conversation.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from data.extraction import Source, extract_facts, extract_statements
from data.files import digest_text, read_cached, write_record
from data.fingerprint import code_digest
from data.param_stages import SynthesizeParams
from data.records import Fact, Record, Statement
from data.teaching import RECIPE, TEACHER


class Lesson(Record):
    """What a teacher read out of one document version."""

    facts: tuple[Fact, ...]
    statements: tuple[Statement, ...]


@dataclass(frozen=True)
class Lessons:
    """What a teacher read out of a collection."""

    facts: tuple[Fact, ...]
    statements: tuple[Statement, ...]
    read: int
    """Documents worked on now; the rest came from the cache."""


def read_lessons(sources: Iterable[Source], params: SynthesizeParams, cache_folder: Path, keep: bool = True) -> Lessons:
    """Facts and statements of every document, from the cache where it has them; ``keep`` adds to it."""
    facts: list[Fact] = []
    statements: list[Statement] = []
    read = 0
    for source in sources:
        file = cache_folder / f"{_key(source, params)}.json"
        lesson = read_cached(file, Lesson)
        if lesson is None:
            lesson = Lesson(facts=extract_facts(source, params), statements=extract_statements(source))
            if keep:
                write_record(file, lesson)
            read += 1
        facts.extend(lesson.facts)
        statements.extend(lesson.statements)
    return Lessons(tuple(facts), tuple(statements), read)


def unneeded(cache_folder: Path, digests: set[str]) -> list[Path]:
    """Lessons of documents that are none of ``digests``; what is empty, or no lesson of this teacher, stays."""
    old = []
    for file in sorted(cache_folder.glob("*.json")):
        lesson = read_cached(file, Lesson)
        facts, statements = (lesson.facts, lesson.statements) if lesson else ((), ())
        read = {fact.digest for fact in facts} | {statement.digest for statement in statements}
        if read and not read & digests:
            old.append(file)
    return old


def _key(source: Source, params: SynthesizeParams) -> str:
    limits = f"{params.max_value_words}/{params.max_subject_words}"
    text = digest_text(source.text)
    return digest_text(source.id, source.digest, text, source.title, RECIPE, TEACHER, limits, _reader())


@cache
def _reader() -> str:
    return code_digest("data.extraction")
