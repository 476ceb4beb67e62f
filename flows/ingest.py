"""Stage ``ingest``: documents to snapshot. Read, check, quarantine, recognise, write the collection."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from data.collection import Reading, candidate, identify, read_folder, write_collection
from data.documents import is_links_only
from data.expectations import CollectionShares, DocumentCheck
from data.files import building, read_record, shortened, write_json
from data.identity import Candidate
from data.injections import find_instruction
from data.language import find_language
from data.param_stages import IngestParams
from data.records import Accepted, DocumentVersion, LeftOut, Quarantined, Snapshot
from data.report_records import IngestReport
from data.screening import count_contacts, find_secrets
from data.snapshots import forget, losses, snapshot_digest, unread_endings, unreadable_digest
from data.spool import Spool
from data.withheld import BY_ITSELF, Withheld, read_withheld
from data.workspace import Workspace
from tasks.validation import check_collection, check_documents

NAMED = 5
"""Endings or paths that a warning names."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What stays in memory of a file that was read."""

    check: DocumentCheck
    candidate: Candidate | None = None
    """None: no text could be had from it."""
    text: int = 0
    """Number of its text in the spool."""
    language: str | None = None
    """None where it cannot be told, or does not matter."""
    withdrawn: bool = False
    """It says so itself."""


def ingest(workspace: Workspace) -> IngestReport:
    """Turn the documents folder into the collection.

    Raises:
        InputError: no usable document, or too large a share had to be quarantined.
        PersonNeededError: too many documents of the last accepted snapshot are gone.
    """
    params = workspace.params().ingest
    reading = closing(read_folder(workspace.documents, params, workspace.conversions))
    with Spool(workspace.collection.parent) as texts, reading as readings:
        taken = list(take_in(readings, params, texts))
        forget(workspace.looked, _refused(taken))
        quarantined = check_documents(workspace, [one.check for one in taken if not one.withdrawn], params)
        usable = _usable(taken, quarantined)
        candidates = [one.candidate for one in usable.values() if one.candidate is not None]
        accepted, withheld = read_record(workspace.accepted, Accepted), read_withheld(workspace.withheld)
        known = _known_versions(accepted, withheld)
        whole = identify(candidates, known, params.similarity, quarantined)
        withdrawn = {path for path, one in usable.items() if one.withdrawn}
        snapshot = in_force(whole, withheld, withdrawn, accepted.newest)
        shares = _shares(accepted.snapshot, snapshot, withheld, len(taken))
        warnings, loss_accepted = check_collection(workspace, shares, params, accepted.loss_reason is not None)
        others = _other_languages({one.path: usable[one.path] for one in snapshot.documents}, params.language)
        report = IngestReport(
            snapshot=snapshot.digest,
            documents=len(snapshot.documents),
            quarantined=len(snapshot.quarantined),
            contacts=sum(one.check.contacts for one in taken),
            warnings=(
                *warnings,
                *_told(snapshot),
                *_foreign(others, params.language),
                *_unread(workspace, params),
            ),
            loss_accepted=loss_accepted,
            other_languages=others,
        )
        with building(workspace.collection) as draft:
            write_collection(draft, snapshot, lambda document: texts.text(usable[document.path].text), report)
    write_json(workspace.metrics("ingest"), _metrics(report, shares))
    return report


def take_in(readings: Iterable[Reading], params: IngestParams, texts: Spool) -> Iterator[Taken]:
    """What is known of every file, in order, while its text goes to the spool.

    The first of two equal files is the original.
    """
    first: dict[str, str] = {}
    for reading in readings:
        original = first.setdefault(reading.digest, reading.path)
        check = _check(reading, original, params)
        if reading.parsed is None:
            yield Taken(check)
            continue
        text = reading.parsed.text
        language = None if params.language == "any" else find_language(text)
        taken = candidate(reading, reading.parsed)
        yield Taken(check, taken, texts.add(text), language, reading.parsed.withdrawn)


def _check(reading: Reading, original: str, params: IngestParams) -> DocumentCheck:
    """What the checks need to know of a file."""
    parsed = reading.parsed
    return DocumentCheck(
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
        instruction=find_instruction(parsed.text, params.allowed_instructions) if parsed else None,
    )


def _refused(taken: Sequence[Taken]) -> Iterator[str]:
    """Paths of the files that the operating system did not let be read."""
    suspects = (one.check for one in taken if one.check.unreadable is not None)
    return (check.path for check in suspects if check.digest == unreadable_digest(check.path))


