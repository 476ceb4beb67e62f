"""What the teacher's figures look like on a terminal of 80 columns."""

import io
from collections.abc import Sequence
from typing import Any

WIDTH = 80


def funnel_lines(funnels: Sequence[dict[str, Any]]) -> list[str]:
    """Per recipe: rows proposed, kept, and dropped by the filter that each failed first."""
    from rich.table import Table

    table = Table("Recipe", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("Proposed", "Kept", "Dropped"):
        table.add_column(name, justify="right")
    table.add_column("by filter", overflow="fold")
    for one in funnels:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in _largest_first(one["dropped"]))
        lost = sum(one["dropped"].values())
        table.add_row(one["recipe"], f"{one['proposed']:,}", f"{one['kept']:,}", f"{lost:,}", reasons)
    return _rendered(table)


def dry_run_lines(content: dict[str, Any]) -> list[str]:
    """What a run would send, cost and write, one line each."""
    rows = ", ".join(f"{recipe} {count:,}" for recipe, count in content["rows"].items())
    sent = content["calls"] - content["cached"]
    lines = [f"Changed   {content['statements']:,} sentences", f"Rows      {rows} (before the filters)"]
    if not content["calls"]:
        return [*lines, "Calls     none: synthesize.recipes names no recipe for prose"]
    return [
        *lines,
        f"Passages  {content['passages']:,}",
        f"Calls     {sent:,} to send, {content['cached']:,} answered before",
        f"Tokens    about {content['tokens_in']:,} in, {content['tokens_out']:,} out",
        f"Money     about {content['cost']:.2f}, at most {content['cost_at_most']:.2f}; the budget is "
        f"{content['budget']:.2f}{'' if content['fits'] else ' and may not be enough'}",
        f"Time      about {content['seconds'] / 60:.1f} minutes",
        "Nothing was sent and nothing written.",
    ]


def _largest_first(dropped: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(dropped.items(), key=lambda pair: (-pair[1], pair[0]))


def _rendered(table: Any) -> list[str]:
    from rich.console import Console

    page = io.StringIO()
    Console(file=page, width=WIDTH, highlight=False, markup=False, color_system=None).print(table)
    return [line.rstrip() for line in page.getvalue().splitlines()]
