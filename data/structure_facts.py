"""Facts that a document states by its structure: tables, labelled items, lists, numbered headings.

Each reader yields drafts; data/extraction.py turns drafts into facts, drops what is too long to be asked
for, and keeps one value per key.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from data.blocks import Block, Shape
from data.sentences import split_sentences, words

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")

_NUMBERED = re.compile(r"^(?:section\s+)?((?:\d+|[A-Z])(?:\.\d+)*)[.)]?\s+(\S.*)$", re.IGNORECASE)
_LABELLED = re.compile(r"^(?P<label>[^:]{2,60}):\s+(?P<text>\S.*)$")
_ENUMERATOR = re.compile(r"^\(?(?:[a-z]|[ivx]{1,4}|\d{1,2})[.)]\s+", re.IGNORECASE)
_LABEL_WORDS = 8


@dataclass(frozen=True)
class Draft:
    """A fact before it is checked; the fields are those of ``records.Fact``."""

    kind: str
    subject: str
    attribute: str
    value: str
    block: Block
    sentence: str = ""


def tables(blocks: Sequence[Block]) -> Iterator[Draft]:
    """Each cell under its column head, for the thing named in the row's first cell."""
    for block in blocks:
        if block.shape is not Shape.TABLE or len(block.rows) < 2:
            continue
        head, *body = block.rows
        for row in body:
            for column, cell in zip(head[1:], row[1:], strict=False):
                if row[0] and column and cell:
                    yield Draft("table", row[0], column, cell, block)


def labelled(blocks: Sequence[Block]) -> Iterator[Draft]:
    """``Label: text``, ``**Label.** text`` and ``**Label** - text``; the value is the text's first sentence."""
    for block in blocks:
        if block.shape not in (Shape.ITEM, Shape.PARAGRAPH):
            continue
        found = _label_and_text(block)
        if found is None or not block.headings:
            continue
        label, text = found
        sentence = split_sentences(text)[0]
        yield Draft("labelled", label, block.headings[-1], sentence, block, _sentence_with(block, sentence))


def _label_and_text(block: Block) -> tuple[str, str] | None:
    text = _ENUMERATOR.sub("", block.text)
    if block.label and text.startswith(block.label):
        label, rest = block.label, text[len(block.label) :]
        if rest and not re.match(r"\s*[-–—:.]", rest) and not re.search(r"[.:]$", label):
            return None
        rest = re.sub(r"^[\s.:–—-]+", "", rest)
    else:
        match = _LABELLED.match(text) if block.shape is Shape.ITEM else None
        if match is None or re.search(r"[.!?;\"“”]|https?$", match["label"]):
            return None
        label, rest = match["label"], match["text"]
    label = re.sub(r"[\s.:]+$", "", label)
    if not rest or not 0 < words(label) <= _LABEL_WORDS or not rest[0].isalnum() or rest.endswith(":"):
        return None
    return label, rest


def _sentence_with(block: Block, part: str) -> str:
    for sentence in split_sentences(block.text):
        if sentence.endswith(part):
            return sentence
    return ""


def lists(blocks: Sequence[Block]) -> Iterator[Draft]:
    """The items of a list by their place, under the sentence or heading that introduces it."""
    for block in blocks:
        if block.shape is not Shape.ITEM or block.siblings < 2 or block.ordinal > len(ORDINALS):
            continue
        lead = re.sub(r"[\s:]+$", "", block.lead)
        lead = split_sentences(lead)[-1] if lead else ""
        if not _stands_alone(lead) or _label_and_text(block) is not None:
            continue
        sentences = split_sentences(block.text)
        value = without_tail(sentences[0]) if len(sentences) == 1 else ""
        if value:
            yield Draft("listed", lead, ORDINALS[block.ordinal - 1], value, block, sentences[0])


def without_tail(text: str) -> str:
    """Without the punctuation and the conjunction that join a list item to the next."""
    while True:
        bare = text.rstrip(" ;,.").removesuffix(" and").removesuffix(" or")
        if bare == text:
            return text
        text = bare


def _stands_alone(lead: str) -> bool:
    return words(lead) >= 3 and not re.match(r"(?:this|these|those|they|it|such|that)\b", lead, re.IGNORECASE)


def sections(blocks: Sequence[Block]) -> Iterator[Draft]:
    """Titles of numbered sections, and bodies of sections that are one short sentence."""
    for index, block in enumerate(blocks):
        if block.shape is not Shape.HEADING:
            continue
        path = [match[1] for text in (*block.headings, block.text) if (match := _NUMBERED.match(text))]
        match = _NUMBERED.match(block.text)
        if match is not None:
            yield Draft("section", _section_number(path), "title", match[2].rstrip(". "), block)
        body = _body(blocks, index)
        if len(body) == 1 and body[0].shape is Shape.PARAGRAPH and not body[0].label:
            sentences = split_sentences(body[0].text)
            if len(sentences) == 1 and not sentences[0].endswith(":"):
                yield Draft("content", block.text.rstrip(". "), "content", sentences[0], body[0], sentences[0])


def _section_number(path: Sequence[str]) -> str:
    """``2.4`` stands alone; ``3`` under ``D`` is ``D.3``."""
    number = path[-1]
    return number if "." in number or len(path) == 1 else ".".join((*path[:-1], number))


def _body(blocks: Sequence[Block], heading: int) -> list[Block]:
    body: list[Block] = []
    for block in blocks[heading + 1 :]:
        if block.shape is Shape.HEADING:
            return body if block.level <= blocks[heading].level else []
        body.append(block)
    return body
