"""Not worse than the champion: what the version that serves answers right, the candidate answers, too.

Both answer the candidate's questions, which are about today's documents. The champion learned earlier ones, so of what
is new it knows little, and that counts for the candidate; what counts against it is a question that the champion
answers right and the candidate does not. Each cohort that decides elsewhere is a slice of its own, since a loss in one
would drown in the others. A slice fails where its fall is beyond the margin and McNemar's test, adjusted for the number
of slices (Holm, Scandinavian Journal of Statistics 6, 1979), finds a change at all: of several slices one more often
looks bad by chance alone.
"""

from data.evaluation_records import ChampionComparison, Check, CohortFigures, Compared, Outcome
from data.records import Cohort
from models.bounds import advice, fall_at_most, would
from models.power import LEVEL, questions_for_change
from models.statistics import holm, paired_of, table_of

CHECK = "champion"
SLICES = {
    Cohort.NEW: "new facts",
    Cohort.RESTATED: "facts known under another title or heading",
    Cohort.HELD: "facts that still hold",
    Cohort.WITHDRAWN: "refusals of withdrawn facts",
    Cohort.HANDBOOK: "handbook facts",
}
"""The cohorts that decide, and what falls."""
_SEVERITY = (Outcome.PASS, Outcome.INSUFFICIENT, Outcome.FAIL)


def champion_check(comparison: ChampionComparison, limit: float) -> Check:
    """The worst slice decides.

    Args:
        comparison: of champion and candidate.
        limit: of the fall in each slice.

    Raises:
        MissingFigureError: a cohort's figures are not those of paired answers.
    """
    if comparison.compared is Compared.BASE:
        serves = "Nothing serves yet" if comparison.version is None else "The base alone serves"
        passed = f"{serves}: forgotten, locality and restated say what was lost against the base."
        return Check(check=CHECK, outcome=Outcome.PASS, reason=passed)
    if comparison.compared is Compared.ITSELF:
        passed = f"Champion version {comparison.version} is the same adapter, which is not worse than itself."
        return Check(check=CHECK, outcome=Outcome.PASS, reason=passed)
    untold = f"Nothing says whether the candidate is worse than champion version {comparison.version}"
    if comparison.compared is Compared.UNAVAILABLE:
        reason = f"{untold}, which could not be asked. {comparison.why}"
        return Check(check=CHECK, outcome=Outcome.INSUFFICIENT, reason=reason)
    if not comparison.cohorts:
        return Check(check=CHECK, outcome=Outcome.INSUFFICIENT, reason=f"{untold}: there is no question to ask both.")
    return _worst(comparison, limit)


def _worst(comparison: ChampionComparison, limit: float) -> Check:
    """Of slices with the same outcome the one whose fall may be the largest.

    A slice that lost no answer and is too small to rule a fall out is left to the others, where there are any, and
    named.
    """
    adjusted = holm([paired_of(figures).mcnemar for figures in comparison.cohorts])
    slices = [
        (_slice(comparison, figures, limit, p), figures)
        for figures, p in zip(comparison.cohorts, adjusted, strict=True)
    ]
    small = [one for one in slices if one[0].outcome is Outcome.INSUFFICIENT and paired_of(one[1]).lost == 0]
    telling = [one for one in slices if one not in small]
    worst = max(telling or slices, key=lambda one: (_SEVERITY.index(one[0].outcome), -one[1].difference_low))[0]
    if worst.outcome is not Outcome.PASS or not small:
        return worst
    left = ", ".join(f"{SLICES[figures.cohort]} ({figures.n} questions)" for _, figures in small)
    return worst.model_copy(update={"reason": f"{worst.reason} Nothing is lost, and too few to tell alone: {left}."})


def _slice(comparison: ChampionComparison, figures: CohortFigures, limit: float, adjusted: float) -> Check:
    """What one cohort says; beyond the margin it fails only where chance is ruled out over all slices, too."""
    what = f"Against champion version {comparison.version}, {SLICES[figures.cohort]}"
    check = fall_at_most(CHECK, what, figures, limit)
    if check.outcome is not Outcome.FAIL:
        return check
    tests = len(comparison.cohorts)
    said = f"{check.reason.removesuffix('.')}; McNemar's p, adjusted for {tests} slices, is {adjusted:.2g}"
    if adjusted <= LEVEL:
        return check.model_copy(update={"reason": f"{said}."})
    needed = questions_for_change(table_of(figures), LEVEL * paired_of(figures).mcnemar / adjusted)
    reason = f"{said}, above {LEVEL}: {figures.n} questions cannot tell, {would(needed)}: {advice(figures.cohort)}."
    return check.model_copy(update={"outcome": Outcome.INSUFFICIENT, "reason": reason})
