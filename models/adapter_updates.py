"""What a PEFT adapter does to each layer: an update in factors (LoRA), or the matrix itself (prefix, memory, whole).

LoRA's update is scale * B A (Hu et al. 2021) with scale alpha / r, or alpha / sqrt(r) where it is rank-stabilised
(Kalajdzievski 2023). A prefix (Li and Liang 2021) is one matrix (virtual tokens, width) per layer for keys and one for
values; trained tokens are rows of the embedding (memory); what PEFT saves whole is compared with the base.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.errors import InputError
from data.files import read_json
from models.adapter_targets import fits, require_harmless, targeted
from models.eigenvalues import LowRank, kind_of
from models.tensors import Tensors, read_weight

_LARGEST = 1e100
"""Of alpha; its square scales eigenvalues."""
PREFIX = "base_model.model."
"""Of every name in a PEFT model and in what it saves."""
_FACTOR = re.compile(r"(?P<layer>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.weight)?")
_FAMILIES = {"LORA": "lora", "PREFIX_TUNING": "prefix", "PROMPT_TUNING": "prefix", "TRAINABLE_TOKENS": "memory"}
"""Kinds of adapter by PEFT's name for them."""
_VARIANTS = (
    "use_dora", "use_qalora", "use_bdlora", "kasa_config", "monteclora_config", "arrow_config", "target_parameters",
    "layer_replication",
)  # fmt: skip
"""Settings under which the update of a weight is not scale * B A of its own two factors."""
_INITS = ("pissa", "corda", "olora", "loftq", "lora_ga")
"""Beginnings that take the first factors out of the base's own weights."""


@dataclass(frozen=True)
class AdaptedLayer:
    """One layer of an adapter."""

    name: str
    """Of the base's module, without PEFT's prefix."""
    kind: str
    """lora, prefix, memory or delta."""
    matrix: LowRank | Tensor
    """The update in factors; or the trained matrix (rows, width), of a delta the whole weight."""
    declared_rank: int | None = None
    """What the configuration says; None where it says nothing."""
    transposed: bool = False
    """The base stores this weight as (in, out)."""
    rows: tuple[int, ...] = ()
    """The rows of the base's weight in whose place those of a memory stand; empty: the configuration does not say."""


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's configuration.

    Raises:
        InputError: missing, or of a kind whose update is not what this module reads.
    """
    path = folder / "adapter_config.json"
    config: Any = read_json(path)
    family = _FAMILIES.get(str(config.get("peft_type"))) if isinstance(config, dict) else None
    if family is None or (family == "lora" and not _scales(config)):
        raise InputError(
            f"{path} does not describe an adapter that can be read here ({', '.join(_FAMILIES)}). "
            "Name the folder that training wrote."
        )
    require_harmless(config, str(path))
    variant = next((name for name in _VARIANTS if config.get(name)), None)
    if variant is not None:
        raise InputError(f"{path} uses {variant}, where the update is not scale * B A. Train plain LoRA.")
    start = str(config.get("init_lora_weights")).lower()
    if start.startswith(_INITS):
        raise InputError(
            f"{path} began from {start}, which moves a part of the base's weights into the factors, so that they are "
            "no update of the base. Save it as plain LoRA (path_initial_model_for_weight_conversion)."
        )
    return dict(config)


def _scales(config: dict[str, Any]) -> bool:
    """Whether rank, alpha and the patterns of names are what they must be."""
    patterns = [config.get(name) or {} for name in ("rank_pattern", "alpha_pattern")]
    if not all(isinstance(pattern, dict) for pattern in patterns):
        return False
    try:
        for key in (key for pattern in patterns for key in pattern):
            re.compile(key)
    except (re.error, RecursionError, OverflowError):
        return False
    alphas = [config.get("lora_alpha"), *patterns[1].values()]
    ranks = [config.get("r", 1), *patterns[0].values()]
    return all(_is_number(value) for value in (*alphas, *ranks)) and all(rank == int(rank) for rank in ranks)


def _is_number(value: object) -> bool:
    """One whose square is finite; JSON as Python reads it has NaN and infinity, and true is 1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def adapted_layers(folder: Path, tensors: Tensors) -> Iterator[AdaptedLayer]:
    """The layers of a PEFT adapter in natural order, read one by one.

    Raises:
        InputError: the configuration or a tensor does not describe an update that can be read.
    """
    config = read_config(folder)
    family = _FAMILIES[config["peft_type"]]
    names = tensors.names()
    if not names:
        raise InputError(f"{folder} holds no tensor. Train it again.")
    if family == "prefix":
        yield from _prefixes(config, tensors, folder)
        return
    pairs = _pairs(names, folder) if family == "lora" else {}
    for layer, sides in pairs.items():
        yield _lora(layer, sides, tensors, config, folder)
    known = {name for sides in pairs.values() for name in sides.values()}
    known |= {f"{layer}.base_layer.weight" for layer in pairs}  # of an embedding PEFT saves the base's weight, too
    for name in names:
        if name not in known and len(tensors.shape(name)) >= 2:
            yield _whole(name, tensors, config, folder)


