"""``relearn gc``: free space, and keep what a rollback needs.

Kept whole are champion, challenger, base, the version of the last cycle and the newest that were or could be promoted:
their weights, and in DVC's cache their documents, rows and adapters, so that they can be promoted at once and a return
to their documents costs no training. Of every other version the record, the figures and the reports stay.

A kill at any moment leaves everything usable: what is gone was needed by no kept version, and is made again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data.collection import known_collection
from data.cycle_records import LedgerEntry
from data.decisions import SWITCHES, Action
from data.errors import UndeletedError
from data.evaluation_records import Verdict
from data.files import read_record, remove
from data.records import Accepted, Record, Snapshot
from data.workspace import Workspace, open_workspace
from flows.inputs import base_digest, last_cycle, last_snapshot
from flows.leftovers import bytes_of, checkpoints_of_nobody, first_of, half_built
from flows.recovery import recover
from flows.running import locked
from tasks import ledger, registry, teacher, validation, versioning, weights
from tasks.accepted import counted
from tasks.dvc_cache import Cache, recorded_input, recorded_outputs
from tasks.places import ledger_uri
from tasks.registry import VersionInfo
from tasks.tracking import fetched

UNTOLD = (
    "DVC's cache was left alone: a kept version does not say what it needs there, a list in it is damaged, or dvc.lock "
    "or a .dvc file cannot be read. See relearn doctor and dvc status."
)
SHARED = "DVC's cache in {place} was left alone: it lies outside the workspace, and others may need what is in it."


class Freed(Record):
    """What was freed, or would be."""

    bytes: dict[str, int]
    """By kind."""
    kept: tuple[int, ...]
    """Versions that can be promoted at once."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Garbage:
    """One thing that nothing kept needs."""

    kind: str
    size: int
    """Bytes."""
    free: Callable[[], None]


@dataclass(frozen=True)
class Kept:
    """What is kept, and what cannot be told."""

    versions: tuple[VersionInfo, ...]
    others: tuple[VersionInfo, ...]
    objects: frozenset[str] | None
    """Digests in DVC's cache; None: it cannot be told what is needed there, so nothing is freed."""
    snapshots: frozenset[str]
    notes: tuple[str, ...]
    """Why something was left alone."""


def collect_garbage(root: Path, dry_run: bool) -> Freed:
    """Free what nothing kept needs; what cannot be deleted is noted, and the rest is freed nevertheless.

    Raises:
        OutsideError: another process works in the workspace, or MLflow or DVC is out of reach.
        PersonNeededError: the ledger was tampered with.
    """
    workspace, stays = open_workspace(root), list[str]()
    with nullcontext() if dry_run else locked(workspace, "relearn gc"):
        # first what no database is needed for: a full disk refuses them what they write
        sizes = _swept((find(workspace) for find in LEFT_BY_KILLS), dry_run, stays)
        if not dry_run:
            recover(workspace)
        kept = _kept(workspace)
        sizes += _swept((find(workspace, kept) for find in UNNEEDED), dry_run, stays)
    return Freed(
        bytes={kind: sizes[kind] for kind in KINDS},
        kept=tuple(info.version for info in kept.versions),
        notes=(*kept.notes, *first_of(stays)),
    )


def _swept(found: Iterable[Iterator[Garbage]], dry_run: bool, stays: list[str]) -> Counter[str]:
    """Free what was found; bytes by kind. Adds a sentence to ``stays`` for each that could not be deleted."""
    sizes: Counter[str] = Counter()
    for garbage in (one for one_kind in found for one in list(one_kind)):
        try:
            if not dry_run:
                garbage.free()
            sizes[garbage.kind] += garbage.size
        except UndeletedError as error:
            stays.append(str(error))
    return sizes


# --- what is kept ----------------------------------------------------------------------------------


def _kept(workspace: Workspace) -> Kept:
    every = registry.get_versions(workspace)
    numbers = kept_numbers(workspace, every)
    kept = tuple(info for info in every if info.version in numbers)
    cache = versioning.cache(workspace)
    is_ours = cache.is_below(workspace.root)
    objects = needed_objects(workspace, cache, kept) if is_ours else None
    return Kept(
        versions=kept,
        others=tuple(info for info in every if info.version not in numbers),
        objects=objects,
        snapshots=_needed_snapshots(workspace, kept),
        notes=() if objects is not None else (UNTOLD,) if is_ours else (SHARED.format(place=cache.root),),
    )


