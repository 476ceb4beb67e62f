"""Tensors where they rest: safetensors in one file or many, and PyTorch's own archives of tensors.

Safetensors are mapped and read one tensor at a time. A PyTorch archive is a zip file with a pickle in it; it is read
with ``weights_only``, which builds tensors and nothing else, and a bare pickle, which could run code, is refused.
"""

import contextlib
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from data.errors import InputError
from data.files import read_json

_INDEX = "model.safetensors.index.json"
_ARCHIVES = (".pt", ".pth", ".bin", ".ckpt")
_TIED = {"lm_head.weight": "embed_tokens.weight"}
"""Stored once, under the input's name."""


class Tensors(Protocol):
    """Named tensors that are read one by one."""

    def names(self) -> list[str]:
        """In natural order: layer 2 before layer 10."""

    def __contains__(self, name: object) -> bool:
        """Whether there is a tensor of this name."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Without reading the tensor."""

    def tensor(self, name: str) -> Tensor:
        """The tensor itself."""


class Held:
    """Tensors that are in memory: a state dict."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def names(self) -> list[str]:
        return sorted(self._tensors, key=natural)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def tensor(self, name: str) -> Tensor:
        return self._tensors[name].detach()


class Mapped:
    """Tensors in safetensors files, mapped into memory and read when asked for."""

    def __init__(self, homes: Mapping[str, Any]) -> None:
        self._homes = homes
        """Opened file by tensor."""

    def names(self) -> list[str]:
        return sorted(self._homes, key=natural)

    def __contains__(self, name: object) -> bool:
        return name in self._homes

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._homes[name].get_slice(name).get_shape())

    def tensor(self, name: str) -> Tensor:
        found: Tensor = self._homes[name].get_tensor(name)
        return found


def natural(name: str) -> list[tuple[int, str]]:
    """Sorting key in which numbers between dots count as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Tensors]:
    """The tensors of a model's folder or file.

    Raises:
        InputError: nothing there that can be read, a shard is missing, a file is truncated, or it is a bare pickle.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist. Name a model's folder, an adapter's folder or a safetensors file.")
    files = _files(path) if path.is_dir() else [path]
    if files[0].suffix == ".safetensors":
        with contextlib.ExitStack() as stack:
            yield Mapped({name: file for one in files for file in [_map(one, stack)] for name in file.keys()})  # noqa: SIM118 - no mapping
    else:
        yield Held({name: tensor for one in files for name, tensor in _archive(one).items()})


def _files(folder: Path) -> list[Path]:
    """The files of a model, all of them there."""
    index = folder / _INDEX
    if index.is_file():
        return _shards(index)
    for single in ("model.safetensors", "adapter_model.safetensors"):
        if (folder / single).is_file():
            return [folder / single]
    found = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin")) or sorted(folder.glob("*.pt"))
    if not found:
        raise InputError(
            f"{folder} holds no safetensors file and no PyTorch archive. Name the folder of a model or an adapter."
        )
    return found


def _shards(index: Path) -> list[Path]:
    content = read_json(index)
    homes = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(homes, dict) or not homes or any(Path(str(file)).name != file for file in homes.values()):
        raise InputError(f"{index} does not map tensors to files of its own folder. Restore the model.")
    files = sorted({index.parent / str(file) for file in homes.values()})
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"{index} names {len(files)} files, of which {len(missing)} are missing, the first is {missing[0]}. "
            "Restore them."
        )
    return files


def _map(path: Path, stack: contextlib.ExitStack) -> Any:
    try:
        return stack.enter_context(safe_open(path, framework="pt"))
    except (OSError, SafetensorError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> InputError:
    """What is said of a safetensors file that cannot be read."""
    return InputError(f"{path} could not be read as safetensors ({error}). Restore the file.")


def _archive(path: Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch archive; one level of nesting, as under ``state_dict``, is looked into."""
    if path.suffix not in _ARCHIVES or not zipfile.is_zipfile(path):
        raise InputError(
            f"{path} is neither safetensors nor a PyTorch archive; a bare pickle is not opened, as it could run code. "
            "Save the tensors with safetensors.torch.save_file."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise InputError(
            f"{path} holds more than tensors, or is damaged ({str(error).splitlines()[0]}). "
            "Save its tensors with safetensors.torch.save_file."
        ) from error
    inner = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(inner, dict) or not any(isinstance(value, Tensor) for value in inner.values()):
        raise InputError(f"{path} holds no state dict of tensors. Save one with safetensors.torch.save_file.")
    return {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}


def weight_of(module: str, tensors: Tensors, named: str) -> Tensor:
    """The weight of a module of a base.

    Args:
        module: its name, without ``.weight``.
        tensors: of the base.
        named: what the error calls the base.

    Raises:
        InputError: there is none, or it is quantised.
    """
    name = f"{module}.weight"
    if name not in tensors and name in _TIED:
        name = next((other for other in tensors.names() if other.endswith(_TIED[name])), name)
    if name not in tensors:
        raise InputError(f"{named} has no tensor {name}. Give the base that the adapter was trained on.")
    weight = tensors.tensor(name)
    if not weight.is_floating_point():
        raise InputError(f"{name} in {named} is {weight.dtype}, quantised. Give the unquantised base.")
    return weight


def is_adapter(path: Path) -> bool:
    """Whether a folder holds a PEFT adapter."""
    return (path / "adapter_config.json").is_file()
