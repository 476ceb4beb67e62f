"""How often a report calls a document worse that is not, and how many that are it names, by how it corrects for many.

    python -m bench.false_regressions --reports 400 --seed 1

Reports are drawn, nothing is trained. Each has eighty documents of 2 to 20 facts, asked in one to five wordings, 5 to
60 questions in all; two equal models know 85 % of the facts and disagree on 2 to 5 % of the answers, in both
directions, or, where they are restless, on 15 to 25 %. Some documents are broken: the second model lost 20 to 50 % of
their answers. Some are taught: only the second knows them. How many of a fact's wordings go with it is drawn for each
report: none, half of them, or all. Every way of correcting judges the same reports.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.records import Answer, Cohort, Grade, Question
from models.directions import LEVEL, Direction, Movement, directions, movement
from models.statistics import holm, paired_difference, sharing, wilson

Marks = NDArray[np.bool_]
"""One per question, facts by wordings."""
DOCUMENTS = 80
KNOWN = 0.85
TAUGHT = 0.9
MANY_FACTS = 13


@dataclass(frozen=True)
class Truth:
    """What is true of the reports that are drawn."""

    broken: int = 0
    """Documents that truly got worse; they come first."""
    taught: int = 0
    """Documents that truly got better; they come next."""
    restless: bool = False
    """Whether the models disagree on many answers."""
    together: float | None = None
    """Share of wordings that are answered as their fact's others; None: drawn for each report."""


TRUTHS = (
    Truth(),
    Truth(broken=1),
    Truth(broken=3),
    Truth(broken=5),
    Truth(broken=3, taught=40),
    Truth(restless=True),
    Truth(restless=True, taught=40),
    Truth(restless=True, broken=3, taught=40),
)


@dataclass(frozen=True)
class Judged:
    """One document's questions as two models answered them."""

    answers: tuple[Answer, ...]
    moved: Movement


Rule = Callable[[Sequence[Judged]], set[int]]
"""The places of the documents that it calls worse."""


# --- reports that are drawn --------------------------------------------------------------------------


def drawn(draw: np.random.Generator, truly: Truth) -> list[tuple[Answer, ...]]:
    """One report: the answers to each document's questions."""
    together = draw.choice([0.0, 0.5, 1.0]) if truly.together is None else truly.together
    disagreement = draw.uniform(0.15, 0.25) if truly.restless else draw.uniform(0.02, 0.05)
    found = []
    for place in range(DOCUMENTS):
        shape = _shape(draw)
        before = np.repeat(draw.random((shape[0], 1)) < KNOWN, shape[1], axis=1)
        if place < truly.broken:
            after = before & ~_marked(draw, shape, draw.uniform(0.2, 0.5), together)
        elif place < truly.broken + truly.taught:
            before, after = np.zeros(shape, bool), _marked(draw, shape, TAUGHT, together)
        else:
            truth, once = before, disagreement / 2  # each errs alone: together they disagree about twice as often
            before, after = (truth ^ _marked(draw, shape, once, together) for _ in range(2))
        found.append(_answers(f"document-{place:02}", before, after))
    return found


def _shape(draw: np.random.Generator) -> tuple[int, int]:
    """Facts and wordings of a document."""
    while True:
        facts, wordings = int(draw.integers(2, 21)), int(draw.integers(1, 6))
        if 5 <= facts * wordings <= 60:
            return facts, wordings


def _marked(draw: np.random.Generator, shape: tuple[int, int], share: float, together: float) -> Marks:
    whole, own = draw.random((shape[0], 1)) < share, draw.random(shape) < share
    return np.where(draw.random(shape) < together, whole, own)


def _answers(document: str, before: Marks, after: Marks) -> tuple[Answer, ...]:
    grade = {True: Grade.RIGHT, False: Grade.WRONG}
    return tuple(
        Answer(
            question=Question(
                id=f"{document}/{fact}/{wording}", cohort=Cohort.HELD, question="?", answers=("x",),
                source=f"{document}/{fact}", document=document,
            ),
            base="", base_grade=grade[bool(right)],
            candidate="", candidate_grade=grade[bool(after[fact, wording])],
        )
        for (fact, wording), right in np.ndenumerate(before)
    )  # fmt: skip


# --- ways to correct ---------------------------------------------------------------------------------


def _own_interval(report: Sequence[Judged]) -> set[int]:
    """Each document's paired interval as though its questions were independent and it the only document."""
    return {place for place, one in enumerate(report) if paired_difference(*_right(one.answers))[2] < 0}


