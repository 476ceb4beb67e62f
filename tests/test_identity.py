"""Ids survive moves and edits, never collide and depend on no order."""

import random
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import identity
from data.errors import InputError
from data.files import digest_text
from data.identity import HASH_BYTES, SKETCH_SIZE, Candidate, assign_ids, containment, similarity, sketch, version
from data.records import DocumentVersion
from tests.identity_miniature import THRESHOLD, versions


def words(seed: int, count: int = 300) -> list[str]:
    generator = random.Random(seed)
    return [f"w{generator.randrange(5000)}" for _ in range(count)]


def candidate(path: str, text: str, title: str = "") -> Candidate:
    return Candidate(path, digest_text(title, text), title, sketch(text), len(text))


def edit(text: str, seed: int, count: int) -> str:
    """``count`` words replaced, spread over the text."""
    generator = random.Random(seed)
    out = text.split()
    for place in generator.sample(range(len(out)), count):
        out[place] = f"new{generator.randrange(10**6)}"
    return " ".join(out)


PATHS = st.lists(st.sampled_from([f"{f}/{n}.md" for f in "xyz" for n in range(4)]), unique=True, max_size=9)
TEXTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), min_size=9, max_size=9)
TITLES = st.lists(st.sampled_from(["", "Overview", "Terms"]), min_size=9, max_size=9)


@st.composite
def collections(draw: st.DrawFn) -> list[Candidate]:
    """Few texts and titles at few paths, so that everything that can be confused is."""
    documents = zip(draw(PATHS), draw(TEXTS), draw(TITLES), strict=False)
    return [
        candidate(path, edit(" ".join(words(seed, 80)), seed, edits), title) for path, (seed, edits), title in documents
    ]


@settings(max_examples=60, deadline=None)
@given(collections(), collections(), collections())
def test_ids_are_unique_and_every_document_has_one(
    first: list[Candidate], second: list[Candidate], third: list[Candidate]
) -> None:
    previous: list[DocumentVersion] = []
    for documents in (first, second, third):
        ids = assign_ids(documents, previous, THRESHOLD)
        assert ids.keys() == {document.path for document in documents}
        assert len(set(ids.values())) == len(ids)
        assert all(re.fullmatch(r"[0-9a-f]{12}", id) for id in ids.values())
        previous = versions(documents, ids)
        assert assign_ids(documents, previous, THRESHOLD) == ids


@settings(max_examples=30, deadline=None)
@given(collections(), st.permutations(range(9)))
def test_moved_documents_take_their_ids_along(documents: list[Candidate], places: list[int]) -> None:
    distinct = list({document.digest: document for document in documents}.values())
    ids = assign_ids(distinct, [], THRESHOLD)
    moved = [replace(document, path=f"new/{places[n]}.md") for n, document in enumerate(distinct)]
    after = assign_ids(moved, versions(distinct, ids), THRESHOLD)
    assert [after[m.path] for m in moved] == [ids[d.path] for d in distinct]


def test_a_new_id_is_the_digest_of_path_and_content_unless_taken() -> None:
    document = candidate("a.md", "one text that nobody knows")
    plain = digest_text(document.path, document.digest)[:12]
    assert assign_ids([document], [], THRESHOLD) == {"a.md": plain}
    stranger = version(candidate("b.md", " ".join(words(1))), plain)
    taken = assign_ids([document, candidate("b.md", " ".join(words(1)))], [stranger], THRESHOLD)
    assert taken["b.md"] == plain
    assert taken["a.md"] != plain


def test_an_id_of_a_withdrawn_document_is_not_given_to_another() -> None:
    document = candidate("a.md", "one text that nobody knows")
    withdrawn = version(candidate("b.md", " ".join(words(1))), digest_text("a.md", document.digest)[:12])
    assert assign_ids([document], [withdrawn], THRESHOLD)["a.md"] != withdrawn.id


def check(before: list[Candidate], after: list[Candidate], expected: dict[str, str]) -> None:
    """``expected``: new path to the old path whose id it carries; all others are new."""
    ids = {document.path: f"{n:012x}" for n, document in enumerate(before)}
    paths = {id: path for path, id in ids.items()}
    result = assign_ids(after, versions(before, ids), THRESHOLD)
    assert {path: paths[id] for path, id in result.items() if id in paths} == expected


def test_a_rewritten_document_keeps_its_id_by_its_path() -> None:
    check(
        [candidate("a.md", " ".join(words(1)), "Old")],
        [candidate("a.md", " ".join(words(2)), "New")],
        {"a.md": "a.md"},
    )


def test_two_edited_documents_that_changed_places_are_recognised() -> None:
    a, b = " ".join(words(1)), " ".join(words(2))
    check(
        [candidate("a.md", a, "A"), candidate("b.md", b, "B")],
        [candidate("a.md", edit(b, 3, 9), "B"), candidate("b.md", edit(a, 4, 9), "A")],
        {"a.md": "b.md", "b.md": "a.md"},
    )


def test_a_new_text_at_the_place_of_a_moved_one_is_a_new_document() -> None:
    a = " ".join(words(1))
    check(
        [candidate("a.md", a, "A")],
        [candidate("a.md", " ".join(words(2)), "N"), candidate("old/a.md", edit(a, 4, 9), "A")],
        {"old/a.md": "a.md"},
    )