def _usable(taken: Sequence[Taken], quarantined: Sequence[Quarantined]) -> dict[str, Taken]:
    """What has a text and was not set aside, by path."""
    aside = {document.path for document in quarantined}
    return {one.check.path: one for one in taken if one.candidate is not None and one.check.path not in aside}


def _other_languages(usable: Mapping[str, Taken], language: str) -> dict[str, str]:
    """Path -> language of the documents that are certainly in another than the line's."""
    found = {path: one.language for path, one in usable.items()}
    return {path: other for path, other in found.items() if other is not None and other != language}


def _foreign(others: dict[str, str], language: str) -> Iterator[str]:
    if others:
        named = ", ".join(f"{shortened(path)} ({other})" for path, other in islice(others.items(), NAMED))
        yield (
            f"{len(others)} document{'s are' if len(others) > 1 else ' is'} not in the language (ingest.language: "
            f"{language}) and learned all the same: {named}{', …' if len(others) > NAMED else ''}."
        )


def _unread(workspace: Workspace, params: IngestParams) -> Iterator[str]:
    """What lies in the folder and no reader looked at, so that nobody thinks it was learned."""
    endings = unread_endings(workspace.documents, params.extensions)
    if endings:
        count = sum(endings.values())
        named = ", ".join(f"{shortened(ending)} ({number})" for ending, number in islice(endings.items(), NAMED))
        yield (
            f"{count} file{'s' if count > 1 else ''} in {workspace.documents.name}/ not read, ending not in "
            f"ingest.extensions: {named}{', …' if len(endings) > NAMED else ''}."
        )


def _known_versions(accepted: Accepted, withheld: Withheld) -> tuple[DocumentVersion, ...]:
    """The newest known version of every document, those included that were set aside or withdrawn in between."""
    newest = {stone.latest.id: stone.latest for stone in withheld.tombstones}
    for snapshot in filter(None, (accepted.snapshot, accepted.last)):
        newest |= {document.id: document for document in (*snapshot.documents, *snapshot.withheld)}
    return tuple(newest.values())


def in_force(whole: Snapshot, withheld: Withheld, withdrawn: Container[str], last: Snapshot | None) -> Snapshot:
    """The snapshot without what is withheld.

    Args:
        whole: all documents that could be read and were not set aside.
        withheld: what the cycle was told to leave out.
        withdrawn: paths of documents that say themselves that they are withdrawn.
        last: the last snapshot; None in a new workspace.
    """
    reasons = {one.path: BY_ITSELF if one.path in withdrawn else withheld.why(one) for one in whole.documents}
    kept = tuple(one for one in whole.documents if reasons[one.path] is None)
    aside = [_left_out(one, why) for one in whole.documents if (why := reasons[one.path]) is not None]
    remains = list(_remains(whole, withheld))
    lying = {one.path for one in remains}
    return Snapshot(
        digest=snapshot_digest((one.path, one.digest) for one in kept),
        documents=kept,
        quarantined=tuple(one for one in whole.quarantined if one.path not in lying),
        withheld=tuple(sorted((*aside, *remains), key=lambda one: one.path)),
        retired=_retired(whole, last) if last is not None else (),
    )


def _retired(whole: Snapshot, last: Snapshot) -> tuple[str, ...]:
    """Documents that had withdrawn themselves when they were seen last and are gone now."""
    ids = {*last.retired, *(one.id for one in last.withheld if one.reason == BY_ITSELF)}
    return tuple(sorted(ids - {one.id for one in whole.documents}))


def _remains(whole: Snapshot, withheld: Withheld) -> Iterator[LeftOut]:
    """Where a withdrawn document lay and nothing usable lies now: no accident either, and nothing to mend."""
    ids = {one.id for one in whole.documents}
    buried = {one.path: one for one in (stone.latest for stone in withheld.tombstones) if one.id not in ids}
    for file in whole.quarantined:
        if file.path in buried:
            latest = buried[file.path].model_copy(update={"digest": file.digest})
            yield _left_out(latest, withheld.why(latest) or "")


def _left_out(document: DocumentVersion, reason: str) -> LeftOut:
    return LeftOut(**document.model_dump(), reason=reason)


def _told(snapshot: Snapshot) -> Iterator[str]:
    """What is withheld is told, so that nobody looks for it among the answers."""
    if snapshot.withheld:
        named = ", ".join(f"{shortened(one.path)} ({one.reason})" for one in snapshot.withheld[:NAMED])
        more = ", …" if len(snapshot.withheld) > NAMED else ""
        yield f"{len(snapshot.withheld)} in the folder left out: {named}{more}."


def _shares(before: Snapshot | None, after: Snapshot, withheld: Withheld, found: int) -> CollectionShares:
    changes = losses(before, after, withheld)
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
