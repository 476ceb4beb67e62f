"""Office files, tables and e-mails become the documents that Markdown files are; what breaks a reader costs one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data import conversion
from data.blocks import Shape, parse_blocks
from data.collection import Reading, read_folder
from data.conversion import convert_file, readers_at_once
from data.converter import REFUSED, convert
from data.documents import OFFICE
from data.errors import OutsideError, UnreadableError
from data.extraction import Source, extract_facts
from data.files import digest_tree
from data.markup import html_to_markdown, table
from data.param_stages import IngestParams
from data.params import load_params
from data.workspace import PROJECT_ROOT
from flows.estimate import estimate
from flows.overview import folder_diff
from tests.miniature import ignorant
from tests.office_miniature import (
    ROWS,
    mail_file,
    pdf_file,
    repacked,
    scanned_file,
    slides_file,
    word_file,
    workbook_file,
)

SHIPPED = load_params(PROJECT_ROOT / "params.yaml")
INGEST = SHIPPED.ingest
CSV = b'Plan;Fee\nBasic;$5\n"Large | huge";$9\n'
FILES: dict[str, bytes] = {
    "fees.docx": word_file(),
    "fees.pptx": slides_file(),
    "fees.xlsx": workbook_file(),
    "fees.pdf": pdf_file(),
    "fees.csv": CSV,
}
PAID = "within 14 days"


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reading]:
    folder = tmp_path_factory.mktemp("documents")
    for name, content in {**FILES, "mail.eml": mail_file(), "page.EML": mail_file(html=True)}.items():
        (folder / name).write_bytes(content)
    return {reading.path: reading for reading in read_folder(folder, INGEST, folder / ".cache")}


def text_of(reading: Reading) -> str:
    assert reading.parsed is not None, reading.unreadable
    return reading.parsed.text


@pytest.mark.parametrize("name", FILES)
def test_a_table_arrives_as_a_table_and_gives_its_facts(name: str, readings: dict[str, Reading]) -> None:
    text = text_of(readings[name])
    assert [block.rows for block in parse_blocks(text) if block.shape is Shape.TABLE] == [ROWS]
    facts = extract_facts(Source("id", "digest", "Fees", text), SHIPPED.synthesize)
    assert ("Basic", "Fee", "$5") in {(fact.subject, fact.attribute, fact.value) for fact in facts}


@pytest.mark.parametrize("name", ["fees.docx", "fees.pdf", "fees.pptx", "mail.eml"])
def test_the_title_is_what_the_document_calls_itself(name: str, readings: dict[str, Reading]) -> None:
    parsed = readings[name].parsed
    assert parsed is not None
    assert (parsed.title, PAID in " ".join(parsed.text.split())) == ("Fees of the house", True)


@pytest.mark.parametrize("name", ["fees.csv", "fees.xlsx"])
def test_a_table_is_named_by_its_file(name: str, readings: dict[str, Reading]) -> None:
    parsed = readings[name].parsed
    assert parsed is not None
    assert parsed.title == "Fees"


def test_structure_and_notes_are_kept_and_what_is_hidden_is_not(readings: dict[str, Reading]) -> None:
    word, slides, book, pdf = (text_of(readings[f"fees.{kind}"]) for kind in ("docx", "pptx", "xlsx", "pdf"))
    assert "# Plans" in word
    assert "- Cards\n- Vouchers" in word
    assert "- Pay within 14 days\n- Vouchers are welcome" in slides
    assert "Say that the trial is free." in slides
    assert "## Fees\n\nAll fees are per month.\n\n|" in book
    assert "Kept back" not in slides + book
    assert pdf.index("14 days") < pdf.index("| Plan") < pdf.index("The trial is free.")


def test_a_mail_is_its_text_and_names_what_is_attached(readings: dict[str, Reading]) -> None:
    text = text_of(readings["mail.eml"])
    assert "From: Fees <fees@example.com>" in text
    assert "terms.pdf" in text
    assert "We wrote this before" not in text
    assert "| Basic | $5 |" in text_of(readings["page.EML"])


def test_merged_cells_say_what_they_say_in_every_place() -> None:
    html = "<table><tr><td>Plan</td><td>Fee</td></tr><tr><td rowspan=2>Basic</td><td>$5</td></tr>"
    _, text = html_to_markdown(html + "<tr><td>$6</td></tr><tr><td colspan=2>All</td></tr></table>", True)
    assert table([("Plan", "Fee"), ("Basic", "$5"), ("Basic", "$6"), ("All", "All")]) in f"{text.strip()}\n"
    assert "|" not in html_to_markdown("<table><tr><td><table><tr><td>a</td></tr></table></td></tr></table>", True)[1]


# --- what cannot be read ---------------------------------------------------------------------------


ENTITIES = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
    + b"]><x>&j;</x>"
)
OLD_OFFICE = bytes.fromhex("D0CF11E0A1B11AE1") + bytes(1000)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.pdf", scanned_file(), "OCR"),
        ("a.pdf", pdf_file(encrypt="secret"), "encrypted"),
        ("a.pdf", b"%PDF-1.7 and nothing", "not a PDF"),
        ("a.docx", OLD_OFFICE, "Office 97"),
        ("a.xlsx", OLD_OFFICE + "EncryptedPackage".encode("utf-16le"), "encrypted"),
        ("a.docx", word_file()[:5000], "damaged"),
        ("a.xlsx", word_file(), "not a .xlsx file"),
        ("a.pptx", b"", "no .pptx file"),
        ("a.xlsx", workbook_file([(n, n) for n in range(25_001)]), "more than 50,000 filled cells"),
        ("a.docx", repacked(word_file(), "word/document.xml", lambda old: bytes(100 << 20)), "unpacks to"),
        ("a.docx", repacked(word_file(), "word/document.xml", lambda old: ENTITIES), "not a .docx file"),
        ("a.xlsx", repacked(workbook_file(), "xl/worksheets/sheet1.xml", lambda old: ENTITIES), "not a .xlsx file"),
    ],
)
def test_what_no_reader_takes_is_a_sentence(name: str, content: bytes, says: str) -> None:
    with pytest.raises(UnreadableError, match=r"^It") as caught:
        convert(content, Path(name).suffix, INGEST.convert_megabytes)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("limits", "says"),
    [({"convert_seconds": 1}, "longer than 1 seconds"), ({"convert_megabytes": 120}, "broke off|120 MB")],
)
def test_a_reader_that_takes_too_much_is_stopped(limits: dict[str, int], says: str, tmp_path: Path) -> None:
    """Five megabytes of empty paragraphs, a few kilobytes in the file."""
    many = repacked(
        word_file(), "word/document.xml", lambda old: old.replace(b"<w:body>", b"<w:body>" + b"<w:p/>" * 800_000)
    )
    with pytest.raises(UnreadableError, match=says):
        convert_file(many, ".docx", INGEST.model_copy(update=limits), tmp_path)
    assert list(tmp_path.iterdir()) == [], "what ran out of time or memory is tried again"


# --- the converter's process -----------------------------------------------------------------------


@pytest.fixture
def conversions_run(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    run: list[str] = []
    real = conversion._convert

    def count(content: bytes, ending: str, params: IngestParams) -> conversion.Conversion:
        run.append(ending)
        return real(content, ending, params)

    monkeypatch.setattr(conversion, "_convert", count)
    return run


def test_an_unchanged_file_is_converted_once_and_a_damaged_cache_costs_time_only(
    tmp_path: Path, conversions_run: list[str]
) -> None:
    first = convert_file(FILES["fees.docx"], ".docx", INGEST, tmp_path)
    assert convert_file(FILES["fees.docx"], ".docx", INGEST, tmp_path) == first
    for _ in range(2):
        with pytest.raises(UnreadableError, match=r"no \.docx file"):
            convert_file(b"nothing", ".docx", INGEST, tmp_path)
    assert conversions_run == [".docx", ".docx"]
    for file in tmp_path.iterdir():
        file.write_text("{")
    assert convert_file(FILES["fees.docx"], ".docx", INGEST, tmp_path) == first
    assert len(conversions_run) == 3


def test_the_text_of_a_file_that_holds_a_secret_is_kept_nowhere(tmp_path: Path) -> None:
    token = "gh" + "p_" + "Bv3Nc8Xk1Zq6Wm4Lp9Rt2Ys7Hd5Jf0GuAoEi"
    assert token in convert_file(word_file([["Access", token]]), ".docx", INGEST, tmp_path)
    assert not list(tmp_path.iterdir())


def test_office_files_are_converted_a_few_ahead_and_no_more_once_nobody_asks(
    tmp_path: Path, conversions_run: list[str]
) -> None:
    few = 2 * (os.cpu_count() or 1)
    for number in range(few + 6):
        (tmp_path / f"{number:03}.eml").write_bytes(mail_file())
    readings = read_folder(tmp_path, INGEST)
    assert [next(readings).path for _ in range(2)] == ["000.eml", "001.eml"]
    readings.close()
    assert 2 <= len(conversions_run) <= few + 2
    assert len(list(read_folder(tmp_path, INGEST))) == few + 6


def test_who_only_looks_takes_from_the_cache_and_adds_nothing_to_it(tmp_path: Path, conversions_run: list[str]) -> None:
    workspace = ignorant(tmp_path)
    (workspace.documents / "more.docx").write_bytes(FILES["fees.docx"])
    before = digest_tree(tmp_path)
    for kept, runs in ((False, 2), (True, 3)):
        if kept:  # as stage ingest does
            assert list(read_folder(workspace.documents, INGEST, workspace.conversions))
            before = digest_tree(tmp_path)
        assert "more.docx" in folder_diff(tmp_path)["added"]
        assert estimate(workspace).statements > 0
        assert (len(conversions_run), digest_tree(tmp_path)) == (runs, before)


def test_a_mail_is_read_in_the_converters_process_too(tmp_path: Path, conversions_run: list[str]) -> None:
    (tmp_path / "mail.eml").write_bytes(mail_file())
    (tmp_path / "none.eml").write_bytes(b"\n\nno header")
    mail, none = read_folder(tmp_path, INGEST)
    assert (PAID in mail.raw, conversions_run) == (True, [".eml", ".eml"])
    assert none.unreadable == "It is not an e-mail message: it has no header. Export it anew."


def test_time_that_is_up_is_told_from_a_reader_that_breaks_off() -> None:
    code = "import data.converter as c; c._limit(1, 999)\nwhile True: pass"
    done = subprocess.run([sys.executable, "-c", code], env=conversion._environment(), timeout=60, check=False)
    assert "took longer than 1 seconds" in conversion._stopped(done.returncode, 1, 999)


def killing(folder: Path, times: int) -> Path:
    """A Python that kills itself so many times, then runs; it logs when each reader begins and ends."""
    script = folder / "python"
    once = "".join(f"mkdir {folder}/killed{number} 2>/dev/null && kill -9 $$\n" for number in range(times))
    run = f'echo begun >> {folder}/log; {sys.executable} "$@"; code=$?; echo ended >> {folder}/log; exit $code\n'
    script.write_text(f"#!/bin/sh\n{once}{run}")
    script.chmod(0o700)
    return script


def test_a_file_whose_reader_was_killed_is_read_again_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    for number in range(3):
        (documents / f"{number}.eml").write_bytes(mail_file())
    monkeypatch.setattr(sys, "executable", str(killing(tmp_path, 1)))
    assert [PAID in reading.raw for reading in read_folder(documents, INGEST)] == [True] * 3
    assert (tmp_path / "log").read_text().split()[-2:] == ["begun", "ended"], "no other ended meanwhile"


def test_a_reader_that_is_killed_again_is_not_blamed_on_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mail.eml").write_bytes(mail_file())
    monkeypatch.setattr(sys, "executable", str(killing(tmp_path, 2)))
    with pytest.raises(OutsideError, match=r"reader of mail\.eml was killed twice.*ingest\.convert_megabytes"):
        list(read_folder(tmp_path, INGEST))
    assert len(list(read_folder(tmp_path, INGEST))) == 1, "the same run again may succeed"


def test_no_more_readers_run_than_cores_and_memory_suffice_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = len(os.sched_getaffinity(0))
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(conversion, "_CONTAINER_LIMITS", (limit, tmp_path / "absent"))
    for says, megabytes, expected in (("max", 1, cores), (str(2**20), 1, 1), ("max", 2**30, 1)):
        limit.write_text(f"{says}\n")
        assert readers_at_once(megabytes) == expected


def test_no_more_of_a_text_than_a_document_may_have_leaves_the_converter() -> None:
    command = [sys.executable, "-m", "data.converter", ".eml", "9", "999", "100"]
    mail = b"Subject: long\n\n" + b"word " * 99_999
    done = subprocess.run(command, input=mail, capture_output=True, env=conversion._environment(), check=False)
    assert (done.returncode, done.stdout) == (REFUSED, b"")
    assert done.stderr.startswith(b"Its text has 500,0")


def test_the_converter_inherits_no_secret_and_may_write_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not for readers")
    assert "OPENAI_API_KEY" not in conversion._environment()
    code = "import data.converter as c; c._limit(9, 999); open('made', 'w').write('x' * 9999)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=conversion._environment(), check=False)
    assert done.returncode != 0
    assert (tmp_path / "made").stat().st_size == 0


def test_every_office_ending_is_read_by_default_and_its_size_is_its_own(tmp_path: Path) -> None:
    assert {*OFFICE, ".csv", ".eml"} < set(INGEST.extensions)
    small = INGEST.model_copy(update={"max_bytes": 100})
    for name in ("fees.docx", "fees.csv"):
        (tmp_path / name).write_bytes(FILES[name] * (3 if name.endswith("csv") else 1))
    csv, word = read_folder(tmp_path, small)
    assert (csv.parsed, csv.unreadable, csv.raw) == (None, None, ""), "too large: hashed and not read"
    assert "more than the 100 of ingest.max_bytes" in str(word.unreadable)
