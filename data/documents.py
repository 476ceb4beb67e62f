"""From the bytes of a file to normalised text: decoding, front matter, HTML, template tags, comments.

Text is kept as Markdown, because its structure (headings, tables, lists) is what facts are read from.
What a site's build fills in later (Liquid tags and the like) is not in the file: a tag that stands for
text becomes the character ``HOLE``, and no sentence with a hole ever reaches a row.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import yaml

READABLE = (".md", ".markdown", ".txt", ".html", ".htm")
"""Endings of the files that there is a reader for."""
HOLE = "\ufffc"
"""OBJECT REPLACEMENT CHARACTER: stands where a template tag stood for text."""

_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"\{%-?\s*(\w+)?[^{}]*?-?%\}|\{\{-?\s*([#/]?)[^{}]*\}\}")
_FILLING_TAGS = {"data", "include", "render", "echo"}
_LONE_TAG = re.compile(r"\{%|%\}|\{\{|\}\}")


class _FrontMatterLoader(yaml.SafeLoader):
    """YAML without merge keys, which multiply without bound; no title needs them."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave ``<<`` as the key that it is."""


@dataclass(frozen=True)
class Parsed:
    """A readable document."""

    title: str
    text: str
    """Normalised Markdown, without front matter, comments and template tags."""
    front_matter: str
    """``ok``, ``absent``, or one sentence that says what is wrong with it."""


class UndecodableError(ValueError):
    """The bytes are not UTF-8 text."""


def parse(raw: str, path: str, placeholders: Sequence[str] = ()) -> Parsed:
    """Read one document.

    Args:
        raw: the file's text, from ``decode``.
        path: its relative path; the ending chooses the reader, the name is the last resort for a title.
        placeholders: link texts that a site's build fills in, such as ``AUTOTITLE``.
    """
    metadata, state, body = _split_front_matter(raw)
    title = metadata.get("title")
    if path.lower().endswith((".html", ".htm")):
        title, body = title or _html_title(body), _html_to_markdown(body)
    text = _clean(body, placeholders)
    return Parsed(_plain_title(title) or _heading_title(text) or _name_title(path), text, state)


def decode(content: bytes) -> str:
    """The text of a file, with one kind of line end and composed characters.

    Raises:
        UndecodableError: not UTF-8, or it holds NUL characters.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UndecodableError(f"byte {error.start} is not UTF-8") from error
    if "\0" in text:
        raise UndecodableError("it holds NUL characters, as binary files do")
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def is_links_only(text: str) -> bool:
    """Whether nothing is left of a normalised text without its links."""
    rest = re.sub(r"!?\[[^\]]*\]\([^)]*\)|<?https?://\S+>?", "", text)
    return bool(text.strip()) and not re.search(r"\w", rest)


def _split_front_matter(text: str) -> tuple[dict[str, object], str, str]:
    match = _FRONT_MATTER.match(text)
    if match is None:
        return {}, "absent", text
    body = text[match.end() :]
    try:
        metadata = yaml.load(match.group(1), _FrontMatterLoader)  # noqa: S506 - it is a safe loader
        str(metadata.get("title", "") if isinstance(metadata, dict) else "").encode()
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
        LookupError,
        ArithmeticError,
        AttributeError,
        TypeError,
    ) as error:
        return {}, f"the front matter is not YAML ({' '.join(str(error).split())[:120]})", body
    if not isinstance(metadata, dict):
        return {}, "the front matter is not a list of keys and values", body
    if not isinstance(metadata.get("title", ""), str):
        return {}, "the title in the front matter is not a text", body
    return metadata, "ok", body


def _html_title(body: str) -> str | None:
    from bs4 import BeautifulSoup

    title = BeautifulSoup(body, "html.parser").title
    return title.get_text() if title else None


def _html_to_markdown(body: str) -> str:
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    soup = BeautifulSoup(body, "html.parser")
    for element in soup(["script", "style", "template", "noscript", "head", "nav"]):
        element.decompose()
    return str(MarkdownConverter(heading_style="ATX", bullets="-", escape_underscores=False).convert_soup(soup))


def _clean(body: str, placeholders: Sequence[str]) -> str:
    text = _COMMENT.sub("", body)
    text = _TAG.sub(_replace_tag, text)
    text = _LONE_TAG.sub(HOLE, text)
    for placeholder in placeholders:
        text = text.replace(f"[{placeholder}]", f"[{HOLE}]")
    text = re.sub(r"[ \t]+\n", "\n", text.replace("\u00a0", " "))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _replace_tag(match: re.Match[str]) -> str:
    word, sigil = match.group(1), match.group(2)
    fills = word in _FILLING_TAGS if word is not None else sigil == ""
    return HOLE if fills else ""


def _plain_title(title: object) -> str:
    if not isinstance(title, str):
        return ""
    return " ".join(_TAG.sub("", title).split())


def _heading_title(text: str) -> str:
    match = re.search(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$", text, re.MULTILINE)
    return re.sub(r"[*_`\[\]]", "", match.group(1)).strip() if match and HOLE not in match.group(1) else ""


def _name_title(path: str) -> str:
    words = re.sub(r"[-_]+", " ", PurePosixPath(path).stem).strip()
    return words[:1].upper() + words[1:]
