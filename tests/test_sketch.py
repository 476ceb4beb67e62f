"""The sketch of a document: small, the same everywhere, and good enough to estimate what two texts share."""

import json
import subprocess
import sys
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data.identity import HASH_BYTES, SKETCH_SIZE, _words, containment, hashes, similarity, sketch
from data.records import DocumentVersion
from data.workspace import PROJECT_ROOT

WORDS = st.lists(st.sampled_from("abcdefghijklmnop"), min_size=1, max_size=60)


@given(WORDS)
def test_a_sketch_is_small_sorted_and_survives_json(text: list[str]) -> None:
    result = sketch(" ".join(text))
    assert hashes(result) == sorted(set(hashes(result)))
    assert 1 <= len(hashes(result)) <= SKETCH_SIZE
    assert {len(value) for value in hashes(result)} == {HASH_BYTES}
    version = DocumentVersion(id="a", path="a.md", digest="d", title="", characters=9, sketch=result)
    assert DocumentVersion.model_validate_json(version.model_dump_json(by_alias=True)) == version
    assert similarity(result, result) == containment(result, result) == 1.0


def test_a_sketch_ignores_case_punctuation_and_white_space_and_nothing_else() -> None:
    assert sketch("The quick, brown fox\njumps — over!") == sketch("the QUICK brown   fox jumps over")
    assert sketch("the quick brown fox jumps over") != sketch("the quick brown fox jumps under")
    assert sketch(" \n—") == b""
    assert len(hashes(sketch("three short words"))) == 1
    assert len(hashes(sketch("本規約は利用者に適用されます"))) > 5


@given(st.text(st.characters(max_codepoint=127)))
def test_plain_ascii_is_read_as_any_other_text(text: str) -> None:
    assert _words(text) == _words(text + " é")[:-1]


def test_a_sketch_of_schema_1_is_read_as_one_of_today() -> None:
    """As today's numbers were written: the digest without its last 11 bits."""
    text = " ".join(f"word{number}" for number in range(400))
    shingles = {text.encode() for text in map(" ".join, zip(*(text.split()[n:] for n in range(5)), strict=False))}
    digests = sorted(int.from_bytes(blake2b(shingle, digest_size=8).digest()) for shingle in shingles)
    numbers = [digest >> 11 for digest in digests][:SKETCH_SIZE]
    old = {"schema": 1, "id": "a", "path": "a.md", "digest": "d", "title": "", "characters": 9, "sketch": numbers}
    version = DocumentVersion.model_validate_json(json.dumps(old))
    assert version == DocumentVersion(id="a", path="a.md", digest="d", title="", characters=9, sketch=sketch(text))
    assert version.schema_ == 2
    for damaged in ([-1], [2**60], ["1"], [None], "not Base64"):
        with pytest.raises(ValidationError):
            DocumentVersion.model_validate_json(json.dumps(old | {"sketch": damaged}))


def test_a_sketch_is_the_same_in_every_process() -> None:
    text = "Personal data is kept for thirty days and then deleted."
    code = f"from data.identity import sketch; print(sketch({text!r}))"
    printed = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == str(sketch(text))
    assert sketch("one two three four five").hex() == "3e1da6133e7d"  # the first digits that b2sum -l 64 prints


@pytest.mark.parametrize("shared", [0.0, 0.1, 0.3, 0.5, 0.8, 1.0])
def test_the_estimates_recover_known_shares(shared: float) -> None:
    size = 4000
    common = int(size * shared)
    a = " ".join(f"a{n}" for n in range(size))
    b = " ".join(f"{'a' if n < common else 'b'}{n}" for n in range(size))
    truth = common / (2 * size - common)
    assert similarity(sketch(a), sketch(b)) == pytest.approx(truth, abs=0.13)  # three standard errors
    assert containment(sketch(a), sketch(b)) == pytest.approx(shared, abs=0.13)
    short = " ".join(f"a{n}" for n in range(size // 4))
    assert containment(sketch(a), sketch(short)) == 1.0
    assert similarity(sketch(a), sketch(short)) == pytest.approx(0.25, abs=0.12)


@given(WORDS, WORDS)
def test_the_estimates_are_symmetric_shares(a: list[str], b: list[str]) -> None:
    left, right = sketch(" ".join(a)), sketch(" ".join(b))
    assert similarity(left, right) == similarity(right, left)
    assert containment(left, right) == containment(right, left)
    assert 0.0 <= similarity(left, right) <= containment(left, right) <= 1.0
