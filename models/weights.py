"""Tensors where they rest: safetensors in one file or many, and PyTorch's own archives of tensors.

Safetensors are mapped and read one tensor at a time. A PyTorch archive is a zip file with a pickle in it; it is read
with ``weights_only``, which builds tensors and nothing else, and a bare pickle, which could run code, is refused.
"""

import contextlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from data.errors import InputError, quoted
from data.files import read_json

V = TypeVar("V")

_PLACES = (
    "model.safetensors.index.json", "model.safetensors", "adapter_model.safetensors", "*.safetensors.index.json",
    "*.safetensors", "*.bin.index.json", "pytorch_model.bin", "adapter_model.bin", "*.bin", "*.pt",
)  # fmt: skip
"""Where a model's tensors lie in its folder; the first that is there counts."""
_ARCHIVES = (".pt", ".pth", ".bin", ".ckpt")
_NUMBERED = re.compile(r".*-\d+-of-(?P<all>\d+)\.\w+")
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


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Tensors]:
    """The tensors of a model's folder or file.

    Raises:
        InputError: nothing there that can be read, a shard is missing, a file is truncated, or it is a bare pickle.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist. Name a model's folder, an adapter's folder or a safetensors file.")
    files, expected = _files(path) if path.is_dir() else ([path], frozenset())
    with contextlib.ExitStack() as stack:
        if files[0].suffix == ".safetensors":
            mapped = [(one, _map(one, stack)) for one in files]
            found: Tensors = Mapped(_once({one: dict.fromkeys(file.keys(), (one, file)) for one, file in mapped}))
        else:
            found = Held(_once({one: _archive(one) for one in files}))
        missing = sorted(name for name in expected if name not in found)
        if missing:
            raise InputError(f"The files of {path} lack {missing[0]}, which their index names. Restore them.")
        yield found


def _once(contents: Mapping[Path, Mapping[str, V]]) -> dict[str, V]:
    """All files' tensors, none of them in two files: one would hide the other."""
    found: dict[str, V] = {}
    homes: dict[str, Path] = {}
    for path, content in contents.items():
        for name, value in content.items():
            if name in found:
                raise InputError(f"{name} is in {homes[name]} and in {path.name}. Name the file that counts.")
            found[name], homes[name] = value, path
    return found


def _files(folder: Path) -> tuple[list[Path], frozenset[str]]:
    """The files of a model, all of them there, and the tensors that an index says they hold."""
    for place in _PLACES:
        found = sorted(path for path in folder.glob(place) if path.is_file())
        if found and place.endswith(".index.json"):
            return _shards(found[0])
        if found:
            return _complete(found), frozenset()
    raise InputError(
        f"{folder} holds no safetensors file and no PyTorch archive. Name the folder of a model or an adapter."
    )


def _complete(files: list[Path]) -> list[Path]:
    """The same files, unless their own numbering says that there were more."""
    numbered = [(path, int(match["all"])) for path in files if (match := _NUMBERED.fullmatch(path.name))]
    for path, count in numbered:
        if count != len(numbered):
            raise InputError(
                f"{path.name} in {path.parent} is one of {count} files, of which {len(numbered)} are there. "
                "Restore them."
            )
    return files


def _shards(index: Path) -> tuple[list[Path], frozenset[str]]:
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
    return files, frozenset(homes)


def _map(path: Path, stack: contextlib.ExitStack) -> Any:
    try:
        return stack.enter_context(safe_open(path, framework="pt"))
    except (OSError, SafetensorError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> InputError:
    """What is said of a safetensors file that cannot be read."""
    return InputError(f"{path} could not be read as safetensors ({quoted(error)}). Restore the file.")


def _archive(path: Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch archive; one level of nesting, as under ``state_dict``, is looked into."""
    if path.suffix not in _ARCHIVES or not zipfile.is_zipfile(path):
        raise InputError(
            f"{path} is neither safetensors nor a PyTorch archive; a bare pickle is not opened, as it could run code. "
            "Save the tensors with safetensors.torch.save_file."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever a damaged or hostile file makes the reader raise
        raise InputError(
            f"{path} holds more than tensors, or is damaged ({quoted(error).split('. ')[0]}). "
            "Save its tensors with safetensors.torch.save_file."
        ) from error
    inner = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(inner, dict) or not any(isinstance(value, Tensor) for value in inner.values()):
        raise InputError(f"{path} holds no state dict of tensors. Save one with safetensors.torch.save_file.")
    return {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}


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
    if name not in tensors and name in _TIED:
        name = next((other for other in tensors.names() if other.endswith(_TIED[name])), name)
    if name not in tensors:
        raise InputError(f"{named} has no tensor {name}. Give the base that the adapter was trained on.")
    return name


def is_adapter(path: Path) -> bool:
    """Whether a folder holds a PEFT adapter."""
    return (path / "adapter_config.json").is_file()


def adapter_file(folder: Path) -> Path:
    """Where PEFT put an adapter's tensors; older versions wrote an archive."""
    stored, older = folder / "adapter_model.safetensors", folder / "adapter_model.bin"
    return older if older.is_file() and not stored.is_file() else stored
