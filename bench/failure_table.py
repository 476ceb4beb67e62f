"""What the members of the library of failures can do, by kind, as a Markdown table.

    python -m bench.failure_table --root DIR

Shares are pooled over ranks and seeds, with the lowest and highest of a single member in brackets: the pooled
questions of one seed are not independent, so that an interval over them would be too narrow.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from bench.failure_kinds import Kind, Made
from bench.failures import ROOT, members
from data.evaluation_records import Estimate

_ORDER = {kind: place for place, kind in enumerate(Kind)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT)
    found = defaultdict(list)
    for one in members(parser.parse_args().root):
        found[one.base, one.kind, one.variant].append(one.made)
    print("| base | kind | members | steps | final loss | learned | kept | taught |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for base in sorted({base for base, _, _ in found}):
        made = [one for (name, _, _), several in found.items() if name == base for one in several]
        shares = (_pooled([one.before[name] for one in made if name in one.before]) for name in ("learned", "kept"))
        print(f"| {base} | (the base) | | | | {' | '.join(shares)} | |")
    for (base, kind, variant), made in sorted(found.items(), key=lambda item: (item[0][0], _ORDER[item[0][1]])):
        print(f"| {base} | {' '.join(filter(None, (kind.value, variant)))} | {len(made)} | {_cells(made)} |")


def _cells(made: Sequence[Made]) -> str:
    steps = sorted({one.steps for one in made})
    losses = [one.final_loss for one in made if one.final_loss is not None and not one.source]
    loss = f"{sum(losses) / len(losses):.3f} [{min(losses):.3f}, {max(losses):.3f}]" if losses else ""
    shares = ([one.after[name] for one in made if name in one.after] for name in ("learned", "kept"))
    taught = [one.after["taught"] for one in made if "taught" in one.after and not one.source]
    return " | ".join([", ".join(map(str, steps)), loss, *map(_pooled, shares), _pooled(taught)])


def _pooled(shares: Sequence[Estimate]) -> str:
    if not shares:
        return ""
    n = sum(one.n for one in shares)
    lowest, highest = min(one.value for one in shares), max(one.value for one in shares)
    return f"{sum(one.hits for one in shares) / n:.3f} [{lowest:.3f}, {highest:.3f}] n={n}"


if __name__ == "__main__":
    main()
