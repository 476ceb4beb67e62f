"""What a document states, as facts (subject, attribute, value), and its sentences.

One reader per kind of structure; here their drafts are trimmed, checked and given their identity. A key
(kind, subject, attribute) that a document states with two different values is ambiguous and gives no
fact, since no question about it has one answer.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from data.blocks import Block, Shape, parse_blocks
from data.documents import HOLE
from data.files import digest_text
from data.param_stages import SynthesizeParams
from data.prose_facts import GAP, conditions, contacts, definitions, links, quantities, rules
from data.records import Fact, Statement
from data.sentences import split_sentences, words
from data.structure_facts import Draft, labelled, lists, sections, tables, without_tail

READERS: tuple[Callable[[Sequence[Block]], Iterator[Draft]], ...] = (
    tables,
    definitions,
    quantities,
    contacts,
    links,
    labelled,
    sections,
    lists,
    rules,
    conditions,
)
MIN_STATEMENT_WORDS = 4
_GAP_WINDOW = 14
"""Words kept on either side of a gap, so that long sentences still make a question."""


@dataclass(frozen=True)
class Source:
    """A document as the extraction needs it."""

    id: str
    digest: str
    title: str
    text: str


def extract_facts(source: Source, params: SynthesizeParams) -> tuple[Fact, ...]:
    """All facts of one document, in reading order, one per key."""
    blocks = parse_blocks(source.text)
    kept: dict[tuple[str, str, str], Draft | None] = {}
    for reader in READERS:
        for draft in reader(blocks):
            trimmed = _trim(draft, params)
            if trimmed is None:
                continue
            key = (trimmed.kind, trimmed.subject.casefold(), trimmed.attribute.casefold())
            known = kept.get(key, trimmed)
            ambiguous = known is None or known.value != trimmed.value
            kept[key] = None if ambiguous else known
    drafts = sorted((draft for draft in kept.values() if draft), key=lambda draft: draft.block.start)
    return tuple(_fact(source, draft) for draft in drafts)


def extract_statements(source: Source) -> tuple[Statement, ...]:
    """The sentences of one document that stand on their own feet: no holes, not too short, each once."""
    seen: dict[str, Statement] = {}
    for block in parse_blocks(source.text):
        if block.shape not in (Shape.PARAGRAPH, Shape.ITEM):
            continue
        for sentence in split_sentences(block.text):
            if words(sentence) >= MIN_STATEMENT_WORDS and HOLE not in sentence:
                statement = Statement(
                    document=source.id,
                    digest=source.digest,
                    start=block.start,
                    end=block.end,
                    title=source.title,
                    text=sentence,
                )
                seen.setdefault(sentence, statement)
    return tuple(seen.values())


def _trim(draft: Draft, params: SynthesizeParams) -> Draft | None:
    subject = _around_gap(draft.subject) if draft.attribute == "gap" else draft.subject
    value = without_tail(draft.value.strip(' "“”'))
    parts = (subject, draft.attribute, value)
    too_long = words(value) > params.max_value_words or words(subject) > params.max_subject_words
    if (
        too_long
        or value.endswith(":")
        or any(HOLE in part or not part.strip() for part in parts)
        or not _opens_properly(value)
    ):
        return None
    return replace(draft, subject=" ".join(subject.split()), value=value)


def _opens_properly(value: str) -> bool:
    return value[0].isalnum() or value[0] in "$€£/@(<"


def _around_gap(sentence: str) -> str:
    left, _, right = sentence.partition(GAP)
    before, after = left.split(" "), right.split(" ")
    if len(before) > _GAP_WINDOW:
        before = ["…", *before[-_GAP_WINDOW:]]
    if len(after) > _GAP_WINDOW:
        after = [*after[:_GAP_WINDOW], "…"]
    return f"{' '.join(before)}{GAP}{' '.join(after)}".strip()


def _fact(source: Source, draft: Draft) -> Fact:
    return Fact(
        id=digest_text(source.id, draft.kind, draft.subject.casefold(), draft.attribute.casefold())[:16],
        document=source.id,
        digest=source.digest,
        start=draft.block.start,
        end=draft.block.end,
        kind=draft.kind,
        title=source.title,
        subject=draft.subject,
        attribute=draft.attribute,
        value=draft.value,
        sentence=draft.sentence,
    )
