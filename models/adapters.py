"""Adapters: the few trained parameters that carry what was learned.

LoRA (Hu et al. 2021) through PEFT on all linear layers but the output head. The base's weights are frozen
and never written.
"""

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from data.errors import InputError


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


def load_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Put a saved adapter onto its base.

    Raises:
        InputError: no adapter there, or it was trained for a base of another shape.
    """
    if not (folder / "adapter_model.safetensors").is_file():
        raise InputError(f"{folder} holds no adapter_model.safetensors. Name the folder of a PEFT adapter.")
    try:
        return PeftModel.from_pretrained(model, str(folder)).eval()
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"The adapter in {folder} does not fit this base ({str(error).splitlines()[0]}). "
            "Load it on the base that its training.json names."
        ) from error


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
