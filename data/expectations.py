"""What is expected of documents, of the collection and of training rows, as declarations.

Each expectation names a class of Great Expectations, its arguments and the sentence that its Data
Docs show; nothing here imports that library, which tasks/validation.py does. Whatever needs more than
a comparison (is this value in its source?) is computed into a plain column first, so that a suite
over twenty thousand rows stays a handful of vectorised comparisons.

A row that fails a ``critical`` expectation is set aside; ``info`` ones only count.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Literal

from data.documents import size_limit
from data.files import shortened
from data.grounding import TYPOGRAPHY, place_of, words
from data.param_stages import IngestParams
from data.records import Row

Columns = dict[str, list[Any]]
Severity = Literal["critical", "warning", "info"]

FRONT_MATTER_OK = "ok"
FRONT_MATTER_ABSENT = "absent"

PURPOSES = ("fact", "refusal", "statement", "replay", "handbook", "question", "rephrase")


@dataclass(frozen=True)
class Expectation:
    """One expectation of a suite."""

    rule: str
    """Short name, the same in code, counts and Data Docs."""
    kind: str
    """Class in ``great_expectations.expectations``."""
    arguments: Mapping[str, Any]
    says: str
    """What is expected, one sentence."""
    severity: Severity = "critical"


# --- documents -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DocumentCheck:
    """What the reader measured of one file, before anything was decided."""

    path: str
    digest: str
    bytes: int
    unreadable: str | None
    """Why its reader could not read it, in whole sentences."""
    characters: int
    """Of the normalised text."""
    front_matter: str
    """``ok``, ``absent``, or one sentence that says what is wrong with it."""
    duplicate_of: str | None = None
    """Path of the first file with the same content digest."""
    secrets: tuple[str, ...] = ()
    """Names of the detectors that found one."""
    contacts: int = 0
    links_only: bool = False
    instruction: str | None = None
    """A phrase that is aimed at a model."""


def document_suite(params: IngestParams) -> tuple[Expectation, ...]:
    """What every document has to be; contact details are only counted."""
    limit, larger, least = params.max_bytes, params.max_file_bytes, params.min_characters
    return (
        _null("readable", "unreadable", "Is UTF-8 text that its reader can read."),
        _between("size", "excess", f"Has at most {limit:,} bytes ({larger:,} as office file or e-mail).", max_value=0),
        _between("text", "characters", f"Has at least {least:,} characters of text.", min_value=least),
        _null("unique", "duplicate_of", "Has content that no other document has."),
        _in_set(
            "front_matter",
            "front_matter",
            [FRONT_MATTER_OK, FRONT_MATTER_ABSENT],
            "Has well-formed front matter, or none.",
        ),
        _null("secrets", "secrets", "Holds no secret."),
        _between("words", "links_only", "Says something besides its links.", max_value=0),
        _null("instruction", "instruction", "Holds no instruction aimed at a model."),
        _counted("contacts", "contacts", "Contact details are counted; they set nothing aside."),
    )


def document_columns(checks: Sequence[DocumentCheck], params: IngestParams) -> Columns:
    """One row per document; what could not be read (too large, not text) is judged by that alone."""
    excess = [max(0, check.bytes - size_limit(check.path, params)) for check in checks]
    read = [check.unreadable is None and not over for check, over in zip(checks, excess, strict=True)]
    pairs = list(zip(checks, read, strict=True))
    return {
        "number": list(range(len(checks))),
        "path": [check.path for check in checks],
        "unreadable": [check.unreadable for check in checks],
        "bytes": [check.bytes for check in checks],
        "excess": excess,
        "characters": [float(check.characters) if ok else float("nan") for check, ok in pairs],
        "duplicate_of": [check.duplicate_of for check in checks],
        "front_matter": [check.front_matter if ok else None for check, ok in pairs],
        "secrets": [", ".join(check.secrets) or None for check in checks],
        "contacts": [check.contacts for check in checks],
        "links_only": [int(check.links_only) for check in checks],
        "instruction": [check.instruction for check in checks],
    }


def document_reason(rule: str, check: DocumentCheck, params: IngestParams) -> str:
    """Why a document that broke ``rule`` is set aside, in plain sentences."""
    return _REASONS[rule](check, params)


_REASONS: Mapping[str, Callable[[DocumentCheck, IngestParams], str]] = {
    "readable": lambda check, params: str(check.unreadable),
    "size": lambda check, params: (
        f"It has {check.bytes:,} bytes, more than the {size_limit(check.path, params):,} of "
        f"{'ingest.max_bytes' if size_limit(check.path, params) == params.max_bytes else 'ingest.max_file_bytes'}. "
        "Split it, or raise the limit."
    ),
    "text": lambda check, params: (
        "It is empty. Write something into it, or take it away."
        if check.bytes == 0 or check.characters <= 1
        else f"It has {check.characters:,} characters of text, fewer than the {params.min_characters:,} of "
        "ingest.min_characters. Write more, or take it away."
    ),
    "unique": lambda check, params: (
        f"It has the same content as {shortened(check.duplicate_of or '')}. Keep one of them."
    ),
    "front_matter": lambda check, params: (
        f"{check.front_matter[:1].upper()}{check.front_matter[1:].rstrip('.')}. Mend it or remove it."
    ),
    "secrets": lambda check, params: (
        f"It holds what looks like a secret ({', '.join(check.secrets)}). Remove it and revoke it."
    ),
    "words": lambda check, params: "It holds nothing but links. Say what is behind them, or take it away.",
    "instruction": lambda check, params: (
        f"It holds an instruction aimed at a model ({check.instruction!r}). Remove it, or let it through with "
        "ingest.allowed_instructions."
    ),
}


# --- collection ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CollectionShares:
    """The counts that say whether a collection looks like the one accepted last."""

    found: int
    """Documents in the folder, usable or not."""
    quarantined: int
    accepted: int = 0
    """Documents of the last accepted snapshot; 0: there is none yet."""
    lost: int = 0
    """Of those: no longer in force."""
    changed: int = 0
    """Of those: still in force with other content."""

    @property
    def documents(self) -> int:
        """Documents left to work on."""
        return self.found - self.quarantined

    @property
    def quarantined_share(self) -> float:
        """Of the documents found."""
        return self.quarantined / self.found if self.found else 0.0

    @property
    def lost_share(self) -> float:
        """Of the last accepted snapshot."""
        return self.lost / self.accepted if self.accepted else 0.0

    @property
    def changed_share(self) -> float:
        """Of the last accepted snapshot."""
        return self.changed / self.accepted if self.accepted else 0.0


def collection_suite(params: IngestParams, loss_accepted: bool) -> tuple[Expectation, ...]:
    """What the collection as a whole has to be."""
    quarantined, lost, changed = params.max_quarantined_share, params.max_lost_share, params.max_changed_share
    return (
        _between("documents", "documents", "Holds at least one usable document.", min_value=1),
        _between(
            "quarantined",
            "quarantined_share",
            f"At most {quarantined:.0%} of the documents are quarantined.",
            max_value=quarantined,
        ),
        _between(
            "lost",
            "lost_share",
            f"Less than {lost:.0%} of the last accepted snapshot is gone.",
            severity="warning" if loss_accepted else "critical",
            max_value=lost,
            strict_max=True,
        ),
        _between(
            "changed",
            "changed_share",
            f"At most {changed:.0%} of the last accepted snapshot has other content.",
            severity="warning",
            max_value=changed,
        ),
    )


def collection_columns(shares: CollectionShares) -> Columns:
    """One row."""
    return {
        "number": [0],
        "documents": [shares.documents],
        "quarantined_share": [shares.quarantined_share],
        "lost_share": [shares.lost_share],
        "changed_share": [shares.changed_share],
    }


# --- rows ------------------------------------------------------------------------------------------


def characters(row: Row) -> int:
    """Length of a row's text; where a tokenizer is at hand, its count is the better bound."""
    return len(row.prompt) + len(row.completion)


