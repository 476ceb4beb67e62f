"""Likelihoods in one batched pass are the sums of log-softmax that a plain pass over each text gives."""

import math
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Lfm2Config,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3Config,
)

from data.handbook import POOLS, handbook
from data.wordings import Form, question_prompt, wordings
from data.workspace import PROJECT_ROOT
from models.adapters import new_lora
from models.base import load_base
from models.likelihood import (
    Nats,
    bits_per_token,
    divergences,
    likeliest,
    log_likelihoods,
    mean_per_token,
    text_log_likelihoods,
)
from models.packing import end_token, token_ids
from tests import fees
from tests.fees import TEXTS, small

PROMPTS = [*fees.PROMPTS, "plan", "", "What is the fee?"]
COMPLETIONS = [*(f" ${n}" for n in range(9)), " 14 is not the plan of any fee", "fee", ""]
TINY: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL: dict[str, Any] = {**TINY, "intermediate_size": 64, "num_key_value_heads": 2}
KINDS = [
    Qwen3Config(**SMALL, head_dim=16),
    BloomConfig(**TINY),
    Lfm2Config(**SMALL, layer_types=["conv", "full_attention"]),
]


@torch.inference_mode()
def plainly(model: Any, ids: list[int]) -> torch.Tensor:
    """log-softmax at every token of one text, [T, V]."""
    logs_TV: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(dim=-1)
    return logs_TV


def told(model: Any, tokenizer: PreTrainedTokenizerBase, prompt: str, completion: str) -> Nats:
    end = end_token(tokenizer)
    before, after = token_ids(tokenizer, [prompt, completion])
    ids = [end, *before, *after, end]
    logs_TV = plainly(model, ids)
    wanted = range(1 + len(before), len(ids))
    return Nats(sum(float(logs_TV[place - 1, ids[place]]) for place in wanted), len(wanted))


def moved(model: Any) -> Any:
    """With an adapter that changes what it predicts."""
    adapted = new_lora(model, rank=2, alpha=4, dropout=0.0, seed=1).eval()
    torch.manual_seed(3)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.3)
    return adapted


def agree(found: list[Nats], expected: list[Nats]) -> None:
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert [one.total for one in found] == pytest.approx([one.total for one in expected], rel=1e-5)