def absent_layers(folder: Path, there: Iterable[AdaptedLayer], base: Tensors, blocks: int | None) -> list[AdaptedLayer]:
    """The layers in a base's blocks that an adapter's configuration names and for which it holds nothing.

    Each is an update of rank 0, which is what a merge would make of it. What lies outside of the blocks, or beyond the
    last one, does not count: a base's files may hold a pooler or a further block that the model in training left out.

    Args:
        folder: of the adapter.
        there: the layers that it holds.
        base: what it adapts.
        blocks: how many it says that it has; None: it does not say.

    Raises:
        InputError: as ``read_config``.
    """
    config, known = read_config(folder), {layer.name for layer in there}
    weights = (name for name in base.names() if name.endswith(".weight") and not base.is_table(name))
    modules = [name.removesuffix(".weight") for name in weights if kind_of(name, base.shape(name)) is not None]
    if _FAMILIES[config["peft_type"]] != "lora":
        return []
    missing = (name for name in targeted(config, modules) if name not in known)
    return [_nothing(name, base, config) for name in missing if _lies_in_a_block(name, blocks)]


def _lies_in_a_block(module: str, blocks: int | None) -> bool:
    number = re.search(r"\.(\d{1,9})\.", module)
    return number is not None and (blocks is None or int(number[1]) < blocks)


def _nothing(module: str, base: Tensors, config: dict[str, Any]) -> AdaptedLayer:
    name = f"{module}.weight"
    rows, *others = base.shape(name)
    turned = len(others) == 1 and (bool(config.get("fan_in_fan_out")) or kind_of(name, (rows, *others)) == "embedding")
    out, into = (others[0], rows) if turned else (rows, math.prod(others))
    declared = _patterned(config, "rank_pattern", module, config.get("r"))
    return AdaptedLayer(
        name=module,
        kind="lora",
        matrix=LowRank(torch.zeros(0, into), torch.zeros(out, 0), 1.0),
        declared_rank=None if declared is None else int(declared),
        transposed=turned,
    )


