"""The evidence as people read it: Markdown tables of ROC areas, of what each check fails, and of calibrations."""

from collections.abc import Sequence

from bench.measured import Figure

SEPARATES = 0.9
"""A lower end of an area's interval from here on is separation and set in bold; an interval with one half in it says
that nothing is seen to separate, and stands in brackets."""
_TITLES = {
    "area": "ROC area",
    "fails": "share failed by the default thresholds",
    "warns": "share failed or warned of",
    "calibrated": "share failed by the norm of the good ones",
}


def table(found: Sequence[Figure]) -> list[str]:
    """Markdown: statistics and checks by failure, one table per group and set of adapters, and mere length."""
    lines: list[str] = []
    for group, title in _TITLES.items():
        for where in dict.fromkeys(_part(one, 1) for one in found if _part(one, 0) == group):
            chosen = [one for one in found if (_part(one, 0), _part(one, 1)) == (group, where)]
            lines += [f"### {where}: {title}", "", *grid(chosen), ""]
    lengths = [one for one in found if _part(one, 0) == "length"]
    return [*lines, "### Length: ROC area, larger values of the longer or the noisy ones", "", *grid(lengths, 2, 1)]


def grid(chosen: Sequence[Figure], row: int = 3, column: int = 2) -> list[str]:
    """One table; ``row`` and ``column`` are the parts of a figure's name that its cells are found by."""
    cells, rows, columns = by_place(chosen, row, column)
    lines = [f"| | {' | '.join(counted(cells, columns))} |", f"| --- |{' --- |' * len(columns)}"]
    return [*lines, *(f"| {name} | {' | '.join(cell(cells.get((name, one))) for one in columns)} |" for name in rows)]


Cells = dict[tuple[str, str], Figure]


def by_place(chosen: Sequence[Figure], row: int = 3, column: int = 2) -> tuple[Cells, list[str], list[str]]:
    """Figures by row and column, rows, and columns."""
    cells = {(_part(one, row), _part(one, column)): one for one in chosen}
    rows, columns = (list(dict.fromkeys(key[side] for key in cells)) for side in (0, 1))
    return cells, rows, columns


def counted(cells: Cells, columns: Sequence[str]) -> list[str]:
    """Columns with the adapters that they count."""
    counts = {name: max(one.n for (_, other), one in cells.items() if other == name) for name in columns}
    return [f"{name} ({counts[name]})" for name in columns]


def cell(one: Figure | None) -> str:
    """A value with its interval; of an area, how it is to be read."""
    if one is None:
        return ""
    shown = f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"
    if not one.name.startswith(("area", "length")):
        return shown
    if one.low >= SEPARATES:
        return f"**{shown}**"
    return f"({shown})" if one.low <= 0.5 <= one.high else shown


def _part(one: Figure, place: int) -> str:
    return one.name.split("/")[place]
