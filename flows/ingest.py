"""Stage ``ingest``: documents to snapshot. Read, check, quarantine, recognise, write the collection."""

from collections.abc import Iterator, Sequence
from itertools import islice

from data.collection import Reading, identify, make_snapshot, read_folder, write_collection
from data.documents import Parsed, is_links_only
from data.expectations import CollectionShares, DocumentCheck
from data.files import building, read_record, write_json
from data.params import IngestParams
from data.records import Accepted, DocumentVersion, Quarantined, Snapshot
from data.report_records import IngestReport
from data.screening import count_contacts, find_secrets
from data.snapshots import diff, unread_endings
from data.workspace import Workspace
from tasks.validation import check_collection, check_documents

NAMED = 5
"""Endings or paths that a warning names."""


def ingest(workspace: Workspace) -> IngestReport:
    """Turn the documents folder into the collection.

    Raises:
        InputError: no usable document, or too large a share had to be quarantined.
        PersonNeededError: too many documents of the last accepted snapshot are gone.
    """
    params = workspace.params().ingest
    accepted = read_record(workspace.accepted, Accepted)
    readings = list(read_folder(workspace.documents, params, workspace.conversions))
    checks = check_files(readings)
    quarantined = check_documents(workspace, checks, params)
    snapshot, texts = _snapshot(readings, quarantined, accepted, params)
    shares = _shares(accepted.snapshot, snapshot, len(readings))
    warnings, loss_accepted = check_collection(workspace, shares, params, accepted.loss_reason is not None)
    report = IngestReport(
        snapshot=snapshot.digest,
        documents=len(snapshot.documents),
        quarantined=len(quarantined),
        contacts=sum(check.contacts for check in checks),
        warnings=(*warnings, *_unread(workspace, params)),
        loss_accepted=loss_accepted,
    )
    with building(workspace.collection) as draft:
        write_collection(draft, snapshot, texts, report)
    write_json(workspace.metrics("ingest"), _metrics(report, shares))
    return report


def _unread(workspace: Workspace, params: IngestParams) -> Iterator[str]:
    """What lies in the folder and no reader looked at, so that nobody thinks it was learned."""
    endings = unread_endings(workspace.documents, params.extensions)
    if endings:
        named = ", ".join(f"{ending} ({count})" for ending, count in islice(endings.items(), NAMED))
        yield (
            f"{sum(endings.values())} files in {workspace.documents.name}/ were not read, since their endings are not "
            f"in ingest.extensions: {named}{', …' if len(endings) > NAMED else ''}."
        )


def check_files(readings: Sequence[Reading]) -> list[DocumentCheck]:
    """What the checks need to know of every file, in order; the first of two equal files is the original."""
    first: dict[str, str] = {}
    checks = []
    for reading in readings:
        original = first.setdefault(reading.digest, reading.path)
        parsed = reading.parsed
        checks.append(
            DocumentCheck(
                path=reading.path,
                digest=reading.digest,
                bytes=reading.size,
                unreadable=reading.unreadable,
                characters=len(parsed.text) if parsed else 0,
                front_matter=parsed.front_matter if parsed else "absent",
                duplicate_of=original if original != reading.path else None,
                secrets=find_secrets(reading.raw),
                contacts=count_contacts(reading.raw),
                links_only=parsed is not None and is_links_only(parsed.text),
            )
        )
    return checks


def _snapshot(
    readings: Sequence[Reading], quarantined: Sequence[Quarantined], accepted: Accepted, params: IngestParams
) -> tuple[Snapshot, dict[str, str]]:
    aside = {document.path for document in quarantined}
    usable: list[tuple[Reading, Parsed]] = [
        (reading, reading.parsed) for reading in readings if reading.parsed is not None and reading.path not in aside
    ]
    documents = identify(usable, _known_versions(accepted), params.similarity)
    by_path = {reading.path: parsed.text for reading, parsed in usable}
    texts = {document.id: by_path[document.path] for document in documents}
    return make_snapshot(documents, quarantined), texts


def _known_versions(accepted: Accepted) -> tuple[DocumentVersion, ...]:
    """The newest known version of every document, those included that were set aside in between."""
    snapshots = (accepted.snapshot, accepted.last)
    newest = {document.id: document for snapshot in snapshots if snapshot for document in snapshot.documents}
    return tuple(newest.values())


def _shares(before: Snapshot | None, after: Snapshot, found: int) -> CollectionShares:
    changes = diff(before, after)
    return CollectionShares(
        found=found,
        quarantined=len(after.quarantined),
        accepted=len(before.documents) if before else 0,
        lost=len(changes.withdrawn),
        changed=len(changes.changed),
    )


def _metrics(report: IngestReport, shares: CollectionShares) -> dict[str, float]:
    return {
        "documents": report.documents,
        "quarantined": report.quarantined,
        "contacts": report.contacts,
        "lost_share": round(shares.lost_share, 6),
        "changed_share": round(shares.changed_share, 6),
    }
