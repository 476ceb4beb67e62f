"""What an interval says about a threshold: it clears it, it misses it, or the questions are too few to tell.

The end that is worse for the candidate has to lie on the right side, and the end that is better on the wrong side for
a failure: a candidate on the threshold passes or fails by noise in one of forty cases each. Between the two a person
decides, and is told how many questions would, and what else can be done.
"""

from collections.abc import Callable

from data.evaluation_records import Check, CohortFigures, Estimate, Outcome
from data.records import Cohort, Grade
from models.power import detectable_drop, effect_reaching, questions_for_difference, questions_for_share
from models.statistics import paired_of, table_of

Outcomes = Callable[[float, float], Outcome]
"""From the ends of an interval, low and high."""
DECIDE = 'look at the answers in the report and decide (relearn promote VERSION --override --reason "...")'
ALL_ASKED = f"{DECIDE}, or keep more wordings from training to ask in (synthesize.held_out_questions)"
"""What a person can do where every question there is was asked: a day may change three facts."""
MORE = {Cohort.HELD: "assess.held_questions", Cohort.HANDBOOK: "assess.handbook_questions"}
"""Which setting asks more questions; of the other cohorts all questions there are were asked."""


def at_least(check: str, what: str, share: Estimate, wanted: float) -> Check:
    """The share's lower end reaches ``wanted``."""

    def outcome(low: float, high: float) -> Outcome:
        return _decided(clears=low >= wanted, misses=high < wanted)

    return _of_share(check, f"{what} in {shown(share)}, at least {wanted:.1%} wanted", share, outcome)


def at_most(check: str, what: str, share: Estimate, limit: float) -> Check:
    """The share's upper end stays within ``limit``."""

    def outcome(low: float, high: float) -> Outcome:
        return _decided(clears=high <= limit, misses=low > limit)

    return _of_share(check, f"{what} in {shown(share)}, at most {limit:.1%} allowed", share, outcome)


def fall_at_most(check: str, what: str, figures: CohortFigures, limit: float) -> Check:
    """The upper end of the fall in right answers, from base or champion to candidate, stays within ``limit``.

    Args:
        check: its name.
        what: fell.
        figures: both answered the same questions.
        limit: of the fall.

    Raises:
        MissingFigureError: an earlier release wrote the figures.
    """
    base, candidate, paired = figures.base[Grade.RIGHT], figures.candidate[Grade.RIGHT], paired_of(figures)
    n, low, high = base.n, figures.difference_low, figures.difference_high
    fall = (paired.lost - paired.gained) / n
    reason = (
        f"{what} fall by {fall:+.3f} from {base.value:.3f} to {candidate.value:.3f} (95 % interval {-high:+.3f} to "
        f"{-low:+.3f}, n={n}{_independent(n, paired.design_effect)}), at most {limit:.3f} allowed"
    )

    def outcome(low: float, high: float) -> Outcome:
        return _decided(clears=-low <= limit, misses=-high > limit)

    found = outcome(low, high)
    if found is not Outcome.INSUFFICIENT:
        return Check(check=check, outcome=found, reason=f"{reason}.")
    table = table_of(figures)
    effect = effect_reaching(table, paired.design_effect, low if fall <= limit else high)
    needed = questions_for_difference(table, effect, lambda low, high: outcome(low, high) is not Outcome.INSUFFICIENT)
    smallest = detectable_drop(n / effect, (paired.gained + paired.lost) / n)
    seen = f"{n} questions show a fall of {smallest:.3f} in four of five tries and cannot tell"
    return Check(check=check, outcome=found, reason=f"{reason}; {seen}, {would(needed)}: {advice(figures.cohort)}.")


def _of_share(check: str, reason: str, share: Estimate, outcome: Outcomes) -> Check:
    found = outcome(share.low, share.high)
    if found is not Outcome.INSUFFICIENT:
        return Check(check=check, outcome=found, reason=f"{reason}.")
    needed = questions_for_share(
        share.hits / share.n, share.design_effect, lambda low, high: outcome(low, high) is not Outcome.INSUFFICIENT
    )
    tell = f"{share.n} questions cannot tell, {would(needed)}"
    return Check(check=check, outcome=found, reason=f"{reason}; {tell}: {ALL_ASKED}.")


def _decided(*, clears: bool, misses: bool) -> Outcome:
    return Outcome.PASS if clears else Outcome.FAIL if misses else Outcome.INSUFFICIENT


def advice(cohort: Cohort) -> str:
    """What a person can do where the questions of a cohort cannot tell."""
    more = MORE.get(cohort)
    return f"raise {more}, as far as there are facts to ask about, or {DECIDE}" if more else ALL_ASKED


def would(needed: int | None) -> str:
    """How many questions would tell; None: no number."""
    return f"about {needed:,} would" if needed else "and no number would at such figures"


def shown(share: Estimate, of_what: str = "questions") -> str:
    """A share with its n and interval, in words."""
    interval = f"95 % interval {share.low:.1%} to {share.high:.1%}{_independent(share.n, share.design_effect)}"
    return f"{share.hits / share.n:.1%} of {share.n} {of_what} ({interval})"


def _independent(n: int, effect: float) -> str:
    """How many independent questions say as much; nothing where all are."""
    count = round(n / effect)
    return f", as of {count} independent ones" if count < n else ""
