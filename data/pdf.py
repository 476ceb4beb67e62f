"""PDF pages to Markdown; runs in the converter's process alone (data/converter.py).

A PDF knows characters and places, not paragraphs. Lines in larger type than most of the text are headings, a wider
gap or a smaller page begins a new paragraph, and pages on which lines are ruled are searched for tables.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any

from data.errors import UnreadableError
from data.markup import table

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

RULED = 4
"""Paths on a page from which on it may hold a ruled table."""
LARGER = 1.15
"""Times the usual size: a heading."""
GAP = 1.6
"""Times its size: the step from one line to the next that parts paragraphs."""
HEADING_LETTERS = 150
MAX_PAGES = 2_000
_BULLETS = "•◦▪‣·●○■–"


@dataclass(frozen=True)
class Line:
    """One line of a page, or a table that stands where a line would."""

    text: str
    size: float
    """Of its first character, in points; 0 of a table."""
    top: float
    """Distance from the upper edge of the page."""


def pdf_to_markdown(content: bytes) -> str:
    """All pages, one after the other.

    Raises:
        UnreadableError: encrypted, damaged, too many pages, or scanned: pictures without text.
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).casefold():
            raise UnreadableError("It is encrypted. Save it without a password.") from error
        raise UnreadableError("It is not a PDF file that a reader takes. Save it anew.") from error
    if len(document) > MAX_PAGES:
        raise UnreadableError(f"It has {len(document):,} pages, more than {MAX_PAGES:,}. Split it.")
    pages = [_page(document, number, content) for number in range(len(document))]
    if not any(any(char.isalnum() for line in page for char in line.text) for page in pages):
        raise UnreadableError(
            "Its pages hold no text, as scanned ones do. Put it through text recognition (OCR), or leave it out."
        )
    text = "\n\n".join(_markdown(pages))
    return text if text.startswith("#") else f"{_metadata_title(document)}{text}"


def _page(document: "PdfDocument", number: int, content: bytes) -> list[Line]:
    page = document[number]
    try:
        if _paths(page) >= RULED:
            ruled = _ruled_page(content, number)
            if ruled is not None:
                return ruled
        return list(_lines(page))
    finally:
        page.close()


def _paths(page: "PdfPage") -> int:
    from pypdfium2 import raw

    return sum(1 for _ in islice(page.get_objects(filter=[raw.FPDF_PAGEOBJ_PATH], max_depth=3), RULED))


def _lines(page: "PdfPage") -> Iterator[Line]:
    """Lines as PDFium reads them; size and place are those of the first character."""
    from pypdfium2 import raw

    height, words = page.get_height(), page.get_textpage()
    count, begin = words.count_chars(), 0
    text = words.get_text_range() if count else ""
    for part in text.split("\n"):
        first = begin + len(part) - len(part.lstrip())
        begin += len(part) + 1
        line = " ".join(part.replace("\ufffe", "").replace("\u00ad", "").split())
        if line and first < count:
            yield Line(line, raw.FPDFText_GetFontSize(words, first), height - words.get_charbox(first, loose=True)[1])


def _ruled_page(content: bytes, number: int) -> list[Line] | None:
    """The lines of a page with its tables in their places; None where it has none."""
    import pdfplumber

    with pdfplumber.open(BytesIO(content), pages=[number + 1]) as document:
        page = document.pages[0]
        found = [entry for entry in page.find_tables() if len(entry.rows) > 1 and len(entry.rows[0].cells) > 1]
        if not found:
            return None
        rest = page.filter(lambda thing: not any(_is_within(thing, entry.bbox) for entry in found))
        lines = [
            Line(line["text"], float(line["chars"][0]["size"]), float(line["bottom"]))
            for line in rest.extract_text_lines()
        ]
        tables = [Line(table(entry.extract()), 0.0, float(entry.bbox[1])) for entry in found]
        return sorted((*lines, *(entry for entry in tables if entry.text)), key=lambda line: line.top)


def _is_within(thing: dict[str, Any], box: tuple[float, float, float, float]) -> bool:
    across, down = (thing["x0"] + thing["x1"]) / 2, (thing["top"] + thing["bottom"]) / 2
    return bool(box[0] <= across <= box[2] and box[1] <= down <= box[3])


def _markdown(pages: Sequence[Sequence[Line]]) -> Iterator[str]:
    """Headings, paragraphs and tables of all pages, each as one text."""
    usual = _usual_size(pages)
    for page in pages:
        paragraph: list[Line] = []
        for line in page:
            if paragraph and _begins_anew(paragraph[-1], line, usual):
                yield _paragraph(paragraph, usual)
                paragraph = []
            paragraph.append(line)
        if paragraph:
            yield _paragraph(paragraph, usual)


def _usual_size(pages: Sequence[Sequence[Line]]) -> float:
    sizes: Counter[float] = Counter()
    for page in pages:
        for line in page:
            if line.size:
                sizes[round(line.size, 1)] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _begins_anew(before: Line, line: Line, usual: float) -> bool:
    step = line.top - before.top
    if 0.0 in (before.size, line.size) or _is_bullet(line):
        return True
    other_size = _is_heading(before, usual) is not _is_heading(line, usual)
    return other_size or step < 0 or step > GAP * max(before.size, line.size)


def _paragraph(lines: Sequence[Line], usual: float) -> str:
    if not lines[0].size:
        return lines[0].text
    text = " ".join(line.text for line in lines)
    if _is_heading(lines[0], usual) and len(text) <= HEADING_LETTERS:
        return f"{'#' if lines[0].size > 1.5 * usual else '##'} {text}"
    return f"- {text[1:].strip()}" if _is_bullet(lines[0]) else text


def _is_heading(line: Line, usual: float) -> bool:
    return line.size >= LARGER * usual and not _is_bullet(line)


def _is_bullet(line: Line) -> bool:
    return line.text[:1] in _BULLETS and line.text[1:2] == " "


def _metadata_title(document: "PdfDocument") -> str:
    """The title in the file's properties as a heading; programs that know none write their own name there."""
    title = " ".join(document.get_metadata_value("Title").split())
    made_up = not title or title.startswith(("untitled", "(", "Microsoft ")) or "." in title[-5:]
    return "" if made_up else f"# {title}\n\n"
