"""Who acts on this machine, as far as it knows."""

import getpass
import os


def current_actor() -> str:
    """``$RELEARN_ACTOR``, or the user of the operating system."""
    try:
        return os.environ.get("RELEARN_ACTOR") or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"
