"""Dated snapshots of one collection as an experiment takes them: what each states, and what it changes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from data.changes import asked_as, compare_facts, new_statements
from data.collection import as_collection
from data.errors import InputError
from data.extraction import extract_facts, extract_statements
from data.params import Params
from data.probes import plain_collection
from data.records import DocumentVersion, Fact, FactChange, Standing, Statement


@dataclass(frozen=True)
class Year:
    """One snapshot."""

    name: str
    """``2021``, or the whole date where two snapshots are of one year."""
    date: str
    """Name of its folder, as YYYY-MM-DD."""
    digest: str
    documents: int
    facts: tuple[Fact, ...]
    statements: tuple[Statement, ...]
    text: str
    """All of it as quotes are looked up in it."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Where a document lies, by its id."""


def read_years(stream: Path, params: Params, most: int | None = None) -> tuple[Year, ...]:
    """The snapshots of a stream in order, the first ``most`` of them; documents keep their ids from one to the next.

    Raises:
        InputError: there are fewer than two.
    """
    folders = sorted(folder for folder in stream.glob("????-??-??") if folder.is_dir() and _is_date(folder.name))[:most]
    if len(folders) < 2:
        raise InputError(
            f"{stream} holds {len(folders)} dated snapshots, and two are needed. Set tiny.stream to others."
        )
    years = [folder.name[:4] for folder in folders]
    alone = len(set(years)) == len(years)
    return read_snapshots([(folder.name[:4] if alone else folder.name, folder) for folder in folders], params)


def read_snapshots(folders: Iterable[tuple[str, Path]], params: Params) -> tuple[Year, ...]:
    """Collections in order, by name; documents keep their ids from one to the next."""
    known: tuple[DocumentVersion, ...] = ()
    found = []
    for name, folder in folders:
        snapshot, sources = as_collection(folder, params.ingest, known)
        known = snapshot.documents
        found.append(
            Year(
                name=name,
                date=folder.name,
                digest=snapshot.digest,
                documents=len(sources),
                facts=tuple(fact for source in sources for fact in extract_facts(source, params.synthesize)),
                statements=tuple(one for source in sources for one in extract_statements(source)),
                text=plain_collection(sources),
                paths={document.id: document.path for document in known},
            )
        )
    return tuple(found)


def _is_date(name: str) -> bool:
    try:
        date.fromisoformat(name)
    except ValueError:
        return False
    return True


def changed(now: Year, before: Year) -> tuple[tuple[FactChange, ...], tuple[Statement, ...]]:
    """Every fact with its standing against an earlier year, and the statements that are not in it."""
    return compare_facts(before.facts, now.facts), new_statements(before.statements, now.statements)


def gone_again(now: Year, base: Year, between: Sequence[Year]) -> tuple[FactChange, ...]:
    """What came after the base, in one of the years ``between``, and is withdrawn now; each name once.

    No comparison with the base shows it, and a model that goes on from one of those years was taught it.
    """
    known = {asked_as(fact) for fact in base.facts}
    came = [fact for year in between for fact in year.facts if asked_as(fact) not in known]
    return tuple(one for one in compare_facts(came, now.facts) if one.standing is Standing.WITHDRAWN)
