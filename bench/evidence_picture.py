"""ROC areas of every statistic against every failure as a map, one panel per set of adapters that set nothing.

    python -m bench.evidence_picture --root .relearn/bench/failures --out docs/evidence.png

Blue: the failure lies on the side where it was expected, red: on the other; white, and without a number: one half lies
within the interval.
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from PIL import Image

from bench.evidence import areas
from bench.evidence_tables import SEPARATES, by_place, counted
from bench.failures import ROOT
from bench.measured import Figure
from bench.spectral_statistics import measured


def main() -> None:
    """Draw what has been measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    draw(list(areas(measured(options.root))), options.out)


def draw(found: Sequence[Figure], path: Path) -> None:
    """One panel below the other; bold where the interval's lower end is ``SEPARATES`` or more."""
    sets = {where: [one for one in found if one.name.split("/")[1] == where] for where in _sets(found)}
    figure = Drawing(figsize=(11.5, 6.2 * len(sets)))
    for panel, (where, chosen) in zip(figure.subplots(len(sets), 1, squeeze=False)[:, 0], sets.items(), strict=True):
        panel.set_title(f"{where} (in brackets: failed adapters)", fontsize=10, loc="left")
        _map(panel, chosen)
    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    Image.open(drawn).convert("RGB").quantize(64).save(path, format="png", optimize=True)


def _sets(found: Sequence[Figure]) -> list[str]:
    return list(dict.fromkeys(one.name.split("/")[1] for one in found))


def _map(panel: Axes, chosen: Sequence[Figure]) -> None:
    cells, rows, columns = by_place(chosen)
    shades = np.full((len(rows), len(columns)), 0.5)
    for (row, column), one in cells.items():
        at = rows.index(row), columns.index(column)
        if one.low <= 0.5 <= one.high:
            continue
        shades[at] = one.value
        weight = "bold" if one.low >= SEPARATES else "normal"
        ink = "white" if abs(one.value - 0.5) > 0.35 else "black"
        panel.text(at[1], at[0], f"{one.value:.2f}", ha="center", va="center", fontsize=7, weight=weight, color=ink)
    panel.imshow(shades, cmap="RdBu", vmin=0.0, vmax=1.0, aspect="auto")
    panel.set_xticks(range(len(columns)), counted(cells, columns), rotation=35, ha="right", fontsize=8)
    panel.set_yticks(range(len(rows)), rows, fontsize=8)


if __name__ == "__main__":
    main()