@dataclass(frozen=True)
class RowContext:
    """What rows are held against."""

    sources: Mapping[str, str]
    """Document id -> normalised text."""
    max_length: int
    """Of one row, in the unit of ``length``."""
    held_out: frozenset[str] = frozenset()
    """Names of the wordings kept for the evaluation."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Fact id -> value; a fact that is not in it is held against the whole completion."""
    length: Callable[[Row], int] = characters


def row_suite(max_length: int) -> tuple[Expectation, ...]:
    """What every training row has to be; a row that breaks several rules counts under the first."""
    return (
        _in_set("schema", "schema", [True], "Names its purpose, its source and a span in order."),
        _between("empty", "answer_length", "Has an answer.", min_value=1),
        _between("length", "length", f"Is at most {max_length:,} long.", max_value=max_length),
        _in_set("held_out", "held_out", [False], "Uses no wording kept for the evaluation."),
        _in_set("unsupported", "supported", [True], "Has an answer that its source states."),
        _between("duplicate", "copy", "Is the first row with this text.", max_value=0),
    )


def row_columns(rows: Sequence[Row], context: RowContext) -> Columns:
    """One row each, in the order given."""
    held = [row.wording in context.held_out and row.purpose in ("fact", "refusal") for row in rows]
    supported = _supported(rows, context)
    sound = [ok and not out for ok, out in zip(supported, held, strict=True)]
    return {
        "number": list(range(len(rows))),
        "wording": [row.wording for row in rows],
        "schema": [_well_formed(row) for row in rows],
        "answer_length": [len(row.completion.strip()) for row in rows],
        "length": [context.length(row) for row in rows],
        "held_out": held,
        "supported": supported,
        "copy": _copies(rows, sound),
    }


