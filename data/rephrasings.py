"""Recipe ``rephrase``: a changed sentence told in other words, kept only if nothing that counts was lost.

No rule can tell whether two sentences mean the same. What a slip would most likely falsify (numbers, dates,
names, negations) is compared, and a text that lost or gained one is dropped.
"""

from collections.abc import Callable, Iterable

from data.grounding import names, negates, numbers, words
from data.passages import Passage
from data.prompting import REPHRASE, Parts, WrittenRephrasing
from data.proposals import Proposal, Written
from data.prose_questions import Maker
from data.records import Row, Statement
from data.rows import statement_row

PURPOSE = "rephrase"
_SANE = (0.5, 2.0)
"""Words of the new text over words of the old."""
_MARGIN = 4
"""Words by which a short sentence may differ besides."""


def teach_rephrasings(answers: Iterable[tuple[Passage, Parts[WrittenRephrasing] | Proposal]], maker: Maker) -> Written:
    """Rows from all answers of a teacher, in their order.

    Args:
        answers: per passage what the teacher wrote, or the one failed proposal that an unusable answer is.
        maker: who wrote it.
    """
    proposals: list[Proposal] = []
    for passage, parts in answers:
        if isinstance(parts, Proposal):
            proposals.append(parts)
            continue
        proposals.extend(Proposal(text, failed="wrong_schema") for text in parts.malformed)
        seen = {words(sentence) for sentence in passage.sentences}
        for item in parts.items:
            proposals.extend(_told(item, passage, seen, maker))
    return Written(REPHRASE, tuple(proposals))


def _told(item: WrittenRephrasing, passage: Passage, seen: set[tuple[str, ...]], maker: Maker) -> Iterable[Proposal]:
    known = 0 < item.sentence <= len(passage.statements)
    statement = passage.statements[item.sentence - 1] if known else None
    for number, text in enumerate(item.texts):
        told = " ".join(text.split())
        if statement is None:
            yield Proposal(told, failed="unknown_sentence")
            continue
        line = f"{told} (for: {statement.text})"
        failed = _failed(statement, told) or ("copy" if words(told) in seen else "")
        seen.add(words(told))
        yield Proposal(line, failed=failed) if failed else Proposal(line, _row(statement, told, number, maker))


def _failed(old: Statement, new: str) -> str:
    """The first filter that a text fails; empty: none."""
    return next((name for name, fails in _FILTERS.items() if fails(old, new)), "")


def _has_odd_length(old: Statement, new: str) -> bool:
    before, after = len(words(old.text)), len(words(new))
    low, high = _SANE
    return not before * low - _MARGIN <= after <= before * high + _MARGIN or not after


def _changes_numbers(old: Statement, new: str) -> bool:
    """Whether a number was lost, or one came in that does not stand in the title."""
    before, after = numbers(old.text), numbers(new)
    return not before <= after or not (after - before).keys() <= numbers(old.title).keys()


_FILTERS: dict[str, Callable[[Statement, str], bool]] = {
    "length": _has_odd_length,
    "numbers": _changes_numbers,
    "negation": lambda old, new: negates(old.text) is not negates(new),
    "names": lambda old, new: not names(old.text) <= set(words(new)),
}


def _row(statement: Statement, text: str, number: int, maker: Maker) -> Row:
    row = statement_row(statement.model_copy(update={"text": text}), PURPOSE, REPHRASE, maker.teacher, maker.seed)
    return row.model_copy(update={"wording": f"{REPHRASE}/{number}"})
