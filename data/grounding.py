"""Whether one text stands on another: quotes, answers, numbers, names and negations compared word by word.

A teacher is a language model, and what it says about a passage is a claim. These comparisons need no model;
they are strict where a slip would teach something false, and drop some that is true.
"""

import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"\w+(?:[.,:'/@-]\w+)*|[$€£¥%§]")
TYPOGRAPHY = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b\u2039\u203a\u00b4`", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d\u207b\u208b", "-")
    | {"\u2044": "/"}
)
"""Quotes, dashes and strokes to those on a keyboard: which one was set makes no difference to any comparison."""
_NEGATIONS = frozenset(
    ("no", "not", "never", "none", "nor", "neither", "nothing", "nobody", "without", "cannot", "unless", "except")
)
_DIGIT = re.compile(r"\d")


def level(text: str) -> str:
    """``text`` with single spaces, straight quotes and plain dashes."""
    return " ".join(text.translate(TYPOGRAPHY).split())


def words(text: str) -> tuple[str, ...]:
    """The words of a text in lower case: numbers whole, currency and per cent signs by themselves."""
    return tuple(_plain(word) for word in _WORD.findall(level(text)))


def _plain(word: str) -> str:
    return word.casefold().removesuffix("'s")


def quoted(quote: str, text: str) -> bool:
    """Whether ``quote`` stands in ``text``, white space and typography apart; an empty one never does."""
    wanted = level(quote).strip(" \"'")
    return bool(wanted) and wanted in level(text)


def place_of(part: Sequence[str], whole: Sequence[str]) -> int | None:
    """Where the words of ``part`` first stand in a row in ``whole``; None: nowhere, or there are none."""
    if not part:
        return None
    starts = range(len(whole) - len(part) + 1)
    return next((start for start in starts if tuple(whole[start : start + len(part)]) == tuple(part)), None)


def negates(text: str) -> bool:
    """Whether a text denies or excepts something."""
    return any(word in _NEGATIONS or word.endswith("n't") for word in words(text))


def numbers(text: str) -> Counter[str]:
    """The numbers, amounts and dates of a text, and how often each stands in it."""
    return Counter(word for word in words(text) if _DIGIT.search(word))


def names(text: str) -> frozenset[str]:
    """What a text names: words with a capital that no sentence's beginning explains, and addresses."""
    found = list(_WORD.finditer(level(text)))
    return frozenset(_plain(match[0]) for number, match in enumerate(found) if _is_name(match[0], number == 0))


def _is_name(word: str, first: bool) -> bool:
    if "@" in word or "/" in word:
        return True
    capitals = word[1:] if first else word
    return any(letter.isupper() for letter in capitals) and word not in ("I", "A")
