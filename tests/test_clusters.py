"""Questions that fail together say less: intervals cover the truth where answers come in clusters."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.records import Cohort, Question
from models.clusters import (
    MIN_DOCUMENTS,
    MIN_EVENTS,
    Clusters,
    Values,
    bootstrap,
    correlation,
    design_effect,
    documents,
    facts,
    least_of_sign_flips,
    sign_flips,
)
from models.statistics import PairedTable, compare, deciding, mcnemar


def question(fact: str, document: str = "", wording: int = 0) -> Question:
    return Question(
        id=f"{fact}/{wording}", cohort=Cohort.HELD, question="?", answers=("x",), source=fact, document=document
    )


def asked(documents: int, per_document: int = 3, wordings: int = 2) -> list[Question]:
    return [
        question(f"{document}/{fact}", f"d{document}", wording)
        for document in range(documents)
        for fact in range(per_document)
        for wording in range(wordings)
    ]


def lonely(n: int) -> Clusters:
    return facts([question(str(place)) for place in range(n)])


def test_a_facts_wordings_belong_together() -> None:
    found = facts(asked(3))
    assert (found.count, found.sizes.tolist()) == (9, [2.0] * 9)


def test_documents_are_clusters_where_there_are_enough() -> None:
    found = documents(asked(MIN_DOCUMENTS))
    assert found is not None
    assert found.sizes.tolist() == [6.0] * MIN_DOCUMENTS
    assert documents(asked(MIN_DOCUMENTS - 1)) is None


def test_what_stands_in_no_document_is_its_own_cluster() -> None:
    found = documents([*asked(MIN_DOCUMENTS), question("handbook"), question("handbook", wording=1)])
    assert found is not None
    assert found.count == MIN_DOCUMENTS + 1
    assert found.of[-1] == found.of[-2]


def test_what_names_its_document_alone_is_a_fact_of_its_own() -> None:
    """Recalled statements and a teacher's questions."""
    assert facts([question("d", "d", number) for number in range(3)]).count == 3


@given(st.lists(st.booleans(), min_size=2, max_size=60))
def test_questions_that_stand_alone_have_no_design_effect(hits: list[bool]) -> None:
    assert design_effect(np.array(hits, dtype=np.float64), lonely(len(hits))) == pytest.approx(1.0)


@given(st.integers(MIN_EVENTS, 60), st.integers(MIN_EVENTS, 60), st.integers(2, 5))
def test_wordings_that_always_agree_count_as_one_answer(right: int, wrong: int, wordings: int) -> None:
    """Kish's limit: intraclass correlation 1 gives a design effect of the cluster's size."""
    values = np.repeat([1.0] * right + [0.0] * wrong, wordings)
    found = facts([question(str(place // wordings), wording=place) for place in range(len(values))])
    n, effect = len(values), design_effect(values, found)
    assert effect == pytest.approx(wordings * (n - 1) / (n - wordings))


@pytest.mark.parametrize(
    ("lost", "alike", "effect"),
    [(0, 1.0, 2.0), (0, 0.25, 1.25), (MIN_EVENTS - 1, 1.0, 2.0), (MIN_EVENTS - 1, 0.0, 1.0), (MIN_EVENTS, 1.0, 1.0)],
)
def test_too_few_answers_of_a_kind_are_as_alike_as_is_said(lost: int, alike: float, effect: float) -> None:
    values = np.zeros(400)
    values[: 2 * lost : 2] = -1.0  # never both wordings of a fact
    assert design_effect(values, facts(asked(200, 1)), alike) == effect


def test_unlike_clusters_weigh_as_their_questions_do() -> None:
    """One of 9 questions and one of 1: a question drawn at random stands among 8.2 on average."""
    found = Clusters(np.array([0] * 9 + [1]))
    assert found.usual_size == pytest.approx(8.2)
    assert design_effect(np.ones(10), found) == pytest.approx(8.2)
    assert design_effect(np.ones(10), found, alike=0.5) == pytest.approx(4.6)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (8, 2), (30, 14), (12, 12), (0, 60)])
def test_sign_flips_of_lone_pairs_are_mcnemars_test(gained: int, lost: int) -> None:
    values = np.array([1.0] * gained + [-1.0] * lost + [0.0] * 20)
    assert sign_flips(values, lonely(len(values))) == pytest.approx(mcnemar(gained, lost), rel=1e-9)
    assert least_of_sign_flips(values, lonely(len(values))) == mcnemar(gained + lost, 0)


def test_pairs_that_go_together_are_less_evidence() -> None:
    values, found = np.array([1.0] * 32 + [-1.0] * 8), Clusters(np.arange(40) // 8)
    assert sign_flips(values, lonely(40)) < 0.01
    assert sign_flips(values, found) == 6 * 2 / 2**5
    assert least_of_sign_flips(values, found) == 2 / 2**5


@given(st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 1.0]), st.integers(0, 7)), min_size=1, max_size=30))
@settings(deadline=None)
def test_sign_flips_are_every_way_to_draw_the_signs(answers: list[tuple[float, int]]) -> None:
    values, found = np.array([value for value, _ in answers]), facts([question(str(name)) for _, name in answers])
    sums = found.sums(values)
    drawn = [abs(float(np.dot(signs, sums))) for signs in itertools.product((-1, 1), repeat=len(sums))]
    expected = sum(one >= abs(sums.sum()) for one in drawn) / len(drawn)
    assert sign_flips(values, found) == pytest.approx(expected)
    assert least_of_sign_flips(values, found) <= sign_flips(values, found) == sign_flips(-values, found)


