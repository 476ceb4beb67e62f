"""Questions that fail together: wordings of one fact, facts of one document.

Such questions say less than as many independent ones. By how much is the design effect: the variance of a share over
whole clusters, over that of as many independent questions (Kish, Survey Sampling, 1965, section 8.2; with clusters of
unequal size the share is linearised as a ratio, Cochran, Sampling Techniques, 1977, section 11.7). Whole clusters are
also resampled (Davison and Hinkley, Bootstrap Methods, 1997, section 3.8), so that nothing needs to be assumed of how
answers within one depend on one another; the interval is BCa (Efron, JASA 82, 1987), since losses are rare, their
distribution skewed, and plain percentiles cover less.

Which clusters count follows from what is asked (Abadie, Athey, Imbens and Wooldridge, Quarterly Journal of Economics
138, 2023). What an adapter knows of these documents: they are all there, none was drawn, and facts are the clusters.
What its recipe would do to other documents: these are a sample of them, and documents are the clusters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from data.records import Question

Values = NDArray[np.float64]
"""One number per question, in the order of the questions."""

MIN_DOCUMENTS = 20
"""With fewer clusters a variance between them is not to be relied on (Cameron and Miller, Journal of Human Resources
50, 2015, section VI, name 20 to 50)."""
MIN_EVENTS = 10
"""With fewer answers of the rarer kind nothing shows how alike a fact's wordings are."""
RESAMPLES = 2000
"""1,000 or more are needed for an interval's ends (Efron and Tibshirani, An Introduction to the Bootstrap, 1993)."""
_CHUNK = 200
"""Resamples at a time, so that memory stays bounded."""
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Clusters:
    """Which questions belong together; a fact's wordings always do."""

    of: NDArray[np.int64]
    """Number of the cluster of each question, from 0 on without gaps."""

    @property
    def count(self) -> int:
        return int(self.of.max()) + 1

    @property
    def sizes(self) -> Values:
        """Questions of each cluster."""
        return np.bincount(self.of).astype(np.float64)

    @property
    def usual_size(self) -> float:
        """Of the cluster of a question drawn at random, larger than their mean unless all are equal."""
        return float(self.sizes @ self.sizes) / len(self.of)

    def sums(self, values: Values) -> Values:
        """Sum of each cluster."""
        return np.bincount(self.of, values).astype(np.float64)


def facts(questions: Sequence[Question]) -> Clusters:
    """Wordings of one fact together."""
    return _numbered([_fact(question) for question in questions])


def documents(questions: Sequence[Question]) -> Clusters | None:
    """All questions on one document together; what stands in none by its fact. None: there are too few documents."""
    if len({question.document for question in questions if question.document}) < MIN_DOCUMENTS:
        return None
    return _numbered([f"document {q.document}" if q.document else f"fact {_fact(q)}" for q in questions])


def _numbered(names: Sequence[str]) -> Clusters:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return Clusters(np.array([numbers[name] for name in names], dtype=np.int64))


def _fact(question: Question) -> str:
    """Statements and a teacher's questions name no more than their document; each is its own."""
    return question.id if question.source in ("", question.document) else question.source


def design_effect(values: Values, found: Clusters, alike: float = 1.0) -> float:
    """How many questions say as much as one independent one would; at least 1.

    Args:
        values: 0 or 1 each for a share; -1, 0 or 1 for a difference.
        found: which questions belong together.
        alike: correlation within a cluster, where fewer than ``MIN_EVENTS`` values differ from the others and none can
            be measured; 1: what belongs together counts as one answer.
    """
    n = len(values)
    least = 1.0 + alike * (found.usual_size - 1.0) if _events(values) < MIN_EVENTS else 1.0
    if n < 2 or found.count < 2 or not _events(values):
        return least
    residuals = found.sums(values) - values.mean() * found.sizes
    clustered = found.count / (found.count - 1) * float(residuals @ residuals) / n**2
    return max(least, clustered * n / float(values.var(ddof=1)))


