"""How likely texts are to a model, and how far an update moves its predictions, in one pass over each text.

Rows are laid out as for training, one to a window, and the output head computes the logits of the wanted tokens alone
(models/loss.py). A sum over a text is given with its number of tokens, so that a caller can pool texts or resample
them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.loss import labelled_logits
from models.packing import IGNORED, Batch, EncodedRow, as_batch, encode_pairs, end_token, token_ids

TOKENS_AT_ONCE = 4096
"""Of a batch, padding included; what holds its memory down is K logits of V tokens."""


@dataclass(frozen=True)
class Nats:
    """A sum over the tokens of one text."""

    total: float
    tokens: int


def log_likelihoods(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    completions: Sequence[str],
) -> list[Nats]:
    """Log-probability of each completion, with the end-of-text token, after its prompt.

    Args:
        prompts: raw texts, opened by the end-of-text token; a text that is asked several completions of stands
            once for each.
        completions: as in training rows: tokenised apart from the prompt, with the space that precedes them.
    """
    rows = encode_pairs(prompts, completions, tokenizer)
    return _sums(rows, end_token(tokenizer), partial(_log_probabilities, model))


def likeliest(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
) -> list[int]:
    """Place of the likeliest choice of each prompt, its end-of-text token included; of equals the first.

    Likelihoods are totals, not means per token (Brown et al. 2020, "Language Models are Few-Shot Learners", section
    2.4, take means; the EleutherAI harness gives totals as ``acc``). Totals disfavour long choices where these are
    beginnings of texts; with its end, each choice is a whole answer, the answers exclude one another, and the likeliest
    is the one that the model gives most often. A mean favours a choice whose last tokens follow from its first.
    """
    asked = [prompt for prompt, each in zip(prompts, choices, strict=True) for _ in each]
    told = iter(log_likelihoods(model, tokenizer, asked, [f" {choice}" for each in choices for choice in each]))
    totals = [[next(told).total for _ in each] for each in choices]
    return [max(range(len(each)), key=each.__getitem__) for each in totals]


def text_log_likelihoods(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], window: int
) -> list[Nats]:
    """Log-probability of each text; what is longer than ``window`` tokens is told in pieces that forget one another."""
    return _over_texts(tokenizer, texts, window, partial(_log_probabilities, model))


def bits_per_token(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], window: int
) -> float:
    """Mean code length of a token of these texts, the end of each counted."""
    return -mean_per_token(text_log_likelihoods(model, tokenizer, texts, window)) / math.log(2)


def divergences(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    window: int,
    base: PreTrainedModel | None = None,
) -> list[Nats]:
    """KL(base || model) summed over the next-token distributions at every token of each text.

    The mean (``mean_per_token``) is 0 for a model that predicts as its base does.

    Args:
        base: None: ``model`` with its adapter switched off.

    Raises:
        ValueError: there is neither a base nor an adapter.
    """
    if base is None and not isinstance(model, PeftModel):
        raise ValueError("A model without an adapter was given alone; its divergence needs the base as well.")

    return _over_texts(tokenizer, texts, window, lambda batch: divergence(model, batch, base))


def divergence(model: torch.nn.Module, batch: Batch, base: torch.nn.Module | None = None) -> torch.Tensor:
    """KL(base || model) of the distribution at each labelled token of a batch, nats, [K].

    No gradient goes to the base, which without ``base`` is ``model`` with its adapter switched off.
    """
    model_KV = _log_softmax(model, batch)[0]
    with torch.no_grad(), model.disable_adapter() if isinstance(model, PeftModel) and base is None else nullcontext():
        base_KV = _log_softmax(base or model, batch)[0]
    return torch.nn.functional.kl_div(model_KV, base_KV, reduction="none", log_target=True).sum(dim=-1)


def mean_per_token(sums: Sequence[Nats]) -> float:
    """Mean over all tokens of all texts, nats.

    Raises:
        ValueError: there is not one token.
    """
    tokens = sum(one.tokens for one in sums)
    if not tokens:
        raise ValueError("There is no token to take a mean over; give at least one text.")
    return math.fsum(one.total for one in sums) / tokens


_Measure = Callable[[Batch], torch.Tensor]
"""What is summed, for each labelled token of a batch, window by window: [K]."""


def _log_softmax(model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probabilities [K, V], the labelled tokens [K])."""
    logits_KV, targets_K = labelled_logits(model, batch, next(model.parameters()).device)
    return logits_KV.float().log_softmax(dim=-1), targets_K


def _log_probabilities(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    logs_KV, targets_K = _log_softmax(model, batch)
    return logs_KV.gather(1, targets_K.unsqueeze(1))[:, 0]


def _over_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], window: int, measure: _Measure) -> list[Nats]:
    end = end_token(tokenizer)
    whole = [(*ids, end) for ids in token_ids(tokenizer, texts)]
    room = window - 1  # the end-of-text token opens every piece
    pieces = [(place, ids[at : at + room]) for place, ids in enumerate(whole) for at in range(0, len(ids), room)]
    found = _sums([EncodedRow(piece, piece) for _, piece in pieces], end, measure)
    totals = [0.0] * len(texts)
    for (place, _), part in zip(pieces, found, strict=True):
        totals[place] += part.total
    return [Nats(total, len(ids)) for total, ids in zip(totals, whole, strict=True)]


@torch.inference_mode()
def _sums(rows: Sequence[EncodedRow], end: int, measure: _Measure) -> list[Nats]:
    """What is measured at each row's labelled tokens, summed over the row in float64."""
    found: dict[int, Nats] = {}
    for chosen in _batches([1 + len(row.ids) for row in rows]):
        batch = as_batch([[rows[place]] for place in chosen], end, 1 + max(len(rows[place].ids) for place in chosen))
        counts = [sum(label != IGNORED for label in rows[place].labels) for place in chosen]
        values_K = measure(batch).cpu().double()
        for place, values in zip(chosen, torch.split(values_K, counts), strict=True):
            found[place] = Nats(float(values.sum()), len(values))
    return [found[place] for place in range(len(rows))]


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of rows, the shortest first, as many at a time as ``TOKENS_AT_ONCE`` allows."""
    chosen: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if chosen and (len(chosen) + 1) * lengths[place] > TOKENS_AT_ONCE:
            yield chosen
            chosen = []
        chosen.append(place)
    if chosen:
        yield chosen
