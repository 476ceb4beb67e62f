"""Passages: the changed sentences of a document, in pieces that a teacher can be asked about.

Only what the base has not seen is sent. Where a passage ends is decided by its last sentence's own digest, so
that a sentence inserted above moves one or two borders and the passages after them stay what they were:
answered already, and in the cache.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from data.files import digest_text
from data.records import Statement
from data.rows import LONGEST_ROW

_BORDER_EVERY = 4
"""Of the sentences past half the wanted length, one in so many ends a passage."""


@dataclass(frozen=True)
class Passage:
    """Changed sentences of one document, in reading order."""

    title: str
    statements: tuple[Statement, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        return tuple(statement.text for statement in self.statements)


def passages(fresh: Sequence[Statement], characters: int) -> tuple[Passage, ...]:
    """Changed sentences grouped by document, each passage at most ``characters`` long or one sentence."""
    sendable = [statement for statement in fresh if len(statement.text) <= LONGEST_ROW]
    return tuple(
        Passage(group[0].title, tuple(group))
        for _, of_document in groupby(sendable, key=lambda statement: statement.document)
        for group in _cut(list(of_document), characters)
    )


def _cut(statements: Sequence[Statement], characters: int) -> Iterator[list[Statement]]:
    group: list[Statement] = []
    size = 0
    for statement in statements:
        if group and size + len(statement.text) > characters:
            yield group
            group, size = [], 0
        group.append(statement)
        size += len(statement.text)
        if size >= characters / 2 and _is_border(statement):
            yield group
            group, size = [], 0
    if group:
        yield group


def _is_border(statement: Statement) -> bool:
    return int(digest_text(statement.text)[:8], 16) % _BORDER_EVERY == 0
