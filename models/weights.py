"""Models where they rest: safetensors in one file or many, and PyTorch's own archives of tensors.

All files that a model consists of must be there, and no tensor may be in two of them. A PyTorch archive is a zip file
with a pickle in it; it is read with ``weights_only``, which builds tensors and nothing else, and a bare pickle, which
could run code, is refused.
"""

import contextlib
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from data.errors import InputError, quoted
from data.files import read_json, unread
from models.tensors import Held, Mapped, Tensors, unreadable

V = TypeVar("V")

_PLACES = (
    "model.safetensors.index.json", "model.safetensors", "adapter_model.safetensors", "*.safetensors.index.json",
    "*.safetensors", "*.bin.index.json", "pytorch_model.bin", "adapter_model.bin", "*.bin", "*.pt",
)  # fmt: skip
"""Where a model's tensors lie in its folder; the first that is there counts."""
_ARCHIVES = (".pt", ".pth", ".bin", ".ckpt")
_NUMBERED = re.compile(r".*-\d+-of-(?P<all>\d+)\.\w+")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Tensors]:
    """The tensors of a model's folder or file.

    Raises:
        InputError: nothing there that can be read, a shard is missing, a file is truncated, or it is a bare pickle.
    """
    _require_readable(path)
    if not _is_there(path):
        raise InputError(f"{path} does not exist as a file or folder. Name a model, an adapter or a safetensors file.")
    files, expected = _files(path) if path.is_dir() else ([path], frozenset())
    for file in files:
        _require_readable(file)
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


def _require_readable(path: Path) -> None:
    """Refuse what this user may not read: the readers of its formats would say that it is missing or damaged."""
    try:
        if path.is_dir():
            os.scandir(path).close()
        elif path.is_file():
            path.open("rb").close()
    except PermissionError as error:
        raise unread(path, error) from error
    except OSError:  # no name of a file, or no answer from its disk: who reads it says so
        return


def _is_there(path: Path) -> bool:
    """Whether it is a folder or a plain file: a pipe would be waited for. A name may be too long to be asked for."""
    try:
        return path.is_dir() or path.is_file()
    except OSError:
        return False


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


def _archive(path: Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch archive; one level of nesting, as under ``state_dict``, is looked into."""
    if path.suffix not in _ARCHIVES or not zipfile.is_zipfile(path):
        raise InputError(
            f"{path} is neither safetensors nor a PyTorch archive; a bare pickle is not opened, as it could run code. "
            "Save the tensors with safetensors.torch.save_file."
        )
    try:
        _require_checksums(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever a damaged or hostile file makes the reader raise
        raise InputError(
            f"{path} holds more than tensors, or is damaged ({quoted(error).split('. ')[0]}). "
            "Restore it, or save its tensors with safetensors.torch.save_file."
        ) from error
    inner = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(inner, dict) or not any(isinstance(value, Tensor) for value in inner.values()):
        raise InputError(f"{path} holds no state dict of tensors. Save one with safetensors.torch.save_file.")
    return {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}


def _require_checksums(path: Path) -> None:
    """Refuse an archive in which a bit has flipped: torch does not look, and a wrong number would come out.

    torch compresses nothing; of what is compressed a few bytes could unfold to as many as it takes to hang.
    """
    with zipfile.ZipFile(path) as archive:
        packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
        if packed:
            raise zipfile.BadZipFile(f"{packed[0]} is compressed, as torch.save never does")
        broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"{broken} is not what its checksum was made of")


_DEPTHS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
"""How architectures call the number of their blocks."""


def blocks(path: Path) -> int | None:
    """How many blocks a model's folder says that it has; None where it does not say."""
    try:
        config = read_json(path / "config.json")
    except InputError:
        return None
    parts = [config, config.get("text_config")] if isinstance(config, dict) else []
    found = [part.get(name) for part in parts if isinstance(part, dict) for name in _DEPTHS]
    return next((one for one in found if isinstance(one, int) and not isinstance(one, bool)), None)


def is_adapter(path: Path) -> bool:
    """Whether a folder holds a PEFT adapter; of one that may not be looked into nobody knows, as ``opened`` says."""
    return _is_there(path / "adapter_config.json")


def adapter_file(folder: Path) -> Path:
    """Where PEFT put an adapter's tensors; older versions wrote an archive."""
    stored, older = folder / "adapter_model.safetensors", folder / "adapter_model.bin"
    return older if older.is_file() and not stored.is_file() else stored
