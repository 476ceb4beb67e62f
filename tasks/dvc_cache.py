"""DVC's cache as files: which objects an output consists of, whether they are whole, and what nobody needs.

DVC takes a write-protected file of its cache for whole without looking at its content, so a flipped bit would come
back as an output. Everything here reads the content. The cache is the folder ``files/md5`` of DVC 3: an object lies
under the first two and the other digits of its MD5, and a folder is an object ending in ``.dir`` that lists its files.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Cache:
    """The cache of one repository."""

    root: Path
    """``.dvc/cache``, or wherever DVC's configuration puts it."""

    def file(self, digest: str) -> Path:
        """Where an object lies, if it is there."""
        return self.root / "files" / "md5" / digest[:2] / digest[2:]

    def is_below(self, folder: Path) -> bool:
        """Whether it lies in this folder; elsewhere it may be shared with repositories that nobody here knows."""
        return self.root.resolve().is_relative_to(folder.resolve())

    def below(self, digest: str) -> list[str]:
        """Digests of an object and, where it lists a folder, of the files in it; the list comes last."""
        if not digest.endswith(".dir"):
            return [digest]
        try:
            listed = json.loads(self.file(digest).read_bytes())
            return [*(str(file["md5"]) for file in listed), digest]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return [digest]

    def listed(self, digest: str) -> dict[str, Path]:
        """Files of a folder by their path in it; none where the list is gone or damaged."""
        try:
            return {str(file["relpath"]): self.file(file["md5"]) for file in json.loads(self.file(digest).read_bytes())}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}

    def is_damaged(self, digest: str) -> bool:
        """Whether an object is there and is not what its name says."""
        try:
            with self.file(digest).open("rb") as stream:
                return hashlib.file_digest(stream, "md5").hexdigest() != digest.removesuffix(".dir")
        except FileNotFoundError:
            return False

    def drop_damaged(self, digests: Iterable[str]) -> list[str]:
        """Delete the damaged ones; their stages run again."""
        damaged = [digest for digest in digests if self.is_damaged(digest)]
        for digest in damaged:
            self.file(digest).unlink()
        return damaged

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Those that are not there."""
        return [digest for digest in digests if not self.file(digest).is_file()]

    def objects(self) -> Iterator[tuple[str, Path]]:
        """Every object with its file."""
        for file in (self.root / "files" / "md5").glob("??/*"):
            if file.is_file() and len(file.name.removesuffix(".dir")) == 30:
                yield file.parent.name + file.name, file

    def runs(self) -> Iterator[tuple[Path, list[str]]]:
        """What DVC remembers: per run its file, and the digests of its outputs."""
        for file in (self.root / "runs").glob("??/*/*"):
            yield file, _outputs(read_mapping(file))

    def forget(self, run: Path) -> None:
        """Let DVC no longer remember a run."""
        run.unlink(missing_ok=True)
        _drop_empty(run.parent)

    def drop_empty_runs(self) -> None:
        """Take away folders of runs that hold none, as a kill or a clean-up leaves them; DVC stumbles over them."""
        for folder in (self.root / "runs").glob("??/*"):
            _drop_empty(folder)

    def unfinished(self) -> list[Path]:
        """Files that a killed DVC left half-written in the cache."""
        return [file for file in (self.root / "files" / "md5").glob("??/*") if file.name.endswith(".tmp")]


def _drop_empty(folder: Path) -> None:
    with suppress(OSError):  # it holds something
        folder.rmdir()


def recorded_outputs(lock: Path) -> dict[str, list[str]]:
    """Digests of each stage's outputs as a ``dvc.lock`` records them; none where it is missing or torn."""
    stages = read_mapping(lock).get("stages")
    return {name: _outputs(stage) for name, stage in stages.items()} if isinstance(stages, dict) else {}


def recorded_input(lock: Path, stage: str, path: str) -> str | None:
    """Digest of what a stage read at ``path``; None where a ``dvc.lock`` does not record it."""
    known = read_mapping(lock).get("stages")
    read = _entries(known.get(stage) if isinstance(known, dict) else None, "deps")
    return next((str(entry["md5"]) for entry in read if entry.get("path") == path), None)


def _outputs(stage: Any) -> list[str]:
    return [str(out["md5"]) for out in _entries(stage, "outs")]


def _entries(stage: Any, kind: str) -> list[dict[str, Any]]:
    entries = stage.get(kind) if isinstance(stage, dict) else None
    return [entry for entry in entries or () if isinstance(entry, dict) and "md5" in entry]


def read_mapping(file: Path) -> dict[str, Any]:
    """What a file of DVC's says; empty where it is missing or torn, which no such file is otherwise."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