def kept_numbers(workspace: Workspace, every: list[VersionInfo]) -> set[int]:
    """Versions that stay whole."""
    state, cycle = ledger.state(ledger_uri(workspace)), last_cycle(workspace)
    always = {
        state.version,
        state.intent.to_version if state.intent else None,
        registry.get_alias(workspace, registry.CHALLENGER),
        cycle.result.version if cycle and cycle.result else None,
        *(info.version for info in every if info.kind == "base"),
    }
    able = [info.version for info in every if info.verdict is Verdict.PROMOTE or info.version in state.served]
    newest = [version for version in reversed(able) if version not in always][: workspace.params().gc.keep_versions]
    return {version for version in (*always, *newest) if version is not None}


def needed_objects(workspace: Workspace, cache: Cache, kept: tuple[VersionInfo, ...]) -> frozenset[str] | None:
    """What is needed in DVC's cache: outputs, documents as kept versions read them, and what people added themselves.

    Documents are there only where cycles are commits, and a clone holds what was pulled; of these a list that is not
    there needs nothing.
    """
    outputs, documents = _recorded(workspace, workspace.dvc_lock)
    cycle = last_cycle(workspace)
    if cycle is not None and cycle.result is None and not outputs:
        return None  # a kill or a full disk tore the list in mid-cycle: what finished stages wrote must not go
    added = versioning.added_outputs(workspace, [f"v{info.version}" for info in kept])
    if added is None:
        return None
    documents |= added
    for info in kept:
        if info.kind == "candidate":
            with fetched(workspace, info.run, registry.LOCK_ARTIFACT) as lock:
                if lock is None:
                    return None
                made, read = _recorded(workspace, lock)
            outputs, documents = outputs | made, documents | read
    if any(cache.is_damaged(one) for one in outputs | documents if one.endswith(".dir")):
        return None
    if cache.missing(out for out in outputs if out.endswith(".dir")):
        return None
    return frozenset(one for digest in outputs | documents for one in cache.below(digest))


def _recorded(workspace: Workspace, lock: Path) -> tuple[set[str], set[str]]:
    """Digests of what stages wrote, and of the documents folder as it was read."""
    outputs = {out for outs in recorded_outputs(lock).values() for out in outs}
    folder = workspace.documents.relative_to(workspace.root).as_posix()
    documents = recorded_input(lock, "ingest", folder)
    return outputs, {documents} if documents else set()


def _needed_snapshots(workspace: Workspace, kept: tuple[VersionInfo, ...]) -> frozenset[str]:
    entries = ledger.intact_entries(ledger_uri(workspace))
    last = last_snapshot(workspace)
    return frozenset(
        {info.snapshot for info in kept if info.snapshot}
        | {str(entry.evidence["snapshot"]) for entry in entries if _agreed_to(entry) and entry.evidence.get("snapshot")}
        | ({last.digest} if last else set())
    )


def _agreed_to(entry: LedgerEntry) -> bool:
    """Whether later documents may be compared with the entry's."""
    return entry.action in SWITCHES or entry.action == Action.ACCEPT_LOSS


# --- what is not -----------------------------------------------------------------------------------


def _file(kind: str, path: Path) -> Garbage:
    return Garbage(kind, bytes_of(path), partial(remove, path))


def _checkpoints(workspace: Workspace) -> Iterator[Garbage]:
    yield from (_file("checkpoints", path) for path in checkpoints_of_nobody(workspace))


def _drafts(workspace: Workspace) -> Iterator[Garbage]:
    yield from (_file("temporary files", path) for path in half_built(workspace))


def _unfinished_objects(workspace: Workspace, _: Kept) -> Iterator[Garbage]:
    cache = versioning.cache(workspace)
    if cache.is_below(workspace.root):
        yield from (_file("temporary files", path) for path in cache.unfinished())


def _weights(workspace: Workspace, kept: Kept) -> Iterator[Garbage]:
    for info in kept.others:
        size = weights.stored_bytes(workspace, info)
        if size:
            yield Garbage("weights of versions", size, partial(weights.free, workspace, info))
        yield _file("weights of versions", workspace.state / "models" / str(info.version))


