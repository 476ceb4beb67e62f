"""Splitting plain text into sentences, by rule.

A boundary is a full stop, question or exclamation mark, optionally closed by quotes or brackets, before
white space and something that can begin a sentence, unless the stop belongs to an abbreviation, an
initial or an enumerator.
"""

import re

_BOUNDARY = re.compile(r"(?<=[.!?])[\"”’)\]]*\s+(?=[A-Z0-9\"“‘(\[])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|inc|ltd|co|corp|vs|no|st|mr|mrs|ms|dr|sec|art|cf|approx|u\.s|u\.s\.c|u\.k|e\.u)"
    r"|\b[A-Z]|^\(?(?:[a-z]|[ivx]{1,4}|\d{1,2}))\.[\"”’)\]]*\s*$",
    re.IGNORECASE,
)
_LONGEST_ABBREVIATION = 32
"""Characters before a boundary that can belong to it; looking further back would be quadratic."""


def split_sentences(text: str) -> list[str]:
    """The sentences of a plain text, without surrounding white space."""
    sentences: list[str] = []
    begin = 0
    for match in _BOUNDARY.finditer(text):
        if _ABBREVIATION.search(text[max(begin, match.end() - _LONGEST_ABBREVIATION) : match.end()]):
            continue
        sentences.append(text[begin : match.end()].strip())
        begin = match.end()
    rest = text[begin:].strip()
    return [*sentences, rest] if rest else sentences


def words(text: str) -> int:
    """Number of words."""
    return len(text.split())
