"""What was tried last, so that the same documents are not tried over and over: ``.relearn/attempt.json``.

Written before a cycle that nobody watches begins and again when it ends. A cycle that a person has to settle waits
for other documents; one that something outside stopped is tried again, after pauses that double.
"""

import time

from pydantic import Field

from data.errors import RelearnError, SpentError
from data.files import read_record, write_record
from data.param_operation import WatchParams
from data.param_stages import Allowance
from data.records import Record
from data.workspace import Workspace
from flows.inputs import Now, last_cycle, unchanged


class Attempt(Record):
    """The last cycle that was begun by a trigger."""

    documents: str
    """Digest of the documents folder."""
    key: str
    """Digest of everything that the cycle follows from."""
    began: float
    """Seconds since the epoch."""
    tries: int = Field(ge=1)
    """With this key, one after the other."""
    exit_code: int | None = None
    """As the command line would leave; None: it has not ended, or was killed."""
    said: str = ""
    """Why it ended, where it failed."""
    spent: bool = False
    """It ended because the teacher's budget was spent; the same again would spend it again."""
    allowance: Allowance | None = None
    """What it could spend; None: it began before that was written down."""


def last_attempt(workspace: Workspace) -> Attempt | None:
    """What was tried last; None in a new workspace."""
    return read_record(workspace.attempt, Attempt) if workspace.attempt.is_file() else None


def begin(workspace: Workspace, now: Now) -> Attempt:
    """Write down that a cycle begins."""
    last = last_attempt(workspace)
    again = last is not None and last.key == now.key and last.exit_code != 0
    tries = last.tries + 1 if last is not None and again else 1
    attempt = Attempt(documents=now.documents, key=now.key, began=time.time(), tries=tries, allowance=now.allowance)
    write_record(workspace.attempt, attempt)
    return attempt


def end(workspace: Workspace, attempt: Attempt, error: Exception | None = None) -> None:
    """Write down how it ended: well, or with this error."""
    code = error.exit_code if isinstance(error, RelearnError) else 0 if error is None else 1
    how = {"exit_code": code, "said": str(error or ""), "spent": isinstance(error, SpentError)}
    write_record(workspace.attempt, attempt.model_copy(update=how))


def is_wanted(workspace: Workspace, now: Now, due: bool) -> bool:
    """Whether a cycle should begin.

    Args:
        workspace: where.
        now: what it would follow from.
        due: by the schedule, or because the process has just started: then other settings count too, and what
            failed is tried again.
    """
    if unchanged(workspace, now.key) is not None:
        return False
    last = last_attempt(workspace)
    if last is not None and last.spent and last.key == now.key:
        return last.allowance is None or now.allowance.exceeds(last.allowance)
    if due or last is None or last.documents != now.documents or _is_outdated(workspace, last):
        return True
    return last.exit_code in (None, 1) and _has_rested(last, workspace.params().watch)


def _is_outdated(workspace: Workspace, last: Attempt) -> bool:
    """Whether a person ran other cycles since the attempt succeeded, so that it says nothing of what is in force."""
    cycle = last_cycle(workspace)
    return last.exit_code == 0 and (cycle is None or cycle.key != last.key)


def _has_rested(last: Attempt, params: WatchParams) -> bool:
    pause = min(params.retry_seconds * 2 ** min(last.tries - 1, 30), params.max_retry_seconds)
    passed = time.time() - last.began
    return passed < 0 or passed >= pause  # a clock set back must not stop the line
