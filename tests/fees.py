"""Questions about fees, and a model so small that it is made in a blink: what tests of models share."""

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from models.base import new_tiny, train_tokenizer

TEXTS = [f"Question: What is the fee of plan {n}?\nAnswer: ${n * 3}" for n in range(10, 40)]
PROMPTS = [text.partition(" $")[0] for text in TEXTS[:9]]


def fees_tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(TEXTS, 300)


def small(tokenizer: PreTrainedTokenizerBase, layers: int = 1, seed: int = 1) -> LlamaForCausalLM:
    """Of random weights, on one thread, so that its sums are rounded the same everywhere."""
    torch.set_num_threads(1)
    return new_tiny(tokenizer, seed, layers=layers, width=32, heads=2)
