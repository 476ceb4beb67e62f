"""Texts of an exact length in tokens, with sentences in them that no cut touches.

Between the sentences that matter stands filler, as much as fits; one piece is cut at words so that the count comes out
exactly. A tokenizer may count a text otherwise than its parts, so the whole is counted at the end.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data.errors import InputError

Count = Callable[[str], int]
"""Tokens of a text as it stands, without any that open or close it."""
Filler = Callable[[random.Random], str]
"""Draws a piece of filler: several words that say nothing about the question."""
TRIES = 400
"""Cut pieces that are looked at before a length counts as out of reach."""


@dataclass(frozen=True)
class Placed:
    """A text and where what matters stands in it."""

    text: str
    depths: tuple[float, ...]
    """Of each needle, in the order given: share of the text's characters before it."""


def placed(
    needles: Sequence[str], after: str, depths: Sequence[float], filler: Filler, tokens: int, count: Count, seed: str
) -> Placed | None:
    """Needles among filler, followed by ``after``, of exactly ``tokens`` tokens; None where they do not fit.

    Args:
        needles: sentences that stay whole.
        after: what the text ends with, such as the question.
        depths: of each needle, from 0 (first) to 1 (last before ``after``); needles at the same one keep their order.
        filler: draws what stands between.
        tokens: of needles, filler and ``after`` together.
        count: of the tokenizer at hand.
        seed: what filler is drawn with.

    Raises:
        InputError: the tokenizer counts so that no cut of the filler gives this length.
    """
    if count(_joined([*needles], after)) > tokens:
        return None
    draw = random.Random(seed)
    pieces = _filling(needles, after, filler, tokens, count, draw)
    tail_place = draw.randrange(len(pieces) + 1)
    for tail in _tails(filler, draw):
        filled = [*pieces[:tail_place], tail, *pieces[tail_place:]] if tail else pieces
        laid = _laid(needles, depths, filled)
        text = _joined([part for part, _ in laid], after)
        if count(text) == tokens:
            return Placed(text, _found(laid, len(needles), len(text) - len(after)))
    raise InputError(
        f"No text of exactly {tokens} tokens came out of {TRIES} tries with this tokenizer. Give another length."
    )


def _filling(
    needles: Sequence[str], after: str, filler: Filler, tokens: int, count: Count, draw: random.Random
) -> list[str]:
    """Whole pieces of filler, which leave room for one or two more, so that what is cut has many ways to fit."""
    pieces: list[str] = []
    used = count(_joined([*needles], after))
    while used <= tokens:
        pieces.append(filler(draw))
        used += count(f" {pieces[-1]}")
    while pieces and count(_joined([*needles, *pieces], after)) > tokens:
        pieces.pop()
    return pieces[:-1]


def _tails(filler: Filler, draw: random.Random) -> list[str]:
    """Stretches of filler, up to four pieces long, cut at words on both sides; first nothing at all."""
    found = [""]
    while len(found) < TRIES:
        words = " ".join(filler(draw) for _ in range(4)).split()
        first = draw.randrange(len(words))
        found += [" ".join(words[first:cut]) for cut in range(first + 1, len(words) + 1)]
    return found


def _laid(needles: Sequence[str], depths: Sequence[float], filled: Sequence[str]) -> list[tuple[str, int | None]]:
    """Parts of the text in order, each with the number of the needle that it is."""
    order = sorted(range(len(needles)), key=lambda place: depths[place])
    slots = {place: round(depths[place] * len(filled)) for place in order}
    laid: list[tuple[str, int | None]] = []
    for slot in range(len(filled) + 1):
        laid += [(needles[place], place) for place in order if slots[place] == slot]
        if slot < len(filled):
            laid.append((filled[slot], None))
    return laid


def _joined(parts: Sequence[str], after: str) -> str:
    return f"{' '.join(parts)}{after}"


def _found(laid: Sequence[tuple[str, int | None]], needles: int, length: int) -> tuple[float, ...]:
    depths, at = [0.0] * needles, 0
    for part, place in laid:
        if place is not None:
            depths[place] = round(at / max(1, length), 4)
        at += len(part) + 1
    return tuple(depths)
