"""Reading: what a file says becomes normalised text, and nothing that a template fills in is invented."""

from pathlib import Path

import pytest

from data.blocks import Shape, parse_blocks
from data.collection import read_folder
from data.documents import HOLE, MAX_TITLE, decode, is_links_only, parse
from data.errors import UnreadableError
from data.params import load_params
from data.sentences import split_sentences
from data.workspace import PROJECT_ROOT

INGEST = load_params(PROJECT_ROOT / "params.yaml").ingest

PAGE = """---
title: Refund policy
topics:
  - Policy
---
<!-- a note to editors -->
# Refunds

{% note %}

You may ask for a refund within 14 days. Write to {% data variables.contact.support %}.

{% endnote %}

We accept:

- **Cards.** All kinds.
- Vouchers; and

| Plan | Fee |
| --- | --- |
| Basic | $5 |
"""


def test_front_matter_gives_the_title_and_leaves_the_text() -> None:
    page = parse(PAGE, "refunds.md")
    assert (page.title, page.front_matter) == ("Refund policy", "ok")
    assert "topics" not in page.text
    assert "editors" not in page.text


def test_a_tag_that_stands_for_text_becomes_a_hole_and_others_vanish() -> None:
    text = parse(PAGE, "refunds.md").text
    assert f"Write to {HOLE}." in text
    assert "{%" not in text
    assert "note" not in text


@pytest.mark.parametrize("tag", ["{{ site.name }}", "{% data x %}", "{%- include y -%}", "half a {% tag"])
def test_no_template_tag_survives(tag: str) -> None:
    text = parse(f"Our name is {tag} today.", "a.md").text
    assert HOLE in text
    assert not any(mark in text for mark in ("{{", "}}", "{%", "%}"))


def test_a_placeholder_link_is_a_hole() -> None:
    assert HOLE in parse("See [AUTOTITLE](/a/b) for more.", "a.md", ["AUTOTITLE"]).text


@pytest.mark.parametrize(
    ("matter", "says"),
    [("title: [", "not YAML"), ("- a\n- b", "keys and values"), ("title: 7", "title")],
)
def test_bad_front_matter_is_named_and_the_text_is_still_read(matter: str, says: str) -> None:
    page = parse(f"---\n{matter}\n---\nBody text.", "a.md")
    assert says in page.front_matter
    assert page.text == "Body text.\n"


def test_html_becomes_markdown_with_its_table_and_without_scripts() -> None:
    html = "<html><head><title>Fees</title></head><body><script>x()</script><table><tr><th>Plan</th><th>Fee</th></tr>"
    page = parse(html + "<tr><td>Basic</td><td>$5</td></tr></table></body></html>", "fees.html")
    assert page.title == "Fees"
    assert "x()" not in page.text
    assert [b.rows for b in parse_blocks(page.text) if b.shape is Shape.TABLE] == [(("Plan", "Fee"), ("Basic", "$5"))]


def test_a_text_without_a_title_is_named_by_its_heading_then_by_its_file() -> None:
    assert parse("## Fees *now*\n\nText.", "a.md").title == "Fees now"
    assert parse("Just text.", "folder/late-fees.txt").title == "Late fees"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"caf\xe9", b"a\0b"])
def test_what_is_not_text_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableError):
        decode(content)


def test_a_byte_order_mark_is_no_text() -> None:
    assert parse(decode(b"\xef\xbb\xbf# Fees\n\nText."), "a.md").title == "Fees"


def test_blocks_know_their_place() -> None:
    text = parse(PAGE, "refunds.md").text
    blocks = parse_blocks(text)
    card = next(block for block in blocks if block.shape is Shape.ITEM)
    assert (card.label, card.lead, card.ordinal, card.siblings) == ("Cards.", "We accept:", 1, 2)
    assert card.headings == ("Refunds",)
    assert text[card.start : card.end].strip() == "- **Cards.** All kinds."


def test_a_title_has_a_bound_whoever_gives_it() -> None:
    long = "fees and more " * 200
    for text, name in ((f"---\ntitle: {long}\n---\nText.", "a.md"), (f"# {long}\n\nText.", "a.md"), ("", f"{long}.md")):
        title = parse(text, name).title
        assert MAX_TITLE - 10 < len(title) <= MAX_TITLE
        assert long.startswith(f"{title.lower()} "), "whole words"
    assert parse(f"# {'a' * 9_999}\n\nText.", "a.md").title == "a" * MAX_TITLE
    assert parse("Text.", "two\nlines.md").title == "Two lines"


def test_the_hashes_of_a_title_are_its_own_unless_they_close_it() -> None:
    assert parse("# Using C#\n\nText.", "a.md").title == "Using C#"
    assert parse("# Fees ##\n\nText.", "a.md").title == "Fees"


def test_a_title_that_a_tag_fills_in_is_none() -> None:
    page = parse('---\ntitle: "About {{ site.name }} and you"\n---\n# About us\n\nText.', "a.md")
    assert (page.title, page.front_matter) == ("About us", "ok")


def test_links_only() -> None:
    assert is_links_only("[![badge](b.svg)](https://a.example)")
    assert is_links_only("- [a](https://a.example)\n- <https://b.example>\n")
    assert not is_links_only("Read [this](https://a.example).")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two. Three.", 3),
        ("We, GitHub, Inc. Are one. Two.", 2),
        ("See e.g. Section 2. Then stop.", 2),
        ("Within the U.S. Government it holds.", 1),
        ('He said "stop." Then he left.', 2),
        ("a. General. It is so.", 2),
    ],
)
def test_sentences(text: str, count: int) -> None:
    found = split_sentences(text)
    assert len(found) == count, found
    assert " ".join(found) == text


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "matter", ["a: !!bool x", "a: !!timestamp x", "a: !!int ''", 'title: "\\uD800"', "a: !!python/object:os.system x"]
)
def test_hostile_front_matter_is_named(matter: str) -> None:
    assert parse(f"---\n{matter}\n---\nBody.", "a.md").front_matter.startswith("the front matter is not YAML")


def test_a_key_twice_in_front_matter_is_named() -> None:
    assert "title stands twice" in parse("---\ntitle: A\ntitle: B\n---\nBody.", "a.md").front_matter


@pytest.mark.timeout(20)
def test_merge_keys_in_front_matter_do_not_multiply() -> None:
    bomb = "".join(f"a{i}: &a{i}\n  <<: [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))
    assert parse(f"---\na0: &a0 {{k0: 1}}\n{bomb}---\nBody.", "a.md").text == "Body.\n"


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "text",
    [
        "<!--" * 50_000,
        "{%" + " " * 200_000,
        "{% a " * 40_000,
        " x" + " " * 200_000 + "x",
        "# a" + " #a" * 70_000,
        "[" * 9_000,
    ],
)
def test_no_text_makes_the_reader_hang(text: str) -> None:
    parsed = parse(text, "a.md")
    is_links_only(parsed.text)
    parse_blocks(parsed.text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", "*a " * 3_000 + "b" + " c*" * 3_000),
        ("a.html", "<div>" * 5_000 + "hello" + "</div>" * 5_000),
        ("a.html", "<![" * 100),
    ],
)
def test_what_no_reader_takes_is_a_sentence_not_a_traceback(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    (reading,) = read_folder(tmp_path, INGEST)
    assert reading.parsed is None
    assert reading.unreadable is not None
    assert reading.unreadable.startswith("It")
