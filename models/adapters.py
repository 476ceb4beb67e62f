"""Adapters: the few trained parameters that carry what was learned.

LoRA (Hu et al. 2021) through PEFT on all linear layers but the output head. The base's weights are frozen
and never written.
"""

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import safe_open
from transformers import PreTrainedModel

from data.errors import InputError, quoted
from data.files import read_record
from data.report_records import TrainingReport


def new_lora(model: PreTrainedModel, rank: int, alpha: int, dropout: float, seed: int) -> PeftModel:
    """Wrap ``model`` with a fresh LoRA adapter whose update is zero until trained."""
    torch.manual_seed(seed)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear"
    )
    adapted = get_peft_model(model, config)
    if not isinstance(adapted, PeftModel):
        raise TypeError(f"PEFT returned {type(adapted).__name__}, expected PeftModel")
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # the update is trained in full precision
    return adapted


def load_adapter(model: PreTrainedModel, folder: Path, base_digest: str | None = None) -> PeftModel:
    """Put a saved adapter onto its base.

    Args:
        base_digest: of the base at hand; an adapter whose ``training.json`` names another one is refused.

    Raises:
        InputError: no adapter there, or it was trained for another base.
    """
    if not (folder / "adapter_model.safetensors").is_file():
        raise InputError(f"{folder} holds no adapter_model.safetensors. Name the folder of a PEFT adapter.")
    trained_on = _trained_on(folder)
    if base_digest is not None and trained_on not in (None, base_digest):
        raise InputError(
            f"The adapter in {folder} was trained on the base {str(trained_on)[:12]}, and this one is "
            f"{base_digest[:12]}. Load it on its own base, or train anew with: relearn run."
        )
    try:
        adapted = PeftModel.from_pretrained(model, str(folder)).eval()
    except (RuntimeError, ValueError, KeyError, TypeError) as error:  # the last two of a configuration that is none
        raise InputError(
            f"The adapter in {folder} does not fit this base ({quoted(error)}). "
            "Load it on the base that its training.json names."
        ) from error
    _refuse_halves(adapted, folder)
    return adapted


def _trained_on(folder: Path) -> str | None:
    """Digest of the base that the adapter's report names; None where it has no report."""
    file = folder / "training.json"
    return read_record(file, TrainingReport).base if file.is_file() else None


def _refuse_halves(adapted: PeftModel, folder: Path) -> None:
    """PEFT skips what has no counterpart, so that an adapter of more or fewer layers would count in part."""
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        saved = set(file.keys())
    wanted = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    if saved != wanted:
        raise InputError(
            f"The adapter in {folder} does not fit this base (of its {len(saved)} matrices {len(saved & wanted)} have "
            f"a place among {len(wanted)}). Load it on the base that its training.json names."
        )


def trained_parameters(model: torch.nn.Module) -> int:
    """Number of parameters that require a gradient."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def save_adapter(model: PeftModel, folder: Path, base: str) -> None:
    """Write the adapter as safetensors; ``base`` is how the parameters name the base.

    PEFT notes the path that the base was loaded from, which differs between machines, and the target modules in
    the order of a set, which differs between processes; equal adapters shall be equal files.
    """
    for config in model.peft_config.values():
        config.base_model_name_or_path = base
        if isinstance(config, LoraConfig) and isinstance(config.target_modules, set):
            config.target_modules = sorted(config.target_modules)
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty card
