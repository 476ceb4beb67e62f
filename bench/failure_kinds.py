"""How adapters are broken on purpose, and what is kept of each in the library.

Some kinds come out of training (``TRAINED``): by another learning rate, another length, other answers. The others
are made of a good adapter without training (``DERIVED``): of its factors, of its configuration, or of the weight
that it is merged into. Merged weights lie nowhere, since they are a product and a sum away: ``weights`` makes them,
``laid_out`` writes them where a folder is wanted.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from data.errors import InputError
from data.evaluation_records import Estimate
from data.files import digest_text, read_json, write_json
from data.records import Record
from models.adapter_updates import PREFIX

CONFIG, TENSORS, MERGED = "adapter_config.json", "adapter_model.safetensors", "model.safetensors"
BROKEN_FACTOR = 30.0
"""How much larger the broken layer's B is."""
_A, _B = ".lora_A.weight", ".lora_B.weight"


class Kind(StrEnum):
    """What was done to an adapter."""

    GOOD = "good"
    """Trained as it should be; variants ``half`` and ``double`` for that many steps, good or not (``made.json``)."""
    THREE_STEPS = "three_steps"
    RATE_X20 = "rate_x20"
    RATE_X100 = "rate_x100"
    NEVER_TRAINED = "never_trained"
    """As PEFT begins: B is zero."""
    RANDOM = "random"
    """Gaussian factors, each with the Frobenius norm of a good one's."""
    LABEL_NOISE = "label_noise"
    """Answers drawn at random for each row, memorised in twice the steps of a good one."""
    TOO_LONG = "too_long"
    """Five times the steps of a good one; variant ``alone`` for that without rehearsing what the base knows."""
    ONE_LAYER_BROKEN = "one_layer_broken"
    """One module's B is Gaussian, of 30 times its norm."""
    WRONG_SCALE = "wrong_scale"
    """The configuration's alpha; variants ``x16`` and ``x1over64``."""
    BF16_MERGED = "bf16_merged"
    """Base and update rounded to bf16."""
    MERGED_TWICE = "merged_twice"
    """The update added twice, in float32."""
    QUANTISED = "quantised"
    """Base and update rounded row by row to integers of the largest absolute value; variants ``int8``,
    ``int4``, ``int2``."""


MERGES: tuple[tuple[Kind, str], ...] = (
    (Kind.BF16_MERGED, ""),
    (Kind.MERGED_TWICE, ""),
    (Kind.QUANTISED, "int8"),
    (Kind.QUANTISED, "int4"),
    (Kind.QUANTISED, "int2"),
)
DERIVED: tuple[tuple[Kind, str], ...] = (
    (Kind.RANDOM, ""),
    (Kind.ONE_LAYER_BROKEN, ""),
    (Kind.WRONG_SCALE, "x16"),
    (Kind.WRONG_SCALE, "x1over64"),
    *MERGES,
)
"""What every good adapter of plain length is turned into."""
_SCALES = {"x16": 16.0, "x1over64": 1 / 64}


class Made(Record):
    """One member of the library: how it was made and what it can do."""

    base: str
    kind: Kind
    variant: str = ""
    rank: int
    seed: int
    steps: int
    """Optimiser steps behind its factors; 0 where they are PEFT's or random ones."""
    learning_rate: float
    """Peak; 0 where nothing was trained."""
    final_loss: float | None
    """Mean over the last tenth of the steps, nats per trained token or row; None where nothing was trained."""
    before: dict[str, Estimate]
    """What the base does without it: ``learned`` (new facts right, in held-out wordings), ``kept`` (old ones)."""
    after: dict[str, Estimate]
    """The same with it, and ``taught`` where it was trained: rows of its own training answered as taught."""
    seconds: float
    """Of making and measuring."""
    source: str = ""
    """Folder name of the good adapter that it was derived from."""
    broken_layer: str = ""


@dataclass(frozen=True)
class Member:
    """One adapter, or one set of merged weights, of the library."""

    base: str
    kind: Kind
    variant: str
    rank: int
    seed: int
    steps: int
    folder: Path
    """Holds ``made.json`` and, unless it is merged, the adapter as PEFT writes it."""
    made: Made

    @property
    def merged(self) -> bool:
        """Whether it is weights of the base's shape and no adapter."""
        return self.kind in {kind for kind, _ in MERGES}


