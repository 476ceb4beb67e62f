"""Answering prompts: in batches by length, greedily or drawn."""

import random
from collections.abc import Callable, Iterator, Sequence

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.decoding import continuations
from models.packing import end_token, token_ids


@torch.inference_mode()
def answer(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    new_tokens: int,
    batch: int,
    report: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Greedy continuations, one per prompt in the order given, up to the end-of-text token.

    They are those of one prompt at a time, whatever the batch, but where two tokens are as likely to the last bits of
    float32, whose sums a batch orders otherwise.

    Args:
        model: a causal language model, adapted or not.
        tokenizer: its tokenizer.
        prompts: raw texts; each is opened by the end-of-text token, as rows are in training.
        new_tokens: longest continuation, in tokens.
        batch: prompts decoded at once; they are grouped by length, so that little is padded.
        report: called with the number of prompts answered, after every batch.
    """
    end = end_token(tokenizer)
    encoded = [[end, *ids] for ids in token_ids(tokenizer, prompts)]
    answers = [""] * len(prompts)
    done = 0
    for chosen in _by_length(encoded, batch):
        said = continuations(model, [encoded[index] for index in chosen], new_tokens, end)
        for index, text in zip(chosen, _texts(tokenizer, said), strict=True):
            answers[index] = text
        done += len(chosen)
        report(done)
    return answers


@torch.inference_mode()
def sample(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    new_tokens: int,
    batch: int,
    seed: int,
    samples: int = 16,
    temperature: float = 1.0,
) -> list[list[str]]:
    """Continuations of each prompt, drawn from the model's own distribution.

    What is drawn follows from seed, prompt and the number of the sample alone: neither the other prompts nor the batch
    nor the number of samples matter, but for the rounding of float32. Equal prompts have equal samples.

    Args:
        new_tokens: longest continuation, in tokens.
        batch: continuations decoded at once; each prompt is run through the model once for all of its own.
        temperature: logits are divided by it; 1: the model as it is.

    Raises:
        ValueError: the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"A temperature of {temperature} draws nothing; it has to be above 0 (greedy: answer).")
    end = end_token(tokenizer)
    encoded = [[end, *ids] for ids in token_ids(tokenizer, prompts)]
    drawn: list[list[str]] = [[] for _ in prompts]
    for chosen in _by_length(encoded, max(1, batch // samples)):
        chances = [_chances(f"{seed}/{prompts[index]}", samples, new_tokens) for index in chosen]
        choose = _Draw(torch.tensor(chances).flatten(0, 1), temperature)
        said = continuations(model, [encoded[index] for index in chosen], new_tokens, end, choose, samples)
        texts = _texts(tokenizer, said)
        for place, index in enumerate(chosen):
            drawn[index] = texts[place * samples : (place + 1) * samples]
    return drawn


@torch.inference_mode()
def last_logits(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]
) -> torch.Tensor:
    """Logits of the token after each prompt, float32 on the CPU, prompts by vocabulary; one prompt at a time."""
    end = end_token(tokenizer)
    found = [
        model(input_ids=torch.tensor([[end, *ids]]).to(model.device)).logits[0, -1].float().cpu()
        for ids in token_ids(tokenizer, prompts)
    ]
    return torch.stack(found)


@torch.inference_mode()
def logit_shift(model: PeftModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> float:
    """Largest absolute change that the adapter makes to a logit after these prompts; 0: it does nothing."""
    end = end_token(tokenizer)
    largest = 0.0
    for ids in token_ids(tokenizer, prompts):
        ids_1T = torch.tensor([[end, *ids]])
        adapted_V = model(input_ids=ids_1T.to(model.device)).logits[0, -1].float()
        with model.disable_adapter():
            base_V = model(input_ids=ids_1T.to(model.device)).logits[0, -1].float()
        largest = max(largest, float((adapted_V - base_V).abs().max()))
    return round(largest, 6)


def _by_length(encoded: Sequence[Sequence[int]], batch: int) -> Iterator[list[int]]:
    """Places of sequences, the shortest first, ``batch`` at a time."""
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    for first in range(0, len(order), batch):
        yield order[first : first + batch]


def _texts(tokenizer: PreTrainedTokenizerBase, said: Sequence[Sequence[int]]) -> list[str]:
    return [str(text).strip() for text in tokenizer.batch_decode(said, skip_special_tokens=True)]


def _chances(seed: str, samples: int, new_tokens: int) -> list[list[float]]:
    """A number in [0, 1) for each token of each sample."""
    draw = random.Random(seed)
    return [[draw.random() for _ in range(new_tokens)] for _ in range(samples)]


class _Draw:
    """Draws tokens by inverting the cumulated distribution at numbers that were fixed beforehand."""

    def __init__(self, chances_RS: torch.Tensor, temperature: float) -> None:
        self._chances_RS = chances_RS
        self._temperature = temperature

    def __call__(self, logits_RV: torch.Tensor, rows: Sequence[int], step: int) -> torch.Tensor:
        """The first token whose cumulated share lies above the number: one of share 0 is never drawn."""
        cumulated_RV = (logits_RV / self._temperature).softmax(dim=-1).cumsum(dim=-1)
        chances_R1 = self._chances_RS[list(rows), step].unsqueeze(1).to(logits_RV.device)
        places_R1 = torch.searchsorted(cumulated_RV, chances_R1 * cumulated_RV[:, -1:], right=True)
        return places_R1[:, 0].clamp(max=logits_RV.shape[-1] - 1)
