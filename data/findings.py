"""What `relearn doctor` found: one record per finding, and what it means for the exit code."""

from enum import StrEnum

from data.records import Record


class Condition(StrEnum):
    """Of one thing that was looked at."""

    OK = "ok"
    MENDED = "mended"
    WARNING = "warning"
    """It works, and a person should look."""
    PROBLEM = "problem"
    """It does not work until a person has acted."""
    UNREACHED = "unreached"
    """Something outside does not answer; the same command may be run again."""


class Finding(Record):
    """One thing that was looked at."""

    what: str
    """Its name, one or two words."""
    state: Condition
    says: str
    """What was found, one sentence."""
    remedy: str = ""
    """What to do; empty where there is nothing to do."""


def exit_code(findings: tuple[Finding, ...]) -> int:
    """0: all is well or mended; 3: a person is needed; 1: something outside is out of reach."""
    states = {finding.state for finding in findings}
    if Condition.UNREACHED in states:
        return 1
    return 3 if states & {Condition.WARNING, Condition.PROBLEM} else 0
