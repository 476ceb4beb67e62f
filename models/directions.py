"""Which of many documents got worse and which got better, where two models answered the same questions on each.

Questions on one fact stand or fall together, so a document is judged by its facts: exact sign flips
(models/clusters.py). Many documents are looked at in one report, and of eighty that did not change some look as though
they did. So all of them share one level of 5 %, by Holm's steps among the documents whose facts could tell at all
(Tarone 1990). Of two equal models, at most one report in twenty calls any document worse or better.

Holm's and not the false discovery rate (Benjamini and Hochberg 1995), which promises a share of what is named alone and
is more lenient the more documents truly got better. Among the documents that could tell, since with five broken of
eighty this names 30 % of the broken ones, as sign flips without any correction do (32 %), where all of Holm's or of
Benjamini and Hochberg's eighty leave 3 and 4 % (``python -m bench.false_regressions``, n = 400 reports each, seed 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from data.records import Answer, Grade
from models.clusters import facts, least_of_sign_flips, sign_flips
from models.statistics import beyond_chance

LEVEL = 0.05
"""Share of reports of equal models in which any document is called worse or better, at most."""


class Direction(StrEnum):
    """Where a document's right answers went, all documents of the report considered."""

    REGRESSION = "Regressions"
    """Worse beyond chance."""
    LOST_SOME = "Lost some, within chance"
    """Some answers were lost; others may have been gained."""
    IMPROVEMENT = "Improvements"
    """Better beyond chance."""
    NO_CHANGE = "No change beyond chance"
    """No answer was lost, and what was gained is within chance."""


@dataclass(frozen=True)
class Movement:
    """How the answers to one document's questions differ between two models."""

    gained: int
    """Questions that only the second answers right."""
    lost: int
    """Questions that only the first answers right."""
    facts: int
    """Asked about."""
    differing: int
    """Facts of which one of the two answers more questions right."""
    p: float
    """Of the difference, this document alone: exact sign flips of its facts."""
    least: float
    """The smallest p that so many differing facts can give."""

    @property
    def lost_more(self) -> bool:
        """Than were gained."""
        return self.lost > self.gained

    @property
    def could_tell(self) -> bool:
        """Whether a loss in all facts that differ would be beyond chance if no other document were looked at."""
        return self.least <= LEVEL


def movement(answers: Sequence[Answer]) -> Movement:
    """Of the questions on one document, of which there is at least one."""
    found = facts([answer.question for answer in answers])
    values = np.array([_right(answer.candidate_grade) - _right(answer.base_grade) for answer in answers])
    return Movement(
        gained=int(np.count_nonzero(values > 0)),
        lost=int(np.count_nonzero(values < 0)),
        facts=found.count,
        differing=int(np.count_nonzero(found.sums(values))),
        p=sign_flips(values, found),
        least=least_of_sign_flips(values, found),
    )


def directions(documents: Sequence[Movement]) -> tuple[Direction, ...]:
    """Of all documents of one report, in their order."""
    told = beyond_chance([one.p for one in documents], [one.least for one in documents], LEVEL)
    return tuple(_direction(one, beyond) for one, beyond in zip(documents, told, strict=True))


def _direction(one: Movement, beyond: bool) -> Direction:
    if beyond:
        return Direction.REGRESSION if one.lost_more else Direction.IMPROVEMENT
    return Direction.LOST_SOME if one.lost else Direction.NO_CHANGE


def _right(grade: Grade) -> float:
    return float(grade is Grade.RIGHT)
