"""``prefect.yaml`` against ``params.yaml``: a Prefect server of one's own follows the one, ``relearn watch`` the other.

What ``prefect.yaml`` repeats (the line's name, and when a cycle is due) has to be the same in both.
"""

from collections.abc import Iterator
from typing import Any

from data.param_operation import WatchParams
from data.plain_yaml import NotYamlError, parse_yaml

FLOWS = ("flows.watch.update", "flows.watch.look")
RESOURCE = "prefect.resource.id"


def resource_id(name: str) -> str:
    """The line, as events name it."""
    return f"relearn.line.{name}"


def differences(text: str, watch: WatchParams) -> list[str]:
    """What the text of a ``prefect.yaml`` says otherwise, one sentence each; other deployments in it are left alone.

    Raises:
        NotYamlError: it is no YAML, or not laid out as Prefect wants it.
    """
    try:
        return list(dict.fromkeys(_differences(parse_yaml(text), watch)))
    except (KeyError, TypeError, AttributeError) as error:
        raise NotYamlError(f"it is not laid out as Prefect wants it ({type(error).__name__}: {error})") from error


def _differences(content: Any, watch: WatchParams) -> Iterator[str]:
    for deployment in content["deployments"]:
        if deployment.get("entrypoint") not in FLOWS:
            continue
        yield from _unless_same("name", deployment["name"], watch.name)
        for trigger in deployment.get("triggers") or ():
            place, own = (trigger.get("match") or {}).get(RESOURCE, ""), resource_id(watch.name)
            if place != own:
                yield f"prefect.yaml waits for events of {place!r}, but watch.name makes it {own!r}."
        for schedule in deployment.get("schedules") or ():
            if (schedule.get("parameters") or {}).get("due"):
                yield from _unless_same("cron", " ".join(str(schedule.get("cron")).split()), watch.cron)
                yield from _unless_same("timezone", schedule.get("timezone", "UTC"), watch.timezone)


def _unless_same(what: str, said: object, wanted: str) -> Iterator[str]:
    if said != " ".join(wanted.split()):
        yield f"In prefect.yaml {what} is {said!r}, but watch.{what} is {wanted!r}."
