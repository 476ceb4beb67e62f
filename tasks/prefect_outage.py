"""A Prefect server that does not answer: told from other failures, and said in one sentence."""

import contextlib
import logging
import queue
from collections.abc import Iterator
from typing import Any

from data.errors import OutsideError, RelearnError, quoted


@contextlib.contextmanager
def outage_said() -> Iterator[None]:
    """A server that went away is one sentence; the client has tried again before.

    Raises:
        OutsideError: Prefect's server does not answer.
    """
    from prefect.settings import PREFECT_API_URL

    try:
        yield
    except RelearnError:
        raise
    except Exception as error:
        cause = outage(error)
        if cause is None:
            raise
        _forget_what_was_not_sent()
        address = PREFECT_API_URL.value() or "its temporary address"
        raise OutsideError(
            f"Prefect's server at {address} did not answer ({quoted(cause)}). Start it again, or "
            "unset PREFECT_API_URL, then run the same command again; it goes on from the last finished stage."
        ) from error


def outage(error: BaseException) -> BaseException | None:
    """What tells of a server that does not answer, among an error and its causes; None: it is about something else."""
    import httpx
    from prefect.exceptions import PrefectHTTPStatusError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, httpx.TransportError | PrefectHTTPStatusError) or "Failed to reach API" in str(cause):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def is_news(record: logging.LogRecord) -> bool:
    """Whether a line of Prefect's log says something that a person cannot see in the one sentence at the end."""
    lost = ("Unable to connect to 'ws", "Service 'EventsWorker' failed", "Service 'APILogWorker' failed")
    error = record.exc_info[1] if record.exc_info else None
    return not record.getMessage().startswith(lost) and (error is None or outage(error) is None)


def _forget_what_was_not_sent() -> None:
    """Drop the events and logs that wait for a server that is gone; Prefect would try for minutes before it ended."""
    from prefect._internal.concurrency.services import QueueService

    services: type[Any] = QueueService
    for service in list(services._instances.values()):
        with contextlib.suppress(queue.Empty):
            while True:
                service._queue.get_nowait()
