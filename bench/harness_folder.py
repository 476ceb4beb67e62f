"""Tasks of a user's own folder: plain YAML, or not handed to the harness, which would run what a tag names.

The harness reads a tag ``!function utils.fit`` by importing ``utils.py`` of the folder, and follows ``include``
wherever it leads. A folder of tasks may come from anywhere, so each file is read as plain data first, and includes stay
inside.
"""

from pathlib import Path
from typing import Any

from data.errors import InputError, quoted
from data.plain_yaml import NotYamlError, parse_yaml

_INCLUDE = "include"


def require_plain(folder: Path) -> None:
    """Read every task file below ``folder``, and all that they include.

    Raises:
        InputError: there is none, one is not plain YAML, or one includes what lies outside the folder.
    """
    files = sorted(folder.glob("**/*.yaml")) if folder.is_dir() else []
    if not files:
        raise InputError(f"{folder} holds no *.yaml. Name a folder with tasks of the evaluation harness.")
    read: set[Path] = set()
    for file in files:
        _require_plain(file, folder.resolve(), read)


def _require_plain(file: Path, folder: Path, read: set[Path]) -> None:
    file = file.resolve()  # as the harness does, which looks for includes beside the file that a link leads to
    if file in read:
        return
    read.add(file)
    try:
        content = parse_yaml(file.read_text("utf-8"))
    except (NotYamlError, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} is not plain YAML ({quoted(error)}). This bench runs no code of a task's folder: leave tags "
            "such as !function out, or run the task with lm_eval itself."
        ) from error
    if isinstance(content, dict):
        for included in _included(content, file):
            if not included.is_relative_to(folder) or not included.is_file():
                raise InputError(
                    f"{file} includes {included}, which is no file of {folder}. Put a copy there and include that."
                )
            _require_plain(included, folder, read)


def _included(content: dict[Any, Any], file: Path) -> list[Path]:
    names = content.get(_INCLUDE, [])
    return [(file.parent / str(name)).resolve() for name in (names if isinstance(names, list) else [names])]
