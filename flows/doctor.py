"""``relearn doctor``: look at everything a cycle needs, mend what is safe to mend, and say what a person has to do.

What is mended is only what a kill leaves behind and what the next cycle would mend or make again anyway. It happens
under the workspace's lock: while another process works here, this one looks and touches nothing.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from data.deployments import differences
from data.errors import HeldError, InputError, OutsideError, RelearnError, UndeletedError, quoted
from data.files import remove
from data.findings import Condition, Finding
from data.params import load_params
from data.plain_yaml import NotYamlError
from data.snapshots import scan
from data.workspace import Workspace, open_workspace
from flows.inputs import last_cycle
from flows.leftovers import (
    bytes_of,
    checkpoints_of_nobody,
    dead_note,
    dead_watch,
    first_of,
    half_built,
    interrupted_swaps,
)
from flows.running import locked

Check = Callable[[Workspace, bool], Iterator[Finding]]
"""Looks at one thing; mends it if the second argument says so."""
SPARE_BYTES = 512 * 2**20
"""What a cycle needs beside a second copy of its outputs: databases, logs, drafts."""
MENDS = "relearn doctor mends it."


def doctor(root: Path, check: bool) -> tuple[Finding, ...]:
    """Look at the workspace, and mend what is safe unless ``check`` says to look only.

    Raises:
        InputError: there is no workspace at ``root``.
    """
    workspace = open_workspace(root)
    if check:
        return _looked(workspace, mend=False)
    try:
        with locked(workspace, "relearn doctor"):
            return _looked(workspace, mend=True)
    except HeldError as held:
        says = str(held).partition(" Wait for it")[0]
        return (
            Finding(what="lock", state=Condition.OK, says=f"{says} Nothing is mended meanwhile."),
            *_looked(workspace, False),
        )


def _looked(workspace: Workspace, mend: bool) -> tuple[Finding, ...]:
    return tuple(finding for name, check in CHECKS.items() for finding in _tried(name, check, workspace, mend))


def _tried(name: str, check: Check, workspace: Workspace, mend: bool) -> list[Finding]:
    """A check that fails is a finding too, so that the others are still looked at."""
    try:
        return list(check(workspace, mend))
    except OutsideError as error:
        return [Finding(what=name, state=Condition.UNREACHED, says=str(error))]
    except RelearnError as error:
        return [Finding(what=name, state=Condition.PROBLEM, says=str(error))]
    except Exception as error:  # whatever a damaged file makes a library raise
        says = f"{type(error).__name__}: {quoted(str(error))}"
        return [Finding(what=name, state=Condition.PROBLEM, says=says)]


def _well(what: str, says: str) -> Finding:
    return Finding(what=what, state=Condition.OK, says=says)


def _mendable(what: str, found: str, mended: str, mend: bool) -> Finding:
    """What was mended, or what would be."""
    if mend:
        return Finding(what=what, state=Condition.MENDED, says=mended)
    return Finding(what=what, state=Condition.WARNING, says=found, remedy=MENDS)


# --- machine and input -----------------------------------------------------------------------------


def _machine(workspace: Workspace, _: bool) -> Iterator[Finding]:
    version = sys.version_info
    if (3, 11) <= version[:2] < (3, 13):
        yield _well("python", f"Python {version[0]}.{version[1]}.")
    else:
        says = f"Python is {version[0]}.{version[1]}; 3.11 or 3.12 is expected."
        yield Finding(what="python", state=Condition.PROBLEM, says=says, remedy="make setup PYTHON=python3.11")
    outputs = (workspace.collection, workspace.synthetic, workspace.adapter, workspace.evaluation)
    wanted = SPARE_BYTES + 3 * sum(map(bytes_of, outputs))
    free = shutil.disk_usage(workspace.root).free
    says = f"{free / 2**30:.1f} GiB free; a cycle may need {wanted / 2**30:.1f}."
    if free < wanted:
        yield Finding(what="disk", state=Condition.WARNING, says=says, remedy="relearn gc, or free the disk otherwise.")
    else:
        yield _well("disk", says)


def _settings(workspace: Workspace, _: bool) -> Iterator[Finding]:
    params = load_params(workspace.params_file)
    yield _well("params", f"{workspace.params_file.name} is valid.")
    base = Path(workspace.base())
    if not base.is_dir():
        yield _well("base", f"{params.base} is fetched by the first cycle.")
        return
    weights = 2 * sum(file.stat().st_size for file in base.glob("*.safetensors"))
    available = psutil.virtual_memory().available
    says = f"{base}; {available / 2**30:.1f} GiB of memory available, its weights take {weights / 2**30:.1f}."
    if available < weights + SPARE_BYTES:
        yield Finding(
            what="base", state=Condition.WARNING, says=says, remedy="End other programs, or take a smaller base."
        )
    else:
        yield _well("base", says)


def _documents(workspace: Workspace, _: bool) -> Iterator[Finding]:
    files = scan(workspace.documents, load_params(workspace.params_file).ingest.extensions)
    if files:
        yield _well("documents", f"{len(files)} files in {workspace.documents}.")
    else:
        says = f"{workspace.documents} holds no document."
        yield Finding(what="documents", state=Condition.PROBLEM, says=says, remedy="Put documents there.")


# --- services --------------------------------------------------------------------------------------


def _dvc(workspace: Workspace, mend: bool) -> Iterator[Finding]:
    from tasks.dvc_health import examine

    health = examine(workspace, mend)
    if health.torn:
        yield _mendable(
            "dvc.lock", "dvc.lock is torn.", "dvc.lock was torn; the next cycle brings its stages back.", mend
        )
    if health.dead_holders:
        yield _mendable("dvc locks", "A dead process holds DVC's lock.", "Locks of dead processes were dropped.", mend)
    if health.damaged:
        found = f"{health.damaged} files of DVC's cache are damaged."
        yield _mendable("dvc cache", found, f"{found} They were dropped; what lies in data/ took their place.", mend)
    if health.missing:
        says = f"{health.missing} outputs' files are missing from DVC's cache."
        yield Finding(what="dvc cache", state=Condition.WARNING, says=says, remedy="relearn run makes them again.")
    if health.remote is False:
        says = "The DVC remote does not answer."
        yield Finding(what="dvc remote", state=Condition.UNREACHED, says=says, remedy="See dvc remote list.")
    if not (health.torn or health.dead_holders or health.damaged or health.missing):
        yield _well("dvc", f"{health.objects} files in the cache are what dvc.lock says.")


def _ledger(workspace: Workspace, _: bool) -> Iterator[Finding]:
    from tasks import ledger
    from tasks.places import ledger_uri

    entries = ledger.intact_entries(ledger_uri(workspace))
    yield _well("ledger", f"{len(entries)} entries, the chain is intact.")


def _place(workspace: Workspace, mend: bool) -> Iterator[Finding]:
    """A workspace that was moved; a copy is for a person to settle, and the registry says so."""
    from tasks import relocation

    former = relocation.former_root(workspace)
    if former is None or relocation.is_copy(workspace, former):
        return
    if mend:
        relocation.follow(workspace)
    found = f"The workspace was moved from {former}"
    yield _mendable("place", f"{found}; MLflow still looks there.", f"{found}; MLflow looks here now.", mend)


def _registry(workspace: Workspace, mend: bool) -> Iterator[Finding]:
    from flows.recovery import is_settled, recover
    from tasks import registry
    from tasks.mirrors import that_differ

    yield _well("mlflow", f"{len(registry.get_versions(workspace))} versions.")
    if not is_settled(workspace):
        done = " ".join(recover(workspace)) if mend else ""
        yield _mendable("switch", "A switch to another version was begun and not ended.", done, mend)
    differing = that_differ(workspace) if mend or is_settled(workspace) else []
    for sentence in differing:  # by a person's hand, so a person says that it is put right
        yield Finding(what="mirrors", state=Condition.WARNING, says=sentence)
    if not differing:
        yield _well("mirrors", "Alias and serving pointer follow the ledger.")


def _prefect(workspace: Workspace, _: bool) -> Iterator[Finding]:
    from tasks import prefect_server

    said = prefect_server.damage(workspace)
    if said is not None:
        says = f"Prefect's database in {workspace.state / 'prefect'} is damaged ({said}); it holds the history of runs."
        yield Finding(what="prefect", state=Condition.PROBLEM, says=says, remedy="Delete that folder.")
    else:
        yield _well("prefect", "The history of runs can be read.")


def _deployments(workspace: Workspace, _: bool) -> Iterator[Finding]:
    """What a Prefect server of one's own is told, where there is a prefect.yaml."""
    file = workspace.root / "prefect.yaml"
    if not file.is_file():
        return
    try:
        found = differences(file.read_text(encoding="utf-8"), load_params(workspace.params_file).watch)
    except (NotYamlError, UnicodeDecodeError) as error:
        raise InputError(f"{file.name} cannot be read ({error}). Restore it from git or from the project.") from error
    remedy = "Let prefect.yaml and block watch of params.yaml say the same; where it is deployed: prefect deploy --all."
    for sentence in found:
        yield Finding(what="deployments", state=Condition.WARNING, says=sentence, remedy=remedy)
    if not found:
        yield _well("deployments", "prefect.yaml repeats what block watch of params.yaml says.")