def correlation(values: Values, found: Clusters) -> float:
    """Within a cluster, from 0 to 1: what makes the design effect 1 + (size - 1) correlation (Kish 1965, section 5.4).

    1 where too few values differ, or clusters are too small, to tell.
    """
    if found.usual_size == 1.0:
        return 1.0
    return min(1.0, (design_effect(values, found) - 1.0) / (found.usual_size - 1.0))


def sign_flips(values: Values, found: Clusters) -> float:
    """Two-sided p-value of a mean difference of 0: how often as large a sum comes of clusters whose signs are drawn.

    Exact, over all sign flips of whole clusters (Fisher, The Design of Experiments, 1935, section 21): where two models
    are equal, each cluster might as well have gone the other way. Where every cluster is one question, McNemar's exact
    test of the same pairs.

    Args:
        values: -1, 0 or 1 each.
        found: which questions belong together.
    """
    sums = np.rint(found.sums(values)).astype(np.int64)
    total, chances = abs(int(sums.sum())), _sums_by_chance(np.abs(sums[sums != 0]))
    reached = 2 * np.arange(len(chances)) - (len(chances) - 1)
    return min(1.0, float(chances[np.abs(reached) >= total].sum()))


def least_of_sign_flips(values: Values, found: Clusters) -> float:
    """The p-value of ``sign_flips`` if all clusters that differ had gone one way; no other way gives a smaller one."""
    return min(1.0, 2.0 ** (1 - int(np.count_nonzero(np.rint(found.sums(values))))))


def _sums_by_chance(sizes: NDArray[np.int64]) -> Values:
    """Chance of each sum of ``sizes`` with drawn signs, from minus their total up in steps of 2."""
    chances = np.ones(1)
    for size in sizes:
        wider = np.zeros(len(chances) + size)
        wider[: len(chances)] += chances / 2.0
        wider[size:] += chances / 2.0
        chances = wider
    return chances


def _events(values: Values) -> int:
    """How many values are not the most frequent one."""
    return len(values) - int(np.unique(values, return_counts=True)[1].max())


def bootstrap(values: Values, found: Clusters, seed: int = 0) -> tuple[float, float]:
    """The BCa 95 % interval of the mean of ``values``, whole clusters drawn with replacement.

    One point where all clusters agree: resampling cannot see what was never observed.
    """
    sums, sizes = found.sums(values), found.sizes
    mean = float(values.mean())
    means = _resampled(sums, sizes, np.random.default_rng(seed))
    left_out = (sums.sum() - sums) / np.maximum(sizes.sum() - sizes, 1.0)
    spread = left_out.mean() - left_out
    scale = float(spread @ spread) ** 1.5
    if scale == 0:
        return mean, mean
    acceleration = float((spread**3).sum()) / (6.0 * scale)
    below = (np.count_nonzero(means < mean) + 0.5 * np.count_nonzero(means == mean)) / len(means)
    bias = _NORMAL.inv_cdf(min(max(below, 1.0 / len(means)), 1.0 - 1.0 / len(means)))
    ends = [_level(_NORMAL.inv_cdf(level), bias, acceleration) for level in (0.025, 0.975)]
    low, high = np.quantile(means, ends)
    return min(float(low), mean), max(float(high), mean)


def _resampled(sums: Values, sizes: Values, draw: np.random.Generator) -> Values:
    """``RESAMPLES`` means."""
    parts = []
    for _ in range(RESAMPLES // _CHUNK):
        drawn = draw.integers(0, len(sums), (_CHUNK, len(sums)))
        parts.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return np.concatenate(parts)


def _level(z: float, bias: float, acceleration: float) -> float:
    """Which quantile of the resampled means stands for ``z`` (Efron 1987, equation 3.9)."""
    stretch = 1.0 - acceleration * (bias + z)
    if stretch <= 0:  # so skewed that the quantile lies beyond every resample
        return float(bias + z > 0)
    return _NORMAL.cdf(bias + (bias + z) / stretch)
