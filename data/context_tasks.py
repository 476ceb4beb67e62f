"""What a model finds in its context: seeded questions of an exact length, their grading, and the effective length.

After RULER (Hsieh et al. 2024). An answer is graded as RULER grades: by the share of the expected strings that it
holds, whatever else it says, without regard to case. In one thing this is stricter: a string counts as a whole word
only, so that "$19" is not found in "$190". Saying everything would score; the room for the answer keeps it short.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data.context_drafts import Draft, Pool, Task, draft, pool
from data.context_text import Count, placed
from data.handbook import Handbook
from data.wordings import question_prompt

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where the needle that is asked about stands, in turn; needles of chains stand anywhere."""
ROOM: Mapping[Task, int] = {
    Task.SINGLE: 12,
    Task.KEYS: 12,
    Task.VALUES: 36,
    Task.QUERIES: 36,
    Task.VARIABLES: 32,
    Task.WORDS: 24,
    Task.QUESTION: 12,
}
"""Tokens kept for the answer; they are part of the length, as in RULER."""


@dataclass(frozen=True)
class Item:
    """One question with its context."""

    task: Task
    length: int
    """Tokens of the prompt, of the one that opens it, and of the room for the answer."""
    number: int
    """Among those of its task and length."""
    depth: float
    """Share of the text's characters before the first needle that is asked about."""
    prompt: str
    bare: str
    """The same question without the context."""
    answers: tuple[str, ...]


def items(task: Task, length: int, number: int, seed: int, count: Count, book: Handbook) -> list[Item]:
    """``number`` questions of one task and length; none where the needles do not fit into the length.

    Args:
        task: which.
        length: in tokens: prompt, the one token that opens it, and ``ROOM``.
        number: of questions.
        seed: the same seed gives the same questions.
        count: tokens of a text with the tokenizer at hand.
        book: what the base knows; no needle is about its products.

    Raises:
        InputError: no text has exactly this length with the tokenizer.
    """
    drawn_from = pool(seed, book)
    made = [_item(task, length, each, seed, count, drawn_from) for each in range(number)]
    return [] if None in made else [one for one in made if one is not None]


def recall(said: str, answers: Sequence[str]) -> float:
    """Share of the expected strings that an answer holds as whole words, in any case and order."""
    text = said.casefold()
    held = [re.search(rf"(?<!\w){re.escape(one.casefold())}(?!\w)", text) for one in answers]
    return sum(one is not None for one in held) / len(answers)


def effective_length(scores: Mapping[int, float], threshold: float) -> int | None:
    """The longest length up to which every mean score reaches the threshold; None where the shortest does not.

    RULER takes the longest length that reaches it; here a shorter one that fails ends the search, so that luck at a
    long one counts for nothing.
    """
    reached = None
    for length in sorted(scores):
        if scores[length] < threshold:
            break
        reached = length
    return reached


def _item(task: Task, length: int, number: int, seed: int, count: Count, drawn_from: Pool) -> Item | None:
    key = f"{seed}/{task}/{length}/{number}"
    draw = random.Random(key)
    made = draft(task, draw, drawn_from, length)
    bare = question_prompt(made.question)
    depths = _depths(made, DEPTHS[number % len(DEPTHS)], draw)
    text = placed(made.needles, f"\n{bare}", depths, made.filler, length - 1 - ROOM[task], count, key)
    if text is None:
        return None
    return Item(task, length, number, min(text.depths[place] for place in made.asked), text.text, bare, made.answers)


def _depths(made: Draft, depth: float, draw: random.Random) -> list[float]:
    if made.together:
        return [depth] * len(made.needles)
    if made.ordered:
        return sorted(draw.random() for _ in made.needles)
    return [depth if place == made.asked[0] else draw.random() for place in range(len(made.needles))]
