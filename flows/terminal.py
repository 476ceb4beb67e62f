"""Tables for people at a terminal, 80 columns wide or as wide as it is; nothing that comes from outside is markup."""

from collections.abc import Set
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.overview import Surroundings

NARROWEST, WIDEST = 80, 120


def status_table(content: dict[str, Any], around: Surroundings) -> Table:
    """What serves, what waits, how the last cycle went and what to do about warnings."""
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False, expand=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name in ("champion", "challenger"):
        table.add_row(name, plain(_version(content[name])))
    table.add_row("last cycle", plain(around.last_cycle))
    snapshot = content["snapshot"]
    said = f"{snapshot['digest'][:12]}, {snapshot['documents']:,} documents in force" if snapshot else "none"
    table.add_row("snapshot", plain(said))
    table.add_row("folder", plain(around.folder))
    for warning in content["warnings"]:
        table.add_row(Text("! warning", style="yellow"), plain(warning))
    return table


def _version(version: dict[str, Any] | None) -> str:
    if version is None:
        return "none"
    documents = f", documents {version['snapshot'][:12]}" if version["snapshot"] else ""
    rests = "; rests on documents that are withdrawn by now" if version["rests_on_withdrawn"] else ""
    return f"version {version['version']}, verdict {version['verdict'] or 'none'}{documents}{rests}"


def history_table(entries: list[dict[str, Any]], overridden: Set[str]) -> Table:
    """The ledger, oldest first; ``overridden`` holds the digests of the entries against a verdict."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading, width in (("When (UTC)", 10), ("Who", 12), ("What", 11), ("Version", 9)):
        table.add_column(heading, max_width=width, overflow="fold")
    table.add_column("Why", ratio=1, overflow="fold")
    for entry in entries:
        day, _, time = entry["time"].partition("T")
        what = plain(entry["action"].replace("_", " "))
        if entry["digest"] in overridden:
            what.append("\n! override", style="yellow")
        versions = f"{_number(entry['from'])} -> {_number(entry['to'])}"
        table.add_row(plain(f"{day}\n{time[:5]}"), plain(entry["actor"]), what, versions, plain(entry["reason"]))
    return table


def _number(version: int | None) -> str:
    return "none" if version is None else str(version)


def plain(text: str) -> Text:
    """Text as it is, without what could steer a terminal."""
    return Text("".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text))


def put(table: Table) -> None:
    """Print a table to standard output."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = min(max(console.width, NARROWEST), WIDEST) if console.is_terminal else NARROWEST
    console.print(table)
