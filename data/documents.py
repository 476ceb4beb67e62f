"""From the text of a file to normalised text: decoding, front matter, HTML, template tags, comments.

Text is kept as Markdown, because its structure (headings, tables, lists) is what facts are read from.
What a site's build fills in later (Liquid tags and the like) is not in the file: a tag that stands for
text becomes the character ``HOLE``, and no sentence with a hole ever reaches a row.
"""

import codecs
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import PurePosixPath

from data.errors import UnreadableError
from data.markup import html_to_markdown
from data.param_stages import IngestParams
from data.plain_yaml import parse_yaml
from data.withheld import HEAD_BYTES, effective_in

READABLE = (".md", ".markdown", ".txt", ".html", ".htm")
"""Endings of files whose text stands in them as it is read."""
OFFICE = (".pdf", ".docx", ".pptx", ".xlsx")
MAIL = ".eml"
CONVERTED = (*OFFICE, MAIL)
"""Endings of files that are converted first, in a process of its own (data/conversion.py): their text may be
many times as large as what lies in them."""
TABLES = (".csv", ".xlsx")
"""Endings of files that bear no title of their own."""
LEGACY = (".doc", ".xls", ".ppt", ".msg")
MAX_TITLE = 200
"""Characters; a title stands in every question about its document."""
HOLE = "\ufffc"
"""OBJECT REPLACEMENT CHARACTER: stands where a template tag stood for text."""

_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TAG = re.compile(r"\{%-?\s*+(\w++)?[^{}]*%\}|\{\{-?\s*+([#/]?)[^{}]*+\}\}")
_FILLING_TAGS = {"data", "include", "render", "echo"}
_LONE_TAG = re.compile(r"\{%|%\}|\{\{|\}\}")
_LINE_TAIL = re.compile(r"(?<![ \t])[ \t]+\n")
_MANY_LINES = re.compile(r"\n{3,}")
_HEADING = re.compile(r"^#{1,6}[ \t]+(\S.*)$", re.MULTILINE)
_IMAGE = re.compile(r"!\[[^\[\]]*+\]\([^()]*+\)")
_LINK = re.compile(r"\[[^\[\]]*+\]\([^()]*+\)|https?://\S+")


@dataclass(frozen=True)
class Parsed:
    """A readable document."""

    title: str
    text: str
    """Normalised Markdown, without front matter, comments and template tags."""
    front_matter: str
    """``ok``, ``absent``, or one sentence that says what is wrong with it."""
    withdrawn: bool = False
    """The front matter says ``status: withdrawn``."""


def parse(raw: str, path: str, placeholders: Sequence[str] = ()) -> Parsed:
    """Read one document.

    Args:
        raw: the file's text, from ``decode``, or what it was converted to.
        path: its relative path; the ending chooses the reader, the name is the last resort for a title.
        placeholders: link texts that a site's build fills in, such as ``AUTOTITLE``.

    Raises:
        UnreadableError: HTML that no parser takes, or nested too deep.
    """
    converted = path.lower().endswith((*CONVERTED, *TABLES))
    metadata, state, body = ({}, "absent", raw) if converted else _split_front_matter(raw)
    title = metadata.get("title")
    if path.lower().endswith((".html", ".htm")):
        written, body = html_to_markdown(body)
        title = title or written
    text = _clean(body, placeholders)
    heading = "" if path.lower().endswith(TABLES) else _heading_title(text)
    withdrawn = str(metadata.get("status", "")).strip().casefold() == "withdrawn"
    return Parsed(_cut(_plain_title(title) or heading or _name_title(path)), text, state, withdrawn)


