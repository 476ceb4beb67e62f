"""Who acts on this machine, as far as it knows."""

import getpass
import os


def current_actor(configured: str = "") -> str:
    """``$RELEARN_ACTOR``, or who is configured (``people.actor``), or the user of the operating system."""
    try:
        return os.environ.get("RELEARN_ACTOR") or configured or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"
