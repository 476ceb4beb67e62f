"""What changed between two texts, as a person reads it: word by word inside changed paragraphs, the rest folded.

Paragraphs are matched first, words only inside paragraphs that resemble each other and are shown, so that nothing
compares two whole documents word by word. ``difflib`` is worse than quadratic where much repeats itself, which its
heuristic for frequent elements bounds (``autojunk``); texts of more than ``LONGEST`` differing paragraphs are compared
as sets of paragraphs instead, which is linear, and the result says so (``by_sets``).
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum

LONGEST = 1500
"""Paragraphs on either side, without what both begin and end with, that are still matched in order."""
LONGEST_PARAGRAPH = 600
"""Words (and signs) of a paragraph that is still compared word by word."""
PAIRED_SEARCH = 12
"""So many new paragraphs are looked at for one that continues an old one."""
RESEMBLANCE = (0.5, 0.3)
"""Shares of the words of the shorter and of the longer paragraph that make one the other's new version."""
CONTEXT = 14
"""Words kept on each side of a change; what lies between is left out."""

_UNIT_START = re.compile(r"\s*(?:[-*+]\s|\d+[.)]\s|#{1,6}\s|\||>)")
_BULLET = re.compile(r"^[*+]\s+")
_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")


class Mark(StrEnum):
    """What happened to a piece of text."""

    SAME = "same"
    GONE = "gone"
    NEW = "new"
    LEFT_OUT = "left out"
    """Unchanged and not shown."""


@dataclass(frozen=True)
class Piece:
    """A run of words with one fate; without text where it was left out."""

    mark: Mark
    text: str


@dataclass(frozen=True)
class Change:
    """One paragraph that changed, or unchanged ones folded together."""

    pieces: tuple[Piece, ...]
    folded: int = 0
    """Unchanged paragraphs that this stands for; 0: it shows a change."""


@dataclass(frozen=True)
class TextDiff:
    """The first changes between two texts, in the order of the new one."""

    changes: tuple[Change, ...]
    changed: int
    """Paragraphs that changed, shown or not."""
    more: int
    """Those of them that are not shown."""
    by_sets: bool
    """The texts were too long to be matched in order: moved paragraphs do not show."""


@dataclass(frozen=True)
class _Step:
    """A paragraph before and after (None: there is none), or a number of unchanged ones."""

    old: str | None = None
    new: str | None = None
    same: int = 0


def compare(old: str, new: str, most: int) -> TextDiff:
    """The first ``most`` changed paragraphs from ``old`` to ``new``, unchanged ones between them folded."""
    before, after = paragraphs(old), paragraphs(new)
    head = _common(before, after)
    tail = _common(before[head:][::-1], after[head:][::-1])
    inner = before[head : len(before) - tail], after[head : len(after) - tail]
    by_sets = max(map(len, inner)) > LONGEST
    matched = _by_sets(*inner) if by_sets else _in_order(*inner)
    steps = _merged([_Step(same=head), *matched, _Step(same=tail)])
    changed = sum(not step.same for step in steps)
    shown = tuple(_change(step) for step in _first(steps, most)) if changed else ()
    return TextDiff(shown, changed, max(changed - most, 0), by_sets)


def _merged(steps: Sequence[_Step]) -> list[_Step]:
    """Neighbouring unchanged stretches as one, empty ones left out."""
    merged: list[_Step] = []
    for step in steps:
        if step.old is not None or step.new is not None:
            merged.append(step)
        elif step.same and merged and merged[-1].same:
            merged[-1] = _Step(same=merged[-1].same + step.same)
        elif step.same:
            merged.append(step)
    return merged


def _first(steps: Sequence[_Step], most: int) -> Iterator[_Step]:
    """The steps up to the change number ``most``, and what is folded after it if it is the last."""
    left = most
    for step in steps:
        if not step.same:
            left -= 1
        if left < 0:
            return
        yield step


def _change(step: _Step) -> Change:
    if step.same:
        return Change((), folded=step.same)
    if step.old is not None and step.new is not None:
        return Change(word_changes(step.old, step.new))
    mark, text = (Mark.GONE, step.old) if step.old is not None else (Mark.NEW, step.new)
    return Change((Piece(mark, text or ""),))


