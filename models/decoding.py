"""Decoding token by token in a batch that shrinks: rows whose answer has ended leave it, and the cache with it.

``generate`` of transformers carries every row to the end of the batch's longest answer. What stands here takes the
place of its inner loop (argument ``custom_generate``); positions, masks and the key-value cache are still prepared and
continued by the library, so that every causal model it can decode is decoded here.

Shapes: B prompts, T tokens of the longest so far, R rows that still go on, V tokens of the vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from transformers import Cache, PreTrainedModel

Choose = Callable[[torch.Tensor, Sequence[int], int], torch.Tensor]
"""(logits_RV in float32, which continuation each row is, how many tokens it has) -> the next tokens, int64 [R]."""
_OF_THE_LIBRARY = frozenset({"logits_processor", "stopping_criteria", "generation_config"})
"""What ``generate`` hands its loop and this one does without: the choice is the caller's, whatever a model ships."""


def greedy(logits_RV: torch.Tensor, rows: Sequence[int], step: int) -> torch.Tensor:
    """The likeliest token of each row."""
    return logits_RV.argmax(dim=-1)


def continuations(
    model: PreTrainedModel | PeftModel,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    end: int,
    choose: Choose = greedy,
    copies: int = 1,
) -> list[list[int]]:
    """Token ids that follow each prompt, ``copies`` times, up to the token ``end``, which is left out.

    Args:
        model: a causal language model, adapted or not.
        prompts: ids, none empty; they are padded on the left and run through the model once, whatever ``copies`` is.
        new_tokens: longest continuation.
        end: the token that ends one; it also pads.
        choose: takes the next token of each row.
        copies: continuations of each prompt; those of prompt b are b * copies to (b + 1) * copies - 1.
    """
    longest = max(len(ids) for ids in prompts)
    ids_BT = torch.tensor([[end] * (longest - len(ids)) + list(ids) for ids in prompts])
    mask_BT = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts])
    said: list[list[int]] = model.generate(
        input_ids=ids_BT.to(model.device),
        attention_mask=mask_BT.to(model.device),
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
        custom_generate=_Shrinking(new_tokens, end, choose, copies),
    )
    return said


@dataclass(frozen=True)
class _Shrinking:
    """The loop; see ``continuations``."""

    new_tokens: int
    end: int
    choose: Choose
    copies: int

    def __call__(self, model: Any, input_ids: torch.Tensor, **prepared: Any) -> list[list[int]]:
        """Called by ``generate`` with padded prompts and all that the model takes beside them."""
        ids_RT = input_ids
        state = {name: value for name, value in prepared.items() if name not in _OF_THE_LIBRARY}
        said: list[list[int]] = [[] for _ in range(len(input_ids) * self.copies)]
        rows = list(range(len(said)))
        for step in range(self.new_tokens):
            given = model.prepare_inputs_for_generation(
                ids_RT, next_sequence_length=1 if step else None, is_first_iteration=not step, **state
            )
            output = model(**given, return_dict=True)
            state = model._update_model_kwargs_for_generation(output, state)
            logits_RV = output.logits[:, -1].float().to(ids_RT.device)
            parents_R = torch.arange(len(ids_RT), device=ids_RT.device)
            if not step and self.copies > 1:
                parents_R = parents_R.repeat_interleave(self.copies)
                logits_RV = logits_RV[parents_R]
            tokens_R = self.choose(logits_RV, rows, step)
            going_R = (tokens_R != self.end).nonzero()[:, 0]
            going = going_R.tolist()
            rows, tokens = [rows[place] for place in going], tokens_R[going_R]
            for row, token in zip(rows, tokens.tolist(), strict=True):
                said[row].append(token)
            if not rows:
                break
            if len(rows) != len(ids_RT) or len(parents_R) != len(ids_RT):
                kept_R = parents_R[going_R]
                ids_RT, state = ids_RT[kept_R], {name: _rows(value, kept_R) for name, value in state.items()}
            ids_RT = torch.cat([ids_RT, tokens.unsqueeze(1)], dim=1)
        return said


def _rows(value: Any, kept_R: torch.Tensor) -> Any:
    """These rows of what the model carries along, in this order, some perhaps several times."""
    if isinstance(value, Cache):
        value.reorder_cache(kept_R)
        return value
    if isinstance(value, torch.Tensor):  # masks and positions: [..., B, T]
        return value.index_select(-2, kept_R.to(value.device))
    return value
