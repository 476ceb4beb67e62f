"""The structure of a normalised text: headings, paragraphs, list items, tables, with their places.

CommonMark with tables, parsed by markdown-it. A block knows the headings above it, the sentence that
introduces its list, and its character span in the text, so that whatever is read from it can be walked
back to its source.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, lru_cache

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from data.documents import HOLE
from data.errors import UnreadableError
from data.markup import MAX_CELLS


class Shape(StrEnum):
    """What a block is."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    ITEM = "item"
    TABLE = "table"


@dataclass(frozen=True)
class Block:
    """One block of a document."""

    shape: Shape
    text: str
    """Plain text without Markdown; empty for tables."""
    start: int
    end: int
    headings: tuple[str, ...] = ()
    """Plain texts of the headings above, outermost first (of a heading: the ones above it)."""
    level: int = 0
    """Of a heading: 1 to 6. Of an item: depth of its list, from 1."""
    ordinal: int = 0
    """Of an item: its place in its list, from 1."""
    siblings: int = 0
    """Of an item: how many its list has."""
    lead: str = ""
    """Of an item: the text that introduces its list, if it ends in a colon."""
    label: str = ""
    """Bold text at the beginning."""
    links: tuple[tuple[str, str], ...] = ()
    """(link text, address)."""
    rows: tuple[tuple[str, ...], ...] = ()
    """Of a table: cells as plain text, the head first."""


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark").enable("table").disable("code")


SHALLOW_MARKS = 200
"""Marks of emphasis that cannot nest too deep for the stack, however they stand."""


@lru_cache(maxsize=2)
def parse_blocks(text: str) -> tuple[Block, ...]:
    """The blocks of a normalised text, in reading order.

    Raises:
        UnreadableError: lists, quotes or emphasis nested hundreds deep, or more than ``MAX_CELLS``.
    """
    _refuse_huge_tables(text)
    try:
        return tuple(_Walk(text).blocks())
    except RecursionError as error:
        raise UnreadableError("Its text is nested too deep. Flatten its lists, quotes or emphasis.") from error


def check_blocks(text: str) -> None:
    """Raise what ``parse_blocks`` would; short texts, which cannot nest deep, are not parsed for it.

    Lists and quotes nest to the parser's own limit. Emphasis takes a mark for every level, and so do pictures in
    descriptions of pictures, which cost more of the stack.

    Raises:
        UnreadableError: as ``parse_blocks``.
    """
    if text.count("*") + text.count("_") + 8 * text.count("![") > SHALLOW_MARKS:
        parse_blocks(text)
    else:
        _refuse_huge_tables(text)


def _refuse_huge_tables(text: str) -> None:
    cells = count_cells(text)
    if cells > MAX_CELLS:
        raise UnreadableError(
            f"Its tables have about {cells:,} cells, more than {MAX_CELLS:,}, which is data rather than a "
            "document. Keep the rows that people should know by heart."
        )


def count_cells(text: str) -> int:
    """Cells of all tables, at least; a short row counts in full, since the parser fills it up."""
    cells = columns = 0
    before = ""
    for line in text.split("\n") if "|" in text else ():
        bare = line.lstrip("> \t")
        if "|" in before and "-" in bare and not bare.strip("|:- \t"):
            columns = max(columns, bare.strip("| \t").count("|") + 1)
        columns = columns if bare.strip() else 0
        cells += columns
        before = bare
    return cells


@dataclass
class _Walk:
    text: str
    headings: list[tuple[int, str]] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    def blocks(self) -> Iterator[Block]:
        self.offsets = [0]
        for line in self.text.split("\n"):
            self.offsets.append(self.offsets[-1] + len(line) + 1)
        yield from self._visit(SyntaxTreeNode(_parser().parse(self.text)), depth=0)

    def _visit(self, parent: SyntaxTreeNode, depth: int) -> Iterator[Block]:
        lead = ""
        for node in parent.children:
            if node.type == "heading":
                yield self._heading(node)
                lead = ""
            elif node.type == "paragraph":
                block = self._paragraph(node)
                lead = block.text if block.text.endswith(":") else ""
                yield block
            elif node.type in ("bullet_list", "ordered_list"):
                yield from self._list(node, depth + 1, lead)
                lead = ""
            elif node.type == "table":
                yield self._table(node)
            elif node.type == "blockquote":
                yield from self._visit(node, depth)

    def _above(self) -> tuple[str, ...]:
        return tuple(text for _, text in self.headings)

    def _heading(self, node: SyntaxTreeNode) -> Block:
        level, plain = int(node.tag[1:]), plain_text(node)
        while self.headings and self.headings[-1][0] >= level:
            self.headings.pop()
        block = Block(Shape.HEADING, plain, *self._span(node), headings=self._above(), level=level)
        self.headings.append((level, plain))
        return block

    def _paragraph(self, node: SyntaxTreeNode) -> Block:
        return Block(
            Shape.PARAGRAPH,
            plain_text(node),
            *self._span(node),
            headings=self._above(),
            label=_label(node),
            links=tuple(_links(node)),
        )

    def _list(self, node: SyntaxTreeNode, depth: int, lead: str) -> Iterator[Block]:
        for ordinal, item in enumerate(node.children, start=1):
            head = item.children[0] if item.children else None
            if head is None or head.type != "paragraph":
                yield from self._visit(item, depth)
                continue
            text = plain_text(head)
            yield Block(
                Shape.ITEM,
                text,
                *self._span(head),
                headings=self._above(),
                level=depth,
                ordinal=ordinal,
                siblings=len(node.children),
                lead=lead,
                label=_label(head),
                links=tuple(_links(head)),
            )
            inner = text if text.endswith(":") else ""
            for child in item.children[1:]:
                if child.type in ("bullet_list", "ordered_list"):
                    yield from self._list(child, depth + 1, inner)
                elif child.type == "paragraph":
                    yield self._paragraph(child)

    def _table(self, node: SyntaxTreeNode) -> Block:
        rows = tuple(
            tuple(plain_text(cell) for cell in row.children) for part in node.children for row in part.children
        )
        return Block(Shape.TABLE, "", *self._span(node), headings=self._above(), rows=rows)

    def _span(self, node: SyntaxTreeNode) -> tuple[int, int]:
        first, last = node.map or (0, 0)
        return self.offsets[first], min(self.offsets[last], len(self.text))


def plain_text(node: SyntaxTreeNode) -> str:
    """The text a reader sees: no markup, white space folded; an image is nothing."""
    return " ".join("".join(_pieces(node)).split())


def _pieces(node: SyntaxTreeNode) -> Iterator[str]:
    if node.type in ("text", "code_inline"):
        yield node.content
    elif node.type in ("softbreak", "hardbreak"):
        yield " "
    elif node.type == "html_inline":
        yield " " if re.match(r"</?br\s*/?>", node.content, re.IGNORECASE) else ""
    elif node.type != "image":
        for child in node.children:
            yield from _pieces(child)


def _links(node: SyntaxTreeNode) -> Iterator[tuple[str, str]]:
    for child in node.walk():
        if child.type == "link":
            address = str(child.attrs.get("href", ""))
            text = plain_text(child)
            if text and HOLE not in text:
                yield text, address


def _label(node: SyntaxTreeNode) -> str:
    inline = node.children[0] if node.children else None
    for child in inline.children if inline else ():
        if child.type == "strong" or (child.type == "em" and any(c.type == "strong" for c in child.children)):
            return plain_text(child)
        if plain_text(child):
            return ""
    return ""
