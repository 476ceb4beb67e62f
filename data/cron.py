"""The five fields of a schedule, and whether it is ever due, so that a mistake shows when it is written."""

from data.files import shortened

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 7, DAYS),
)
"""Name, least, greatest and words of each field."""
LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""Days of each month, in a leap year."""


def check_cron(cron: str) -> None:
    """Refuse what is no schedule.

    Raises:
        ValueError: it has not five fields, a field says something else, or it is never due.
    """
    fields = cron.split()
    if len(fields) != len(FIELDS):
        raise ValueError(f"{shortened(repr(cron))} has {len(fields)} fields; cron takes five, such as '0 2 * * *'")
    _, _, days, months, _ = (_values(said, *field) for said, field in zip(fields, FIELDS, strict=True))
    if not any(min(days) <= LONGEST[month - 1] for month in months):  # Prefect finds no date then, weekdays or not
        raise ValueError(
            f"{shortened(repr(cron))} is never due: none of its months has a day {min(days)}; take an earlier day"
        )


def _values(said: str, name: str, low: int, high: int, words: tuple[str, ...]) -> set[int]:
    """The numbers that a field stands for."""
    found: set[int] = set()
    for part in said.split(","):
        numbers = _part(part, low, high, words)
        if numbers is None:
            raise ValueError(
                f"{shortened(repr(said))} is no {name} of cron; it takes {low} to {high}, *, lists, ranges and steps"
            )
        found.update(numbers)
    return found


def _part(part: str, low: int, high: int, words: tuple[str, ...]) -> range | None:
    """What ``*``, a value or a range stands for, each with a step or without; None for anything else."""
    span, _, step = part.partition("/")
    ends = [f"{low}", f"{high}"] if span == "*" else span.split("-")
    numbers = [str(words.index(end.lower()) + low) if end.lower() in words else end for end in ends]
    if len(numbers) > 2 or not all(map(_is_number, numbers)):
        return None
    first, last = int(numbers[0]), int(numbers[-1])
    stepped = _is_number(step) and int(step) > 0 if "/" in part else True
    if not (low <= first <= last <= high and stepped):
        return None
    if step and len(numbers) == 1:
        last = high  # 5/10 is 5-59/10
    return range(first, last + 1, int(step or 1))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4
