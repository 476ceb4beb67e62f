"""Answering prompts: greedy decoding in batches."""

from collections.abc import Callable, Sequence

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

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

    Args:
        model: a causal language model, adapted or not.
        tokenizer: its tokenizer.
        prompts: raw texts; each is opened by the end-of-text token, as rows are in training.
        new_tokens: longest continuation, in tokens.
        batch: prompts decoded at once; they are grouped by length, so that little is padded.
        report: called with the number of prompts answered, after every batch.
    """
    end = end_token(tokenizer)
    encoded = token_ids(tokenizer, prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(encoded[index]))
    answers = [""] * len(prompts)
    for first in range(0, len(order), batch):
        chosen = order[first : first + batch]
        texts = _continue(model, tokenizer, [[end, *encoded[index]] for index in chosen], new_tokens, end)
        for index, text in zip(chosen, texts, strict=True):
            answers[index] = text
        report(min(first + batch, len(order)))
    return answers


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


def _continue(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[Sequence[int]],
    new_tokens: int,
    end: int,
) -> list[str]:
    longest = max(len(sequence) for sequence in ids)
    ids_BT = torch.tensor([[end] * (longest - len(sequence)) + list(sequence) for sequence in ids])
    mask_BT = torch.tensor([[0] * (longest - len(sequence)) + [1] * len(sequence) for sequence in ids])
    output_BT = model.generate(
        input_ids=ids_BT.to(model.device),
        attention_mask=mask_BT.to(model.device),
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
    )
    texts = tokenizer.batch_decode(output_BT[:, longest:], skip_special_tokens=True)
    return [str(text).strip() for text in texts]
