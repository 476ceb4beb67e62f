"""What documents in force claim together: where they contradict one another, and what many of them repeat.

A claim is what a fact says wherever it stands: its kind, subject, attribute and value. Whoever copies one into hundreds
of documents gains no weight by it, and a majority does not win over one document that says otherwise.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from data.changes import asked_as
from data.records import Fact, FactChange, Standing
from data.report_records import Contradiction, Repeated, Stated

OF_PLACES = frozenset({"section"})
"""Kinds whose subject is a place in the document, such as section 2: other documents have one of their own."""

MANY_VALUES = 5
"""Under different titles; what has more is a field that each document of a template fills in for itself."""
SHOWN = 8
"""Values of one contradiction, and documents of one value, that are named; the others are counted."""


def contradictions(changes: Iterable[FactChange], paths: Mapping[str, str]) -> tuple[Contradiction, ...]:
    """All contradictions: first those under one title, then by subject.

    Args:
        changes: every fact with its standing.
        paths: path by document id, of those in force.
    """
    groups: defaultdict[tuple[str, ...], list[Fact]] = defaultdict(list)
    for change in changes:
        fact = change.fact
        if change.standing is Standing.AMBIGUOUS:
            groups["one title", *asked_as(fact)].append(fact)
        elif change.standing is not Standing.WITHDRAWN and fact.kind not in OF_PLACES:
            groups["titles", *_about(fact)].append(fact)
    found = (_contradiction(facts, paths, key[0] == "one title") for key, facts in groups.items())
    several = (one for one in found if one.values > 1 and (one.title is not None or one.values <= MANY_VALUES))
    return tuple(sorted(several, key=lambda one: (one.title is None, one.title or "", one.subject, one.attribute)))


def _contradiction(facts: Sequence[Fact], paths: Mapping[str, str], under_one_title: bool) -> Contradiction:
    stated = _stated(facts, paths)
    return Contradiction(
        title=facts[0].title if under_one_title else None,
        subject=facts[0].subject,
        attribute=facts[0].attribute,
        stated=stated[:SHOWN],
        values=len(stated),
    )


def once(
    changes: Sequence[FactChange], paths: Mapping[str, str], most: int
) -> tuple[tuple[FactChange, ...], tuple[Repeated, ...]]:
    """The facts without the copies of what more than ``most`` documents claim, and what was left out.

    Of such a claim the first document by path alone teaches and asks; what is withdrawn or ambiguous is not looked at.

    Args:
        changes: every fact with its standing.
        paths: path by document id, of those in force.
        most: documents that may teach one claim.
    """
    claims: defaultdict[tuple[str, ...], list[Fact]] = defaultdict(list)
    for change in changes:
        if change.standing not in (Standing.WITHDRAWN, Standing.AMBIGUOUS):
            claims[(*_about(change.fact), change.fact.value.casefold())].append(change.fact)
    repeated, copies = [], set[str]()
    for facts in claims.values():
        documents = {fact.document for fact in facts}
        if len(documents) > most:
            first = min(facts, key=lambda fact: (paths[fact.document], fact.start))
            copies |= {fact.id for fact in facts if fact.id != first.id}
            repeated.append(
                Repeated(
                    subject=first.subject,
                    attribute=first.attribute,
                    value=first.value,
                    documents=len(documents),
                    taught_by=paths[first.document],
                )
            )
    return tuple(change for change in changes if change.fact.id not in copies), tuple(repeated)


def _about(fact: Fact) -> tuple[str, ...]:
    return fact.kind, fact.subject.casefold(), fact.attribute.casefold()


def _stated(facts: Iterable[Fact], paths: Mapping[str, str]) -> tuple[Stated, ...]:
    by_value: defaultdict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_value[fact.value.casefold()].append(fact)
    found = []
    for same in by_value.values():
        documents = sorted({paths[fact.document] for fact in same})
        found.append(Stated(value=same[0].value, documents=tuple(documents[:SHOWN]), count=len(documents)))
    return tuple(sorted(found, key=lambda one: (-one.count, one.documents)))
