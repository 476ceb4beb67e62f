"""Answers in batches are those of one question at a time; what ended costs nothing more; draws follow the model."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    Lfm2Config,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3Config,
)

from data.handbook import handbook
from data.wordings import Form, question_prompt, wordings
from data.workspace import PROJECT_ROOT
from models.adapters import new_lora
from models.base import load_base
from models.decoding import continuations
from models.generation import answer, sample
from models.packing import end_token, token_ids
from tests import fees

TINY: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "tie_word_embeddings": False,
}  # fmt: skip
KINDS = [
    Qwen3Config(**TINY, intermediate_size=64, num_key_value_heads=1, head_dim=16),
    MistralConfig(**TINY, intermediate_size=64, num_key_value_heads=2, sliding_window=5),
    GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2, n_positions=64, tie_word_embeddings=False),
    BloomConfig(**TINY),
    Lfm2Config(**TINY, intermediate_size=64, num_key_value_heads=2, layer_types=["conv", "full_attention"]),
]
PROMPTS = [*fees.PROMPTS, "plan", "fee of plan 1", "What is the fee?"]


def one_at_a_time(model: Any, prompts: Sequence[Sequence[int]], new_tokens: int, end: int) -> list[list[int]]:
    """The library's own greedy decoding of each prompt alone; its end is left out."""
    said = []
    for prompt in prompts:
        ids_1T = torch.tensor([list(prompt)])
        output_1T = model.generate(
            input_ids=ids_1T, attention_mask=torch.ones_like(ids_1T), max_new_tokens=new_tokens, do_sample=False,
            eos_token_id=end, pad_token_id=end,
        )  # fmt: skip
        ids = output_1T[0, len(prompt) :].tolist()
        said.append(ids[: ids.index(end)] if end in ids else ids)
    return said


@contextmanager
def rows_of_each_pass(model: torch.nn.Module) -> Iterator[list[int]]:
    """How many rows every forward pass has."""
    seen: list[int] = []
    handle = model.register_forward_pre_hook(
        lambda _, __, given: seen.append(len(given["input_ids"])), with_kwargs=True
    )
    yield seen
    handle.remove()


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.model_type)
def test_any_model_says_in_a_shrinking_batch_what_it_says_alone(config: PreTrainedConfig) -> None:
    torch.manual_seed(2)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():  # far from even predictions, which no two orders of a sum would tell apart
        parameter.data.mul_(4 if parameter.ndim > 1 else 1)
    draw = random.Random(4)
    prompts = [[draw.randrange(64) for _ in range(draw.randint(1, 9))] for _ in range(24)]
    whole = one_at_a_time(model, prompts, 12, end=63)
    end = max(range(63), key=lambda token: len({ids.index(token) for ids in whole if token in ids}))
    alone = one_at_a_time(model, prompts, 12, end)
    assert len({len(ids) for ids in alone}) > 4, "they end at different times"
    with rows_of_each_pass(model) as seen:
        assert continuations(model, prompts, 12, end) == alone
    assert seen == [len(prompts), *(sum(len(ids) > step for ids in alone) for step in range(11))]


@pytest.mark.parametrize("adapted", [False, True])
def test_answers_are_those_of_one_question_at_a_time_in_any_batch_and_order(adapted: bool) -> None:
    """On the shipped base, alone and with an adapter that turns some of its answers."""
    base, tokenizer = load_base(PROJECT_ROOT / "data" / "bases" / "tiny")
    facts = handbook(20240601).known[:60]  # of its lineage
    asked = [
        question_prompt(wordings("property", Form.QUESTION)[place % 3].render(fact)) for place, fact in enumerate(facts)
    ]
    asked.append("You may")
    model: Any = base
    if adapted:
        before = answer(base, tokenizer, asked, 16, 16)
        model = new_lora(base, rank=4, alpha=8, dropout=0.0, seed=1).eval()
        torch.manual_seed(3)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(0, 0.1)
        assert before != answer(model, tokenizer, asked, 16, 16)
    end = end_token(tokenizer)
    alone = one_at_a_time(model, [[end, *ids] for ids in token_ids(tokenizer, asked)], 16, end)
    expected = [text.strip() for text in tokenizer.batch_decode(alone)]
    heard: list[int] = []
    assert answer(model, tokenizer, asked, 16, 16, heard.append) == expected
    assert heard == [16, 32, 48, 61]
    assert answer(model, tokenizer, asked, 16, 100) == expected
    assert answer(model, tokenizer, asked[::-1], 16, 7)[::-1] == expected


def test_nothing_asked_is_nothing_answered(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    assert answer(model, tokenizer, [], 8, 4) == []
    assert sample(model, tokenizer, [], 8, 4, seed=1) == []


def test_samples_follow_from_seed_and_prompt_alone(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    drawn = sample(model, tokenizer, PROMPTS, 8, 16, seed=5, samples=6)
    assert [len(texts) for texts in drawn] == [6] * len(PROMPTS)
    assert len({text for texts in drawn for text in texts}) > 60, "they differ between prompts and between samples"
    assert sample(model, tokenizer, PROMPTS[::-1], 8, 1000, seed=5, samples=6)[::-1] == drawn
    assert sample(model, tokenizer, PROMPTS[3:4], 8, 1, seed=5, samples=2) == [drawn[3][:2]]
    assert sample(model, tokenizer, PROMPTS, 8, 16, seed=6, samples=6) != drawn


def test_a_prompt_is_run_once_for_all_its_samples_and_ended_ones_leave(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    with rows_of_each_pass(model) as seen:
        sample(model, tokenizer, PROMPTS, 40, len(PROMPTS) * 50, seed=5, samples=50, temperature=1.0)
    assert seen[0] == len(PROMPTS)
    assert len(PROMPTS) * 45 < seen[1] <= len(PROMPTS) * 50
    assert seen[1:] == sorted(seen[1:], reverse=True)
    assert seen[-1] < seen[1], "of 600 some drew the end, which is one token of 300"


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_tokens_are_drawn_as_often_as_the_model_has_it(
    temperature: float, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    count, prompt = 6000, PROMPTS[0]
    (drawn,) = sample(model, tokenizer, [prompt], 1, count, seed=11, samples=count, temperature=temperature)
    ids_1T = torch.tensor([[end_token(tokenizer), *token_ids(tokenizer, [prompt])[0]]])
    with torch.inference_mode():
        shares_V = (model(input_ids=ids_1T).logits[0, -1].double() / temperature).softmax(dim=-1)
    expected: Counter[str] = Counter()
    for token, share in enumerate(shares_V.tolist()):
        expected[tokenizer.decode([token], skip_special_tokens=True).strip()] += share * count
    assert set(drawn) <= set(expected)
    seen, common = Counter(drawn), [text for text, times in expected.items() if times >= 5]
    assert len(common) > 30
    rare = count - sum(expected[text] for text in common)
    observed = [*(seen[text] for text in common), count - sum(seen[text] for text in common)]
    assert chisquare(observed, [*(expected[text] for text in common), rare]).pvalue > 0.01


def test_a_temperature_of_nothing_is_refused(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match="above 0"):
        sample(model, tokenizer, PROMPTS, 8, 16, seed=1, temperature=0.0)
