"""What the line tells people without being asked: one record per event, sent through the hooks of ``params.yaml``."""

from typing import Literal

from pydantic import Field

from data.records import Record

EventName = Literal["held", "rejected", "failed", "rolled_back", "quarantined", "missed", "promoted"]
"""``held``, ``rejected`` and ``promoted`` are verdicts and what came of them; ``failed``: a cycle ended in an error;
``rolled_back``: an older version serves again; ``quarantined``: documents were set aside that were not before;
``missed``: a schedule passed without a run."""


class Event(Record):
    """Something that a person may want to hear of."""

    event: EventName
    workspace: str
    """Its folder."""
    time: str
    """UTC, ISO 8601."""
    version: int | None = None
    """The version that it is about; None: about none."""
    verdict: str | None = None
    reasons: tuple[str, ...] = ()
    report: str | None = None
    """Path of the version's HTML report."""
    quarantined: tuple[str, ...] = ()
    """Paths of the documents that were set aside."""
    from_version: int | None = Field(default=None, alias="from")
    """The version that served before a person's switch."""
    to_version: int | None = Field(default=None, alias="to")
    """The version that serves after it."""
    actor: str | None = None
    """Who switched."""

    def subject(self) -> str:
        """One line for people."""
        what = f"version {self.version} was {self.event.replace('_', ' ')}" if self.version is not None else ""
        plain = {
            "quarantined": f"{len(self.quarantined)} document{'s were' if len(self.quarantined) != 1 else ' was'} "
            "quarantined",
            "failed": "a cycle failed",
            "missed": "a scheduled run was missed",
            "rolled_back": f"version {self.from_version} was rolled back to version {self.to_version}",
        }
        return f"Relearn: {plain.get(self.event) or what or self.event.replace('_', ' ')}"

    def body(self) -> str:
        """What happened, why, and where to read on, in lines."""
        lines = [*self.reasons, *(f"Set aside: {path}" for path in self.quarantined)]
        lines += (
            [f"Switched from version {self.from_version} to {self.to_version} by {self.actor}"] if self.actor else []
        )
        lines += [f"Report: {self.report}"] if self.report else []
        return "\n".join([*lines, f"Workspace: {self.workspace}", f"Time: {self.time}"])
