"""What an interval says about a threshold: it clears it, it misses it, or the questions are too few to tell.

The end that is worse for the candidate has to lie on the right side, and the end that is better on the wrong side for
a failure: a candidate on the threshold passes or fails by noise in one of forty cases each. Between the two a person
decides, and is told how many questions would, and what else can be done.
"""

from collections.abc import Callable

from data.errors import MissingFigureError
from data.records import Grade
from data.report_records import Check, CohortFigures, Estimate, Outcome
from models.power import detectable_drop, effect_reaching, questions_for_difference, questions_for_share
from models.statistics import PairedTable

Outcomes = Callable[[float, float], Outcome]
"""From the ends of an interval, low and high."""
DECIDE = 'look at the answers in the report and decide (relearn promote VERSION --override --reason "...")'
ALL_ASKED = f"{DECIDE}, or keep more wordings from training to ask in (synthesize.held_out_questions)"
"""What a person can do where every question there is was asked: a day may change three facts."""


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


def fall_at_most(check: str, what: str, figures: CohortFigures, limit: float, more: str | None = None) -> Check:
    """The upper end of the fall in right answers from base to candidate stays within ``limit``.

    Args:
        check: its name.
        what: fell.
        figures: both answered the same questions.
        limit: of the fall.
        more: the setting by which more questions are asked; None: all were.

    Raises:
        MissingFigureError: an earlier release wrote the figures.
    """
    base, candidate, paired = figures.base[Grade.RIGHT], figures.candidate[Grade.RIGHT], figures.paired
    if paired is None:
        raise MissingFigureError(
            f"The evaluation does not say which facts cohort {figures.cohort} asks about, so nothing says how far its "
            "interval reaches: an earlier release wrote it. Run assess again."
        )
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
    both = base.hits - paired.lost
    table = PairedTable(both, paired.gained, paired.lost, n - both - paired.gained - paired.lost)
    effect = effect_reaching(table, paired.design_effect, low if fall <= limit else high)
    needed = questions_for_difference(table, effect, lambda low, high: outcome(low, high) is not Outcome.INSUFFICIENT)
    smallest = detectable_drop(n / effect, (paired.gained + paired.lost) / n)
    seen = f"{n} questions show a fall of {smallest:.3f} in four of five tries and cannot tell"
    advice = f"raise {more}, as far as there are facts to ask about, or {DECIDE}" if more else ALL_ASKED
    return Check(check=check, outcome=found, reason=f"{reason}; {seen}, {_would(needed)}: {advice}.")


def _of_share(check: str, reason: str, share: Estimate, outcome: Outcomes) -> Check:
    found = outcome(share.low, share.high)
    if found is not Outcome.INSUFFICIENT:
        return Check(check=check, outcome=found, reason=f"{reason}.")
    needed = questions_for_share(
        share.hits / share.n, share.design_effect, lambda low, high: outcome(low, high) is not Outcome.INSUFFICIENT
    )
    tell = f"{share.n} questions cannot tell, {_would(needed)}"
    return Check(check=check, outcome=found, reason=f"{reason}; {tell}: {ALL_ASKED}.")


def _decided(*, clears: bool, misses: bool) -> Outcome:
    return Outcome.PASS if clears else Outcome.FAIL if misses else Outcome.INSUFFICIENT


def _would(needed: int | None) -> str:
    return f"about {needed:,} would" if needed else "and no number would at such figures"


def shown(share: Estimate, of_what: str = "questions") -> str:
    """A share with its n and interval, in words."""
    interval = f"95 % interval {share.low:.1%} to {share.high:.1%}{_independent(share.n, share.design_effect)}"
    return f"{share.hits / share.n:.1%} of {share.n} {of_what} ({interval})"


def _independent(n: int, effect: float) -> str:
    """How many independent questions say as much; nothing where all are."""
    count = round(n / effect)
    return f", as of {count} independent ones" if count < n else ""
