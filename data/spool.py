"""Texts that wait on the disk until it is known what becomes of them, so that memory holds one at a time."""

import os
import tempfile
from array import array
from pathlib import Path
from types import TracebackType
from typing import Self

from data.files import refused_writes


class Spool:
    """Numbered texts in a file without a name; closing it, or a kill, leaves nothing behind."""

    def __init__(self, folder: Path) -> None:
        """Begin a spool on the disk of ``folder``.

        Raises:
            OutsideError: the disk refuses it.
        """
        self._folder = folder
        self._ends = array("Q", [0])
        with refused_writes(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with refused_writes(self._folder):
            self._file.close()

    def add(self, text: str) -> int:
        """Put a text away; returns its number.

        Raises:
            OutsideError: the disk is full.
        """
        content = text.encode("utf-8")
        with refused_writes(self._folder):
            self._file.write(content)
        self._ends.append(self._ends[-1] + len(content))
        return len(self._ends) - 2

    def text(self, number: int) -> str:
        """The text of this number."""
        begin, end = self._ends[number : number + 2]
        with refused_writes(self._folder):
            self._file.flush()
            return os.pread(self._file.fileno(), end - begin, begin).decode("utf-8")
