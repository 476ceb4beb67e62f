"""What documents in force claim together: where they contradict one another, and what many of them repeat.

A claim is what a fact says wherever it stands: its kind, subject, attribute and value, whatever the heading above it.
Whoever copies one into hundreds of documents gains no weight by it, and a majority does not win over one document that
says otherwise.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from data.changes import asked_as
from data.files import shortened
from data.grounding import level
from data.prose_facts import GAP
from data.records import Fact, FactChange, Standing, Statement
from data.report_records import Contradiction, Repeated, Stated, SynthesisReport
from data.sentences import words

OF_PLACES = frozenset({"section"})
"""Kinds whose subject is a place in the document, such as section 2: other documents have one of their own."""
UNDER_HEADINGS = frozenset({"rule", "labelled", "content", "listed"})
"""Kinds that name the heading above them, which in copies of one text is the only thing that differs."""
OF_DOCUMENTS = frozenset({"labelled"})
"""Of those the kinds that, when short, are of their own document, as its owner is."""
LONG = 6
"""Words from which on a sentence says what it says under any heading; a shorter one does so under the title alone."""
SAY_ALL = frozenset({"table", "quantity", "contact"})
"""Kinds that read alike but for the value, a number or an address: what differs under another title is told of too."""
MANY_VALUES = 5
"""Under different titles; what has more is a field that each document of a template fills in for itself."""
SHOWN = 8
"""Values of one contradiction, and documents of one value, that are named; the others are counted."""
_SPELLED = re.compile(r"\b[a-z]+(?:-[a-z]+)* ?\((\d+)\)", re.IGNORECASE)
"""A number in words before the same in digits."""


def contradictions(changes: Iterable[FactChange], paths: Mapping[str, str]) -> tuple[Contradiction, ...]:
    """All contradictions: first those under one title, then by subject.

    Args:
        changes: every fact with its standing.
        paths: path by document id, of those in force.
    """
    groups: defaultdict[tuple[str, ...], list[FactChange]] = defaultdict(list)
    for change in changes:
        fact = change.fact
        if change.standing is Standing.AMBIGUOUS:
            groups["one title", *asked_as(fact)].append(change)
        if change.standing is not Standing.WITHDRAWN and fact.kind not in OF_PLACES:
            groups["titles", *_about(fact)].append(change)
    found = (
        _contradiction(members, paths, key[0] == "one title")
        for key, members in groups.items()
        if key[0] == "one title" or any(change.standing is not Standing.AMBIGUOUS for change in members)
    )
    several = (one for one in found if one.values > 1 and (one.title is not None or one.values <= MANY_VALUES))
    return tuple(sorted(several, key=lambda one: (one.title is None, one.title or "", one.subject, one.attribute)))


def _contradiction(members: Sequence[FactChange], paths: Mapping[str, str], under_one_title: bool) -> Contradiction:
    stated = _stated([change.fact for change in members], paths, str.casefold if under_one_title else _plain)
    first = members[0].fact
    return Contradiction(
        title=first.title if under_one_title else None,
        kind=first.kind,
        subject=first.subject,
        attribute=first.attribute,
        stated=stated[:SHOWN],
        values=len(stated),
        news=any(change.standing is not Standing.HELD for change in members),
    )


def set_aside(
    changes: Sequence[FactChange], statements: Sequence[Statement]
) -> tuple[tuple[FactChange, ...], tuple[Statement, ...]]:
    """Nothing of a sentence that another under the same title contradicts is taught: its other facts, nor itself.

    A sentence with two numbers is asked about with either of them left out, and so it tells the other one.

    Returns:
        The changes, other facts of such sentences among the ambiguous ones, and the statements without those sentences.
    """
    ambiguous = (change.fact for change in changes if change.standing is Standing.AMBIGUOUS)
    contradicted = {(fact.document, fact.sentence) for fact in ambiguous if fact.sentence}
    marked = (
        FactChange(standing=Standing.AMBIGUOUS, fact=change.fact)
        if change.standing is not Standing.WITHDRAWN and (change.fact.document, change.fact.sentence) in contradicted
        else change
        for change in changes
    )
    return tuple(marked), tuple(one for one in statements if (one.document, one.text) not in contradicted)


def once(
    changes: Sequence[FactChange], paths: Mapping[str, str], most: int
) -> tuple[tuple[FactChange, ...], tuple[Repeated, ...]]:
    """The facts without the copies of what more than ``most`` documents claim, and what was left out.

    Of such a claim the first document by path alone teaches and asks, and the first that the base knows it from is
    rehearsed. What replaces a value that the base would go on answering is taught wherever it does, and what is
    withdrawn or ambiguous is not looked at.

    Args:
        changes: every fact with its standing.
        paths: path by document id, of those in force.
        most: documents that may teach one claim.
    """
    claims: defaultdict[tuple[str, ...], list[FactChange]] = defaultdict(list)
    for change in changes:
        if change.standing not in (Standing.WITHDRAWN, Standing.AMBIGUOUS):
            claims[_claim(change.fact)].append(change)
    repeated, copies = [], set[str]()
    for members in claims.values():
        documents = {change.fact.document for change in members}
        left_out = _copies(members, paths) if len(documents) > most else set[str]()
        if left_out:
            copies |= left_out
            first = _first((change.fact for change in members if change.fact.id not in left_out), paths)
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


def _copies(members: Sequence[FactChange], paths: Mapping[str, str]) -> set[str]:
    """Ids of the facts that are left out of one claim: all but one that teaches it and one that is rehearsed."""
    known = [change.fact for change in members if change.standing is Standing.HELD]
    taught = [change.fact for change in members if change.standing in (Standing.NEW, Standing.RESTATED)]
    return {fact.id for facts in (known, taught) if facts for fact in facts if fact.id != _first(facts, paths).id}


def _claim(fact: Fact) -> tuple[str, ...]:
    """What is the same in the copies of one claim, under whatever heading each stands."""
    if fact.kind in UNDER_HEADINGS and words(fact.sentence) >= LONG:
        return fact.kind, fact.sentence.casefold(), fact.value.casefold()
    title = fact.title.rstrip(". ").casefold()
    kind, *about = _about(fact)
    if kind in UNDER_HEADINGS - OF_DOCUMENTS:
        about = ["" if part.rstrip(". ") == title else part for part in about]
    return kind, *about, fact.value.casefold()


def _first(facts: Iterable[Fact], paths: Mapping[str, str]) -> Fact:
    return min(facts, key=lambda fact: (paths[fact.document], fact.start))


def _about(fact: Fact) -> tuple[str, ...]:
    return fact.kind, fact.subject.casefold(), fact.attribute.casefold()


def _plain(value: str) -> str:
    """A value without what is notation: case, typography, a last slash, a number spelled out before its digits."""
    return _SPELLED.sub(r"\1", level(value).casefold()).rstrip("/")


def _stated(facts: Sequence[Fact], paths: Mapping[str, str], plain: Callable[[str], str]) -> tuple[Stated, ...]:
    """The values, told apart by ``plain``, and who states each."""
    by_value: defaultdict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_value[plain(fact.value)].append(fact)
    found = []
    for same in by_value.values():
        first, documents = _first(same, paths), sorted({paths[fact.document] for fact in same})
        found.append(
            Stated(
                value=first.value,
                sentence=first.sentence,
                documents=tuple(documents[:SHOWN]),
                count=len(documents),
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.count, one.documents)))


def told(report: SynthesisReport) -> Iterator[str]:
    """What a person should look at, one sentence for each kind."""
    if report.disputed:
        places = _counted(report.disputed, "place")
        first = next(one for one in report.contradictions if one.title is not None)
        yield (
            f"Documents in force contradict one another in {places}, where nothing is taught; for one, "
            f"{_shown(first)}. The report lists them."
        )
    if report.differing:
        values = _counted(report.differing, "number or address", "numbers or addresses")
        first = next(filter(is_worth_a_look, report.contradictions))
        yield (
            f"Documents of different titles differ in {values} and each is taught as it stands; for one, "
            f"{_shown(first)}. The report lists them."
        )
    if report.repeated:
        claims = _counted(report.repeated_claims, "claim is", "claims are")
        most = max(report.repeated, key=lambda one: one.documents)
        yield (
            f"{claims} taught once, although more documents make each than may teach one (synthesize.max_copies); for "
            f'one, {most.documents:,} documents state {_named(most)}: "{shortened(most.value)}".'
        )


def listed(found: Sequence[Contradiction], most: int) -> tuple[Contradiction, ...]:
    """The first ``most`` under one title, and as many of the others, those that a person is told of before the rest."""
    under_one = [one for one in found if one.title is not None]
    others = sorted((one for one in found if one.title is None), key=lambda one: not is_worth_a_look(one))
    return (*under_one[:most], *others[:most])


def is_worth_a_look(one: Contradiction) -> bool:
    """Whether documents of different titles differ in something new that says by itself what it is about.

    A label with its value, such as a date, is of its own document.
    """
    return one.title is None and one.news and one.kind in SAY_ALL and not one.subject.endswith(f": {GAP}")


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _shown(one: Contradiction) -> str:
    values = " and ".join(f'"{shortened(each.value)}" ({shortened(each.documents[0])})' for each in one.stated[:2])
    return f"{_named(one)}: {values}"


def _named(one: Contradiction | Repeated) -> str:
    """Subject and attribute; a sentence with a gap says both."""
    return shortened(one.subject) if one.attribute == "gap" else f"{shortened(one.subject)}, {shortened(one.attribute)}"
