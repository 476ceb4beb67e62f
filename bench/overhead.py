"""What a cycle costs outside its stages' own work, and what a run costs that finds nothing changed.

    python -m bench.overhead --workspace DIR --repeats 5

The first run works through whatever the workspace's documents ask for, so that it wants one whose documents changed
or that never ran. All are processes of their own, timed from outside, interpreter and imports included.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from data.cycle_records import CycleResult
from data.errors import RelearnError

RELEARN = Path(sys.executable).with_name("relearn")
DECIDED = (0, 3)
"""Exit codes of a cycle that came to its end; 3: a person decides on its candidate."""


def main() -> None:
    """Print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path())
    parser.add_argument("--repeats", type=int, default=5, help="of what is short")
    options = parser.parse_args()
    cycle = ["run", "--json", "--workspace", str(options.workspace)]
    try:
        seconds, result = _run(cycle)
        if not result.changed:
            raise RelearnError("Nothing changed here since the last cycle; change a document, then run this again.")
    except RelearnError as error:
        sys.exit(str(error))
    stages = sum(result.seconds.values())
    print(
        f"cycle: {seconds:.1f} s, its stages {stages:.1f} s ({result.seconds}), outside them {seconds - stages:.1f} s"
    )
    _print("nothing changed", [_run(cycle)[0] for _ in range(options.repeats)])
    _print("relearn --help", [_timed(["--help"])[0] for _ in range(options.repeats)])


def _run(arguments: list[str]) -> tuple[float, CycleResult]:
    seconds, printed = _timed(arguments)
    return seconds, CycleResult.model_validate(json.loads(printed))


def _timed(arguments: list[str]) -> tuple[float, str]:
    begun = time.monotonic()
    done = subprocess.run([RELEARN, *arguments], stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 (ours)
    if done.returncode not in DECIDED:
        raise RelearnError(f"relearn {' '.join(arguments)} ended with exit code {done.returncode}; see above.")
    return time.monotonic() - begun, done.stdout


def _print(what: str, seconds: list[float]) -> None:
    print(f"{what}: median {statistics.median(seconds):.2f} s, at most {max(seconds):.2f} s (n = {len(seconds)})")


if __name__ == "__main__":
    main()
