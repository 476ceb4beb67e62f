"""How fast documents are taken in: short ones, per second and core, and the memory that it takes.

    python -m bench.ingest --documents 2000 20000 100000

Each line is a process of its own that writes seeded documents of about a hundred words into a temporary workspace
and runs stage `ingest` twice in one thread, as a cycle does: into a new workspace, and again after every hundredth
document was edited and every five hundredth moved or withdrawn, which compares it with the snapshot before. Rates are
per second of processor time and, in brackets, of the clock. Libraries are loaded beforehand, which takes some seconds.
"""

import argparse
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from data.files import read_record, write_long_record, write_record
from data.records import Accepted, Snapshot
from data.snapshots import diff, look_through
from data.workspace import PROJECT_ROOT, Workspace, open_workspace

SEED = 20240601
FOLDER = 500
"""Documents per folder."""
WORDS = """
account access approval archive audit backup balance bill branch budget building carrier change claim
client contract copy council customer day delivery deposit desk discount document draft employee entry
estate event expense fee file form freight goods guard guest hour income index insurance invoice item
key ledger letter level licence limit list loan manager market member meter month note notice office
order owner page parcel partner party payment pension permit person plan policy port post price product
project quarter rate receipt record refund region rent report request review rule safety sale schedule
seal season section service share ship site staff stamp stock store supplier table tax team tenant term
ticket title trade training transfer unit update value vehicle vendor version visit voucher wage
warehouse week year zone
""".split()  # noqa: SIM905 - shorter


def main() -> None:
    """Print one line per number of documents."""
    heading = f"{'documents':>9}  {'first':>15}  {'against a snapshot':>18}  {'no change':>9}  {'peak memory':>11}"
    by_size("bench.ingest", __doc__, heading, measure)


def by_size(module: str, described: str | None, heading: str, measure: Callable[[int], str]) -> None:
    """The command of a module: a heading, and a line per number of documents, each of a process of its own."""
    parser = argparse.ArgumentParser(description=described, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[2_000, 20_000, 100_000])
    parser.add_argument("--here", action="store_true", help="measure in this process, without a heading")
    options = parser.parse_args()
    if options.here:
        for documents in options.documents:
            print(measure(documents), flush=True)
        return
    print(heading, flush=True)
    for documents in options.documents:
        command = [sys.executable, "-m", module, "--here", "--documents", str(documents)]
        subprocess.run(command, check=True)  # noqa: S603 - our own module


def measure(documents: int) -> str:
    """One line of figures."""
    from flows.ingest import ingest

    root = Path(tempfile.mkdtemp(prefix="relearn-bench-"))
    try:
        ingest(_workspace(root / "warm", 10))
        workspace = _workspace(root / "measured", documents)
        first = _rates(lambda: ingest(workspace), documents)
        _edit(workspace.documents)
        before = read_record(workspace.collection / "snapshot.json", Snapshot)
        write_long_record(workspace.accepted, Accepted(snapshot=before))
        second = _rates(lambda: ingest(workspace), documents)
        changes = diff(before, read_record(workspace.collection / "snapshot.json", Snapshot))
        assert len(changes.changed) == len(range(0, documents, 100)), "every edit is seen, and nothing else"
        assert len(changes.moved) + len(changes.withdrawn) == len(range(50, documents, 500))
        look = _look(workspace)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        return f"{documents:>9,}  {first:>18}  {second:>18}  {look:>7.2f} s  {peak:>8,.0f} MB"
    finally:
        shutil.rmtree(root)


def _workspace(root: Path, documents: int) -> Workspace:
    """A workspace with that many documents, a tenth of them with a table."""
    root.mkdir()
    shutil.copy(PROJECT_ROOT / "params.yaml", root)
    workspace = open_workspace(root)
    draw = random.Random(SEED)
    for number in range(documents):
        file = workspace.documents / f"{number // FOLDER:04}" / f"{number:06}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_text(number, draw), encoding="utf-8")
    write_record(workspace.accepted, Accepted())
    return workspace


def _text(number: int, draw: random.Random) -> str:
    def sentence() -> str:
        return f"The {' '.join(draw.choices(WORDS, k=14))} must be settled within {draw.randint(2, 90)} days."

    rows = "".join(f"| {draw.choice(WORDS)} | ${draw.randint(1, 999)} |\n" for _ in range(5))
    table = f"| Item | Fee |\n| --- | --- |\n{rows}\n" if number % 10 == 0 else ""
    title = " ".join(draw.choices(WORDS, k=3)).capitalize()
    return f"# {title} {number}\n\n{' '.join(sentence() for _ in range(3))}\n\n{table}{sentence()} {sentence()}\n"


def _edit(folder: Path) -> None:
    for number, file in enumerate(sorted(folder.rglob("*.md"))):
        if number % 100 == 0:
            file.write_text(f"{file.read_text(encoding='utf-8')}\nOne more rule holds from today.\n", encoding="utf-8")
        elif number % 1000 == 50:
            file.rename(file.with_name(f"moved-{file.name}"))
        elif number % 1000 == 550:
            file.unlink()


def _look(workspace: Workspace) -> float:
    """Seconds to find out that nothing changed."""
    cache = workspace.looked
    extensions = workspace.params().ingest.extensions
    time.sleep(2.5)  # files touched just before the look are read again
    look_through(workspace.documents, extensions, cache)
    return _seconds(lambda: look_through(workspace.documents, extensions, cache))


def _rates(work: Callable[[], object], documents: int) -> str:
    """Documents per second of the processor and, in brackets, of the clock, which the disk has a part in."""
    begun, used = time.perf_counter(), time.process_time()
    work()
    used, passed = time.process_time() - used, time.perf_counter() - begun
    return f"{documents / used:,.0f} ({documents / passed:,.0f}) /s"


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
