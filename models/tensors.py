"""Named tensors that are read one by one, from memory or from mapped files, and which of them are weights.

What is stored is not always what a layer multiplies by: quantised weights come with scales, a head may share the
weight of an embedding, and some tensors are tables that nobody trained.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor

from data.errors import InputError, quoted

_TIED = {"lm_head.weight": ("embed_tokens.weight", "wte.weight")}
"""Stored once, under the input's name."""
_LONGEST_NUMBER = 20
"""Digits of what still counts as a number in a name."""
_SCALES = ("_scale_inv", "_scale", ".absmax")
"""Ends of the names of what a quantised weight is to be multiplied by."""
_TABLES = (torch.int64, torch.bool, torch.complex64, torch.complex128)
"""Number types of an architecture's tables, in which no weight is stored."""


class Tensors(Protocol):
    """Named tensors that are read one by one."""

    def names(self) -> list[str]:
        """In natural order: layer 2 before layer 10."""

    def __contains__(self, name: object) -> bool:
        """Whether there is a tensor of this name."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Without reading the tensor."""

    def is_table(self, name: str) -> bool:
        """Whether its number type is that of a table of the architecture, which was never trained."""

    def tensor(self, name: str) -> Tensor:
        """The tensor itself."""


class Held:
    """Tensors that are in memory: a state dict, whatever else it holds."""

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        self._tensors = {_printable(name): value for name, value in tensors.items() if isinstance(value, Tensor)}

    def names(self) -> list[str]:
        return sorted(self._tensors, key=natural)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def is_table(self, name: str) -> bool:
        return self._tensors[name].dtype in _TABLES

    def tensor(self, name: str) -> Tensor:
        return self._tensors[name].detach()


class Mapped:
    """Tensors in safetensors files, mapped into memory and read when asked for."""

    def __init__(self, homes: Mapping[str, tuple[Path, Any]]) -> None:
        self._homes = homes
        """File, and the same opened, by tensor."""

    def names(self) -> list[str]:
        return sorted(self._homes, key=natural)

    def __contains__(self, name: object) -> bool:
        return name in self._homes

    def shape(self, name: str) -> tuple[int, ...]:
        _, file = self._homes[name]
        return tuple(file.get_slice(name).get_shape())

    def is_table(self, name: str) -> bool:
        _, file = self._homes[name]
        return file.get_slice(name).get_dtype() in {"I64", "U64", "BOOL", "C64"}

    def tensor(self, name: str) -> Tensor:
        path, file = self._homes[name]
        try:
            found: Tensor = file.get_tensor(name)
        except (SafetensorError, RuntimeError, TypeError, AttributeError) as error:  # a number type of another torch
            raise unreadable(path, error) from error
        return found


def _printable(name: object) -> str:
    """A name that a report can hold: half a pair of surrogates is written out."""
    return str(name).encode("utf-8", "backslashreplace").decode()


def natural(name: str) -> list[tuple[int, str]]:
    """Sorting key in which numbers between dots count as numbers."""
    return [
        (int(part), "") if part.isdecimal() and len(part) < _LONGEST_NUMBER else (-1, part) for part in name.split(".")
    ]


def unreadable(path: Path, error: Exception) -> InputError:
    """What is said of a safetensors file that cannot be read."""
    return InputError(f"{path} could not be read as safetensors ({quoted(error)}). Restore the file.")


def read_weight(name: str, tensors: Tensors, named: str) -> Tensor:
    """A tensor whose entries are the weight itself.

    Args:
        name: of the tensor.
        tensors: of the model.
        named: what the error calls the model.

    Raises:
        InputError: it is quantised, sparse, no matrix, or its values are not there.
    """
    weight = tensors.tensor(name)
    scaled = [f"{name}{end}" for end in _SCALES if f"{name}{end}" in tensors]
    if not weight.is_floating_point() or scaled:
        scales = f" with {scaled[0]}" if scaled else ""
        raise InputError(f"{name} in {named} is {weight.dtype}{scales}, quantised. Give the unquantised model.")
    if weight.ndim < 2:
        raise InputError(f"{name} in {named} has shape {tuple(weight.shape)}; expected a matrix. Restore it.")
    if weight.layout != torch.strided or weight.is_meta:
        found = "on the meta device, without values" if weight.is_meta else f"stored as {weight.layout}"
        raise InputError(f"{name} in {named} is {found}; expected a dense tensor. Load or convert it first.")
    return weight


def shared_name(name: str, tensors: Tensors) -> str | None:
    """Under which name a weight is stored that another module shares; None where none is."""
    return next((other for other in tensors.names() if other.endswith(_TIED[name])), None) if name in _TIED else None


def weight_name(module: str, tensors: Tensors, named: str) -> str:
    """The name of the weight of a module of a base, which may be another module's where both share one.

    Args:
        module: its name, without ``.weight``.
        tensors: of the base.
        named: what the error calls the base.

    Raises:
        InputError: there is none.
    """
    name = f"{module}.weight"
    if name not in tensors:
        name = shared_name(name, tensors) or name
    if name not in tensors:
        raise InputError(f"{named} has no tensor {name}. Give the base that the adapter was trained on.")
    return name
