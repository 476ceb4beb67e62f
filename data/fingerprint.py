"""Digests of what a stage depends on besides its data: the code it imports and the base model.

DVC runs a stage again when a file among its ``deps`` changed, and skips it silently when a changed file
is not listed. Listing every module in ``dvc.yaml`` would go stale with the next import, and a corrected
comment would retrain a model. So each stage depends on one small file instead, which holds a digest of
the stage's import closure: read statically from the syntax trees, without importing anything, and blind
to comments, docstrings and the help texts of fields.
"""

import ast
import json
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.files import digest_file, digest_text, digest_tree, read_value, write_json
from data.workspace import PROJECT_ROOT, STAGES, Workspace

PACKAGES = ("flows", "tasks", "models", "data", "bench")
READS: dict[str, tuple[str, ...]] = {
    "data/wordings.py": ("data/prompts/wordings.yaml",),
    "data/prompting.py": ("data/prompts/teacher.yaml",),
}
"""Files that a module reads as if they were code, as patterns from the root."""

_Stat = tuple[int, int, int]
_PARSING = threading.Lock()
"""Python 3.11 fails with a SystemError where two threads make syntax trees at once (CPython issue 106905)."""


@dataclass(frozen=True)
class _Module:
    """What one source file says: a digest of its meaning, and the names it may import."""

    digest: str
    imports: tuple[str, ...]


class _Sources:
    """Parsed modules below one root; a file is parsed again only when its stat changed."""

    def __init__(self, root: Path, remembered: dict[str, Any] | None = None) -> None:
        self.root = root
        self._remembered = remembered or {}
        self.seen: dict[str, Any] = {}

    def locate(self, name: str) -> Path | None:
        """The source file of a dotted name, or None where the project has no such module."""
        if name.partition(".")[0] not in PACKAGES:
            return None
        stem = self.root.joinpath(*name.split("."))
        candidates = (stem.with_suffix(".py"), stem / "__init__.py")
        return next((path for path in candidates if path.is_file()), None)

    def read(self, path: Path, name: str) -> _Module:
        """The module at ``path``, known under the dotted ``name``."""
        key, stat = self.key(path), list(_stat(path))
        entry = self.seen.get(key) or self._remembered.get(key)
        if entry is None or entry["stat"] != stat:
            with _PARSING:
                tree = ast.parse(path.read_bytes(), filename=key)
            package = name if path.stem == "__init__" else name.rpartition(".")[0]
            imports = sorted(set(_imported_names(tree, package)))
            entry = {"stat": stat, "digest": _meaning(tree), "imports": imports}
        self.seen[key] = entry
        return _Module(entry["digest"], tuple(entry["imports"]))

    def key(self, path: Path) -> str:
        """``path`` relative to the root, the same on every machine."""
        return path.relative_to(self.root).as_posix()

    def digests(self, module: str) -> dict[str, str]:
        """Digest of every file in the closure of ``module``, by path from the root."""
        if self.locate(module) is None:
            raise InputError(f"{module} is no module below {self.root}. Name one of the project's modules.")
        found: dict[str, str] = {}
        waiting = list(_with_parents(module))
        while waiting:
            name = waiting.pop()
            path = self.locate(name)
            if path is None or self.key(path) in found:
                continue
            source = self.read(path, name)
            found[self.key(path)] = source.digest
            waiting.extend(parent for imported in source.imports for parent in _with_parents(imported))
        found.update({self.key(path): digest_file(path) for path in self._read_by(tuple(found))})
        return dict(sorted(found.items()))

    def _read_by(self, modules: Iterable[str]) -> Iterator[Path]:
        for key in modules:
            for pattern in READS.get(key, ()):
                yield from self.root.glob(pattern)


def code_digest(module: str, root: Path = PROJECT_ROOT) -> str:
    """Digest of the meaning of ``module`` and all it imports: comments and docstrings do not count.

    Imports inside functions count; libraries do not.

    Raises:
        InputError: the project has no such module.
    """
    return _digest_of(_Sources(root).digests(module))


@dataclass(frozen=True)
class Inputs:
    """What stages depend on besides their data."""

    code: dict[str, dict[str, Any]]
    """By stage: ``digest`` of the code it imports, and ``files``, the digest of each file by its path."""
    base: str
    """Digest of the base's files."""

    @property
    def digest(self) -> str:
        return digest_text(*(self.code[stage]["digest"] for stage in STAGES), self.base)


