"""Does a weight's spectrum announce grokking, or the collapse after it?

    python -m bench.grokking --task digits --seeds 16 --steps 1000000 --out /tmp/digits

Small networks are trained far beyond the point where they know their examples by heart (bench/grokking_lessons.py). At
steps evenly spaced on a logarithmic axis the exponent alpha and the correlation traps of every weight are read, as
WeightWatcher's authors read them in "Grokking and Generalization Collapse: Insights from HTSR theory" (Prakash and
Martin, arXiv 2506.04434), and held against plainer announcers (bench/grokking_answers.py).

Writes ``records.json``, ``figures.json`` and ``grokking.png`` into the folder. A run that was killed goes on from its
last checkpoint; a finished one only has its figures made again, and more steps make it longer.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from bench.grokking_answers import answers
from bench.grokking_lessons import Setup
from bench.grokking_picture import draw
from bench.grokking_training import Checkpoint, resumed, train
from bench.measured import typed
from data.files import write_json

SETUPS = {
    "digits": Setup(
        task="digits", seeds=16, controls=8, seed=1, examples=(200,), hidden=(64, 64), scale=8.0, rate=2e-3, decay=0.0,
        batch=40,
    ),
    "digits-long": Setup(
        task="digits", seeds=16, controls=8, seed=1, examples=(200,), hidden=(64, 64), scale=6.0, rate=5e-3, decay=0.0,
        batch=40,
    ),
    "modular": Setup(
        task="modular", seeds=16, controls=8, seed=1, examples=(500, 600, 700, 800), hidden=(128,), scale=1.0,
        rate=2e-3, decay=1.0, batch=256,
    ),
    "modular-free": Setup(
        task="modular", seeds=16, controls=8, seed=1, examples=(500, 600, 700, 800), hidden=(128,), scale=1.0,
        rate=4e-3, decay=0.0, batch=256,
    ),
}  # fmt: skip
"""Setups that grok within minutes. ``digits-long`` goes through the same faster, so as to come further past it;
``modular-free`` has no weight decay."""
STEPS = {"digits": 262_144, "digits-long": 208_064, "modular": 32_768, "modular-free": 32_768}


def main() -> None:
    """Train, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=sorted(SETUPS), default="digits")
    parser.add_argument("--seeds", type=int, default=16, help="networks with true labels")
    parser.add_argument("--controls", type=int, default=8, help="networks with random labels beside them")
    parser.add_argument("--steps", type=int, help="of each network")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    options = parser.parse_args()
    found = figures(options.task, options.seeds, options.controls, options.steps or STEPS[options.task], options.out)
    if options.json:
        print(json.dumps({"figures": found}))
        return
    print("\n".join(line(one) for one in found))


def figures(
    task: str, seeds: int, controls: int, steps: int, out: Path, command: str | None = None
) -> list[dict[str, Any]]:
    """Train to ``steps``, going on from what lies in ``out``; the figures: name, value, low, high, n, seeds, command.

    Args:
        command: what they are to name as theirs; None: this module, with all that counts.

    Raises:
        InputError: the folder holds another run.
    """
    setup = SETUPS[task].model_copy(update={"seeds": seeds, "controls": controls})
    torch.set_num_threads(1)  # one network's matrices are too small to share
    out.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    for point in train(setup, steps, out):
        print(f"{time.monotonic() - begun:6.0f} s  {_progress(point, setup)}", file=sys.stderr, flush=True)
    run = resumed(setup, out)
    given = {"task": task, "seeds": seeds, "controls": controls, "steps": steps, "out": "DIR"}
    named = command or typed("python -m bench.grokking", **given)
    found = [{**one, "name": f"{task}: {one['name']}"} for one in answers(run, named)]
    write_json(out / "figures.json", found)
    draw({task: run}, out / "grokking.png")
    return found


def line(figure: dict[str, Any]) -> str:
    """One figure for people."""
    value, low, high, n = (figure[key] for key in ("value", "low", "high", "n"))
    return f"{figure['name']:<90} {value:9.3f} [{low:.3f}, {high:.3f}] n={n}"


def _progress(point: Checkpoint, setup: Setup) -> str:
    true = slice(0, setup.seeds)
    test = point.test_accuracy[true]
    traps = sum(one.traps for layer in point.matrices for one in layer[true])
    shown = f"test {min(test):.2f} to {max(test):.2f}, traps {traps}"
    return f"step {point.step:9,}: train {fmean(point.train_accuracy[true]):.3f}, {shown}"


if __name__ == "__main__":
    main()
