"""The decisions on each version, beside what they rest on: ``approvals.jsonl`` in its evidence folder.

The ledger's own entries, one a line, as ``relearn history --export`` writes them. The file grows with every decision,
so that the folder's list, which the ledger signs, does not name it; each line carries its digest in the ledger. It is
attached to the version's run before it is written: what a kill leaves undone is made up for with the next decision,
or by the next cycle.
"""

from collections.abc import Iterator, Sequence

from data.cycle_records import LedgerEntry
from data.decisions import Action
from data.files import write_bytes
from data.workspace import Workspace
from tasks import ledger, registry
from tasks.evidence import FOLDER
from tasks.ledger_export import as_lines
from tasks.places import ledger_uri
from tasks.tracking import reaching

APPROVALS = "approvals.jsonl"
DECIDE = frozenset({Action.JUDGE, Action.GATES, Action.APPROVE, Action.PROMOTE, Action.ROLLBACK, Action.REJECT})
"""What is a decision on a version; a promotion against its verdict says so in its evidence."""


def keep_approvals(workspace: Workspace, *versions: int | None) -> None:
    """Let the folders of these registered versions hold the ledger's decisions on them; none named: of all.

    Nothing is written, and MLflow is not asked, where they do.

    Raises:
        PersonNeededError: the ledger was tampered with.
        OutsideError: MLflow or the ledger is out of reach, or the disk refuses.
    """
    entries = ledger.intact_entries(ledger_uri(workspace))
    named = frozenset(filter(None, versions)) or frozenset(_decided(entries))
    texts = {version: as_lines(list(_about(entries, version))).encode() for version in sorted(named)}
    files = {version: workspace.evidence(version) / APPROVALS for version in texts}
    stale = [version for version, file in files.items() if not file.is_file() or file.read_bytes() != texts[version]]
    if not stale:
        return
    runs = {info.version: info.run for info in registry.get_versions(workspace)}
    with reaching(workspace) as client:
        for version in filter(runs.__contains__, stale):
            client.log_text(runs[version], texts[version].decode(), f"{FOLDER}/{APPROVALS}")
            write_bytes(files[version], texts[version])


def _decided(entries: Sequence[LedgerEntry]) -> Iterator[int]:
    for entry in entries:
        if entry.action in DECIDE and entry.to_version is not None:
            yield entry.to_version
        yield from map(int, entry.evidence.get("rulings", ()))


def _about(entries: Sequence[LedgerEntry], version: int) -> Iterator[LedgerEntry]:
    """The decisions by which a version was judged, judged otherwise, approved, rejected, let serve or replaced.

    An entry on other gates holds the rulings on all versions; where they change nothing for this one it is left out.
    """
    verdict = None
    for entry in entries:
        said = entry.evidence["rulings"].get(str(version), {}) if entry.action == Action.GATES else entry.evidence
        before = verdict
        if entry.action == Action.GATES or (entry.action == Action.JUDGE and entry.to_version == version):
            verdict = said.get("verdict", verdict)
        named = entry.action in DECIDE and version in (entry.from_version, entry.to_version)
        if named or verdict != before:
            yield entry