def _git(workspace: Workspace, mend: bool) -> Iterator[Finding]:
    """Where cycles are commits; any other repository is a person's own."""
    if not load_params(workspace.params_file).versioning.commit:
        return
    from tasks.revisions import STALE_SECONDS, age, locks, stale_locks

    stale = stale_locks(workspace)
    for lock in stale:
        if mend:
            remove(lock)
        found = f"{lock} was left by a git that is gone"
        yield _mendable("git", f"{found}; no cycle can be committed.", f"{found}; it was taken away.", mend)
    held = [lock for lock in locks(workspace) if lock not in stale]
    for lock in held:
        says = f"{lock} is {age(lock):.0f} seconds old; while it is there no cycle can be committed."
        remedy = (
            f"Let the git that works there end; doctor takes it away after {STALE_SECONDS // 60} minutes without one."
        )
        yield Finding(what="git", state=Condition.WARNING, says=says, remedy=remedy)
    if not (stale or held):
        yield _well("git", "Cycles can be committed.")


# --- unfinished work -------------------------------------------------------------------------------


def _cycle(workspace: Workspace, _: bool) -> Iterator[Finding]:
    cycle = last_cycle(workspace)
    if cycle is not None and cycle.result is None:
        says = "The last cycle was not finished."
        yield Finding(what="cycle", state=Condition.WARNING, says=says, remedy="relearn run goes on with it.")
    else:
        yield _well("cycle", "No cycle is unfinished.")


