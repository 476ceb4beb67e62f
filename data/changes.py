"""How the facts and statements of a snapshot stand against what the base knows."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set

from data.records import DocumentVersion, Fact, FactChange, Standing, Statement
from data.report_records import Coverage


def compare_facts(known: Iterable[Fact], current: Iterable[Fact]) -> tuple[FactChange, ...]:
    """Every current fact with its standing, in their order, then every withdrawn name once.

    A fact is asked for under its title and heading. Where only these changed, what it says is no news, and the
    old way to ask for it is not taught as withdrawn either, since what it says still holds.

    One question has one answer: what another document now states under the same name replaces a fact, and what
    documents in force state differently under one name is ambiguous.
    """
    before = {fact.id: fact for fact in known}
    now = {fact.id: fact for fact in current}
    said_before = {_said(fact) for fact in before.values()}
    said_now = {_said(fact) for fact in now.values()}
    named = {asked_as(fact): fact for fact in before.values()}
    gone = {asked_as(fact): fact for id, fact in before.items() if id not in now and _said(fact) not in said_now}
    values = _values_by_name(now.values())
    changes = [
        FactChange(standing=Standing.AMBIGUOUS, fact=fact)
        if len(values[asked_as(fact)]) > 1
        else _compared(before.get(id) or named.get(asked_as(fact)), fact, said_before)
        for id, fact in now.items()
    ]
    withdrawn = (fact for name, fact in gone.items() if name not in values)
    return (*changes, *(FactChange(standing=Standing.WITHDRAWN, fact=fact) for fact in withdrawn))


def asked_as(fact: Fact) -> tuple[str, ...]:
    """What a question about a fact names: two facts that share it are asked for in the same words."""
    return (fact.kind, *(part.casefold() for part in (fact.title, fact.subject, fact.attribute)))


def _values_by_name(facts: Iterable[Fact]) -> dict[tuple[str, ...], set[str]]:
    values: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for fact in facts:
        values[asked_as(fact)].add(fact.value.casefold())
    return dict(values)


def _said(fact: Fact) -> tuple[str, ...]:
    """What a fact says, wherever it says it; capitals are no difference."""
    place = (fact.sentence,) if fact.sentence else (fact.document, fact.subject, fact.attribute)
    return (fact.kind, fact.value.casefold(), *(part.casefold() for part in place))


def _compared(before: Fact | None, now: Fact, said_before: Set[tuple[str, ...]]) -> FactChange:
    if before is not None and before.value.casefold() != now.value.casefold():
        return FactChange(standing=Standing.REPLACED, fact=now, old_value=before.value)
    if before is None or before.title != now.title:
        return FactChange(standing=Standing.RESTATED if _said(now) in said_before else Standing.NEW, fact=now)
    return FactChange(standing=Standing.HELD, fact=now)


def new_statements(known: Iterable[Statement], current: Iterable[Statement]) -> tuple[Statement, ...]:
    """Statements that stand in no document the base knows, each once."""
    old = {statement.text for statement in known}
    fresh: dict[str, Statement] = {}
    for statement in current:
        if statement.text not in old:
            fresh.setdefault(statement.text, statement)
    return tuple(fresh.values())


def coverage(
    documents: Sequence[DocumentVersion],
    facts: Sequence[Fact],
    statements: Sequence[Statement],
    changed: Sequence[Statement],
) -> tuple[Coverage, ...]:
    """How much of each document became facts; a statement counts as covered if a fact was read from it."""
    read_from = {(fact.document, fact.sentence) for fact in facts}
    with_fact = [statement for statement in changed if (statement.document, statement.text) in read_from]
    per_document = Counter(fact.document for fact in facts)
    stated, anew, covered = (Counter(one.document for one in group) for group in (statements, changed, with_fact))
    return tuple(
        Coverage(
            document=document.id,
            path=document.path,
            title=document.title,
            facts=per_document[document.id],
            statements=stated[document.id],
            changed_statements=anew[document.id],
            changed_with_fact=covered[document.id],
        )
        for document in documents
    )
