"""Test accuracy, exponent and traps over the steps, one column per run.

python -m bench.grokking_picture DIR DIR --out docs/grokking.png
"""

import argparse
import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from PIL import Image

from bench.grokking_series import Array, Event, Series, collapse, grokking, series
from bench.grokking_training import Run
from data.files import read_record

TRUE, RANDOM, GROKKED = "#1f6fb4", "#9a9a9a", "#c0392b"
ROWS = {"test accuracy": None, "alpha": "alpha", "traps": "traps", "weight norm": "norm"}


def main() -> None:
    """Draw the runs in the folders named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    draw({folder.name: read_record(folder / "records.json", Run) for folder in options.folders}, options.out)


def draw(runs: dict[str, Run], path: Path) -> None:
    """One column per run, its title the key."""
    figure = Figure(figsize=(4.2 * len(runs), 8.4))
    axes = figure.subplots(len(ROWS), len(runs), squeeze=False, sharex="col")
    for column, (name, run) in enumerate(runs.items()):
        found = series(run)
        grokked, middle_S = grokking(found)
        title = f"{name}: {run.setup.seeds} networks, and {run.setup.controls} with random labels"
        axes[0, column].set_title(title, fontsize=9)
        for row, (label, statistic) in enumerate(ROWS.items()):
            panel = axes[row, column]
            _lines(panel, found, found.test_ST if statistic is None else found.statistics[statistic])
            _marks(panel, found, (grokked, collapse(found, grokked, middle_S)))
            panel.set_xscale("log")
            panel.set_ylabel(label)
        axes[1, column].axhline(2.0, color="black", linewidth=0.8, linestyle=":")
        axes[1, column].set_yscale("log")
        axes[1, column].yaxis.set_minor_formatter(NullFormatter())
        axes[1, column].set_yticks([2, 4, 8, 16, 32], labels=["2", "4", "8", "16", "32"])
        axes[-1, column].set_xlabel("steps")
    legend = "Blue: true labels. Grey: random labels. Vertical lines: a network grokked (red) or collapsed (black)."
    figure.text(0.01, 0.005, legend, fontsize=8)
    figure.tight_layout(rect=(0, 0.015, 1, 1))
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    Image.open(drawn).convert("RGB").quantize(64).save(path, format="png", optimize=True)


def _lines(panel: Axes, found: Series, values_ST: Array) -> None:
    for control, colour in ((False, TRUE), (True, RANDOM)):
        for line in values_ST[found.control_S == control]:
            panel.plot(found.steps_T, line, color=colour, linewidth=0.7, alpha=0.55)


def _marks(panel: Axes, found: Series, events: tuple[Event, Event]) -> None:
    """A thin line where each network grokked or collapsed."""
    for event, colour in zip(events, (GROKKED, "black"), strict=True):
        for at in event.at_S[event.happened]:
            panel.axvline(found.steps_T[at], color=colour, linewidth=0.5, alpha=0.35)


if __name__ == "__main__":
    main()
