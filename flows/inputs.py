"""What a cycle follows from, and whether any of it changed; decided without a heavy library.

Before its first stage a cycle writes down its inputs (code, base, mode, the snapshots to compare with and to go
on from), so that a killed cycle goes on with exactly what it began with.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from data.cycle_records import Cycle, CycleResult, LedgerEntry
from data.decisions import SWITCHES, Action
from data.errors import OutsideError
from data.files import (
    digest_text,
    digest_tree,
    read_cached,
    read_record,
    read_value,
    write_bytes,
    write_json,
    write_long_record,
    write_record,
)
from data.fingerprint import Inputs, is_as_fixed, read_inputs, write_inputs
from data.param_stages import Allowance
from data.params import Params, load_params
from data.records import Accepted, DocumentVersion, Snapshot
from data.snapshots import look_through, snapshot_digest
from data.withheld import Tombstone, Withheld
from data.workspace import PROJECT_ROOT, STAGES, Workspace, require_model

PIPELINE_FILES = ("dvc.yaml", ".dvcignore")
"""What a workspace has from the project as it is, and follows when the project is upgraded."""
STAGE_SETTINGS = ("base", "seed", "ingest", "synthesize", "endpoint", "train", "assess")
"""Blocks of ``params.yaml`` that stages depend on (dvc.yaml)."""


@dataclass(frozen=True)
class Now:
    """What a cycle would follow from."""

    documents: str
    """Digest of the files in the documents folder, as a snapshot's, and of what is withheld of them."""
    key: str
    """Digest of everything: documents, probes, code, base, settings and mode."""
    allowance: Allowance
    """What it may spend on the teacher, which is no part of the key."""
    unreadable: tuple[str, ...] = ()
    """Paths of the documents that the operating system does not let be read."""
    withheld: Withheld = field(default_factory=Withheld)
    """What no stage may draw on."""


def fix_inputs(workspace: Workspace, quick: bool) -> str:
    """Write down code, base and mode, and return the digest of everything a cycle follows from.

    Raises:
        InputError: the documents folder is missing, or the base is neither a folder nor a hub id.
        OutsideError: the base is a hub id and cannot be fetched.
    """
    params = workspace.written_params()
    _follow_pipeline(workspace)
    workspace.set_quick(quick)
    require_base(workspace, params)
    workspace.probes.mkdir(parents=True, exist_ok=True)  # a stage depends on it, with or without probes
    now = _now(workspace, params, write_inputs(workspace), quick)
    write_json(workspace.unreadable, {"documents": now.unreadable})
    write_record(workspace.withheld, now.withheld)
    return now.key


def _follow_pipeline(workspace: Workspace) -> None:
    """A workspace's dvc.yaml is the project's: after an upgrade DVC would otherwise miss what stages depend on now."""
    for name in PIPELINE_FILES:
        ours, theirs = PROJECT_ROOT / name, workspace.root / name
        if theirs.is_file() and ours.is_file() and theirs.read_bytes() != ours.read_bytes():
            write_bytes(theirs, ours.read_bytes())


def look_at(workspace: Workspace, quick: bool = False) -> Now:
    """What a cycle begun now would follow from; fixes nothing, so that a cycle under way is not disturbed.

    Raises:
        InputError: the documents folder is missing, or the base is neither a folder nor a hub id.
    """
    return _now(workspace, load_params(workspace.params_file), read_inputs(workspace), quick)


def _now(workspace: Workspace, params: Params, inputs: Inputs, quick: bool) -> Now:
    documents = look_through(workspace.documents, params.ingest.extensions, workspace.looked)
    probes = digest_tree(workspace.probes)
    withheld = _withheld(workspace, documents.effective)
    in_force = digest_text(documents.digest, withheld.model_dump_json()) if withheld != Withheld() else documents.digest
    key = digest_text(in_force, probes, inputs.digest, _settings(params, quick))
    return Now(in_force, key, params.endpoint.allowance, documents.unreadable, withheld)