def _pairs(names: list[str], folder: Path) -> dict[str, dict[str, str]]:
    """Tensor names by layer and side, each layer with both factors."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        match = _FACTOR.fullmatch(name)
        if match is not None:
            found.setdefault(match["layer"], {})[match["side"]] = name
    lone = [layer for layer, sides in found.items() if set(sides) != {"A", "B"}]
    if lone or not found:
        raise InputError(f"{folder} lacks a factor of {lone[0] if lone else 'every layer'}. Train it again.")
    return found


def _lora(layer: str, sides: dict[str, str], tensors: Tensors, config: dict[str, Any], folder: Path) -> AdaptedLayer:
    A, B = (read_weight(sides[side], tensors, str(folder)).flatten(1) for side in "AB")
    module = layer.removeprefix(PREFIX)
    if 0 in (*A.shape, *B.shape) or A.shape[0] != B.shape[1]:
        raise InputError(
            f"The factors of {module} are A {tuple(A.shape)} and B {tuple(B.shape)}; they must be (r, in) "
            "and (out, r). Train it again."
        )
    declared = _patterned(config, "rank_pattern", module, config.get("r"))
    alpha = _patterned(config, "alpha_pattern", module, config["lora_alpha"])
    rank = A.shape[0]
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    embedding = "lora_embedding_" in sides["A"]
    return AdaptedLayer(
        name=module,
        kind="lora",
        matrix=LowRank(A, B, scale),
        declared_rank=None if declared is None else int(declared),
        transposed=bool(config.get("fan_in_fan_out")) or embedding,
    )


def _patterned(config: dict[str, Any], pattern: str, module: str, otherwise: Any) -> Any:
    """A value that the configuration gives by a pattern of module names, as PEFT reads it."""
    given = config.get(pattern) or {}
    for key, value in given.items():
        if fits(key, module):
            return value
    return otherwise


def _whole(name: str, tensors: Tensors, config: dict[str, Any], folder: Path) -> AdaptedLayer:
    """What PEFT saves beside factors: trained rows of an embedding, or a module that was trained whole."""
    module = name.removeprefix(PREFIX)
    if name.endswith(".trainable_tokens_delta"):
        module = re.sub(r"(\.token_adapter)?\.trainable_tokens_delta$", "", module)
        return AdaptedLayer(module, "memory", _matrix(name, tensors, folder), rows=_rows(config, module))
    if not name.endswith(".weight") or kind_of(name, tensors.shape(name)) is None or "lora_" in name:
        raise InputError(f"{folder} holds {name}; expected lora_A and lora_B, or whole weights. Train plain LoRA.")
    return AdaptedLayer(module.removesuffix(".weight"), "delta", read_weight(name, tensors, str(folder)))


def _rows(config: dict[str, Any], module: str) -> tuple[int, ...]:
    """The tokens whose rows of an embedding were trained, as far as the configuration says."""
    given = config.get("token_indices") or config.get("trainable_token_indices")
    if isinstance(given, dict):
        given = next((rows for key, rows in given.items() if f".{module}".endswith(f".{key}")), None)
    if not isinstance(given, list) or not all(isinstance(row, int) for row in given):
        return ()
    return tuple(given)


def _matrix(name: str, tensors: Tensors, folder: Path) -> Tensor:
    if len(tensors.shape(name)) != 2 or 0 in tensors.shape(name):
        raise InputError(f"{folder} holds {name} of shape {tensors.shape(name)}; expected a matrix. Train it again.")
    return read_weight(name, tensors, str(folder))


def _prefixes(config: dict[str, Any], tensors: Tensors, folder: Path) -> Iterator[AdaptedLayer]:
    """The prompt embeddings of a prefix, per layer keys and values; of a prompt, the one matrix that there is."""
    if "prompt_embeddings" not in tensors:
        raise InputError(f"{folder} holds no tensor prompt_embeddings, which a prefix consists of. Train it again.")
    whole = _matrix("prompt_embeddings", tensors, folder)
    layers = config.get("num_layers") if config["peft_type"] == "PREFIX_TUNING" else None
    if not isinstance(layers, int) or layers < 1:
        yield AdaptedLayer("prompt_embeddings", "prefix", whole)
        return
    if whole.shape[1] % (2 * layers):
        raise InputError(
            f"{folder} has prompt embeddings of width {whole.shape[1]}, which {layers} layers of keys and values do "
            "not divide. Train it again."
        )
    parts = whole.reshape(whole.shape[0], 2 * layers, -1)
    for place in range(2 * layers):
        yield AdaptedLayer(f"layers.{place // 2}.{('key', 'value')[place % 2]}", "prefix", parts[:, place])
