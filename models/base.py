"""The base: the frozen causal language model that adapters sit on.

Any Hugging Face causal model by folder or hub id (safetensors only), or ``tiny``, a Llama of about four
million parameters that the project trains itself so that the default needs no download.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.constants import HF_HUB_CACHE
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from data.errors import InputError, OutsideError
from data.files import building, refusal, write_json
from models.device import weights_dtype

END = "<|end|>"
"""The one special token: ends every text and opens every prompt."""
HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
VOCABULARY = 4096
CONTEXT = 1024


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer with every digit a token of its own, so that numbers are spelled."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        bos_token=END,
        pad_token=END,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def new_tiny(
    tokenizer: PreTrainedTokenizerBase, seed: int, layers: int = 4, width: int = 256, heads: int = 4
) -> LlamaForCausalLM:
    """A Llama of the tiny shape with seeded random weights."""
    end = tokenizer.eos_token_id
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        attn_implementation="sdpa",
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config)


def save_base(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write model and tokenizer as bf16 safetensors; the model in memory is changed to bf16."""
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_base(folder: str | Path, device: str = "cpu") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a base from its folder; several GPUs are shared out by accelerate.

    What its ``generation_config.json`` asks for, such as beams or a penalty on repeating, is left out: answers are
    decoded the same way whatever the base.

    Raises:
        InputError: no such folder, or it has no safetensors.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        spread = device == "cuda" and torch.cuda.device_count() > 1
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            dtype=weights_dtype(device),
            use_safetensors=True,  # attention is SDPA where the architecture has it: transformers' default
            device_map="auto" if spread else None,
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"The base {str(folder)!r} could not be loaded ({str(error).splitlines()[0]}). Set base in "
            "params.yaml to a folder with safetensors and a tokenizer, or to a Hugging Face id."
        ) from error
    model.generation_config = GenerationConfig()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return (model if spread else model.to(device)).eval(), tokenizer


def fetch_base(name: str, folder: Path) -> None:
    """Copy a model of the Hugging Face hub into ``folder``, where no later push changes it.

    Files come through the hub's own cache, so that an interrupted download goes on. Only safetensors, tokenizer
    and configuration are taken; ``hub.json`` says which revision they are.

    Raises:
        OutsideError: the hub is out of reach, has no such model, or the disk is full.
    """
    try:
        found = Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except Exception as error:  # whatever its HTTP client raises
        if said := refusal(error):
            raise OutsideError(
                f"The base {name} could not be written to {HF_HUB_CACHE} ({said}). Free the disk or mend the "
                "permissions, then run the same command again."
            ) from error
        cause = str(error).partition("\n")[0]
        raise OutsideError(
            f"The base {name} could not be fetched from the Hugging Face hub ({cause}). Check the id and the network, "
            "or set base in params.yaml to a folder; then run the same command again."
        ) from error
    with building(folder) as draft:
        shutil.copytree(found, draft, dirs_exist_ok=True)
        write_json(draft / "hub.json", {"id": name, "revision": found.name})
