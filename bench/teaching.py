"""How stage `synthesize` grows with the collection: coverage per document, and recall questions.

    python -m bench.teaching --documents 2000 20000 100000

Each line is a process of its own that draws statements of eighteen words, eight to a document, every hundredth of
them new, and calls the two functions that look at all of them. Seconds of processor time; memory is what they take
beside the statements, at most.
"""

import random
import time
import tracemalloc
from collections.abc import Callable

from bench.ingest import SEED, WORDS, by_size
from data.changes import coverage
from data.params import load_params
from data.records import DocumentVersion, Statement
from data.teaching import questions
from data.workspace import PROJECT_ROOT

STATEMENTS = 8
"""Per document."""
STATEMENT_WORDS = 18
FRESH = 100
"""Every so manieth statement is new."""


def main() -> None:
    """Print one line per number of documents."""
    heading = f"{'documents':>9}  {'coverage':>9}  {'recall questions':>16}  {'memory':>8}"
    by_size("bench.teaching", __doc__, heading, measure)


def measure(number: int) -> str:
    """The line for so many documents."""
    documents = [_document(index) for index in range(number)]
    draw = random.Random(SEED)
    statements = [_statement(document, place, draw) for document in documents for place in range(STATEMENTS)]
    fresh = statements[::FRESH]
    params = load_params(PROJECT_ROOT / "params.yaml").synthesize

    def ask() -> object:
        return questions((), fresh, statements, (), params)

    covered, asked = _seconds(lambda: coverage(documents, (), statements, fresh)), _seconds(ask)
    tracemalloc.start()
    ask()
    megabytes = tracemalloc.get_traced_memory()[1] / 2**20
    return f"{number:>9,}  {covered:>7.2f} s  {asked:>14.2f} s  {megabytes:>5,.0f} MB"


def _document(index: int) -> DocumentVersion:
    return DocumentVersion(
        id=f"{index:012x}", path=f"{index}.md", digest="", title=f"Rule {index}", characters=0, sketch=b""
    )


def _statement(document: DocumentVersion, place: int, draw: random.Random) -> Statement:
    text = " ".join(draw.choices(WORDS, k=STATEMENT_WORDS))
    return Statement(document=document.id, digest="", start=place, end=place + 1, title=document.title, text=text)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
