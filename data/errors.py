"""What can go wrong, by who has to act on it.

Each class carries the exit code of the command line (README, "Exit codes") and is also the standard
exception nearest to it, so that a caller outside this project needs no import to catch it. Every
message is one sentence or two: what was found, what was expected, what to do next.
"""

from typing import ClassVar

LONGEST_QUOTE = 300
"""Characters of what a library, a program or a server said."""


class RelearnError(Exception):
    """Base of every failure this project raises on purpose."""

    exit_code: ClassVar[int] = 1


class OutsideError(RelearnError, OSError):
    """Something outside failed (registry out of reach, disk full); the same command may be run again."""

    exit_code: ClassVar[int] = 1


class HeldError(OutsideError):
    """Another process works in the workspace."""


class UndeletedError(OutsideError):
    """A file or folder could not be deleted; what else is to be deleted may be."""


class InputError(RelearnError, ValueError):
    """A document, a parameter or an argument is not usable as it stands."""

    exit_code: ClassVar[int] = 2


class PersonNeededError(RelearnError, RuntimeError):
    """A person has to decide before the line goes on."""

    exit_code: ClassVar[int] = 3


class SpentError(PersonNeededError):
    """What a person allowed a run to spend is spent; the same run again would spend it again."""


class MissingFigureError(InputError):
    """A gate asked for a figure that no report holds; a missing measurement is never a zero."""


class UnreadableError(ValueError):
    """No text can be had from a file, which is set aside; the message says why and what to do, in whole sentences."""


def quoted(said: str | BaseException) -> str:
    """What something outside said, as a part of one of our sentences: one line, and no longer than anybody reads.

    An error that says nothing is named by its kind.
    """
    return " ".join(str(said).split())[:LONGEST_QUOTE] or type(said).__name__
