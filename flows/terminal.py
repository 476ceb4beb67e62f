"""Every table that people read, at a terminal of 80 columns or more, or plain in a file or pipe.

Nothing that comes from outside is markup, and none of it can steer a terminal. What is one path or one sentence
stays a line (``flows.command.show``): a table would break it in the middle.
"""

from collections.abc import Iterator, Sequence, Set
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.files import printable_lines, shortened
from data.findings import Condition
from flows.overview import Surroundings

NARROWEST, WIDEST = 80, 120
ALARMING = frozenset(Condition) - {Condition.OK, Condition.MENDED}
"""Of a finding that a person should see first."""


def status_table(content: dict[str, Any], around: Surroundings) -> Table:
    """What serves, what waits, how the last cycle went and what to do about warnings."""
    table = _named()
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
    against = "; promoted against its verdict" if version["overridden"] else ""
    return f"version {version['version']}, verdict {version['verdict'] or 'none'}{against}{documents}{rests}"


def gates_table(content: dict[str, Any]) -> Table:
    """The gate policy: its digest, since when it is in force, thresholds, and what each check may do."""
    table = _named()
    when = f"since {content['since'][:16].replace('T', ' ')} UTC" if content["since"] else "not yet"
    since = f"{when} (ledger entry {content['entry']}), by {content['by']}" if content["since"] else when
    table.add_row("policy", plain(content["policy"][:12]))
    table.add_row("in force", plain(f"{content['in_force'][:12]} {since}" if content["in_force"] else since))
    for name, value in content.items():
        if isinstance(value, float):
            table.add_row(name, plain(f"{value:g}"))
    for check, mode in content["modes"].items():
        table.add_row(check, plain(mode))
    for warning in content["warnings"]:
        table.add_row(Text("! warning", style="yellow"), plain(warning))
    return table


def impact_lines(content: dict[str, Any]) -> Iterator[str]:
    """What ``relearn impact`` says before its table: which document it is, what bases know, and what nobody knows."""
    about = content["document"]
    yield f"{shortened(about['path'])} ({about['id'][:12]}), {len(about['digests'])} versions of it known"
    for one in content["bases"]:
        yield (
            f"The base alone, version {one['version']}, was trained on {shortened(one['path'])} "
            f"({one['digest'][:12]}), and with it every version on that base: {', '.join(map(str, one['versions']))}."
        )
    if content["unknown"]:
        numbers = ", ".join(map(str, content["unknown"]))
        yield (
            f"! Nothing can be said of {'versions' if content['unknown'][1:] else 'version'} {numbers}: an earlier "
            "release registered them, or what was kept of them is gone."
        )


def impact_table(content: dict[str, Any]) -> Table:
    """Versions whose documents held a document or that learned to refuse it, and how many of their rows name it."""
    table = new_table(headed=True)
    for heading in ("Version", "Rows", "Learned", "Digest", "Path"):
        table.add_column(heading, overflow="fold")
    for one in sorted([*content["rests"], *content["refuses"]], key=lambda one: one["version"]):
        version = Text(str(one["version"]))
        if one.get("serves"):
            version.append(" serves", style="yellow")
        learned = one["role"] if one["rows"] else "nothing"
        table.add_row(version, f"{one['rows']:,}", learned, one["digest"][:12], plain(one["path"]))
    return table


def history_table(entries: Sequence[dict[str, Any]], overridden: Set[str]) -> Table:
    """The ledger, oldest first; ``overridden`` holds the digests of the entries against a verdict."""
    table = new_table(headed=True)
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


def findings_table(findings: Sequence[dict[str, Any]]) -> Table:
    """What ``relearn doctor`` found, in the order it looked."""
    table = new_table(headed=False)
    table.add_column(no_wrap=True)
    table.add_column(max_width=20, overflow="fold")
    table.add_column(ratio=1, overflow="fold")
    for one in findings:
        state = Text(one["state"], style="yellow" if one["state"] in ALARMING else "")
        table.add_row(state, plain(one["what"]), plain(f"{one['says']} {one['remedy']}".rstrip()))
    return table


def freed_table(content: dict[str, Any], dry_run: bool) -> Table:
    """What ``relearn gc`` freed, or would, by kind."""
    table = new_table(headed=True)
    table.add_column("Bytes", justify="right", no_wrap=True)
    table.add_column("Of", ratio=1, overflow="fold")
    for kind, size in content["bytes"].items():
        table.add_row(f"{size:,}", plain(kind))
    verb = "would be freed" if dry_run else "freed"
    kept = ", ".join(map(str, content["kept"]))
    table.add_row(f"{sum(content['bytes'].values()):,}", f"{verb}; versions kept: {kept}")
    for note in content["notes"]:
        table.add_row("", plain(note))
    return table


def funnel_table(funnels: Sequence[dict[str, Any]]) -> Table:
    """Per recipe: rows proposed, kept, and dropped by the filter that each failed first."""
    table = new_table(headed=True)
    table.add_column("Recipe", no_wrap=True)
    for name in ("Proposed", "Kept", "Dropped"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("by filter", overflow="fold")
    for one in funnels:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in _largest_first(one["dropped"]))
        lost = sum(one["dropped"].values())
        table.add_row(one["recipe"], f"{one['proposed']:,}", f"{one['kept']:,}", f"{lost:,}", plain(reasons))
    return table


def _largest_first(dropped: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(dropped.items(), key=lambda pair: (-pair[1], pair[0]))


def dry_run_table(content: dict[str, Any]) -> Table:
    """What a run of stage ``synthesize`` would send, cost and write."""
    table = _named()
    table.add_row("Changed", f"{content['statements']:,} sentence{'' if content['statements'] == 1 else 's'}")
    rows = ", ".join(f"{recipe} {count:,}" for recipe, count in content["rows"].items())
    table.add_row("Rows", f"{rows} (before the filters)")
    if not content["calls"]:
        table.add_row("Calls", "none: synthesize.recipes names no recipe for prose")
        return table
    sent = content["calls"] - content["cached"]
    enough = "" if content["fits"] else " and may not be enough"
    table.add_row("Passages", f"{content['passages']:,}")
    table.add_row("Calls", f"{sent:,} to send, {content['cached']:,} answered before")
    table.add_row("Tokens", f"about {content['tokens_in']:,} in, {content['tokens_out']:,} out")
    cost = f"about {content['cost']:.2f}, at most {content['cost_at_most']:.2f}"
    table.add_row("Money", f"{cost}; the budget is {content['budget']:.2f}{enough}")
    table.add_row("Time", f"about {content['seconds'] / 60:.1f} minutes")
    table.add_row("Sent", "nothing, and nothing was written")
    return table


# --- how all of them look --------------------------------------------------------------------------


def new_table(headed: bool) -> Table:
    """An empty one, in the style of all."""
    return Table(box=None, show_header=headed, pad_edge=False, padding=(0, 2, 0, 0))


def _named() -> Table:
    """A name and what is to be said of it per row."""
    table = new_table(headed=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def plain(text: str) -> Text:
    """Text as it is, without what could steer a terminal."""
    return Text(printable_lines(text))


def put(table: Table) -> None:
    """Print a table to standard output, without blanks at the ends of lines."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = min(max(console.width, NARROWEST), WIDEST) if console.is_terminal else NARROWEST
    with console.capture() as captured:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))
