"""Rows to training windows: encoded, shuffled over the whole set, packed whole.

Every row ends in the end-of-text token and every window begins with it, which is also how a prompt begins
when the model is asked. Positions start anew at each of these tokens, from which transformers reads, for most
architectures, that a row sees nothing of its neighbours: a row is learned as it will be asked for. Where a
model lets rows see one another all the same (``keeps_rows_apart``), each has a window to itself. Rows that
paraphrase one fact must not meet in one step by construction order (Allen-Zhu and Li 2023, "Physics of
Language Models 3.1"); hence the shuffle over the whole set, anew in each epoch.

Shapes: B windows, T tokens a window.
"""

import itertools
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
_PROBED = 6
"""Tokens of each row by which a model is probed."""
_STILL = 1e-5
"""Share of what moves in the exchanged row that counts as nothing in the next."""


@dataclass(frozen=True)
class EncodedRow:
    """Token ids with labels; ``IGNORED`` over the prompt."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    weight: float = 1.0
    """Of each of its tokens in the loss."""


@dataclass(frozen=True)
class Batch:
    """One optimiser step's worth of windows."""

    ids_BT: torch.Tensor
    """int64"""
    labels_BT: torch.Tensor
    """int64, each at its own token's place; the loss shifts them."""
    positions_BT: torch.Tensor
    """int64, from 0 at each end-of-text token."""
    weights_BT: torch.Tensor
    """float32, each at its own token's place."""
    tokens: int
    """Tokens that are not padding."""


def encode(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, window: int, length_discount: float = 0.0
) -> list[EncodedRow]:
    """Tokenise rows; a row longer than a window is cut at the window's end.

    ``length_discount``: a token in a row of n labelled ones weighs n to the power of minus this. 0 counts all tokens
    alike, 1 all rows.
    """
    encoded = []
    prompts, completions = [row.prompt for row in rows], [row.completion for row in rows]
    for whole in encode_pairs(prompts, completions, tokenizer):
        ids, labels = whole.ids[: window - 1], whole.labels[: window - 1]
        labelled = max(1, sum(label != IGNORED for label in labels))
        encoded.append(EncodedRow(ids, labels, labelled**-length_discount))
    return encoded


def encode_pairs(
    prompts: Sequence[str], completions: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> list[EncodedRow]:
    """Each prompt with its completion and the end-of-text token, uncut; completion and end are labelled."""
    end = end_token(tokenizer)
    pairs = zip(token_ids(tokenizer, prompts), token_ids(tokenizer, completions), strict=True)
    return [
        EncodedRow((*prompt, *completion, end), (*[IGNORED] * len(prompt), *completion, end))
        for prompt, completion in pairs
    ]


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The end-of-text token, which also opens every prompt.

    Raises:
        InputError: the tokenizer has none.
    """
    if not isinstance(tokenizer.eos_token_id, int):
        raise InputError("The tokenizer has no end-of-text token; set eos_token in its configuration.")
    return tokenizer.eos_token_id


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text as it stands: what looks like a control token in a document is text like any other."""
    if not texts:
        return []
    return list(tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"])


@torch.inference_mode()
def keeps_rows_apart(model: torch.nn.Module, end: int) -> bool:
    """Whether packed rows see nothing of one another in this model: exchange one row and look at the next.

    Architectures that do not read rows out of positions, or carry a state along the window, fail.
    """
    others = [token for token in range(2 * _PROBED + 2) if token != end]
    first, other, second = others[:_PROBED], others[_PROBED : 2 * _PROBED], others[:_PROBED]
    ids_2T = torch.tensor([[end, *row, end, *second] for row in (first, other)])
    positions_2T = torch.arange(_PROBED + 1).repeat(2, 2)
    place = next(model.parameters()).device
    logits_2TV = model(input_ids=ids_2T.to(place), position_ids=positions_2T.to(place), use_cache=False).logits
    moved_T = (logits_2TV[0] - logits_2TV[1]).abs().amax(dim=-1)
    return bool(moved_T[_PROBED + 1 :].max() <= _STILL * moved_T[: _PROBED + 1].max())


def batches(
    rows: Sequence[EncodedRow], end: int, window: int, windows_per_batch: int, seed: int, packed: bool = True
) -> Iterator[Batch]:
    """Batches without end, epoch after epoch: a pure function of its arguments.

    ``packed``: rows share windows of ``window`` tokens. Otherwise each has one to itself, as wide as the batch's
    longest row, and a batch holds as many rows as fill ``windows_per_batch * window`` tokens.
    """
    for group in _grouped(rows, window, windows_per_batch, seed, packed):
        yield as_batch(group, end, window if packed else max(1 + len(row.ids) for (row,) in group))


def batches_of_passes(
    passes: float, rows: Sequence[EncodedRow], window: int, windows_per_batch: int, seed: int, packed: bool = True
) -> int:
    """How many of these batches it takes until rows have come ``passes`` times as often as there are any."""
    left = passes * len(rows)
    groups = _grouped(rows, window, windows_per_batch, seed, packed)
    count = 0
    while left > 0:
        left -= sum(map(len, next(groups)))
        count += 1
    return count


def _grouped(
    rows: Sequence[EncodedRow], window: int, windows_per_batch: int, seed: int, packed: bool
) -> Iterator[list[list[EncodedRow]]]:
    """The windows of each batch, without end."""
    if not rows:
        raise ValueError("There is not one row to train on.")
    waiting: list[list[EncodedRow]] = []
    for content in _windows(rows, window, seed, packed):
        waiting.append(content)
        filled = len(waiting) * window if packed else sum(1 + len(row.ids) for (row,) in waiting)
        if filled >= windows_per_batch * window:
            yield waiting
            waiting = []


def _windows(rows: Sequence[EncodedRow], window: int, seed: int, packed: bool) -> Iterator[list[EncodedRow]]:
    """What stands in each window, shuffled anew in each epoch."""
    for epoch in itertools.count():
        order = list(rows)
        random.Random(f"{seed}/{epoch}").shuffle(order)
        yield from _packed(order, window) if packed else ([row] for row in order)


def _packed(rows: Sequence[EncodedRow], window: int) -> Iterator[list[EncodedRow]]:
    """Rows in their order, each into the first open window that has room."""
    opened: list[tuple[list[EncodedRow], int]] = []
    for row in rows:
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


def as_batch(windows: Sequence[Sequence[EncodedRow]], end: int, window: int) -> Batch:
    """Rows laid out as they are grouped: each group is a window of ``window`` tokens, filled up with ``end``."""
    ids_BT = torch.full((len(windows), window), end, dtype=torch.int64)
    labels_BT = torch.full((len(windows), window), IGNORED, dtype=torch.int64)
    weights_BT = torch.zeros(len(windows), window)
    tokens = 0
    for place, rows in enumerate(windows):
        ids = [end, *(token for row in rows for token in row.ids)]
        labels = [IGNORED, *(label for row in rows for label in row.labels)]
        ids_BT[place, : len(ids)] = torch.tensor(ids)
        labels_BT[place, : len(labels)] = torch.tensor(labels)
        weights_BT[place, 1 : len(ids)] = torch.tensor([row.weight for row in rows for _ in row.ids])
        tokens += len(ids)
    places_T = torch.arange(window)
    begins_BT = torch.where(ids_BT == end, places_T, 0).cummax(dim=1).values
    return Batch(ids_BT, labels_BT, places_T - begins_BT, weights_BT, tokens)