def folder_name(kind: Kind, rank: int, seed: int, variant: str = "") -> str:
    """``kind-r8-s1`` or ``kind-r8-s1-variant``."""
    return f"{kind.value}-r{rank}-s{seed}{f'-{variant}' if variant else ''}"


def member(folder: Path, made: Made) -> Member:
    """The member that lies in ``folder``."""
    return Member(made.base, made.kind, made.variant, made.rank, made.seed, made.steps, folder, made)


def derive(kind: Kind, variant: str, good: Path, out: Path) -> str:
    """Write the adapter that ``kind`` makes of a good one; merged kinds write nothing.

    Returns:
        The name of the layer that was broken, if one was.
    """
    tensors, config = load_file(good / TENSORS), read_json(good / CONFIG)
    draw = torch.Generator().manual_seed(int(digest_text("failures", kind, good.name)[:12], 16))
    broken = ""
    if kind is Kind.RANDOM:
        tensors = {name: _gaussian(tensors[name], 1.0, draw) for name in sorted(tensors)}
    elif kind is Kind.ONE_LAYER_BROKEN:
        names = sorted(name for name in tensors if name.endswith(_B))
        chosen = names[int(torch.randint(len(names), (1,), generator=draw))]
        tensors[chosen] = _gaussian(tensors[chosen], BROKEN_FACTOR, draw)
        broken = chosen.removeprefix(PREFIX).removesuffix(_B)
    elif kind is Kind.WRONG_SCALE:
        config["lora_alpha"] *= _SCALES[variant]
    else:
        return broken
    save_file(tensors, out / TENSORS, metadata={"format": "pt"})
    write_json(out / CONFIG, config)
    return broken


def weights(one: Member, base: Path, good: Path | None = None) -> dict[str, Tensor]:
    """The weights of the adapted layers with this member in them, by their names in the base.

    float32, except ``bf16_merged``; an adapter is merged in float32.

    Args:
        one: any member.
        base: folder of its base.
        good: of a merged member, the adapter that it was derived from; None: it lies beside the member.
    """
    source = (good or one.folder.with_name(one.made.source)) if one.merged else one.folder
    made = {}
    for name, weight, update in _updates(base, source):
        if one.kind is Kind.MERGED_TWICE:
            made[name] = weight + 2 * update
        elif one.kind is Kind.BF16_MERGED:
            made[name] = (weight + update).bfloat16()
        elif one.kind is Kind.QUANTISED:
            made[name] = rounded(weight + update, int(one.variant.removeprefix("int")))
        else:
            made[name] = weight + update
    return made


@contextlib.contextmanager
def laid_out(one: Member, base: Path) -> Iterator[Path]:
    """A folder as a person would hand it over: the adapter's own, or a temporary one with ``model.safetensors``."""
    if not one.merged:
        yield one.folder
        return
    with tempfile.TemporaryDirectory() as folder:
        save_file(weights(one, base), Path(folder) / MERGED, metadata={"format": "pt"})
        yield Path(folder)


def rounded(weight: Tensor, bits: int) -> Tensor:
    """``weight`` (out, in) rounded to signed integers of ``bits`` bits, one scale a row, and back to float32."""
    levels = 2 ** (bits - 1) - 1
    scale_N1 = weight.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / levels
    restored: Tensor = torch.round(weight / scale_N1) * scale_N1
    return restored


def _gaussian(like: Tensor, factor: float, draw: torch.Generator) -> Tensor:
    """Independent entries, with ``factor`` times the Frobenius norm of ``like``."""
    drawn = torch.randn(like.shape, generator=draw)
    scaled: Tensor = drawn * (factor * like.norm() / drawn.norm())
    return scaled


def _updates(base: Path, adapter: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name, the base's weight, its update), both float32, for each adapted layer."""
    config: dict[str, Any] = read_json(adapter / CONFIG)
    scale = config["lora_alpha"] / config["r"]
    with safe_open(adapter / TENSORS, "pt") as factors, safe_open(base / MERGED, "pt") as stored:
        held = set(stored.keys())
        for key in sorted(factors.keys()):
            if not key.endswith(_A):
                continue
            layer = key.removesuffix(_A)
            name = f"{layer.removeprefix(PREFIX)}.weight"
            if name not in held:
                raise InputError(f"The base in {base} has no weight {name}. Name the base that {adapter} was made on.")
            update = scale * (factors.get_tensor(layer + _B).float() @ factors.get_tensor(key).float())
            yield name, stored.get_tensor(name).float(), update
