"""What people ask of a workspace without changing it: status, history, reports, differences."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.collection import as_it_lies
from data.cycle_records import LedgerEntry
from data.decisions import SWITCHES, Decisions
from data.errors import InputError
from data.files import shortened
from data.snapshots import diff
from data.workspace import Workspace, open_workspace
from flows.inputs import is_of_folder, last_cycle, last_snapshot
from flows.leftovers import is_held


def status(root: Path) -> dict[str, Any]:
    """What serves now, what waits, and on which documents."""
    from tasks import ledger, mirrors, registry
    from tasks.places import ledger_uri

    workspace = open_workspace(root)
    snapshot = last_snapshot(workspace)
    warnings = []
    cycle = last_cycle(workspace)
    if cycle is not None and cycle.result is None and not is_held(workspace):
        warnings.append("The last cycle was not finished; relearn run goes on with it.")
    state = ledger.state(ledger_uri(workspace))
    serves = {"champion": state.version, "challenger": registry.get_alias(workspace, registry.CHALLENGER)}
    warnings.extend(mirrors.that_differ(workspace))
    warnings.extend(_rests_wrongly(workspace, state))
    return {
        **{alias: _version(workspace, version, state) for alias, version in serves.items()},
        "snapshot": {"digest": snapshot.digest, "documents": len(snapshot.documents)} if snapshot else None,
        "warnings": warnings,
    }


def history(root: Path, verify: bool, source: Path | None = None, export: Path | None = None) -> dict[str, Any]:
    """The ledger's entries, oldest first: of the database or of ``source``, exported before, written to ``export``.

    Raises:
        InputError: ``source`` is no file of entries.
        PersonNeededError: an entry of the database cannot be read.
        OutsideError: the database does not answer, or ``export`` must not be written.
    """
    from tasks import ledger, ledger_export

    found = _entries(root, source)
    entries = [
        {
            "time": entry.time,
            "actor": entry.actor,
            "action": entry.action,
            "from": entry.from_version,
            "to": entry.to_version,
            "reason": entry.reason,
            "digest": entry.digest,
        }
        for entry in found
    ]
    content: dict[str, Any] = {"entries": entries}
    if export is not None:
        ledger_export.export(found, export)
        content["exported"] = str(export)
    if verify:
        broken = ledger.first_broken(found)
        content |= {"intact": broken is None, "broken_at": broken}
    return content


def _entries(root: Path, source: Path | None) -> list[LedgerEntry]:
    from tasks import ledger, ledger_export
    from tasks.places import ledger_uri

    return ledger_export.exported(source) if source is not None else ledger.entries(ledger_uri(open_workspace(root)))


def report_path(root: Path, version: int | None) -> Path:
    """The HTML report of a version, by default that of the last cycle.

    Raises:
        InputError: there is none.
    """
    workspace = open_workspace(root)
    cycle = last_cycle(workspace)
    number = version if version is not None else (cycle.result.version if cycle and cycle.result else None)
    path = workspace.reports / f"v{number}.html"
    if number is None:
        raise InputError("No cycle has ended with a report yet. Name a version, or make a report with: relearn run.")
    if not path.is_file():
        found = ", ".join(sorted(file.stem for file in workspace.reports.glob("v*.html"))) or "none"
        raise InputError(
            f"{path} is not there (there are: {found}). Name one of these, or take it from MLflow: the report of a "
            f"version that a cycle made is attached to the version's run as report/{path.name}."
        )
    return path


def folder_diff(root: Path) -> dict[str, Any]:
    """The documents folder against the last snapshot; what was set aside there and is as it was is no news."""
    workspace = open_workspace(root)
    params = workspace.params().ingest
    before = last_snapshot(workspace)
    aside = {(one.path, one.digest) for one in before.aside} if before else set()
    previous = before.documents if before else ()
    now = as_it_lies(
        workspace.documents, params, previous, workspace.conversions, lambda one: (one.path, one.digest) not in aside
    )
    changes = diff(before, now)
    return changes.model_dump(mode="json", exclude={"schema_"})


def _version(workspace: Workspace, version: int | None, state: Decisions) -> dict[str, Any] | None:
    from flows.resting import rests_on
    from tasks import registry

    if version is None:
        return None
    info, verdict = registry.get_version(workspace, version), state.verdict(version)
    serves = state.champion if state.version == version else None
    return {
        "version": info.version,
        "verdict": verdict.value if verdict else None,
        "snapshot": info.snapshot,
        "rests_on_withdrawn": bool(rests_on(workspace, state, info)),
        "overridden": serves is not None and bool(serves.evidence.get("overridden")),
    }


def _rests_wrongly(workspace: Workspace, state: Decisions) -> list[str]:
    """A champion that was made from a document which a decision withdrew."""
    from flows.succession import champion_rests_on

    named = [document.path for document in champion_rests_on(workspace, state) if document.id in state.withdrawn]
    if not named:
        return []
    return [
        f"Version {state.version} rests on {shortened(named[0])}{' and others' if named[1:] else ''}, which is "
        "withdrawn; relearn run makes its successor, relearn rollback takes it back at once."
    ]


@dataclass(frozen=True)
class Surroundings:
    """What status tells people beside what serves: how the last cycle went, and whether there is news."""

    last_cycle: str
    folder: str


def surroundings(root: Path) -> Surroundings:
    """The last cycle and the documents folder, in words; only files that changed are read."""
    workspace = open_workspace(root)
    return Surroundings(_last_cycle(workspace), _folder(workspace))


def _last_cycle(workspace: Workspace) -> str:
    cycle = last_cycle(workspace)
    if cycle is None:
        return "none yet; the first one: relearn run"
    if cycle.result is None:
        return "not finished; relearn run goes on with it"
    when = f"{cycle.finished[:16].replace('T', ' ')} UTC: " if cycle.finished else ""
    return f"{when}{cycle.result.verdict}, version {cycle.result.version}"


def _folder(workspace: Workspace) -> str:
    """Whether the folder holds what the last snapshot was made from, set aside or not."""
    snapshot = last_snapshot(workspace)
    if snapshot is None:
        return "not read yet; relearn run reads it"
    try:
        same = is_of_folder(workspace, snapshot)
    except InputError as error:
        return str(error)
    return "as in the snapshot" if same else "differs from the snapshot: relearn diff shows how"


def overridden(root: Path, source: Path | None = None) -> frozenset[str]:
    """Digests of the entries by which a version came to serve against its verdict; an intent is none."""
    switches = (entry for entry in _entries(root, source) if entry.action in SWITCHES)
    return frozenset(entry.digest for entry in switches if entry.evidence.get("overridden"))
