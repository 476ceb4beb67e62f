"""Stage ``ingest``: documents to snapshot. Read, check, quarantine, recognise, write the collection."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from data.collection import Reading, identify, make_snapshot, read_folder, write_collection
from data.documents import Parsed, is_links_only
from data.expectations import CollectionShares, DocumentCheck
from data.files import building, read_record, write_json
from data.injections import find_instruction
from data.language import find_language
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
    readings, checks = check_files(
        read_folder(workspace.documents, params, workspace.conversions), params.allowed_instructions
    )
    quarantined = check_documents(workspace, checks, params)
    snapshot, texts = _snapshot(readings, quarantined, accepted, params)
    shares = _shares(accepted.snapshot, snapshot, len(readings))
    others = _other_languages(snapshot, texts, params.language)
    warnings, loss_accepted = check_collection(workspace, shares, params, accepted.loss_reason is not None)
    report = IngestReport(
        snapshot=snapshot.digest,
        documents=len(snapshot.documents),
        quarantined=len(quarantined),
        contacts=sum(check.contacts for check in checks),
        warnings=(*warnings, *_foreign(others, params.language), *_unread(workspace, params)),
        loss_accepted=loss_accepted,
        other_languages=others,
    )
    with building(workspace.collection) as draft:
        write_collection(draft, snapshot, texts, report)
    write_json(workspace.metrics("ingest"), _metrics(report, shares))
    return report


def _other_languages(snapshot: Snapshot, texts: dict[str, str], language: str) -> dict[str, str]:
    """Path -> language of the documents that are certainly in another than the line's."""
    if language == "any":
        return {}
    found = {document.path: find_language(texts[document.id]) for document in snapshot.documents}
    return {path: other for path, other in found.items() if other is not None and other != language}


def _foreign(others: dict[str, str], language: str) -> Iterator[str]:
    if others:
        named = ", ".join(f"{path} ({other})" for path, other in islice(others.items(), NAMED))
        yield (
            f"{len(others)} document{'s are' if len(others) > 1 else ' is'} not in the language (ingest.language: "
            f"{language}) and learned all the same: {named}{', …' if len(others) > NAMED else ''}."
        )


def _unread(workspace: Workspace, params: IngestParams) -> Iterator[str]:
    """What lies in the folder and no reader looked at, so that nobody thinks it was learned."""
    endings = unread_endings(workspace.documents, params.extensions)
    if endings:
        count = sum(endings.values())
        named = ", ".join(f"{ending} ({number})" for ending, number in islice(endings.items(), NAMED))
        yield (
            f"{count} file{'s' if count > 1 else ''} in {workspace.documents.name}/ not read, ending not in "
            f"ingest.extensions: {named}{', …' if len(endings) > NAMED else ''}."
        )


def check_files(readings: Iterable[Reading], allowed: Sequence[str] = ()) -> tuple[list[Reading], list[DocumentCheck]]:
    """Every file without its raw text, and what the checks need to know of it, in order.

    The first of two equal files is the original.
    """
    first: dict[str, str] = {}
    kept, checks = [], []
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
                instruction=find_instruction(parsed.text, allowed) if parsed else None,
            )
        )
        kept.append(replace(reading, raw=""))
    return kept, checks


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
