"""Office files in miniature, written by the libraries that people's tools resemble."""

import zipfile
from collections.abc import Callable, Sequence
from email.message import EmailMessage
from io import BytesIO
from typing import Any

ROWS = (("Plan", "Fee"), ("Basic", "$5"), ("Large | huge", "$9"))


def word_file(rows: Sequence[Sequence[str]] = ROWS) -> bytes:
    """A title, a heading, a list and a table."""
    from docx import Document

    document = Document()
    document.add_heading("Fees of the house", 0)
    document.add_heading("Plans", 1)
    document.add_paragraph("You must pay the fee within 14 days of the bill.")
    for item in ("Cards", "Vouchers"):
        document.add_paragraph(item, style="List Bullet")
    table = document.add_table(rows=0, cols=len(rows[0]))
    for row in rows:
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    return _saved(document)


def slides_file() -> bytes:
    """Two slides: a title with points and a note, and a table; a third is hidden."""
    from pptx import Presentation
    from pptx.util import Inches

    slides = Presentation()
    first = slides.slides.add_slide(slides.slide_layouts[1])
    first.shapes.title.text = "Fees of the house"
    first.placeholders[1].text_frame.text = "Pay within 14 days"
    first.placeholders[1].text_frame.add_paragraph().text = "Vouchers are welcome"
    first.notes_slide.notes_text_frame.text = "Say that the trial is free."
    second = slides.slides.add_slide(slides.slide_layouts[5])
    second.shapes.title.text = "Plans"
    table = second.shapes.add_table(len(ROWS), 2, Inches(1), Inches(2), Inches(4), Inches(2)).table
    for number, row in enumerate(ROWS):
        for column, text in enumerate(row):
            table.cell(number, column).text = text
    hidden = slides.slides.add_slide(slides.slide_layouts[5])
    hidden.shapes.title.text = "Kept back"
    hidden.element.set("show", "0")
    return _saved(slides)


def workbook_file(rows: Sequence[Sequence[Any]] = ROWS) -> bytes:
    """A table that begins below a caption in the second column, and a hidden sheet."""
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Fees"
    sheet["B2"] = "All fees are per month."
    for number, row in enumerate(rows, start=4):
        for column, value in enumerate(row, start=2):
            sheet.cell(number, column, value)
    hidden = book.create_sheet("Kept back")
    hidden["A1"] = "Nobody reads this."
    hidden.sheet_state = "hidden"
    return _saved(book)


def pdf_file(rows: Sequence[Sequence[str]] = ROWS, **properties: Any) -> bytes:
    """A heading in larger type, a paragraph over two lines, and a ruled table."""
    from reportlab.lib import colors
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

    styles = getSampleStyleSheet()
    ruled = TableStyle([("GRID", (0, 0), (-1, -1), 1, colors.black)])
    said = "You must pay the fee of your plan, which the table below names, within 14 days of the bill. "
    parts: list[Flowable] = [
        Paragraph("Fees of the house", styles["Heading1"]),
        Paragraph(said + "We accept cards and vouchers of all kinds.", styles["BodyText"]),
        Spacer(1, 24),
        Table([list(row) for row in rows], style=ruled),
        Spacer(1, 24),
        Paragraph("The trial is free.", styles["BodyText"]),
    ]
    stream = BytesIO()
    SimpleDocTemplate(stream, **properties).build(parts)
    return stream.getvalue()


def scanned_file() -> bytes:
    """A page that is a drawing alone."""
    from reportlab.pdfgen.canvas import Canvas

    stream = BytesIO()
    canvas = Canvas(stream)
    canvas.rect(100, 100, 200, 300, fill=1)
    canvas.save()
    return stream.getvalue()


def mail_file(html: bool = False) -> bytes:
    """A message with an attachment that is named and not read."""
    message = EmailMessage()
    message["Subject"], message["From"] = "Fees of the house", "Fees <fees@example.com>"
    message["Date"] = "Sat, 01 Jun 2024 12:00:00 +0000"
    if html:
        message.set_content(
            "<table><tr><td>Plan</td><td>Fee</td></tr><tr><td>Basic</td><td>$5</td></tr></table>", "html"
        )
    else:
        message.set_content("You must pay the fee within 14 days of the bill.\n\n> We wrote this before.\n")
    message.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename="terms.pdf")
    return message.as_bytes()


def _saved(document: Any) -> bytes:
    stream = BytesIO()
    document.save(stream)
    return stream.getvalue()


def repacked(content: bytes, name: str, part: Callable[[bytes], bytes]) -> bytes:
    """An office file with one of its parts exchanged."""
    stream = BytesIO()
    with zipfile.ZipFile(BytesIO(content)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, part(old.read(member)) if member == name else old.read(member))
    return stream.getvalue()
