"""Whatever stands in a file, its reader gives a text or a sentence: no traceback, no hang, no memory without bound."""

import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.blocks import SHALLOW_MARKS, check_blocks, count_cells, parse_blocks
from data.collection import read_folder
from data.converter import convert
from data.documents import OFFICE, decode, is_links_only, parse
from data.errors import UnreadableError
from data.injections import find_instruction
from data.language import find_language
from data.markup import MAX_CELLS, html_to_markdown, table
from data.params import load_params
from data.plain_formats import csv_to_markdown, mail_to_markdown
from data.screening import count_contacts, find_secrets
from data.workspace import PROJECT_ROOT
from tests.office_miniature import mail_file, pdf_file, repacked, slides_file, word_file, workbook_file

INGEST = load_params(PROJECT_ROOT / "params.yaml").ingest
TEXT_ENDINGS = (".md", ".txt", ".html", ".csv")
SECONDS = 20
MEGABYTES = 400
QUICK = settings(max_examples=40, deadline=SECONDS * 1000, suppress_health_check=list(HealthCheck))
OFFICE_FILES = {".pdf": pdf_file(), ".docx": word_file(), ".pptx": slides_file(), ".xlsx": workbook_file()}

ODD = st.sampled_from(
    list(map(chr, (0, 0x1B, 0x130, 0x345, 0x1E9E, 0x200B, 0x200D, 0x202E, 0x2066, 0xFDFA, 0xFEFF, 0xD800, 0x1F468)))
)
MARKS = st.sampled_from(
    [
        "#", "-", "1.", ">", "---|---", "**", "*", "_", "[", "](", "![", ")", "`", "```", "<!--", "-->", "{%",
        "%}", "{{", "}}", "<div>", "</div>", "<table>", "<tr>", "<td rowspan=99>", "<![CDATA[", "&#0;", "---", "title:",
    ]
)  # fmt: skip
GAPS = st.sampled_from([" ", "\n", "\n\n", "|", "| ", '"', "\t", "\x85", "\u2028"])
CELLS = st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=5)
TEXTS = st.lists(st.one_of(ODD, MARKS, GAPS, st.text(max_size=6)), max_size=60).map("".join)


@contextmanager
def refusing() -> Iterator[None]:
    """What comes of a file that cannot be read is a sentence."""
    try:
        yield
    except UnreadableError as error:
        if not str(error).startswith("It"):
            raise


def read(text: str, ending: str) -> None:
    """Everything that stage ``ingest`` does with one text; only ``UnreadableError`` may come of it."""
    with refusing():
        raw = decode(text.encode("utf-8", "surrogatepass"))
        raw = csv_to_markdown(raw) if ending == ".csv" else raw
        parsed = parse(raw, f"a{ending}", INGEST.placeholders)
        check_blocks(parsed.text)
        find_secrets(raw)
        count_contacts(raw)
        is_links_only(parsed.text)
        find_instruction(parsed.text)
        find_language(parsed.text)
        parsed.text.encode("utf-8")
        parsed.title.encode("utf-8")


@pytest.mark.parametrize("ending", TEXT_ENDINGS)
@QUICK
@given(text=TEXTS)
def test_odd_texts(ending: str, text: str) -> None:
    read(text, ending)


@QUICK
@given(content=st.binary(max_size=400))
def test_random_bytes(content: bytes) -> None:
    for reader in (mail_to_markdown, lambda content: parse(decode(content), "a.md"), *map(converter, OFFICE)):
        with refusing():
            reader(content)


def converter(ending: str) -> Callable[[bytes], object]:
    """In this process, so that a traceback would be seen."""
    return lambda content: convert(content, ending, INGEST.convert_megabytes)


@pytest.mark.parametrize("ending", OFFICE)
@settings(max_examples=4, deadline=SECONDS * 1000, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_office_files(ending: str, data: st.DataObject) -> None:
    """Cut off, with bytes exchanged, or with a part exchanged for something else."""
    whole = OFFICE_FILES[ending]
    place = data.draw(st.integers(0, len(whole) - 1))
    some = data.draw(st.binary(max_size=40))
    damaged = [whole[:place], whole[:place] + some + whole[place + len(some) :]]
    if ending != ".pdf":
        part = {".docx": "word/document.xml", ".pptx": "ppt/presentation.xml", ".xlsx": "xl/workbook.xml"}[ending]
        damaged += [repacked(whole, part, lambda old: some), repacked(whole, part, lambda old: old[: place % len(old)])]
    for content in damaged:
        with refusing():
            convert(content, ending, INGEST.convert_megabytes)


@QUICK
@given(place=st.integers(0, 600), some=st.binary(max_size=40), html=st.booleans())
def test_damaged_mails(place: int, some: bytes, html: bool) -> None:
    whole = mail_file(html)
    for content in (whole[:place], whole[:place] + some + whole[place:]):
        with refusing():
            mail_to_markdown(content).encode("utf-8", "replace")


def nested_mail() -> bytes:
    message = EmailMessage()
    message["Subject"] = "deep"
    message.set_content("text")
    head = b"Subject: deep\n" + b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(1_200)
    )
    return head + message.as_bytes()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (".md", "> " * 30_000 + "a"),
        (".md", "".join(f"{' ' * 2 * n}- a\n" for n in range(300))),
        (".md", "*a " * 1_200 + "b" + " c*" * 1_200),
        (".md", "![" * 3_000 + "a" + "](b)" * 3_000),
        (".md", "|" + "a|" * 3_000 + "\n|" + "-|" * 3_000 + "\n" + "|x|\n" * 5_000),
        (".md", ("|" + "a|" * 250 + "\n|" + "-|" * 250 + "\n" + "|x|\n" * 200 + "\n") * 300),
        (".md", "| a | b |\n| - | - |\n" + "| name | value |\n" * 100_000),
        (".md", "| a | b |\n| - | - |\n" + "| name | value |\n" * 20_000),
        (".csv", "a,b\n" + "1,2\n" * 30_000),
        (".csv", '"' * 200_001),
        (".csv", "a," * 900_000),
        (".html", "<div>" * 40_000 + "a"),
        (".html", "<table><tr><td>" * 15_000 + "a"),
        (".html", "<table>" + "<tr>" + "<td>a</td>" * 200 + "</tr>" * 2 + "<tr><td>b</td></tr>" * 300 + "</table>"),
        (".txt", "\u202e" * 600_000),
        (".txt", "a" * 1_000_000),
        (".txt", "\n" * 2_000_000),
    ],
)
def test_deep_and_huge_texts_end_in_time_and_memory(ending: str, text: str) -> None:
    tracemalloc.start()
    try:
        read(text, ending)
        assert tracemalloc.get_traced_memory()[1] < MEGABYTES * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.timeout(60)