def paragraphs(text: str) -> list[str]:
    """The paragraphs of normalised Markdown; headings, list items and table rows are paragraphs of their own.

    Every bullet is written as ``-``: which of the three signs stands there is no change that a person reads.
    """
    found: list[str] = []
    continues = False
    for line in text.split("\n"):
        if not line.strip():
            continues = False
        elif continues and not _UNIT_START.match(line):
            found[-1] += " " + line.strip()
        else:
            found.append(_BULLET.sub("- ", line.strip()))
            continues = not line.lstrip().startswith(("#", "|"))
    return found


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many paragraphs both begin with."""
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))


def _by_sets(old: Sequence[str], new: Sequence[str]) -> Iterator[_Step]:
    """What stands on one side only, gone ones first; one pass over each side."""
    yield from (_Step(old=text) for text in _only(old, new))
    yield from (_Step(new=text) for text in _only(new, old))


def _only(here: Sequence[str], there: Sequence[str]) -> Iterator[str]:
    left = Counter(there)
    for text in here:
        left[text] -= 1
        if left[text] < 0:
            yield text


def _in_order(old: Sequence[str], new: Sequence[str]) -> Iterator[_Step]:
    for kind, a, b, c, d in SequenceMatcher(None, old, new).get_opcodes():
        if kind == "equal":
            yield _Step(same=b - a)
        else:
            yield from _replaced(old[a:b], new[c:d])


def _replaced(old: Sequence[str], new: Sequence[str]) -> Iterator[_Step]:
    """Old paragraphs beside the new ones that continue them, in order; the others alone."""
    place = 0
    words = [_words(text) for text in new]
    for text in old:
        known = _words(text)
        nearby = range(place, min(place + PAIRED_SEARCH, len(new)))
        heir = next((number for number in nearby if _resemble(known, words[number])), None)
        if heir is None:
            yield _Step(old=text)
            continue
        yield from (_Step(new=one) for one in new[place:heir])
        yield _Step(text, new[heir])
        place = heir + 1
    yield from (_Step(new=one) for one in new[place:])


def word_changes(old: str, new: str) -> tuple[Piece, ...]:
    """One paragraph against its new version, word by word, long unchanged stretches left out."""
    before, after = _TOKEN.findall(old), _TOKEN.findall(new)
    if max(len(before), len(after)) > LONGEST_PARAGRAPH:
        return (Piece(Mark.GONE, old), Piece(Mark.NEW, new))
    gone: list[str] = []
    fresh: list[str] = []
    pieces: list[Piece] = []
    for kind, a, b, c, d in SequenceMatcher(None, before, after).get_opcodes():
        same = "".join(before[a:b]) if kind == "equal" else ""
        if kind == "equal" and (same.strip() or not (gone or fresh)):  # a space alone does not part two changes
            pieces += _flushed(gone, fresh)
            pieces.append(Piece(Mark.SAME, same))
        else:
            gone += before[a:b]
            fresh += after[c:d]
    return tuple(_shortened([*pieces, *_flushed(gone, fresh)]))


def _flushed(gone: list[str], fresh: list[str]) -> list[Piece]:
    """The collected change as pieces; the lists are empty afterwards."""
    pieces = [Piece(mark, "".join(tokens)) for mark, tokens in ((Mark.GONE, gone), (Mark.NEW, fresh)) if tokens]
    gone.clear()
    fresh.clear()
    return pieces


def _shortened(pieces: Sequence[Piece]) -> Iterator[Piece]:
    last = len(pieces) - 1
    for place, piece in enumerate(pieces):
        words = re.findall(r"\s*\S+\s*", piece.text)
        if piece.mark is not Mark.SAME or len(words) <= 2 * CONTEXT + 4:
            yield piece
            continue
        if place > 0:
            yield Piece(Mark.SAME, "".join(words[:CONTEXT]))
        yield Piece(Mark.LEFT_OUT, "")
        if place < last:
            yield Piece(Mark.SAME, "".join(words[-CONTEXT:]))


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.casefold()))


def _resemble(one: frozenset[str], other: frozenset[str]) -> bool:
    shared, (shorter, longer) = len(one & other), sorted((len(one), len(other)))
    return shared > 0 and shared >= RESEMBLANCE[0] * shorter and shared >= RESEMBLANCE[1] * longer