def _leftovers(workspace: Workspace, mend: bool) -> Iterator[Finding]:
    swaps, drafts, orphans = interrupted_swaps(workspace), half_built(workspace), checkpoints_of_nobody(workspace)
    for target in swaps:
        if mend:
            from data.files import take_back

            take_back(target)
        yield _mendable("leftovers", f"{target} lies aside.", f"{target} was put back where it belongs.", mend)
    for kind, paths in (("half-written files", drafts), ("checkpoints of finished cycles", orphans)):
        yield from _swept(kind, paths, mend)
    if not (swaps or drafts or orphans):
        yield _well("leftovers", "None.")


def _swept(kind: str, paths: list[Path], mend: bool) -> Iterator[Finding]:
    """Delete them; what the operating system does not let go is a finding of its own."""
    size, stays = sum(map(bytes_of, paths)), list[str]()
    for path in paths if mend else ():
        try:
            remove(path)
        except UndeletedError as error:
            stays.append(str(error))
    if len(paths) > len(stays):
        found = f"{len(paths) - len(stays)} {kind}, {size - sum(map(bytes_of, paths)) if mend else size:,} bytes"
        yield _mendable("leftovers", f"{found}.", f"{found}, were deleted.", mend)
    if stays:
        yield Finding(what="leftovers", state=Condition.WARNING, says=" ".join(first_of(stays)))


def _lock_note(workspace: Workspace, mend: bool) -> Iterator[Finding]:
    note = dead_note(workspace)
    if note is None:
        return
    holder = json.loads(note.read_text())
    if mend:
        note.unlink(missing_ok=True)
    says = f"The lock's note speaks of process {holder['pid']} ({holder['purpose']}), which is gone"
    yield _mendable("lock", f"{says}.", f"{says}; it was taken away.", mend)


def _watch(workspace: Workspace, _: bool) -> Iterator[Finding]:
    """Only where one began and did not end by itself; whether one should run is a person's to say."""
    note = dead_watch(workspace)
    if note is not None:
        holder = json.loads(note.read_text())
        says = f"relearn watch (process {holder['pid']}, since {holder['since']}) was killed; nothing begins cycles."
        yield Finding(what="watch", state=Condition.WARNING, says=says, remedy=f"Start it again, or delete {note}.")


CHECKS: dict[str, Check] = {
    "machine": _machine,
    "params": _settings,
    "documents": _documents,
    "lock": _lock_note,
    "dvc": _dvc,
    "git": _git,
    "ledger": _ledger,
    "place": _place,
    "mlflow": _registry,
    "prefect": _prefect,
    "deployments": _deployments,
    "cycle": _cycle,
    "leftovers": _leftovers,
    "watch": _watch,
}
