"""Word documents, slides and workbooks to Markdown; runs in the converter's process alone (data/converter.py).

What a reader sees is kept: headings, paragraphs, lists, tables, notes. Pictures, hidden sheets, hidden slides,
comments and macros are not looked at, and nothing outside the file is.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, BinaryIO

from data.errors import UnreadableError
from data.markup import MAX_CELLS, html_to_markdown, table

if TYPE_CHECKING:
    from pptx.slide import Slide

MAX_COLUMNS = 256
_TITLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh"


def word_to_markdown(stream: BinaryIO) -> str:
    """A Word document by its styles; the first row of a table is its head."""
    import mammoth

    pictures = mammoth.images.img_element(lambda picture: {"src": ""})
    html = mammoth.convert_to_html(
        stream, style_map=_TITLES, include_embedded_style_map=False, convert_image=pictures
    ).value
    return html_to_markdown(html.replace('<img src="" />', ""), first_row_is_head=True)[1]


# --- slides ----------------------------------------------------------------------------------------


def slides_to_markdown(stream: BinaryIO) -> str:
    """Each visible slide under its title: texts, tables, and what the speaker noted."""
    from pptx import Presentation

    slides = [slide for slide in Presentation(stream).slides if slide.element.get("show") != "0"]
    return "\n\n".join(part for slide in slides for part in _slide(slide) if part)


def _slide(slide: "Slide") -> Iterator[str]:
    title = slide.shapes.title
    if title is not None and title.has_text_frame:
        yield _heading(title.text_frame.text)
    for shape in slide.shapes:
        if title is None or shape.shape_id != title.shape_id:
            yield from _shape(shape)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        yield slide.notes_slide.notes_text_frame.text.strip()


def _shape(shape: Any) -> Iterator[str]:
    """A shape's text: groups in their order, a text with levels as a list."""
    if hasattr(shape, "shapes"):
        for inner in shape.shapes:
            yield from _shape(inner)
    elif getattr(shape, "has_table", False):
        yield table([[cell.text for cell in row.cells] for row in shape.table.rows])
    elif getattr(shape, "has_text_frame", False):
        paragraphs = [paragraph for paragraph in shape.text_frame.paragraphs if paragraph.text.strip()]
        if len(paragraphs) == 1:
            yield _line(paragraphs[0].text)
        yield "\n".join(f"{'  ' * one.level}- {_line(one.text)}" for one in paragraphs if len(paragraphs) > 1)


# --- workbooks -------------------------------------------------------------------------------------


def workbook_to_markdown(stream: BinaryIO) -> str:
    """Each visible sheet under its name: its tables, which empty rows part, with their last computed values.

    Raises:
        UnreadableError: more than ``MAX_CELLS`` filled cells, or more than ``MAX_COLUMNS`` columns.
    """
    from openpyxl import load_workbook

    book = load_workbook(stream, read_only=True, data_only=True, keep_links=False)
    parts, read = [], 0
    for sheet in book.worksheets:
        if sheet.sheet_state != "visible":
            continue
        sheet.reset_dimensions()
        rows = []
        for cells in sheet.iter_rows():
            row = [_shown(cell.value, cell.number_format) if cell.value is not None else "" for cell in cells]
            read += sum(map(bool, row))
            _refuse_huge(read, max((number for number, text in enumerate(row, start=1) if text), default=0))
            rows.append(row)
        texts = list(_sheet(rows))
        parts += [_heading(sheet.title), *texts] if texts else []
    return "\n\n".join(parts)


def _refuse_huge(cells: int, columns: int) -> None:
    if cells > MAX_CELLS or columns > MAX_COLUMNS:
        raise UnreadableError(
            f"Its sheets have more than {MAX_CELLS:,} filled cells or {MAX_COLUMNS} columns, which is data rather than "
            "a document. Keep the sheets that people should know by heart, and save them apart."
        )


def _sheet(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Runs of filled rows: a line of its own above a table is a sentence about it, and no head."""
    for run in _runs(rows):
        lines = []
        while run and (sum(map(bool, run[0])) == 1 or len(run) == 1):
            lines.append("; ".join(filter(None, run.pop(0))))
        yield from (_line(line) for line in lines)
        filled = [column for column in range(max(map(len, run), default=0)) if any(_at(row, column) for row in run)]
        if run:
            yield table([[_at(row, column) for column in filled] for row in run])


def _runs(rows: Sequence[Sequence[str]]) -> Iterator[list[Sequence[str]]]:
    run: list[Sequence[str]] = []
    for row in rows:
        if any(row):
            run.append(row)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _at(row: Sequence[str], column: int) -> str:
    return row[column] if column < len(row) else ""


def _shown(value: object, form: str) -> str:
    """A value as the sheet shows it, near enough: dates as ISO 8601, shares in per cent."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "minutes")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, int | float):
        return f"{value * 100:.10g}%" if "%" in form else f"{value:.15g}"
    return str(value).strip()


def _heading(text: str) -> str:
    line = _line(text)
    return f"## {line}" if line else ""


def _line(text: str) -> str:
    return " ".join(text.split())
