"""What a recipe proposes and what becomes of it: the way from proposals to rows, counted filter by filter."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from data.records import Question, Row
from data.report_records import Funnel

EXAMPLES = 2
"""Dropped texts shown per filter."""
_LONGEST_EXAMPLE = 240


@dataclass(frozen=True)
class Proposal:
    """One training row that a teacher proposed."""

    text: str
    """As it is shown to people."""
    row: Row | None = None
    """None: no row could be made of it."""
    failed: str = ""
    """The first filter that it failed; empty: none so far."""


@dataclass(frozen=True)
class Written:
    """What one recipe wrote."""

    recipe: str
    proposals: tuple[Proposal, ...]
    questions: tuple[Question, ...] = ()
    """For the evaluation, in wordings that no row has."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of the proposals that failed no filter."""
        return tuple(one.row for one in self.proposals if one.row is not None and not one.failed)


def funnel(written: Written, broken: Mapping[int, str]) -> Funnel:
    """Counts of one recipe.

    Args:
        written: its proposals, some of which failed a filter of the recipe's own.
        broken: number in ``written.rows`` -> the rule of the row suite that this row broke.
    """
    dropped: defaultdict[str, list[str]] = defaultdict(list)
    for proposal in written.proposals:
        if proposal.failed:
            dropped[proposal.failed].append(proposal.text)
    rows = written.rows
    for number, rule in broken.items():
        dropped[rule].append(shown(rows[number]))
    return Funnel(
        recipe=written.recipe,
        proposed=len(written.proposals),
        kept=len(rows) - len(broken),
        dropped={reason: len(texts) for reason, texts in dropped.items()},
        examples={reason: tuple(map(_short, texts[:EXAMPLES])) for reason, texts in dropped.items()},
    )


def shown(row: Row) -> str:
    """A row as one line."""
    return " ".join(f"{row.prompt}{row.completion}".split())


def starved(funnels: Iterable[Funnel]) -> list[str]:
    """One sentence per recipe that proposed rows and kept none: which filter ate them, with examples."""
    return [_starved(one) for one in funnels if one.proposed and not one.kept]


def _starved(one: Funnel) -> str:
    most = max(one.dropped, key=lambda reason: one.dropped[reason])
    examples = "; ".join(f"«{text}»" for text in one.examples[most])
    return (
        f"Recipe {one.recipe} kept none of {one.proposed} proposed rows; filter {most} dropped "
        f"{one.dropped[most]} of them, such as {examples}."
    )


def by_recipe(written: Sequence[Written], broken: Mapping[int, str]) -> tuple[Funnel, ...]:
    """The funnel of every recipe; ``broken`` numbers the rows of all of them in one go."""
    funnels, begin = [], 0
    for one in written:
        end = begin + len(one.rows)
        own = {number - begin: rule for number, rule in broken.items() if begin <= number < end}
        funnels.append(funnel(one, own))
        begin = end
    return tuple(funnels)


def _short(text: str) -> str:
    """One line that any file takes: half characters, which answers may hold, become question marks."""
    line = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    return line if len(line) <= _LONGEST_EXAMPLE else f"{line[: _LONGEST_EXAMPLE - 2]} …"
