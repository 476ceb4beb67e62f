"""Where the command begins: Ctrl-C ends it cleanly even while libraries are imported, a third of a second."""

import os
import signal

INTERRUPTED = 130
"""What typer leaves with after Ctrl-C, as shells do (128 + SIGINT)."""


def main() -> None:
    """Import the command line and run it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background jobs ignore it
        signal.signal(signal.SIGINT, _leave)
    from flows import cli

    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


def _leave(*_: object) -> None:
    """Nothing has begun, so that nothing has to be put in order; an exception would pass through half an import."""
    os.write(2, b"relearn: Interrupted before anything was begun. Run the same command again.\n")
    os._exit(INTERRUPTED)
