"""A file that the operating system really refuses to this process, even where it runs as root."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAY_READ_ALL = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (Linux): what lets root read files that deny it."""
VERSION_3 = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def refused(*files: Path) -> Iterator[None]:
    """Nobody may read ``files`` meanwhile: neither this thread nor those that it starts."""
    modes = [file.stat().st_mode for file in files]
    for file in files:
        file.chmod(0)
    try:
        with _without_privilege():
            yield
    finally:
        for file, mode in zip(files, modes, strict=True):
            if file.exists():
                file.chmod(mode)


@contextmanager
def _without_privilege() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    sets = _sets()
    before = sets[0].effective
    give_up_privilege()
    try:
        yield
    finally:
        _set(sets, before)


def give_up_privilege(*_: object, **__: object) -> None:
    """From now on this thread, and those that it starts, may read no more than others."""
    if os.geteuid() == 0:
        sets = _sets()
        _set(sets, sets[0].effective & ~MAY_READ_ALL)


def _sets() -> "ctypes.Array[_Sets]":
    sets = (_Sets * 2)()
    assert ctypes.CDLL(None).capget(ctypes.byref(_Header(VERSION_3, 0)), sets) == 0
    return sets


def _set(sets: "ctypes.Array[_Sets]", effective: int) -> None:
    sets[0].effective = effective
    assert ctypes.CDLL(None).capset(ctypes.byref(_Header(VERSION_3, 0)), sets) == 0
