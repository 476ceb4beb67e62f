"""Facts drawn by seed for a person to read: are they true, and understandable on their own?

    python -m bench.read_facts --count 50 --seed 7 > facts.md

Draws from the new and replaced facts of the workspace's last ``synthesize`` and prints a Markdown table with
the first question wording, the answer, and the place in the document, with an empty column for the judgement.
"""

import argparse
import random
from pathlib import Path

from data.files import read_record, read_records
from data.records import FactChange, Snapshot, Standing
from data.wordings import Form, wordings
from data.workspace import open_workspace


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path())
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    workspace = open_workspace(options.workspace)
    changes = read_records(workspace.synthetic / "changes.jsonl", FactChange)
    taught = [change.fact for change in changes if change.standing in (Standing.NEW, Standing.REPLACED)]
    paths = {d.id: d.path for d in read_record(workspace.collection / "snapshot.json", Snapshot).documents}
    drawn = random.Random(options.seed).sample(taught, min(options.count, len(taught)))
    print(f"{len(drawn)} of {len(taught)} new or replaced facts, seed {options.seed}.\n")
    print("| # | kind | question | answer | source | judgement |\n| --- | --- | --- | --- | --- | --- |")
    for number, fact in enumerate(drawn, start=1):
        question = wordings(fact.kind, Form.QUESTION)[0].render(fact)
        place = f"{Path(paths[fact.document]).name}, {fact.start}-{fact.end}"
        cells = (str(number), fact.kind, question, fact.value, place, "")
        print(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")


if __name__ == "__main__":
    main()
