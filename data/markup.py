"""HTML and tables to Markdown: the one form in which documents are read on.

Word documents and e-mails arrive as HTML too, so that headings, lists and tables take one way. A cell is one
line of text, and a bar in it is escaped, so that a table stays the table that it was.
"""

import copy
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from data.errors import UnreadableError

if TYPE_CHECKING:
    from bs4 import Tag

MAX_SPAN = 100
"""Rows or columns that one merged cell may cover."""
MAX_CELLS = 50_000
"""Of one text or workbook, merged cells spelled out; the parser takes about 70 microseconds and 3 KB for each."""
MAX_REPEATED = 1_000_000
"""Characters of markup that the merged cells of a page may add when they are spelled out."""
MAX_DEPTH = 200
"""Elements around a table."""


def html_to_markdown(html: str, first_row_is_head: bool = False) -> tuple[str | None, str]:
    """(title, Markdown) of a page.

    Args:
        first_row_is_head: of a table that marks no head, as tables of word processors do not. Merged cells are
            then spelled out, and tables that only lay out a page are none.

    Raises:
        UnreadableError: no parser takes it, or it is nested too deep.
    """
    from bs4 import BeautifulSoup
    from bs4.exceptions import ParserRejectedMarkup
    from markdownify import MarkdownConverter

    try:
        soup = BeautifulSoup(html, "html.parser")
        title = soup.title.get_text() if soup.title else None
        for element in soup(["script", "style", "template", "noscript", "head", "nav"]):
            element.decompose()
        if first_row_is_head:
            _lay_out(soup)
        _escape_bars(soup)
        converter = MarkdownConverter(
            heading_style="ATX", bullets="-", escape_underscores=False, table_infer_header=first_row_is_head
        )
        return title, str(converter.convert_soup(soup))
    except UnreadableError:
        raise
    except RecursionError as error:
        raise UnreadableError("Its elements are nested too deep. Flatten them.") from error
    except (ParserRejectedMarkup, ValueError, AssertionError) as error:
        raise UnreadableError("It is not HTML that a parser takes. Save it as well-formed HTML.") from error


def table(rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, the first row as its head; empty where no cell says anything."""
    cells = [[_cell(value) for value in row] for row in rows]
    width = max((number for row in cells for number, text in enumerate(row, start=1) if text), default=0)
    full = [(row + [""] * width)[:width] for row in cells if any(row)]
    if not full:
        return ""
    lines = [f"| {' | '.join(row)} |" for row in full]
    return "\n".join([lines[0], f"|{' --- |' * width}", *lines[1:]]) + "\n"


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return " ".join(text.split()).replace("|", "\\|")


def _escape_bars(soup: "Tag") -> None:
    for text in soup.find_all(string=True):
        if "|" in text and text.find_parent(["td", "th"]) is not None:
            text.replace_with(type(text)(text.replace("|", "\\|")))


def _lay_out(soup: "Tag") -> None:
    """Give every cell of every table one row and one column.

    Raises:
        UnreadableError: merged cells would repeat more than ``MAX_REPEATED``, or a table is too large or too deep.
    """
    room = MAX_REPEATED
    for table in soup("table"):
        room -= _lay_out_table(table, room)


def _lay_out_table(table: "Tag", room: int) -> int:
    """How many characters it adds; a table with one column, or with tables in it, becomes plain text.

    Raises:
        UnreadableError: its merged cells cover more than ``MAX_CELLS``, or it lies hundreds of elements deep.
    """
    if len(list(itertools.islice(table.parents, MAX_DEPTH + 1))) > MAX_DEPTH:
        raise UnreadableError("Its tables are nested too deep. Flatten them.")
    parts = [part for part in table(["thead", "tbody", "tr", "td", "th"]) if part.find_parent("table") is table]
    rows = [part for part in parts if part.name == "tr"]
    grid: dict[tuple[int, int], Tag] = {}
    for number, row in enumerate(rows):
        column = 0
        for cell in row(["td", "th"], recursive=False):
            while (number, column) in grid:
                column += 1
            wide, high = _span(cell, "colspan"), min(_span(cell, "rowspan"), len(rows) - number)
            grid |= {(number + down, column + right): cell for down in range(high) for right in range(wide)}
            column += wide
            if len(grid) > MAX_CELLS:
                raise UnreadableError(f"It has a table of more than {MAX_CELLS:,} cells. Split it.")
    if table.find("table") is not None or all(column == 0 for _, column in grid):
        for part in (table, *parts):
            part.name = "div"
        return 0
    added = _repeated(grid)
    if added > room:
        raise UnreadableError(f"Its merged cells repeat more than {MAX_REPEATED:,} characters. Split them.")
    if added:
        _spell_out(rows, grid)
    return added


def _repeated(grid: dict[tuple[int, int], "Tag"]) -> int:
    """Characters of markup that spelling merged cells out adds."""
    times = Counter(map(id, grid.values()))
    merged = {id(cell): cell for cell in grid.values() if times[id(cell)] > 1}
    return sum(len(str(cell)) * (times[place] - 1) for place, cell in merged.items())


def _spell_out(rows: Sequence["Tag"], grid: dict[tuple[int, int], "Tag"]) -> None:
    """Repeat each merged cell in every place that it covers."""
    laid: list[list[Tag]] = [[] for _ in rows]
    for number, column in sorted(grid):
        cell = copy.copy(grid[number, column])
        del cell["colspan"], cell["rowspan"]
        laid[number].append(cell)
    for row, cells in zip(rows, laid, strict=True):
        row.clear()
        row.extend(cells)


def _span(cell: "Tag", name: str) -> int:
    value = str(cell.get(name, "1"))
    return min(MAX_SPAN, max(1, int(value))) if value.isdecimal() else 1