def test_a_completion_is_as_likely_as_its_tokens_one_by_one(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [told(model, tokenizer, *pair) for pair in zip(PROMPTS, COMPLETIONS, strict=True)]
    agree(log_likelihoods(model, tokenizer, PROMPTS, COMPLETIONS), expected)
    agree(log_likelihoods(model, tokenizer, PROMPTS[::-1], COMPLETIONS[::-1])[::-1], expected)
    monkeypatch.setattr("models.likelihood.TOKENS_AT_ONCE", 50)
    shapes: list[torch.Size] = []
    handle = model.register_forward_pre_hook(
        lambda _, __, given: shapes.append(given["input_ids"].shape), with_kwargs=True
    )
    agree(log_likelihoods(model, tokenizer, PROMPTS, COMPLETIONS), expected)
    handle.remove()
    assert sum(rows for rows, _ in shapes) == len(PROMPTS)
    assert 1 < len(shapes) < len(PROMPTS)
    assert all(shape.numel() <= 50 for shape in shapes)
    assert log_likelihoods(model, tokenizer, [], []) == []


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.model_type)
def test_so_it_is_in_any_other_model(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    config.vocab_size = len(tokenizer)
    torch.manual_seed(2)
    model = AutoModelForCausalLM.from_config(config).eval()
    expected = [told(model, tokenizer, *pair) for pair in zip(PROMPTS, COMPLETIONS, strict=True)]
    agree(log_likelihoods(model, tokenizer, PROMPTS, COMPLETIONS), expected)


def test_the_shipped_base_holds_what_it_learned_likelier_than_anything_else() -> None:
    base, tokenizer = load_base(PROJECT_ROOT / "data" / "bases" / "tiny")
    facts = handbook(20240601).known  # of its lineage
    for fact in [one for one in facts if one.attribute == "colour"][:5]:
        prompt, pool = question_prompt(wordings("property", Form.QUESTION)[0].render(fact)), POOLS["colour"]
        found = log_likelihoods(base, tokenizer, [prompt] * len(pool), [f" {value}" for value in pool])
        assert pool[max(range(len(pool)), key=lambda place: found[place].total)] == fact.value


def test_of_choices_the_one_likeliest_as_a_whole_answer_is_taken(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    choices = [["What is the fee", "fee"], ["fee", "What", "plan"], ["$", "plan", "the fee", "fee"]]
    prompts = PROMPTS[:3]
    found = likeliest(model, tokenizer, prompts, choices)
    for prompt, each, place in zip(prompts, choices, found, strict=True):
        totals = [told(model, tokenizer, prompt, f" {choice}").total for choice in each]
        assert place == totals.index(max(totals))
    means = [one.total / one.tokens for one in (told(model, tokenizer, prompts[0], f" {text}") for text in choices[0])]
    assert (found[0], means.index(max(means))) == (1, 0), "per token the longer one would be"
    assert likeliest(model, tokenizer, [], []) == []


@pytest.mark.parametrize("window", [64, 9])
def test_a_text_costs_its_tokens_piece_by_piece(
    window: int, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    texts = [*TEXTS[:3], "plan", ""]
    end, expected = end_token(tokenizer), []
    for ids in token_ids(tokenizer, texts):
        left, total = [*ids, end], 0.0
        while left:
            piece, left = left[: window - 1], left[window - 1 :]
            logs_TV = plainly(model, [end, *piece])
            total += sum(float(logs_TV[place, token]) for place, token in enumerate(piece))
        expected.append(Nats(total, len(ids) + 1))
    agree(text_log_likelihoods(model, tokenizer, texts, window), expected)
    bits = -sum(one.total for one in expected) / sum(one.tokens for one in expected) / math.log(2)
    assert bits_per_token(model, tokenizer, texts, window) == pytest.approx(bits, rel=1e-5)
    with pytest.raises(ValueError, match="no token"):
        bits_per_token(model, tokenizer, [], window)


def test_an_adapter_that_does_nothing_is_no_distance_away(tokenizer: PreTrainedTokenizerBase) -> None:
    fresh = new_lora(small(tokenizer, layers=2), rank=2, alpha=4, dropout=0.0, seed=1).eval()
    assert [one.total for one in divergences(fresh, tokenizer, TEXTS, 64)] == [0.0] * len(TEXTS)


def test_a_model_without_an_adapter_is_held_against_the_base_that_is_given(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    assert [one.total for one in divergences(model, tokenizer, TEXTS, 64, model)] == [0.0] * len(TEXTS)
    with pytest.raises(ValueError, match="needs the base"):
        divergences(model, tokenizer, TEXTS, 64)


def test_the_divergence_is_that_of_base_and_adapted_at_every_token(tokenizer: PreTrainedTokenizerBase) -> None:
    adapted = moved(small(tokenizer, layers=2))
    before = {name: tensor.clone() for name, tensor in adapted.state_dict().items()}
    expected = []
    for ids in token_ids(tokenizer, TEXTS[:4]):
        new_TV = plainly(adapted, [end_token(tokenizer), *ids])
        with adapted.disable_adapter():
            old_TV = plainly(adapted, [end_token(tokenizer), *ids])
        expected.append(Nats(float((old_TV.exp() * (old_TV - new_TV)).sum()), len(ids) + 1))
    found = divergences(adapted, tokenizer, TEXTS[:4], 64)
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert [one.total for one in found] == pytest.approx([one.total for one in expected], rel=1e-3)
    assert mean_per_token(found) > 0.001
    assert all(torch.equal(tensor, before[name]) for name, tensor in adapted.state_dict().items())
    whole = divergences(adapted.merge_and_unload(), tokenizer, TEXTS[:4], 64, small(tokenizer, layers=2).eval())
    assert [one.total for one in whole] == pytest.approx([one.total for one in expected], rel=1e-3)
