"""Which document is which: an id that survives moves and edits.

A text is reduced to a sketch, the 128 smallest hashes of its five-word shingles (bottom-k sampling;
A. Broder, "On the resemblance and containment of documents", SEQUENCES 1997). Below the smaller of two
sketches' largest hashes both are complete, so the hashes there are one common random sample of both
texts: it estimates their resemblance (Jaccard) and how much of the shorter one the longer one contains.

Containment decides whether two texts are one document, because documents grow and shrink: over five
yearly steps of real policies with every path hidden, it keeps 195 of 198 continuing documents and
confuses none, where resemblance keeps 181 (tests/test_identity.py). Resemblance ranks the pairs, so that
a short excerpt does not take the id of the text it was cut from.
"""

import heapq
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import Protocol, TypeVar

from data.errors import InputError
from data.files import digest_text
from data.records import DocumentVersion

SKETCH_SIZE = 128
"""Hashes of one sketch."""
HASH_BYTES = 6
"""48 bits, which two sketches without a common shingle share once in ten thousand million pairs."""
SHINGLE_WORDS = 5
ID_DIGITS = 12

QUOTATION = 1 / 16
"""Resemblance below which one text at most quotes the other; 128 hashes cannot measure less anyway."""
AGREEMENT = 0.25
"""What an equal title or an equal path adds to the resemblance when pairs are ranked."""
COMMON_SHINGLE = 64
"""A shingle of more documents than this is boilerplate and finds no partner."""
NEAREST = 32
"""Partners that are compared in full, per document."""

WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
"""A run of letters and digits; each character of a script that writes no spaces between words."""

_ASCII = bytes(code if chr(code).isalnum() or code == ord("_") else ord(" ") for code in range(128)).ljust(256).lower()
"""Translates ASCII to what ``WORD`` finds in it: letters in lower case, and spaces."""

Sketch = bytes


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document of the new collection that has no id yet; fields as in ``DocumentVersion``."""

    path: str
    digest: str
    title: str
    sketch: Sketch
    characters: int


def version(document: Candidate, id: str) -> DocumentVersion:
    """The document with its id."""
    return DocumentVersion(
        id=id,
        path=document.path,
        digest=document.digest,
        title=document.title,
        characters=document.characters,
        sketch=document.sketch,
    )


class _Text(Protocol):
    """What candidates and versions have in common."""

    @property
    def path(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def sketch(self) -> Sketch: ...


Key = Callable[[_Text], tuple[str, ...]]
T = TypeVar("T", bound=_Text)


def sketch(text: str) -> Sketch:
    """The smallest hashes of the text's word shingles, ascending, at most 128, six bytes each without a gap.

    A hash is the beginning of a BLAKE2b digest of eight bytes. Case, punctuation and white space do not count. A text
    of fewer than five words is one shingle.
    """
    coded = _words(text)
    shifted = [coded[start:] for start in range(min(SHINGLE_WORDS, len(coded)))]
    digests = {blake2b(shingle, digest_size=8).digest() for shingle in map(b" ".join, zip(*shifted, strict=False))}
    packed = bytearray(b"".join(sorted(digests)[:SKETCH_SIZE]))
    del packed[7::8]
    del packed[6::7]
    return bytes(packed)


def hashes(sketch: Sketch) -> list[bytes]:
    """The hashes of a sketch; their order is that of the numbers they stand for."""
    return [sketch[start : start + HASH_BYTES] for start in range(0, len(sketch), HASH_BYTES)]


def _words(text: str) -> list[bytes]:
    """Words in one form; plain ASCII, which is in that form but for its case, is taken apart as bytes."""
    if text.isascii():
        return text.encode().translate(_ASCII).split()
    words = WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return [word.encode("utf-8", "replace") for word in words]


def similarity(a: Sketch, b: Sketch) -> float:
    """Share of the shingles of either text that both have (Jaccard), estimated; 0 for empty sketches."""
    both, either, _ = _sample(a, b)
    return both / either if either else 0.0


def containment(a: Sketch, b: Sketch) -> float:
    """Share of the shorter text's shingles that the longer one has too (overlap coefficient), estimated."""
    both, _, shorter = _sample(a, b)
    return both / shorter if shorter else 0.0


def _sample(a: Sketch, b: Sketch) -> tuple[int, int, int]:
    """Sampled shingles in both texts, in either, and in the shorter one."""
    full = [s[-HASH_BYTES:] for s in (a, b) if len(s) >= SKETCH_SIZE * HASH_BYTES]
    limit = min(full, default=b"\xff" * HASH_BYTES)
    left = {value for value in hashes(a) if value <= limit}
    right = {value for value in hashes(b) if value <= limit}
    return len(left & right), len(left | right), min(len(left), len(right))


def assign_ids(current: Sequence[Candidate], previous: Sequence[DocumentVersion], threshold: float) -> dict[str, str]:
    """The id of every current document, by path: that of the previous version it continues, or a new one.

    Content decides before the path, and the path before nothing: an edited document keeps its id unless
    its text has clearly become that of another known document. The result depends on no order. Only
    documents without an equal or plainly edited counterpart are compared with one another.

    Args:
        threshold: containment from which on two texts are one document; half of it is enough where the
            path, or a title that no other document in question bears, is the same as well.

    Raises:
        InputError: two current documents have one path.
    """
    matching = _Matching(current, previous, threshold)
    matching.pair_equal(lambda text: (text.path, text.digest))
    matching.pair_equal(lambda text: (text.digest, PurePosixPath(text.path).name))
    matching.pair_equal(lambda text: (text.digest,))
    matching.pair_edited(lambda text: (text.path, text.title))
    matching.pair_edited(_title)
    matching.pair_similar()
    matching.pair_equal(lambda text: (text.path,))
    return matching.all_ids()