def _withheld(workspace: Workspace, effective: Mapping[str, str]) -> Withheld:
    """What the ledger says is withdrawn, and what holds only after today."""
    day = today()
    not_yet = {path: date for path, date in sorted(effective.items()) if date > day}
    return Withheld(tombstones=tombstones(workspace), not_yet=not_yet)


def tombstones(workspace: Workspace) -> tuple[Tombstone, ...]:
    """The documents that a decision withdrew, by id.

    Raises:
        PersonNeededError: the ledger was tampered with.
        OutsideError: the ledger is out of reach.
    """
    from tasks.ledger import state
    from tasks.places import ledger_uri

    return tuple(
        Tombstone(
            latest=DocumentVersion.model_validate(entry.evidence["latest"]),
            digests=entry.evidence["digests"],
            entry=entry.number,
        )
        for _, entry in sorted(state(ledger_uri(workspace)).withdrawn.items())
    )


def today() -> str:
    """The date in UTC, ISO 8601."""
    return datetime.now(UTC).date().isoformat()


def require_same_settings(workspace: Workspace) -> None:
    """Refuse to go on where what the stages read in ``params.yaml`` is no longer what the cycle began with.

    DVC reads that file by itself, so it would record a stage under settings that it did not work with. Anything else,
    such as ``gates`` or the teacher's budget, may be edited at any time: the cycle keeps what it began with.

    Raises:
        OutsideError: somebody edited it; the next cycle follows the new settings.
    """
    begun, now = workspace.written_params().shaping(), load_params(workspace.params_file).shaping()
    edited = [name for name in STAGE_SETTINGS if begun[name] != now[name]]
    if edited:
        raise OutsideError(
            f"{', '.join(edited)} in {workspace.params_file} changed while the cycle worked. Nothing was registered; "
            "run the same command again, and it follows the new settings."
        )


def require_same_code(workspace: Workspace, stage: str) -> None:
    """Refuse to load the code of a stage where it is no longer what the cycle began with.

    Raises:
        OutsideError: somebody upgraded it meanwhile; the next cycle works with the new code.
    """
    if not is_as_fixed(workspace, stage):
        raise OutsideError(
            f"The code of stage {stage} changed while the cycle worked. Nothing was registered; run the same command "
            "again, and it works with the new code."
        )


def require_base(workspace: Workspace, params: Params) -> None:
    """A base by hub id is fetched once, by the first cycle; what is no model is refused before it is registered."""
    folder = Path(workspace.base())
    if not folder.is_dir():
        from models.base import fetch_base

        fetch_base(params.base, folder)
    require_model(folder)


def fix_accepted(workspace: Workspace, key: str, loss_reason: str | None) -> None:
    """Write down what the documents are compared with; a cycle taken up again keeps what it began with.

    That holds on another machine too: what was fixed lies beside ``dvc.lock``, with the key it was fixed for.
    """
    goes_on = _fixed_for(workspace) == key and workspace.accepted.is_file()
    accepted = read_record(workspace.accepted, Accepted) if goes_on else _to_compare_with(workspace)
    if loss_reason is not None:
        accepted = accepted.model_copy(update={"loss_reason": loss_reason})
    if not workspace.accepted.is_file() or read_record(workspace.accepted, Accepted) != accepted:
        workspace.fixed_for.unlink(missing_ok=True)  # a kill in between leaves a file that belongs to no key
        write_long_record(workspace.accepted, accepted)
    write_json(workspace.fixed_for, {"key": key})
    write_record(workspace.cycle, Cycle(key=key))


def _to_compare_with(workspace: Workspace) -> Accepted:
    """Mostly the last snapshot is the accepted one, and is not written twice."""
    accepted, last = accepted_snapshot(workspace), last_snapshot(workspace)
    return Accepted(snapshot=accepted, last=last if last != accepted else None)


def _fixed_for(workspace: Workspace) -> str | None:
    return read_value(workspace.fixed_for, "key", str) if workspace.fixed_for.exists() else None


def last_cycle(workspace: Workspace) -> Cycle | None:
    """The last cycle, finished or not; None in a new workspace."""
    return read_record(workspace.cycle, Cycle) if workspace.cycle.is_file() else None


