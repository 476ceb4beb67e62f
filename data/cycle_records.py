"""The typed records of decisions, as the ledger keeps them, and of how a cycle went."""

from typing import Any

from pydantic import Field

from data.evaluation_records import Verdict
from data.records import Record


class LedgerEntry(Record):
    """One decision: who, why, from, to, on which evidence."""

    number: int
    time: str
    """UTC, ISO 8601."""
    actor: str
    action: str
    from_version: int | None
    to_version: int | None
    reason: str
    evidence: dict[str, Any]
    previous: str
    """Digest of the entry before; empty for the first."""
    digest: str


class StageRun(Record):
    """How a stage went in one cycle."""

    stage: str
    ran: bool
    """False: its outputs were already those of its inputs."""
    seconds: float


class CycleResult(Record):
    """What ``relearn run`` reports."""

    changed: bool
    version: int
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    seconds: dict[str, float] = Field(default_factory=dict)
    """Wall-clock seconds of each stage's own work; 0 for a stage whose outputs were already there."""
    report: str | None = None
    """Path of the HTML report."""
    next_command: str = ""
    switched: str = ""
    """What the cycle did to the champion, and why; empty: nothing."""
    warnings: tuple[str, ...] = ()
    """What a person has to put right, such as an alias that somebody moved."""
    notices: tuple[str, ...] = ()
    """What a person may want to look at: documents that contradict one another, claims of many documents."""


class Cycle(Record):
    """The last cycle of a workspace: from which inputs, and what came of it."""

    key: str
    """Digest of everything a cycle follows from."""
    result: CycleResult | None = None
    """None: it was not finished."""
    finished: str = ""
    """UTC, ISO 8601; empty: it was not, or an older version did not write it down."""
    snapshot: str = ""
    """Digest of the documents in force; empty: it was not finished, or an older version did not write it down."""
