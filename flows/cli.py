"""The command line: what is set before anything is imported, all commands, and how each failure ends.

The commands stand by topic in ``flows/command_*.py``; the work is done elsewhere. Heavy libraries are imported inside
the commands, so that help and version answer at once.
"""

import gc
import os
import signal
import sys
import tempfile
import traceback
import warnings
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import typer

from data.errors import RelearnError, quoted
from flows import (
    command_bench,
    command_gates,
    command_line,
    command_look,
    command_rivals,
    command_serve,
    command_settings,
    command_spectra,
)
from flows.command import app, fail
from flows.start import INTERRUPTED

__all__ = [
    "app",
    "command_bench",
    "command_gates",
    "command_line",
    "command_look",
    "command_rivals",
    "command_serve",
    "command_settings",
    "command_spectra",
    "main",
]
"""The modules register their commands as they are imported, in the order of the help text."""

for _name, _value in {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}.items():
    os.environ.setdefault(_name, _value)

OBJECTS_PER_COLLECTION = 50_000
"""Python's 700 make it look for garbage some thousand times while libraries are imported, a fifth of that time."""
TERMINATED = 128 + signal.SIGTERM
"""What a command leaves with that was ended from outside: systemd, a container's end, kill."""
STOPPED = {INTERRUPTED: "Interrupted", TERMINATED: "Stopped by SIGTERM"}


def main() -> None:
    """Run the command line; every failure is one sentence and an exit code, never a traceback."""
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries among themselves
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    _open_streams()
    try:
        app()
    except KeyboardInterrupt:  # before typer looks after it
        fail(_stopped(INTERRUPTED), INTERRUPTED)
    except RelearnError as error:
        fail(str(error), error.exit_code)
    except SystemExit as leaving:
        if leaving.code in STOPPED:
            fail(_stopped(leaving.code), leaving.code)
        raise
    except Exception as error:  # a traceback shown to a user is a defect, and so is a lost one
        from data.files import refusal

        refused = refusal(error)
        if refused is not None:
            place = getattr(error, "filename", None) or "A file"
            fail(
                f"{place} could not be read or written ({refused}). Free the disk or mend the permissions, then run "
                "the same command again.",
                1,
            )
        fail(f"{quoted(error)} Run the same command again; if it stays, the details stand in {_keep_details()}.", 1)
    finally:
        gc.freeze()  # the interpreter would look through all libraries for garbage before it ends, for seconds


def _stopped(code: int) -> str:
    return f"{STOPPED[code]}. Run the same command again; it goes on where it stopped."


def _open_streams() -> None:
    """Let closed standard streams lead nowhere: the next file that is opened would get their number, and our output."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open("w" if number else "r", encoding="utf-8")  # noqa: SIM115 (until the end)
            if stream.fileno() != number:
                os.dup2(stream.fileno(), number)
            setattr(sys, name, stream)


def _keep_details() -> str:
    """The traceback in a file of its own, for whoever mends it."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="relearn-", suffix=".log", delete=False, encoding="utf-8") as file:
            file.write(traceback.format_exc())
            return file.name
    except OSError:
        return "no file, as no temporary folder can be written to"


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Options of all commands."""
    if version:
        typer.echo(f"relearn {installed_version('relearn')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