def _right(answers: Sequence[Answer]) -> tuple[list[bool], list[bool]]:
    base = [answer.base_grade is Grade.RIGHT for answer in answers]
    return base, [answer.candidate_grade is Grade.RIGHT for answer in answers]


def _shipped(report: Sequence[Judged]) -> set[int]:
    found = directions([one.moved for one in report])
    return {place for place, direction in enumerate(found) if direction is Direction.REGRESSION}


def _by_p(adjusted: Callable[[Sequence[float]], Sequence[float]]) -> Rule:
    """Worse where the adjusted p-value is small."""

    def rule(report: Sequence[Judged]) -> set[int]:
        p_values = adjusted([one.moved.p for one in report])
        return {place for place, p in enumerate(p_values) if p <= LEVEL and report[place].moved.lost_more}

    return rule


def benjamini_hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted for the false discovery rate (Benjamini and Hochberg, JRSS B 57, 1995)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__, reverse=True)
    adjusted, most = dict[int, float](), 1.0
    for below, place in enumerate(order):
        most = min(most, p_values[place] * len(p_values) / (len(p_values) - below))
        adjusted[place] = most
    return tuple(adjusted[place] for place in range(len(p_values)))


def _among_those_that_can_tell(report: Sequence[Judged]) -> set[int]:
    """Benjamini and Hochberg among the tests that Tarone counts (Gilbert, Applied Statistics 54, 2005)."""
    share = LEVEL / sharing([one.moved.least for one in report], LEVEL)
    places = [place for place, one in enumerate(report) if one.moved.least <= share]
    named = _by_p(benjamini_hochberg)([report[place] for place in places])
    return {places[place] for place in named}


RULES: Mapping[str, Rule] = {
    "own interval": _own_interval,
    "sign flips alone": _by_p(tuple),
    "Holm": _by_p(holm),
    "BH": _by_p(benjamini_hochberg),
    "BH, can tell": _among_those_that_can_tell,
    "Holm, can tell": _shipped,
}


# --- what came of them ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tally:
    """What one rule did under one truth."""

    reports: int
    alarmed: int
    """Reports with a document called worse that is not."""
    named: int
    """Broken documents called worse."""
    broken: int


def tallies(truly: Truth, reports: int, seed: int) -> tuple[dict[str, Tally], Counter[tuple[bool, bool]]]:
    """What every rule did; and of the broken documents (many facts, named by the shipped rule), how many there are."""
    draw = np.random.default_rng(seed)
    alarmed, named, sizes = Counter[str](), Counter[str](), Counter[tuple[bool, bool]]()
    for _ in range(reports):
        report = [Judged(answers, movement(answers)) for answers in drawn(draw, truly)]
        for name, rule in RULES.items():
            worse = rule(report)
            found = sum(place < truly.broken for place in worse)
            alarmed[name] += len(worse) > found
            named[name] += found
        worse = _shipped(report)
        sizes.update((report[place].moved.facts >= MANY_FACTS, place in worse) for place in range(truly.broken))
    return {name: Tally(reports, alarmed[name], named[name], reports * truly.broken) for name in RULES}, sizes


def main() -> None:
    """Print the shares as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=400, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"| broken, taught | {' | '.join(RULES)} |\n| --- |{' --- |' * len(RULES)}")
    sizes = Counter[tuple[bool, bool]]()
    for truly in TRUTHS:
        found, by_size = tallies(truly, options.reports, options.seed)
        name = f"{truly.broken}, {truly.taught}{', restless' if truly.restless else ''}"
        print(f"| {name} | {' | '.join(map(_cell, found.values()))} |", flush=True)
        sizes += by_size
    for many in sorted({many for many, _ in sizes}, reverse=True):
        what = f"{MANY_FACTS} facts or more" if many else "fewer"
        share = wilson(sizes[many, True], sizes[many, True] + sizes[many, False])
        print(f"Broken documents of {what}, named: {share.value:.3f} [{share.low:.3f}, {share.high:.3f}], n={share.n}")


def _cell(tally: Tally) -> str:
    share = wilson(tally.alarmed, tally.reports)
    alarms = f"{100 * share.value:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"
    return f"{alarms}; {100 * tally.named / tally.broken:.0f}" if tally.broken else alarms


if __name__ == "__main__":
    main()