def decode(content: bytes) -> str:
    """The text of a file, with one kind of line end and composed characters.

    Raises:
        UnreadableError: not UTF-8, or it holds NUL characters.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UnreadableError("It is UTF-16 text. Save it as UTF-8.")
    if b"\0" in content:
        raise UnreadableError("It is binary, not text: it holds NUL characters. Remove it or save it as text.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(
            f"It is not UTF-8 text: byte {error.start} is none, as in Latin-1 files. Save it as UTF-8."
        ) from error
    return normalised(text)


def normalised(text: str) -> str:
    """One kind of line end, composed characters, and none that no file can hold."""
    lines = text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
    if lines.isascii():
        return lines
    return unicodedata.normalize("NFC", lines.encode("utf-8", "replace").decode("utf-8"))


def size_limit(path: str, params: IngestParams) -> int:
    """Bytes that a file with this name may have; a format that is no plain text is larger than its text."""
    return params.max_file_bytes if path.lower().endswith(CONVERTED) else params.max_bytes


def is_links_only(text: str) -> bool:
    """Whether nothing is left of a normalised text without its links."""
    rest = _LINK.sub("", _IMAGE.sub("", text)) if "](" in text or "://" in text else text
    return bool(text.strip()) and not re.search(r"\w", rest)


def _split_front_matter(text: str) -> tuple[dict[str, object], str, str]:
    match = _FRONT_MATTER.match(text)
    if match is None:
        return {}, "absent", text
    body = text[match.end() :]
    try:
        metadata = parse_yaml(match.group(1))
        str(metadata.get("title", "") if isinstance(metadata, dict) else "").encode()
    except ValueError as error:  # of the title: half a character cannot be written to a file
        return {}, f"the front matter is not YAML ({error})", body
    if not isinstance(metadata, dict):
        return {}, "the front matter is not a list of keys and values", body
    if not isinstance(metadata.get("title", ""), str):
        return {}, "the title in the front matter is not a text", body
    if "effective" in metadata and not _is_date(metadata["effective"], text):
        return {}, "effective in the front matter is no line with a date such as effective: 2025-01-31", body
    return metadata, "ok", body


def _is_date(value: object, text: str) -> bool:
    """Whether it is a date, written so that a look at the folder finds it without reading YAML."""
    try:
        return date.fromisoformat(str(value)).isoformat() == effective_in(text.encode()[:HEAD_BYTES])
    except ValueError:
        return False


def _clean(body: str, placeholders: Sequence[str]) -> str:
    text = _without_comments(body)
    if "{" in text or "}" in text:  # patterns are slow to find nothing
        text = _LONE_TAG.sub(HOLE, _TAG.sub(_replace_tag, text))
    for placeholder in placeholders:
        text = text.replace(f"[{placeholder}]", f"[{HOLE}]")
    text = text.replace("\u00a0", " ")
    if " \n" in text or "\t\n" in text:
        text = _LINE_TAIL.sub("\n", text)
    if "\n\n\n" in text:
        text = _MANY_LINES.sub("\n\n", text)
    return text.strip() + "\n"


def _without_comments(text: str) -> str:
    """HTML comments taken out; one that is never closed stays."""
    pieces, begin = [], 0
    while (opening := text.find("<!--", begin)) >= 0 and (closing := text.find("-->", opening + 4)) >= 0:
        pieces.append(text[begin:opening])
        begin = closing + 3
    return "".join((*pieces, text[begin:]))


def _replace_tag(match: re.Match[str]) -> str:
    word, sigil = match.group(1), match.group(2)
    fills = word in _FILLING_TAGS if word is not None else sigil == ""
    return HOLE if fills else ""


def _plain_title(title: object) -> str:
    """A title as written; none where a tag fills part of it in."""
    if not isinstance(title, str):
        return ""
    text = _LONE_TAG.sub(HOLE, _TAG.sub(_replace_tag, title))
    return "" if HOLE in text else " ".join(text.split())


def _heading_title(text: str) -> str:
    match = _HEADING.search(text)
    if match is None or HOLE in match[1]:
        return ""
    title = match[1].rstrip()
    unhashed = title.rstrip("#")
    if unhashed.endswith((" ", "\t")):  # closing hashes; without a space before them they belong to the title
        title = unhashed.rstrip()
    return re.sub(r"[*_`\[\]]", "", title).strip()


def _cut(title: str) -> str:
    """A title of at most ``MAX_TITLE`` characters, cut between words where it has any."""
    return title if len(title) <= MAX_TITLE else title[: MAX_TITLE + 1].rpartition(" ")[0] or title[:MAX_TITLE]


def _name_title(path: str) -> str:
    words = re.sub(r"[-_\s]+", " ", PurePosixPath(path).stem).strip()
    return words[:1].upper() + words[1:]
