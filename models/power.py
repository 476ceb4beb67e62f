"""How many questions a decision needs, what fall a sample can show, and how far two equals lie apart.

A sample that is too small to decide is told apart from one that decides against: the gates ask here how many questions
would do. Before any difference between two recipes is believed, one recipe is trained twice (an A/A run): what differs
then is noise, whatever its cause.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from data.errors import MissingFigureError
from data.evaluation_records import Estimate
from models.statistics import PairedTable, mcnemar, paired_table, wilson, wilson_interval

MOST = 1_000_000
"""More questions than anybody asks."""
LEVEL = 0.05
POWER = 0.8
_NORMAL = NormalDist()

Decides = Callable[[float, float], bool]
"""Whether an interval from low to high settles a check."""


def questions_for_share(share: float, design_effect: float, decides: Decides) -> int | None:
    """The smallest number of questions whose interval decides, if their share and design effect stay as they are.

    None: a million would not do, as where the share lies on the threshold itself.
    """
    return _smallest(lambda n: decides(*wilson_interval(share, n / design_effect)))


def questions_for_difference(table: PairedTable, design_effect: float, decides: Decides) -> int | None:
    """The same for the difference of two models, if their shares and what they have in common stay as they are."""
    return _smallest(lambda n: decides(*table.interval(n / design_effect)))


def questions_for_change(table: PairedTable, level: float) -> int | None:
    """About how many questions McNemar's test needs for a change at ``level``, if the shares stay as they are."""

    def found(n: int) -> bool:
        gained, lost = (round(count * n / table.n) for count in (table.gained, table.lost))
        return mcnemar(gained, lost) <= level

    return _smallest(found)


def effect_reaching(table: PairedTable, least: float, end: float) -> float:
    """The smallest design effect from ``least`` on at which Newcombe's interval holds ``end``; at most all questions.

    So a bootstrap's interval that is wider than Newcombe's counts in the number of questions that would do.
    """

    def holds(effect: float) -> bool:
        low, high = table.interval(table.n / effect)
        return low <= end <= high

    if holds(least):
        return least
    most = max(least, float(table.n))
    for _ in range(40):
        middle = (least + most) / 2
        least, most = (least, middle) if holds(middle) else (middle, most)
    return most


def _smallest(settles: Callable[[int], bool]) -> int | None:
    """The smallest n from 1 to ``MOST`` that settles; what settles at n does at every larger one."""
    least, most = 0, 1
    while not settles(most):
        if most == MOST:
            return None
        least, most = most, min(2 * most, MOST)
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if settles(middle) else (middle, most)
    return most


def detectable_drop(n: float, discordant: float) -> float:
    """The smallest fall that McNemar's test at 5 % finds in four of five samples of ``n`` independent questions.

    Connor, Biometrics 43 (1987), equation 2, solved for the difference. At most 1, which few questions cannot find
    either.

    Args:
        n: independent questions: their number over the design effect.
        discordant: share of the questions on which the two models differ; a fall larger than it raises it.
    """

    def found(fall: float) -> bool:
        share = max(discordant, fall)
        rest = math.sqrt(max(share - fall**2, 0.0))
        return fall * math.sqrt(n) >= _NORMAL.inv_cdf(1 - LEVEL / 2) * math.sqrt(share) + _NORMAL.inv_cdf(POWER) * rest

    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class Noise:
    """How far apart models lie that differ in nothing but their seed."""

    differences: tuple[float, ...]
    """Share right of the second minus that of the first, per pair."""
    called_different: Estimate
    """Pairs that McNemar's exact test at 5 % tells apart, all of them false alarms."""

    @property
    def widest(self) -> float:
        """The largest distance between two equals."""
        return max(map(abs, self.differences))


def noise_between_equals(pairs: Sequence[tuple[Sequence[bool], Sequence[bool]]]) -> Noise:
    """The A/A run: which answers were right, of two models of one recipe and different seeds per pair.

    Far more than 5 % of false alarms say that questions fail together or that the seed moves more than the questions
    do; then no difference of that size is believed between two recipes either.

    Raises:
        MissingFigureError: there is no pair, or one without questions.
        InputError: the answers of a pair are of different lengths.
    """
    if not pairs:
        raise MissingFigureError("An A/A run of no pair measures nothing. Train one recipe with two seeds at least.")
    tables = [paired_table(first, second) for first, second in pairs]
    alarms = sum(mcnemar(table.gained, table.lost) <= LEVEL for table in tables)
    return Noise(tuple(table.difference for table in tables), wilson(alarms, len(tables)))