def _title(text: _Text) -> tuple[str, ...]:
    title = " ".join(text.title.casefold().split())
    return (title,) if title else ()


class _Matching:
    """A one-to-one matching that grows step by step; what is matched takes no part any longer."""

    def __init__(self, current: Sequence[Candidate], previous: Sequence[DocumentVersion], threshold: float) -> None:
        self.new = {text.path: text for text in sorted(current, key=lambda text: text.path)}
        if len(self.new) < len(current):
            path, _ = Counter(text.path for text in current).most_common(1)[0]
            raise InputError(f"{path} stands twice in one collection. Give every document its own path.")
        self.old = {text.id: text for text in sorted(previous, key=lambda text: (text.path, text.id))}
        self.taken = set(self.old)
        self.threshold = threshold
        self.ids: dict[str, str] = {}

    def pair(self, new: Candidate, old: DocumentVersion) -> None:
        self.ids[new.path] = old.id
        del self.new[new.path], self.old[old.id]

    def pair_equal(self, key: Key) -> None:
        """Pair documents of equal key, in the order of their paths."""
        olds = _group(self.old.values(), key)
        for value, news in _group(self.new.values(), key).items():
            for new, old in zip(news, olds.get(value, ()), strict=False):
                self.pair(new, old)

    def pair_edited(self, key: Key) -> None:
        """Pair documents whose key is equal and unique and whose texts are one document's."""
        olds = _unique(self.old.values(), key)
        for value, new in _unique(self.new.values(), key).items():
            old = olds.get(value)
            if old and value and _is_same(new, old, self.threshold):
                self.pair(new, old)

    def pair_similar(self) -> None:
        """Pair what is left by content, the closest pair first."""
        for _, _, path, _, id in sorted(self._pairs()):
            if path in self.new and id in self.old:
                self.pair(self.new[path], self.old[id])

    def _pairs(self) -> Iterable[tuple[float, bool, str, str, str]]:
        """Admissible pairs as (minus rank, moved, new path, old path, old id)."""
        titles = _unique(self.new.values(), _title).keys() & _unique(self.old.values(), _title).keys()
        index = _Index(self.old.values())
        for new in self.new.values():
            for old in index.nearest(new):
                title = _title(new)
                agreeing = (bool(title) and title == _title(old) and title in titles) + (new.path == old.path)
                if _is_same(new, old, self.threshold / 2 if agreeing else self.threshold):
                    rank = similarity(new.sketch, old.sketch) + AGREEMENT * agreeing
                    yield -rank, new.path != old.path, new.path, old.path, old.id

    def all_ids(self) -> dict[str, str]:
        """Ids by path, sorted; every document without a partner gets a new one."""
        for path, new in self.new.items():
            self.ids[path] = _new_id(new, self.taken)
            self.taken.add(self.ids[path])
        return dict(sorted(self.ids.items()))


class _Index:
    """Finds the documents that share the most shingles, path or title with a given one."""

    def __init__(self, texts: Iterable[DocumentVersion]) -> None:
        self.texts = list(texts)
        self.postings: dict[bytes | str, list[int]] = {}
        for number, text in enumerate(self.texts):
            for key in _traits(text):
                self.postings.setdefault(key, []).append(number)

    def nearest(self, text: Candidate) -> list[DocumentVersion]:
        if not self.texts:
            return []
        hits: Counter[int] = Counter()
        for key in _traits(text):
            found = self.postings.get(key, ())
            if len(found) <= COMMON_SHINGLE:
                hits.update(found)
        numbers = heapq.nsmallest(NEAREST, hits, key=lambda number: (-hits[number], number))
        return [self.texts[number] for number in numbers]


def _traits(text: _Text) -> Iterable[bytes | str]:
    """What two texts of one document may share: shingles, path, title."""
    yield from hashes(text.sketch)
    yield f"path {text.path}"
    yield from (f"title {part}" for part in _title(text))


def _is_same(new: Candidate, old: DocumentVersion, threshold: float) -> bool:
    return similarity(new.sketch, old.sketch) >= QUOTATION and containment(new.sketch, old.sketch) >= threshold


def _group(texts: Iterable[T], key: Key) -> dict[tuple[str, ...], list[T]]:
    groups: dict[tuple[str, ...], list[T]] = {}
    for text in texts:
        groups.setdefault(key(text), []).append(text)
    return groups


def _unique(texts: Iterable[T], key: Key) -> dict[tuple[str, ...], T]:
    return {value: group[0] for value, group in _group(texts, key).items() if len(group) == 1}


def _new_id(new: Candidate, taken: set[str]) -> str:
    """The first digits of the digest of path and content; another attempt where these are taken."""
    for attempt in itertools.count():
        salt = (str(attempt),) if attempt else ()
        id = digest_text(new.path, new.digest, *salt)[:ID_DIGITS]
        if id not in taken:
            return id
    raise AssertionError("itertools.count never ends")