def _well_formed(row: Row) -> bool:
    sourced = row.replayed or bool(row.document and row.digest)
    named = row.purpose not in ("fact", "refusal") or bool(row.fact and row.wording)
    return row.purpose in PURPOSES and 0 <= row.start <= row.end and sourced and named


def _copies(rows: Sequence[Row], sound: Sequence[bool]) -> list[int]:
    """How many rows with the same text come before each; sound rows come before others."""
    seen: defaultdict[tuple[str, str], int] = defaultdict(int)
    copies = [0] * len(rows)
    for number in sorted(range(len(rows)), key=lambda number: not sound[number]):
        text = (rows[number].prompt, rows[number].completion)
        copies[number] = seen[text]
        seen[text] += 1
    return copies


def _supported(rows: Sequence[Row], context: RowContext) -> list[bool]:
    """Whether each question about a fact, or about prose, is answered with what its span states."""

    @cache
    def stated(value: str, document: str, start: int, end: int) -> bool:
        span = _readings(context.sources.get(document, "")[start:end])
        return all(occurs(part, span) for part in plain(value).split(";"))

    @cache
    def spoken(document: str, start: int, end: int) -> tuple[str, ...]:
        return words(_readings(context.sources.get(document, "")[start:end]))

    def supported(row: Row) -> bool:
        if row.purpose == "question":
            return place_of(words(row.completion), spoken(row.document, row.start, row.end)) is not None
        value = context.values.get(row.fact, row.completion)
        in_answer = occurs(plain(value), plain(row.completion))
        return in_answer and stated(value, row.document, row.start, row.end)

    return [row.purpose not in ("fact", "question") or not row.prompt or supported(row) for row in rows]


_LINK = re.compile(r"!?\[([^\]]*)\](?:\(((?:[^()\s]|\([^()\s]*\))*)(?:\s+\"[^\"]*\")?\)|\[[^\]]*\])")
_AUTOLINK = re.compile(r"<((?:https?:|mailto:)[^<>\s]+|[^<>\s@]+@[^<>\s]+)>")
_TAG = re.compile(r"</?[A-Za-z][\w-]*(?:\s[^<>]*)?/?>")
_MARKS = re.compile(r"[*`|\\]|(?<!\w)_+|_+(?!\w)|(?m:^\s*(?:#{1,6}|>|[-+]|\d+[.)])\s+)")


@lru_cache(maxsize=4096)
def plain(text: str) -> str:
    """``text`` without Markdown marks, in lower case, with plain quotes and dashes and single spaces."""
    bare = _TAG.sub(" ", _AUTOLINK.sub(r"\1", _LINK.sub(r"\1", text)))
    return " ".join(_MARKS.sub(" ", bare).translate(TYPOGRAPHY).casefold().split())


def _readings(span: str) -> str:
    """What a span states: its text, then the targets of its links, each past a bar no value holds."""
    return " | ".join([plain(span), *(plain(target) for _, target in _LINK.findall(span))])


def occurs(value: str, text: str) -> bool:
    """Whether ``value`` stands in ``text`` as whole words; an empty value never does."""
    value = value.strip(" .,;:")
    if not value:
        return False
    before = r"(?<!\w)" if value[0].isalnum() else ""
    after = r"(?!\w)" if value[-1].isalnum() else ""
    return re.search(before + re.escape(value) + after, text) is not None


# --- declarations ----------------------------------------------------------------------------------


def _in_set(rule: str, column: str, values: list[Any], says: str) -> Expectation:
    return Expectation(rule, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": values}, says)


def _null(rule: str, column: str, says: str) -> Expectation:
    return Expectation(rule, "ExpectColumnValuesToBeNull", {"column": column}, says)


def _counted(rule: str, column: str, says: str) -> Expectation:
    return Expectation(rule, "ExpectColumnSumToBeBetween", {"column": column, "min_value": 0}, says, "info")


def _between(rule: str, column: str, says: str, severity: Severity = "critical", **bounds: float | bool) -> Expectation:
    arguments = {"column": column, **bounds}
    return Expectation(rule, "ExpectColumnValuesToBeBetween", arguments, says, severity)