def test_deep_and_huge_mails_and_merged_cells_end_in_time() -> None:
    wide = "<table>" + '<tr><td rowspan="100" colspan="100">a</td></tr>' * 500 + "</table>"
    with pytest.raises(UnreadableError, match="more than 50,000 cells"):
        html_to_markdown(wide, first_row_is_head=True)
    long = f'<table><tr><td rowspan="100" colspan="100">{"a" * 5_000}</td></tr>' + "<tr></tr>" * 99 + "</table>"
    many = f'<table><tr><td colspan="100">{"a" * 500}</td></tr></table>' * 30
    for merged in (long, many):
        with pytest.raises(UnreadableError, match="repeat more than 1,000,000 characters"):
            html_to_markdown(merged, first_row_is_head=True)
    with pytest.raises(UnreadableError, match="nested too deep"):
        html_to_markdown("<table><tr><td>" * 1_000, first_row_is_head=True)
    with pytest.raises(UnreadableError):
        mail_to_markdown(nested_mail())


@QUICK
@given(st.lists(st.sampled_from(["*", "_", "**", "a", " ", "![", "](b)", "> ", "- ", "\n"]), max_size=400).map("".join))
def test_what_is_not_parsed_for_its_depth_would_have_been_read(text: str) -> None:
    if text.count("*") + text.count("_") + 8 * text.count("![") <= SHALLOW_MARKS:
        parse_blocks(text)


@QUICK
@given(
    st.lists(
        st.lists(st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=5), min_size=1, max_size=4),
        min_size=2,
        max_size=5,
    )
)
def test_cells_are_counted_at_least(rows: list[list[str]]) -> None:
    text = table(rows)
    found = sum(len(row) for block in parse_blocks(text) for row in block.rows)
    assert found <= count_cells(text) <= max(found * 3, 24)


def test_a_table_at_the_limit_is_read_and_one_above_it_is_refused() -> None:
    rows = MAX_CELLS // 2 - 2
    parse_blocks("|a|b|\n|-|-|\n" + "|1|2|\n" * rows)
    with pytest.raises(UnreadableError, match="more than 50,000"):
        parse_blocks("|a|b|\n|-|-|\n" + "|1|2|\n" * (rows + 10))


PEAK = """
import os, subprocess, sys
with subprocess.Popen(sys.argv[1:]) as child:
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
print(child.returncode, used.ru_maxrss)
"""
"""Exit code and peak memory (KiB) of a command, started by a small process: a child begins with its parent's peak."""


def test_the_converter_keeps_its_memory_bound(tmp_path: Path) -> None:
    """A workbook of a million empty rows and columns, read by a child whose peak is taken."""
    rows = "".join(f'<row r="{n}"><c r="XFD{n}"><v>1</v></c></row>' for n in range(1, 2_000, 7)).encode()
    wide = repacked(
        workbook_file(),
        "xl/worksheets/sheet1.xml",
        lambda old: old[: old.index(b"<sheetData>") + 11] + rows + old[old.index(b"</sheetData>") :],
    )
    command = [sys.executable, "-m", "data.converter", ".xlsx", "30", "1024", "1000000"]
    (tmp_path / "wide.xlsx").write_bytes(wide)
    place = PROJECT_ROOT
    with (tmp_path / "wide.xlsx").open("rb") as given:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *command],
            stdin=given, capture_output=True, text=True, cwd=place, check=True,
        )  # fmt: skip
    code, peak = map(int, done.stdout.split())
    assert (code, "256 columns" in done.stderr) == (2, True)
    assert peak < 1024 * 1024


def test_a_file_that_no_reader_takes_is_a_reading_like_others(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<div>" * 5_000)
    (reading,) = read_folder(tmp_path, INGEST)
    assert (reading.parsed, reading.unreadable) == (None, "Its elements are nested too deep. Flatten them.")