def test_an_excerpt_does_not_take_the_id_of_the_whole() -> None:
    text = " ".join(words(1, 600))
    excerpt = " ".join(text.split()[:120])
    check(
        [candidate("a.md", text)],
        [candidate("x.md", excerpt), candidate("y.md", edit(text, 5, 40))],
        {"y.md": "a.md"},
    )


def test_a_quotation_is_not_the_document_it_quotes() -> None:
    text = " ".join(words(1, 3000))
    quotation = " ".join(text.split()[300:360])
    assert containment(sketch(text), sketch(quotation)) == 1.0
    check([candidate("a.md", text)], [candidate("x.md", quotation)], {})


def test_a_document_keeps_its_id_although_a_copy_elsewhere_is_closer() -> None:
    text = " ".join(words(1, 600))
    stayed, copy = edit(text, 5, 40), edit(text, 6, 25)
    assert similarity(sketch(copy), sketch(text)) > similarity(sketch(stayed), sketch(text))
    check(
        [candidate("a.md", text, "Old title")],
        [candidate("a.md", stayed, "New title"), candidate("copy.md", copy, "Copy")],
        {"a.md": "a.md"},
    )


def test_the_title_tells_near_copies_apart() -> None:
    form = " ".join(words(1, 400))
    names = ["Berlin", "Madrid", "Paris"]
    check(
        [candidate(f"{name}.md", form, name) for name in names],
        [candidate(f"offices/{n}.md", edit(form, n, 6), name) for n, name in enumerate(reversed(names))],
        {f"offices/{n}.md": f"{name}.md" for n, name in enumerate(reversed(names))},
    )


def test_a_title_that_many_bear_proves_nothing() -> None:
    """Strangers that share a third of their text and the title "Overview" stay strangers."""
    common = " ".join(words(1, 100))
    olds = [candidate(f"{n}.md", f"{common} {' '.join(words(10 + n, 200))}", "Overview") for n in range(3)]
    news = [candidate(f"n/{n}.md", f"{common} {' '.join(words(20 + n, 200))}", "Overview") for n in range(3)]
    assert containment(olds[0].sketch, news[0].sketch) > THRESHOLD / 2
    check(olds, news, {})
    check(olds[:1], news[:1], {"n/0.md": "0.md"})


def test_one_of_two_equal_files_that_goes_takes_only_its_own_id() -> None:
    text = " ".join(words(1))
    pair = [candidate("a.md", text), candidate("b.md", text)]
    check(pair, pair[1:], {"b.md": "b.md"})
    check(pair[1:], pair, {"b.md": "b.md"})
    check(pair, [candidate("x/b.md", text), candidate("x/c.md", text)], {"x/b.md": "b.md", "x/c.md": "a.md"})


def test_two_documents_at_one_path_are_refused() -> None:
    document = candidate("a.md", "text")
    with pytest.raises(InputError, match=r"a\.md stands twice"):
        assign_ids([document, document], [], THRESHOLD)


def random_hashes(seed: int) -> list[bytes]:
    generator = random.Random(seed)
    return sorted(generator.randbytes(HASH_BYTES) for _ in range(SKETCH_SIZE))


FOOTER = [number.to_bytes(HASH_BYTES) for number in range(90)]


def packed(hashes: list[bytes]) -> bytes:
    return b"".join(sorted(set(hashes)))


def test_many_documents_with_few_changes_are_matched_without_comparing_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = [Candidate(f"{n}.md", str(n), f"T{n}", packed(random_hashes(n)), 1) for n in range(10_000)]
    ids = {document.path: f"{n:012x}" for n, document in enumerate(before)}
    after = [replace(d, path=f"x/{d.path}", digest="new", title="") if n < 20 else d for n, d in enumerate(before)]
    compared = count_calls(monkeypatch)
    result = assign_ids(after, versions(before, ids), THRESHOLD)
    assert sorted(result.values()) == sorted(ids.values())
    assert len(compared) <= 20 * 20


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every comparison of two texts from now on, as the new path."""
    calls: list[str] = []
    original: Callable[[Candidate, DocumentVersion, float], bool] = identity._is_same

    def counting(new: Candidate, old: DocumentVersion, threshold: float) -> bool:
        calls.append(new.path)
        return original(new, old, threshold)

    monkeypatch.setattr(identity, "_is_same", counting)
    return calls


def test_boilerplate_on_every_page_does_not_make_all_pages_candidates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = [Candidate(f"{n}.md", f"{n}", "", packed(FOOTER + random_hashes(n)[:38]), 1) for n in range(1_000)]
    after = [
        Candidate(f"x/{n}.md", f"n{n}", "", packed(FOOTER + random_hashes(n)[:30] + random_hashes(n + 5000)[30:38]), 1)
        for n in range(1_000)
    ]
    compared = count_calls(monkeypatch)
    ids = {document.path: f"{n:012x}" for n, document in enumerate(before)}
    result = assign_ids(after, versions(before, ids), THRESHOLD)
    assert [result[d.path] for d in after] == [ids[d.path] for d in before]
    assert len(compared) <= 1_000 * identity.NEAREST


def test_boilerplate_alone_makes_no_partner() -> None:
    old, new = (
        [Candidate(f"{n}.md", f"{n}", "", packed(FOOTER + random_hashes(n)[:38]), 1) for n in range(start, start + 100)]
        for start in (0, 1000)
    )
    assert containment(old[0].sketch, new[0].sketch) > THRESHOLD
    check(old, new, {})
