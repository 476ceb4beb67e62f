"""How the facts and statements of a snapshot stand against what the base knows."""

from collections.abc import Iterable, Sequence

from data.records import Coverage, DocumentVersion, Fact, FactChange, Standing, Statement


def compare_facts(known: Iterable[Fact], current: Iterable[Fact]) -> tuple[FactChange, ...]:
    """Every fact of either side once, with its standing; current facts first, in their order.

    A fact whose document changed its title is asked for by another name, so it counts as new.
    """
    before = {fact.id: fact for fact in known}
    now = {fact.id: fact for fact in current}
    changes = [_compared(before.get(id), fact) for id, fact in now.items()]
    withdrawn = (fact for id, fact in before.items() if id not in now)
    return (*changes, *(FactChange(standing=Standing.WITHDRAWN, fact=fact) for fact in withdrawn))


def _compared(before: Fact | None, now: Fact) -> FactChange:
    if before is None or before.title != now.title:
        return FactChange(standing=Standing.NEW, fact=now)
    if before.value != now.value:
        return FactChange(standing=Standing.REPLACED, fact=now, old_value=before.value)
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
    return tuple(
        Coverage(
            document=document.id,
            path=document.path,
            title=document.title,
            facts=sum(fact.document == document.id for fact in facts),
            statements=sum(statement.document == document.id for statement in statements),
            changed_statements=sum(statement.document == document.id for statement in changed),
            changed_with_fact=sum(
                statement.document == document.id and (document.id, statement.text) in read_from
                for statement in changed
            ),
        )
        for document in documents
    )