def read_inputs(workspace: Workspace, root: Path = PROJECT_ROOT) -> Inputs:
    """Code and base as they are now; nothing is written but what spares the next look some work.

    Raises:
        InputError: ``base`` in ``params.yaml`` is neither a folder nor a hub id.
        OutsideError: the disk refused the write.
    """
    sources = _sources(workspace, root)
    files = {stage: sources.digests(f"flows.{stage}") for stage in STAGES}
    _write_if_changed(_memory(workspace), {"reader": _reader(), "files": sources.seen})
    return Inputs(
        code={stage: {"digest": _digest_of(found), "files": found} for stage, found in files.items()},
        base=_tree_digest(Path(workspace.base()), workspace.state / "cache" / "base.json"),
    )


def write_inputs(workspace: Workspace, root: Path = PROJECT_ROOT) -> Inputs:
    """Fix code and base as files that stages depend on; a file whose content stays is not touched.

    Raises:
        InputError: ``base`` in ``params.yaml`` is neither a folder nor a hub id.
        OutsideError: the disk refused the write.
    """
    inputs = read_inputs(workspace, root)
    for stage, content in inputs.code.items():
        _write_if_changed(workspace.code(stage), content)
    _write_if_changed(workspace.base_digest, {"digest": inputs.base})
    return inputs


def is_as_fixed(workspace: Workspace, stage: str, root: Path = PROJECT_ROOT) -> bool:
    """Whether the code of a stage is still what ``write_inputs`` fixed."""
    found = _sources(workspace, root).digests(f"flows.{stage}")
    return read_value(workspace.code(stage), "digest", str) == _digest_of(found)


def _sources(workspace: Workspace, root: Path) -> _Sources:
    """The code, as far as it is as it was with what the last look found out about it."""
    known = _remembered(_memory(workspace))
    return _Sources(root, known["files"] if known.get("reader") == _reader() else None)


def _memory(workspace: Workspace) -> Path:
    return workspace.state / "cache" / "code.json"


def _reader() -> str:
    """Who read the code: its trees differ between versions of Python."""
    return f"{sys.version_info[:2]} {digest_file(Path(__file__))}"


# --- reading code ----------------------------------------------------------------------------------


def _with_parents(name: str) -> Iterator[str]:
    """``a.b.c`` runs ``a`` and ``a.b`` too."""
    parts = name.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _imported_names(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, package)
            yield from (f"{origin}.{alias.name}" for alias in node.names)  # a module, or a name in origin
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__") and node.args:
            target = node.args[0]
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                yield target.value


def _origin(node: ast.ImportFrom, package: str) -> str:
    if node.level == 0:
        return node.module or ""
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _meaning(tree: ast.Module) -> str:
    """Digest of the tree without texts that only people read."""
    for node in ast.walk(tree):
        if isinstance(getattr(node, "body", None), list):
            node.body = [child for child in node.body if not _is_text(child)]  # type: ignore[attr-defined]
        elif isinstance(node, ast.Call) and _called(node) == "Field":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
    return digest_text(ast.dump(tree))


def _is_text(node: ast.stmt) -> bool:
    """A string that stands alone: a docstring, of whatever it stands below."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _digest_of(files: dict[str, str]) -> str:
    return digest_text(*(f"{key}:{digest}" for key, digest in files.items()))


# --- reading the base ------------------------------------------------------------------------------


def _tree_digest(folder: Path, memory: Path) -> str:
    """``digest_tree``, remembered as long as no file's stat changed: a base may weigh gigabytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = {path.relative_to(folder).as_posix(): list(_stat(path)) for path in files}
    known = _remembered(memory)
    if known.get("files") != stats or known.get("folder") != str(folder):
        known = {"folder": str(folder), "files": stats, "digest": digest_tree(folder)}
        _write_if_changed(memory, known)
    return str(known["digest"])


# --- files -----------------------------------------------------------------------------------------


def _stat(path: Path) -> _Stat:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _remembered(path: Path) -> dict[str, Any]:
    """A cache file's content; a missing or damaged one is an empty one."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_if_changed(path: Path, content: dict[str, Any]) -> None:
    if not path.is_file() or _remembered(path) != content:
        write_json(path, content)
