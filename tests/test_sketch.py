"""The sketch of a document: small, the same everywhere, and good enough to estimate what two texts share."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.identity import SKETCH_SIZE, containment, similarity, sketch
from data.workspace import PROJECT_ROOT

WORDS = st.lists(st.sampled_from("abcdefghijklmnop"), min_size=1, max_size=60)


@given(WORDS)
def test_a_sketch_is_small_sorted_and_survives_json(text: list[str]) -> None:
    result = sketch(" ".join(text))
    assert list(result) == sorted(set(result))
    assert 1 <= len(result) <= SKETCH_SIZE
    assert all(0 <= value < 2**53 for value in result)
    assert tuple(int(float(value)) for value in json.loads(json.dumps(result))) == result
    assert similarity(result, result) == containment(result, result) == 1.0


def test_a_sketch_ignores_case_punctuation_and_white_space_and_nothing_else() -> None:
    assert sketch("The quick, brown fox\njumps — over!") == sketch("the QUICK brown   fox jumps over")
    assert sketch("the quick brown fox jumps over") != sketch("the quick brown fox jumps under")
    assert sketch(" \n—") == ()
    assert len(sketch("three short words")) == 1
    assert len(sketch("本規約は利用者に適用されます")) > 5


def test_a_sketch_is_the_same_in_every_process() -> None:
    text = "Personal data is kept for thirty days and then deleted."
    code = f"from data.identity import sketch; print(sketch({text!r}))"
    printed = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == str(sketch(text))
    assert sketch("one two three four five")[0] == 2_185_505_960_087_466  # b2sum -l 64, without its last 11 bits


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
