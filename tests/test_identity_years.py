"""Identity measured on five years of real policies.

The evidence for the threshold: in each of the five yearly steps every old document is compared with every
new one by content and title alone, as if all had been moved. The hand-made truth says which live on.
"""

import random
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.documents import decode, parse
from data.files import digest_bytes
from data.identity import Candidate, assign_ids, sketch, version
from data.workspace import PROJECT_ROOT
from tests.identity_miniature import THRESHOLD, versions

STREAM = PROJECT_ROOT / "data" / "streams" / "site-policy"
YEARS = [f"{year}-06-01" for year in range(2019, 2025)]

RENAMED = {
    "2019-06-01": {
        "amendment-to-github-terms-of-service-applicable-to-u-s-federal-government-users": (
            "amendment-to-github-terms-of-service-applicable-to-us-federal-government-users"
        ),
        "bug-bounty-safe-harbor": "github-bug-bounty-program-legal-safe-harbor",
        "github-business-cloud-addendum": "github-enterprise-cloud-addendum",
        "name-squatting-policy": "github-username-policy",
        "github-and-export-controls": "github-and-trade-controls",
    },
    "2020-06-01": {"github-sensitive-data-removal-policy": "github-private-information-removal-policy"},
    "2021-06-01": {
        "responsible-disclosure-of-security-vulnerabilities": ("coordinated-disclosure-of-security-vulnerabilities"),
        "github-additional-product-terms": "github-terms-for-additional-products-and-features",
        "github-data-protection-agreement-non-enterprise-customers": "github-data-protection-agreement",
    },
    "2022-06-01": {"github-community-forum-code-of-conduct": "github-community-code-of-conduct"},
    "2023-06-01": {
        "github-privacy-statement": "github-general-privacy-statement",
        "github-subprocessors-and-cookies": "github-cookies",  # split in two; most of its text is here
    },
}
"""Read by hand: documents that live on under another file name. All others keep theirs."""


@cache
def collection(year: str) -> tuple[Candidate, ...]:
    found = []
    for file in sorted((STREAM / year).rglob("*.md")):
        path, content = file.relative_to(STREAM / year).as_posix(), file.read_bytes()
        parsed = parse(decode(content), path)
        found.append(Candidate(path, digest_bytes(content), parsed.title, sketch(parsed.text), len(parsed.text)))
    return tuple(found)


def stem(path: str) -> str:
    return PurePosixPath(path).stem


def lives_on(year: str, later: str) -> dict[str, str]:
    """Truth: old path to new path of every document that lives on."""
    by_stem = {stem(document.path): document.path for document in collection(later)}
    old = {document.path: RENAMED[year].get(stem(document.path), stem(document.path)) for document in collection(year)}
    return {path: by_stem[name] for path, name in old.items() if name in by_stem}


def matched(year: str, later: str, threshold: float, hide_paths: bool) -> dict[str, str]:
    """Old path to new path as the matcher sees it; hidden paths are numbers in a shuffled order."""
    before, after = list(collection(year)), list(collection(later))
    random.Random(7).shuffle(after)
    names = {(str(n) if hide_paths else d.path): d.path for n, d in enumerate(after)}
    current = [replace(d, path=p) for p, d in zip(names, after, strict=True)]
    previous = [version(d, d.path) for d in before]
    ids = assign_ids(current, previous, threshold)
    known = {d.path for d in before}
    return {id: names[path] for path, id in ids.items() if id in known}


def test_the_great_move_of_2023_loses_no_document() -> None:
    year, later = "2022-06-01", "2023-06-01"
    truth = lives_on(year, later)
    assert len(truth) == 46
    assert not {d.path for d in collection(year)} & {d.path for d in collection(later)}
    assert matched(year, later, THRESHOLD, hide_paths=False) == truth
    gone = {stem(d.path) for d in collection(year)} - {stem(path) for path in truth}
    assert gone == {"github-data-protection-agreement", "global-privacy-practices"}


def test_by_content_alone_195_of_198_documents_keep_their_id_and_none_takes_anothers() -> None:
    missed = set()
    for year, later in pairwise(YEARS):
        truth = lives_on(year, later)
        found = matched(year, later, THRESHOLD, hide_paths=True)
        assert found.items() <= truth.items(), f"{year}: {found.items() - truth.items()}"
        missed |= {(year, stem(path)) for path in truth.keys() - found.keys()}
    assert sum(len(lives_on(*step)) for step in pairwise(YEARS)) == 198
    # Rewritten: at most a third of the shorter text's shingles are left.
    assert missed == {
        ("2020-06-01", "github-additional-product-terms"),
        ("2021-06-01", "github-community-guidelines"),
        ("2023-06-01", "github-privacy-statement"),
    }


def test_with_its_path_a_document_is_found_however_much_was_rewritten() -> None:
    for year, later in pairwise(YEARS):
        truth = lives_on(year, later)
        found = matched(year, later, THRESHOLD, hide_paths=False)
        assert found.items() <= truth.items()
        assert {p for p in truth if p == truth[p]} <= found.keys()


@pytest.mark.parametrize("threshold", [0.45, 0.5, 0.55])
def test_the_default_threshold_stands_in_a_gap(threshold: float) -> None:
    """A tenth more or less confuses no documents either."""
    for year, later in pairwise(YEARS):
        assert matched(year, later, threshold, hide_paths=True).items() <= lives_on(year, later).items()


def test_a_lower_threshold_would_take_an_excerpt_for_the_document() -> None:
    wrong = matched("2020-06-01", "2021-06-01", 0.3, hide_paths=True)
    assert not wrong.items() <= lives_on("2020-06-01", "2021-06-01").items()


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_documents_does_not_matter(generator: random.Random) -> None:
    before, after = list(collection("2022-06-01")), list(collection("2023-06-01"))
    previous = versions(before, assign_ids(before, [], THRESHOLD))
    expected = assign_ids(after, previous, THRESHOLD)
    generator.shuffle(after)
    generator.shuffle(previous)
    assert assign_ids(after, previous, THRESHOLD) == expected


def test_the_stream_is_here() -> None:
    assert [len(collection(year)) for year in YEARS] == [29, 45, 40, 48, 49, 52]
    assert Path(STREAM / "LICENSE.md").is_file()
