"""What every HTML page shares: templates, signs and colours of outcomes, and how numbers are written.

Autoescape is on: documents, answers, and names of modules in somebody's file are untrusted text.
"""

import functools
import math
from enum import StrEnum
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from data.evaluation_records import Estimate, Outcome, Verdict
from data.files import printable, shortened
from data.records import Grade
from models.gates import HOLDING
from tasks import report_views

TEMPLATES = Path(__file__).parent / "templates"

_TONE: dict[StrEnum, str] = {
    Verdict.PROMOTE: "pass",
    Verdict.HOLD: "warn",
    Verdict.REJECT: "fail",
    Outcome.PASS: "pass",
    Outcome.WARN: "warn",
    Outcome.FAIL: "fail",
    Outcome.INSUFFICIENT: "unsure",
    Grade.RIGHT: "pass",
    Grade.STALE: "warn",
    Grade.WRONG: "fail",
    Grade.REFUSED: "unsure",
}
_SIGN = {"pass": "✓", "warn": "!", "fail": "✗", "unsure": "?"}


@functools.cache
def environment() -> Environment:
    """The templates with their filters and globals."""
    shared = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shared.filters.update(
        number=number,
        signed=signed,
        share=share,
        duration=duration,
        named=named,
        shortened=shortened,
        question=report_views.plain_question,
    )
    shared.globals.update(
        tone=_TONE,
        sign=_SIGN,
        Grade=Grade,
        cohorts=report_views.COHORTS,
        holding=sorted(HOLDING),
        examples=report_views.EXAMPLES,
        longest=report_views.LONGEST_LIST,
        longest_answer=report_views.LONGEST_ANSWER,
        longest_sentence=report_views.LONGEST_SENTENCE,
        pair=pair,
    )
    return shared


# --- names and numbers, the same everywhere ------------------------------------------------------------------


def named(text: str) -> Markup:
    """A name from outside: without what would turn the page's letters around, and a long one shortened, to point at."""
    whole, shown = printable(text), shortened(text)
    if shown == whole:
        return Markup("<code>{}</code>").format(shown)
    return Markup('<code title="{}">{}</code>').format(whole, shown)


def number(value: float | None, digits: int = 3) -> str:
    """A figure with a fixed number of digits; what is missing or not finite is said in signs or words."""
    if value is None:
        return "–"
    return f"{value:z,.{digits}f}" if math.isfinite(value) else "not finite"


def signed(value: float | None) -> str:
    """A difference with its sign; what rounds to zero has none."""
    if value is None or not math.isfinite(value):
        return number(value)
    return "0.000" if abs(value) < 0.0005 else f"{value:+.3f}".replace("-", "−")


def pair(base: Estimate | float | None, candidate: Estimate | float | None) -> str:
    """Two shares and their difference, as ``0.10 -> 0.86 (+0.76)``; what was not measured is a dash."""
    before, after = (one.value if isinstance(one, Estimate) else one for one in (base, candidate))
    if before is None or after is None:
        return f"{number(before, 2)} -> {number(after, 2)}"
    difference = after - before
    change = "0.00" if abs(difference) < 0.005 else f"{difference:+.2f}"
    return f"{before:.2f} -> {after:.2f} ({change})"


def share(part: int, whole: int) -> str:
    """Part of a whole in percent; of nothing there is no share."""
    return f"{100 * part / whole:.0f} %" if whole else "–"


def duration(seconds: float) -> str:
    """Seconds as a person reads them."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
