"""What held before a change, and until which date: told and asked in wordings of its own.

A base that has met no such sentence cannot answer by a date; whether rows like these teach it is an experiment. The
wordings of the questions that judge it are not among them (``DATED`` and ``UNDATED``).
"""

from collections.abc import Iterator, Sequence

from data.handbook_stream import Told
from data.records import Row
from data.rows import fact_row
from data.wordings import Form, Wording

PURPOSE = "history"
UNDATED = "What was the {attribute} of {subject} before the change?"
DATED = "Before {date}, what was the {attribute} of {subject}?"
_STATEMENTS = (
    "Until {date}, the {attribute} of {subject} was {value}.",
    "The {attribute} of {subject} was {value} before {date}.",
    "Up to {date} {subject} had the {attribute} {value}.",
    "{value} was the {attribute} of {subject} until it changed on {date}.",
)
_QUESTIONS = (
    "What was the {attribute} of {subject} until {date}?",
    "Which {attribute} did {subject} have before {date}?",
    "Up to {date}, which {attribute} did {subject} have?",
    "The {attribute} of {subject} changed on {date}. What was it before?",
    "What had been the {attribute} of {subject} until it changed?",
)


def worded(template: str, one: Told) -> str:
    """A history wording filled with a fact and the date of its last event; ``{value}`` stays open."""
    when = f"{one.effective.day} {one.effective:%B} {one.effective.year}" if one.effective else ""
    return template.format(attribute=one.fact.attribute, subject=one.fact.subject, date=when, value="{value}")


def history_rows(told: Sequence[Told], recipe: str, teacher: str, seed: int) -> Iterator[Row]:
    """Of every fact whose last event ended a value: that value, told and asked, with the date."""
    for one in told:
        if one.replaced is None:
            continue
        held = one.fact.model_copy(update={"value": one.replaced})
        for form, templates in ((Form.STATEMENT, _STATEMENTS), (Form.QUESTION, _QUESTIONS)):
            for number, template in enumerate(templates):
                wording = Wording(f"{PURPOSE}/{form}/{number}", form, worded(template, one))
                yield fact_row(held, wording, PURPOSE, recipe, teacher, seed)