def _objects(workspace: Workspace, kept: Kept) -> Iterator[Garbage]:
    if kept.objects is None:
        return
    cache = versioning.cache(workspace)
    for file, outputs in cache.runs():
        if not set(outputs) <= kept.objects:
            yield Garbage("DVC's cache", bytes_of(file), partial(cache.forget, file))
    for digest, file in cache.objects():
        if digest not in kept.objects:
            yield _file("DVC's cache", file)


def _checks(workspace: Workspace, _: Kept) -> Iterator[Garbage]:
    old = validation.old_results(workspace, workspace.params().gc.keep_checks)
    yield from (_file("results of checks", path) for path in old)


def _lessons(workspace: Workspace, kept: Kept) -> Iterator[Garbage]:
    old = teacher.unneeded(workspace.teacher_cache, _needed_documents(workspace, kept))
    yield from (_file("teacher's cache", path) for path in old)


def _needed_documents(workspace: Workspace, kept: Kept) -> set[str]:
    files = [workspace.snapshot_file(digest) for digest in kept.snapshots]
    snapshots = [read_record(file, Snapshot) for file in files if file.is_file()]
    last = last_snapshot(workspace) or Snapshot(digest="", documents=())
    _, known = known_collection(workspace.base(), workspace.params().ingest, last)
    taught = {document.digest for snapshot in (*snapshots, last) for document in snapshot.documents}
    return taught | {source.digest for source in known}


def _snapshots(workspace: Workspace, kept: Kept) -> Iterator[Garbage]:
    needed = _compared(workspace, kept)
    for file in workspace.snapshot_file("any").parent.glob("*.json"):
        if file.stem not in needed:
            yield _file("snapshots", file)


def _texts(workspace: Workspace, kept: Kept) -> Iterator[Garbage]:
    """What reports compare with; a report on documents whose text is gone says so."""
    needed = _compared(workspace, kept)
    for file in workspace.texts_file("any").parent.glob("*"):
        if file.stem not in needed:
            yield _file("texts of documents", file)


def _compared(workspace: Workspace, kept: Kept) -> frozenset[str]:
    """Digests of the snapshots that others are compared with."""
    accepted = read_record(workspace.accepted, Accepted) if workspace.accepted.is_file() else Accepted()
    return kept.snapshots | {one.digest for one in (accepted.snapshot, accepted.last) if one}


def _conversions(workspace: Workspace, kept: Kept) -> Iterator[Garbage]:
    """Texts of office files; the next cycle reads again what it misses."""
    last = last_snapshot(workspace)
    aside = {document.digest for document in last.quarantined} if last else set()
    needed = _needed_documents(workspace, kept) | aside
    for file in workspace.conversions.glob("*.json"):
        if file.stem.partition("-")[0] not in needed:
            yield _file("texts of office files", file)


def _spectra(workspace: Workspace, kept: Kept) -> Iterator[Garbage]:
    """Spectra of the base and of versions that the next cycle would not look at."""
    if not workspace.base_digest.is_file():
        return
    base = base_digest(workspace)
    counts = {info.version for info in counted(workspace, (*kept.versions, *kept.others), base)}
    needed = {workspace.spectra_file(version) for version in counts}
    newest = sorted(workspace.base_spectra.glob("*.json"), key=lambda file: file.stat().st_mtime)[-1:]
    for file in (*workspace.spectra_file(0).parent.glob("*.json"), *workspace.base_spectra.glob("*.json")):
        if file not in needed and file not in newest:
            yield _file("spectra", file)


LEFT_BY_KILLS: tuple[Callable[[Workspace], Iterator[Garbage]], ...] = (_checkpoints, _drafts)
"""Told without a database."""
UNNEEDED: tuple[Callable[[Workspace, Kept], Iterator[Garbage]], ...] = (
    _unfinished_objects,
    _weights,
    _objects,
    _checks,
    _lessons,
    _texts,
    _conversions,
    _spectra,
    _snapshots,
)
"""What nothing kept needs."""
KINDS = (
    "checkpoints",
    "temporary files",
    "weights of versions",
    "DVC's cache",
    "results of checks",
    "teacher's cache",
    "texts of documents",
    "texts of office files",
    "spectra",
    "snapshots",
)
