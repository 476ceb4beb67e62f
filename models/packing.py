"""Rows to training windows: encoded, shuffled over the whole set, packed, never cut in two.

Every row ends in the end-of-text token and every window begins with it, which is also how a prompt begins
when the model is asked. Positions start anew at each of these tokens, from which transformers reads that a
row sees nothing of its neighbours: a row is learned as it will be asked for. Rows that paraphrase one fact
must not meet in one step by construction order (Allen-Zhu and Li 2023, "Physics of Language Models 3.1");
hence the shuffle over the whole set, anew in each epoch.

Shapes: B windows, T tokens a window.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from data.errors import InputError
from data.records import Row

IGNORED = -100
"""Label of a token that carries no loss."""
_OPEN_WINDOWS = 16


@dataclass(frozen=True)
class EncodedRow:
    """Token ids with labels; ``IGNORED`` over the prompt."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """One optimiser step's worth of windows."""

    ids_BT: torch.Tensor
    """int64"""
    labels_BT: torch.Tensor
    """int64, each at its own token's place; the loss shifts them."""
    positions_BT: torch.Tensor
    """int64, from 0 at each end-of-text token."""
    tokens: int
    """Tokens that are not padding."""


def encode(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, window: int) -> list[EncodedRow]:
    """Tokenise rows; a row longer than a window is cut at the window's end."""
    end = end_token(tokenizer)
    prompts = _ids(tokenizer, [row.prompt for row in rows])
    completions = _ids(tokenizer, [row.completion for row in rows])
    encoded = []
    for prompt, completion in zip(prompts, completions, strict=True):
        ids = [*prompt, *completion, end][: window - 1]
        labels = ([IGNORED] * len(prompt) + [*completion, end])[: window - 1]
        encoded.append(EncodedRow(tuple(ids), tuple(labels)))
    return encoded


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The end-of-text token, which also opens every prompt.

    Raises:
        InputError: the tokenizer has none.
    """
    if not isinstance(tokenizer.eos_token_id, int):
        raise InputError("The tokenizer has no end-of-text token; set eos_token in its configuration.")
    return tokenizer.eos_token_id


def batches(rows: Sequence[EncodedRow], end: int, window: int, windows_per_batch: int, seed: int) -> Iterator[Batch]:
    """Batches without end, epoch after epoch: a pure function of its arguments."""
    if not rows:
        raise ValueError("There is not one row to train on.")
    waiting: list[list[EncodedRow]] = []
    epoch = 0
    while True:
        waiting.extend(_packed(rows, window, random.Random(f"{seed}/{epoch}")))
        while len(waiting) >= windows_per_batch:
            yield _batch(waiting[:windows_per_batch], end, window)
            del waiting[:windows_per_batch]
        epoch += 1


def _ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    return list(tokenizer(list(texts), add_special_tokens=False)["input_ids"]) if texts else []


def _packed(rows: Sequence[EncodedRow], window: int, draw: random.Random) -> Iterator[list[EncodedRow]]:
    order = list(range(len(rows)))
    draw.shuffle(order)
    opened: list[tuple[list[EncodedRow], int]] = []
    for index in order:
        row = rows[index]
        for slot, (content, used) in enumerate(opened):
            if used + len(row.ids) <= window:
                content.append(row)
                opened[slot] = (content, used + len(row.ids))
                break
        else:
            if len(opened) == _OPEN_WINDOWS:
                fullest = max(range(len(opened)), key=lambda slot: opened[slot][1])
                yield opened.pop(fullest)[0]
            opened.append(([row], 1 + len(row.ids)))
    yield from (content for content, _ in opened)


def _batch(windows: Sequence[Sequence[EncodedRow]], end: int, window: int) -> Batch:
    ids_BT = torch.full((len(windows), window), end, dtype=torch.int64)
    labels_BT = torch.full((len(windows), window), IGNORED, dtype=torch.int64)
    tokens = 0
    for place, rows in enumerate(windows):
        ids = [end, *(token for row in rows for token in row.ids)]
        labels = [IGNORED, *(label for row in rows for label in row.labels)]
        ids_BT[place, : len(ids)] = torch.tensor(ids)
        labels_BT[place, : len(labels)] = torch.tensor(labels)
        tokens += len(ids)
    places_T = torch.arange(window)
    begins_BT = torch.where(ids_BT == end, places_T, 0).cummax(dim=1).values
    return Batch(ids_BT, labels_BT, places_T - begins_BT, tokens)