@pytest.mark.parametrize("alike", [0.0, 0.3, 0.8])
def test_the_correlation_is_found_again(alike: float) -> None:
    draw = np.random.default_rng(4)
    first, other = draw.random(4000) < 0.3, draw.random(4000) < 0.3
    second = np.where(draw.random(4000) < alike, first, other)
    values = np.stack([first, second], axis=1).reshape(-1).astype(np.float64)
    assert correlation(values, facts(asked(4000, 1))) == pytest.approx(alike, abs=0.06)


def test_a_correlation_that_nothing_shows_is_taken_to_be_whole() -> None:
    values = np.zeros(100)
    values[: MIN_EVENTS - 1] = 1.0
    assert correlation(values, facts(asked(50, 1))) == 1.0
    assert correlation(1.0 - values, facts(asked(50, 1))) == 1.0
    values[MIN_EVENTS - 1] = 1.0
    assert correlation(values, lonely(100)) == 1.0, "of one wording each, nothing can be said"


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=40), st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_the_bootstrap_holds_its_value_and_repeats(values: list[float], size: int) -> None:
    found = facts([question(str(place // size)) for place in range(len(values))])
    given_values = np.array(values)
    low, high = bootstrap(given_values, found, seed=3)
    assert -1.0 <= low <= given_values.mean() <= high <= 1.0
    assert bootstrap(given_values, found, seed=3) == (low, high)


def _sample(draw: np.random.Generator, loss: float, alike: float) -> tuple[list[Question], Values]:
    """About 60 documents of 7 facts in two wordings each, and which questions are answered right after learning.

    Args:
        draw: what is random.
        loss: the true share lost.
        alike: how often a fact's second wording repeats the first.
    """
    questions, lost = [], []
    for document in range(60):
        for fact in range(int(min(draw.geometric(1 / 7), 40))):
            first = draw.random() < loss
            lost += [first, first if draw.random() < alike else draw.random() < loss]
            questions += [question(f"{document}/{fact}", f"d{document}", wording) for wording in range(2)]
    return questions, 1.0 - np.array(lost, dtype=np.float64)


@pytest.mark.parametrize(("loss", "alike"), [(0.02, 0.5), (0.02, 0.9), (0.1, 0.8), (0.02, 0.0)])
def test_the_interval_that_decides_covers_the_truth_of_facts_that_fail_whole(loss: float, alike: float) -> None:
    """300 samples: a true coverage of 95 % gives less than 92 % once in a hundred tests; wider is safe."""
    draw = np.random.default_rng(7)
    covered = naive = 0
    for _ in range(300):
        questions, right = _sample(draw, loss, alike)
        paired = compare(questions, np.ones(len(right)), right)
        table = PairedTable(both=len(right) - paired.lost, gained=0, lost=paired.lost, neither=0)
        low, high = deciding(table, paired.design_effect, paired.bootstrap)
        assert low <= paired.bootstrap[0] <= paired.bootstrap[1] <= high
        covered += low <= -loss <= high
        own_low, own_high = table.interval(table.n)
        naive += own_low <= -loss <= own_high
    assert covered / 300 >= 0.93
    if alike >= 0.8:
        assert naive / 300 <= 0.9, "as though all were independent"


def test_the_wider_statement_covers_what_other_documents_would_show() -> None:
    """A document's facts fail together; 60 documents are a sample of all there could be."""
    draw = np.random.default_rng(8)
    covered = of_these = 0
    for _ in range(300):
        shares = draw.beta(0.9, 8.1, size=60)  # mean 0.1, correlation 0.1
        right = (draw.random((60, 14)) >= shares[:, None]).reshape(-1).astype(np.float64)
        paired = compare(asked(60, 7), np.ones(len(right)), right)
        assert paired.other_documents is not None
        covered += paired.other_documents[0] <= -0.1 <= paired.other_documents[1]
        of_these += paired.bootstrap[0] <= -0.1 <= paired.bootstrap[1]
    assert covered / 300 >= 0.9
    assert of_these / 300 < 0.85
