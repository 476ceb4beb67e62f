"""Office files and e-mails become Markdown: the caller's side of the converter's process, and what it read before.

A conversion follows from the file's bytes, the readers' code and their libraries, so its outcome, a text or the
reason why there is none, is kept under the digest of all three. What ran out of time is tried again, and the text of
a file that holds a secret, which is set aside, is not kept.
"""

import os
import signal
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import psutil

from data.converter import NO_MEMORY, REFUSED
from data.errors import UnreadableError
from data.files import digest_bytes, digest_text, read_cached, write_record
from data.fingerprint import code_digest
from data.param_stages import IngestParams
from data.records import Record
from data.screening import find_secrets
from data.workspace import PROJECT_ROOT

_LIBRARIES = ("beautifulsoup4", "mammoth", "markdownify", "openpyxl", "pdfplumber", "pypdfium2", "python-pptx")
_CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where Linux says what memory the container that we run in may take: cgroup v2 and v1."""


class KilledError(Exception):
    """A reader was killed from outside, as the kernel does where memory runs out: it says nothing of the file."""


class Conversion(Record):
    """What came of one file."""

    text: str
    unreadable: str | None = None


def convert_file(
    content: bytes, ending: str, params: IngestParams, cache_folder: Path | None, keep: bool = True
) -> str:
    """The Markdown of such a file, from the cache where it has it; ``keep`` adds to it.

    Raises:
        UnreadableError: its reader refuses it, takes too long or too much memory, or makes too long a text of it.
        KilledError: its reader was killed.
    """
    how = digest_text(ending, str(params.convert_megabytes), str(params.max_bytes), _readers())[:16]
    kept = cache_folder / f"{digest_bytes(content)}-{how}.json" if cache_folder else None
    found = read_cached(kept, Conversion) if kept else None
    if found is None:
        found = _convert(content, ending, params)
        if kept is not None and keep and not find_secrets(found.text):
            write_record(kept, found)
    if found.unreadable is not None:
        raise UnreadableError(found.unreadable)
    return found.text


def readers_at_once(megabytes: int) -> int:
    """How many readers of at most so much memory each this process's cores and the machine's memory suffice for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _available_bytes() // (megabytes * 2**20)))


def _available_bytes() -> int:
    """Memory that is free on this machine, and never more than its container may take."""
    limits = [file.read_text().strip() for file in _CONTAINER_LIMITS if file.is_file()]
    free: int = psutil.virtual_memory().available
    return min([free, *(int(limit) for limit in limits if limit.isdigit())])


@cache
def _readers() -> str:
    """Digest of the code that reads and of the libraries it reads with."""
    return digest_text(code_digest("data.converter"), *(f"{name} {version(name)}" for name in _LIBRARIES))


def _convert(content: bytes, ending: str, params: IngestParams) -> Conversion:
    """Run the converter.

    Raises:
        UnreadableError: it was stopped, which another run on another day may not be.
        KilledError: it was killed.
    """
    seconds, megabytes = params.convert_seconds, params.convert_megabytes
    limits = map(str, (seconds, megabytes, params.max_bytes))
    command = [sys.executable, "-m", "data.converter", ending, *limits]
    try:
        done = subprocess.run(  # noqa: S603 - our own module, without a shell
            command,
            input=content,
            capture_output=True,
            cwd=PROJECT_ROOT,
            env=_environment(),
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnreadableError(_too_long(seconds)) from error
    if done.returncode == REFUSED:
        return Conversion(text="", unreadable=done.stderr.decode("utf-8", "replace"))
    if done.returncode == 0:
        return Conversion(text=done.stdout.decode("utf-8"))
    if done.returncode == -signal.SIGKILL:
        raise KilledError
    raise UnreadableError(_stopped(done.returncode, seconds, megabytes))


def _environment() -> dict[str, str]:
    """Nothing of ours but where the code is: no keys, no proxies, no settings."""
    return {"PYTHONPATH": str(PROJECT_ROOT), "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}


def _too_long(seconds: int) -> str:
    return f"Reading it took longer than {seconds} seconds (ingest.convert_seconds). Split it, or raise the limit."


def _stopped(code: int, seconds: int, megabytes: int) -> str:
    if code == -signal.SIGXCPU:
        return _too_long(seconds)
    if code == NO_MEMORY:
        return f"Reading it took more than {megabytes:,} MB of memory (ingest.convert_megabytes). Split it."
    return (
        f"Its reader broke off (exit code {code}), as on damaged files and very large ones. Open it and save it anew."
    )