def unchanged(workspace: Workspace, key: str) -> CycleResult | None:
    """The result of the last cycle, if it was finished, followed from the same inputs and is in force."""
    from flows.recovery import is_settled

    cycle = last_cycle(workspace)
    if cycle is None or cycle.result is None or cycle.key != key or not is_settled(workspace):
        return None
    return cycle.result.model_copy(update={"changed": False, "seconds": {}})


def last_snapshot(workspace: Workspace) -> Snapshot | None:
    """The documents as they were read last; None in a new workspace.

    That is the last cycle's, whose data a rollback may have taken out of their place, or that of a cycle under way.
    """
    cycle = last_cycle(workspace)
    kept = workspace.snapshot_file(cycle.snapshot) if cycle is not None and cycle.snapshot else None
    file = kept if kept is not None and kept.is_file() else workspace.collection / "snapshot.json"
    return read_record(file, Snapshot) if file.is_file() else None


def known_snapshots(workspace: Workspace) -> Iterator[Snapshot]:
    """All that are kept here, the last one first, then the newest."""
    last = last_snapshot(workspace)
    if last is not None:
        yield last
    files = sorted(workspace.snapshot_file("").parent.glob("*.json"), key=lambda file: -file.stat().st_mtime)
    yield from filter(None, (read_cached(file, Snapshot) for file in files))


def is_of_folder(workspace: Workspace, snapshot: Snapshot) -> bool:
    """Whether the documents folder holds what the snapshot was made from, set aside or not.

    Raises:
        InputError: the folder is missing, or holds what no folder of documents may.
    """
    now = look_through(workspace.documents, workspace.params().ingest.extensions, workspace.looked)
    read = [(one.path, one.digest) for one in snapshot.documents]
    aside = [(one.path, one.digest) for one in snapshot.aside]
    return now.digest == snapshot_digest([*read, *aside])


def accepted_snapshot(workspace: Workspace) -> Snapshot | None:
    """The snapshot that a person or a gate agreed to last; None if none ever was.

    That is the one of the candidate promoted last, or a later one whose loss was accepted: else the same loss
    would have to be accepted anew with every change until a candidate is promoted.

    Raises:
        InputError: the snapshot's file is gone from the state folder, and no version was registered with it.
        OutsideError: another machine made it, and the registry that has it is out of reach.
    """
    entry = _last_entry(workspace, lambda entry: entry.action == Action.ACCEPT_LOSS or _is_candidates(entry))
    if entry is None:
        return None
    file = workspace.snapshot_file(str(entry.evidence["snapshot"]))
    if not file.is_file() and "run" in entry.evidence:
        from tasks.registry import fetch_snapshot

        write_record(file, fetch_snapshot(workspace, str(entry.evidence["run"])))
    return read_record(file, Snapshot)


def champion_entry(workspace: Workspace) -> LedgerEntry | None:
    """The ledger entry that made the champion."""
    from tasks.ledger import state
    from tasks.places import ledger_uri

    return state(ledger_uri(workspace)).champion


def _is_candidates(entry: LedgerEntry) -> bool:
    return entry.action in SWITCHES and entry.evidence.get("kind") == "candidate"


def _last_entry(workspace: Workspace, fits: Callable[[LedgerEntry], bool]) -> LedgerEntry | None:
    from tasks.ledger import entries
    from tasks.places import ledger_uri

    return next(filter(fits, reversed(entries(ledger_uri(workspace)))), None)


def code_digest(workspace: Workspace) -> str:
    """Digest of the code of all stages, as fixed for this cycle."""
    return digest_text(*(_digest_in(workspace.code(stage)) for stage in STAGES))


def base_digest(workspace: Workspace) -> str:
    """Digest of the base, as fixed for this cycle."""
    return _digest_in(workspace.base_digest)


def _digest_in(file: Path) -> str:
    return read_value(file, "digest", str)


def _settings(params: Params, quick: bool) -> str:
    return json.dumps([quick, params.shaping("tiny", *(() if quick else ("quick",)))])
