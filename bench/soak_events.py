"""What happens to a line that is soaked: what people do with documents and settings, and what breaks.

Each event is a function of the soak that draws what it needs from the seed and says whether it took place. What
takes longer than an instant (a file written piece by piece, a server that is gone for a while) is put down for later,
so that other events fall into it.
"""

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.soak_line import Line, turn
from flows.inputs import last_cycle

LASTING = 12
"""Documents that are edited and moved, and never taken away: who loses half of the collection is asked first."""
BAD_AT_ONCE = 2
"""More of them would be a larger share than the line accepts without a person."""


@dataclass
class Soak:
    """The line, and what is known and planned while things happen to it."""

    line: Line
    draw: random.Random
    states: list[dict[str, bytes]] = field(default_factory=list)
    """What the folder held at earlier moments."""
    later: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    """What is to happen when."""
    written: int = 0
    """Documents that were ever written; the next one's number."""
    outages: dict[str, float] = field(default_factory=lambda: {"MLflow": 0.0, "ledger": 0.0})
    """Seconds for which each database was out of reach."""
    out: set[str] = field(default_factory=set)
    """Databases that are out of reach now."""
    agreed: set[str] = field(default_factory=set)
    """Keys of cycles whose loss of documents a person has agreed to."""

    @property
    def folder(self) -> Path:
        """Of the documents."""
        return self.line.workspace.documents

    def files(self, kind: str = "") -> list[Path]:
        """Documents of one kind (``lasting``, ``extra``, ``bad``), sorted."""
        return sorted(path for path in self.folder.rglob(f"{kind}*") if path.is_file())

    def after(self, seconds: float, act: Callable[[], object]) -> None:
        """Put something down for later."""
        self.later.append((time.monotonic() + seconds, act))

    def do_what_is_due(self, everything: bool = False) -> None:
        """Do what was put down for now; or all of it."""
        now = time.monotonic()
        due = [one for one in self.later if everything or one[0] <= now]
        self.later = [one for one in self.later if one not in due]
        for _, act in sorted(due, key=lambda one: one[0]):
            act()

    def write(self, kind: str) -> None:
        """A new document."""
        self.written += 1
        folder = self.folder / self.draw.choice(["", "fees", "rules"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{kind}-{self.written}.md").write_text(self.text(self.written), encoding="utf-8")

    def text(self, number: int) -> str:
        """Of a document, with facts and amounts drawn anew each time."""
        fee, days = self.draw.randint(1, 500), self.draw.randint(2, 90)
        return (
            f"# House rules {number}\n\n| Plan {number} | Fee |\n| - | - |\n| Room {number} | ${fee} |\n\n"
            f"You must give back the key of room {number} within {days} days of leaving.\n"
        )


# --- documents -------------------------------------------------------------------------------------


def edit(soak: Soak) -> bool:
    """One document gets other amounts."""
    file = soak.draw.choice(soak.files("lasting") + soak.files("extra"))
    number = int(file.stem.partition("-")[2])
    file.write_text(soak.text(number), encoding="utf-8")
    return True


def burst(soak: Soak) -> bool:
    """Ten edits and new documents within a second or two."""
    for number in range(10):
        soak.after(0.15 * number, lambda: soak.write("extra") if soak.draw.random() < 0.2 else edit(soak))
    return True


def add(soak: Soak) -> bool:
    """A new document."""
    soak.write("extra")
    return True


def move(soak: Soak) -> bool:
    """A document goes into another folder."""
    file = soak.draw.choice(soak.files("lasting") + soak.files("extra"))
    target = soak.folder / soak.draw.choice(["archive", "fees", "rules", "house/attic"]) / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    file.rename(target)
    return True


def delete(soak: Soak) -> bool:
    """Up to three documents are taken away."""
    extra = soak.files("extra")
    for file in soak.draw.sample(extra, min(len(extra), soak.draw.randint(1, 3))):
        file.unlink()
    return bool(extra)


def remember(soak: Soak) -> None:
    """Keep what the folder holds, to return to it."""
    soak.states.append({str(path.relative_to(soak.folder)): path.read_bytes() for path in soak.files()})


def go_back(soak: Soak) -> bool:
    """The folder returns to an earlier state, byte for byte."""
    if not soak.states:
        return False
    state = soak.draw.choice(soak.states)
    for file in soak.files():
        if str(file.relative_to(soak.folder)) not in state:
            file.unlink()
    for name, content in state.items():
        file = soak.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return True


def write_slowly(soak: Soak) -> bool:
    """A document that takes longer to write than a folder must lie still."""
    soak.written += 1
    file, pieces = soak.folder / f"extra-{soak.written}.md", soak.draw.randint(4, 12)
    file.write_text(soak.text(soak.written), encoding="utf-8")

    def go_on(number: int) -> None:
        with file.open("a", encoding="utf-8") as slow:
            slow.write(f"Piece {number} of the rules is that nobody shall hurry within {number + 2} days.\n")

    for number in range(1, pieces):
        soak.after(0.7 * number, lambda number=number: go_on(number))  # type: ignore[misc]
    return True


def upload_badly(soak: Soak) -> bool:
    """A file that must be set aside; the oldest of them goes once there are enough."""
    bad = sorted(soak.files("bad"), key=lambda path: path.stat().st_mtime)
    for file in bad[: max(0, len(bad) - BAD_AT_ONCE + 1)]:
        file.unlink()
    contents = {
        "empty": b"",
        "binary": soak.draw.randbytes(3000),
        "latin": f"# Gebühren {soak.written}\n\nDie Gebühr für die Prüfung beträgt 5 Euro.\n".encode("latin-1"),
        "large": b"Every line of it is one too many.\n" * 1000,
        "copy": soak.draw.choice(soak.files("lasting")).read_bytes(),
    }
    soak.written += 1
    name = soak.draw.choice(sorted(contents))
    (soak.folder / f"bad-{name}-{soak.written}.md").write_bytes(contents[name])
    return True


def touch(soak: Soak) -> bool:
    """All files get another time and keep their content."""
    for file in soak.files():
        os.utime(file)
    return True


# --- settings and commands -------------------------------------------------------------------------


def turn_settings(soak: Soak) -> bool:
    """A person edits ``params.yaml``: what the training depends on, or what the gates do."""
    block: dict[str, dict[str, object]] = soak.draw.choice(
        [
            {"train": {"steps": soak.draw.choice([50, 60])}},
            {"gates": {"max_handbook_drop": soak.draw.choice([1.0, 0.1])}},
        ]
    )
    turn(soak.line.workspace, **block)
    return True


def type_doctor(soak: Soak) -> bool:
    """``relearn doctor`` beside the watch."""
    return soak.line.type("doctor")


def type_gc(soak: Soak) -> bool:
    """``relearn gc`` beside the watch."""
    return soak.line.type("gc")


def type_run(soak: Soak) -> bool:
    """``relearn run --wait`` beside the watch."""
    return soak.line.type("run", "--wait")


def type_promote(soak: Soak) -> bool:
    """A person lets the version of the last cycle serve."""
    cycle = last_cycle(soak.line.workspace)
    version = cycle.result.version if cycle and cycle.result else None
    return version is not None and soak.line.type(
        "promote", str(version), "--override", "--reason", "The soak says so."
    )


# --- what breaks -----------------------------------------------------------------------------------


def kill_watch(soak: Soak) -> bool:
    """The watch is killed; it is started again after a pause."""
    return _end_watch(soak, signal.SIGKILL)


def restart_watch(soak: Soak) -> bool:
    """SIGTERM for the watch; it is started again after a pause."""
    return _end_watch(soak, signal.SIGTERM)


def _end_watch(soak: Soak, number: signal.Signals) -> bool:
    if soak.line.watch is None:
        return False
    soak.line.end_watch(number)
    soak.line.watch = None
    soak.after(soak.draw.uniform(0, 8), soak.line.start_watch)
    return True


def kill_cycle(soak: Soak) -> bool:
    """The process that works on a cycle is killed; the watch lives on."""
    return soak.line.kill_cycle()


def kill_server(soak: Soak) -> bool:
    """MLflow's server is killed, and comes back after a while."""
    if "MLflow" in soak.out:
        return False
    soak.out.add("MLflow")
    begun = time.monotonic()
    soak.line.kill_server()

    def come_back() -> None:
        soak.line.start_server()
        note()

    def note() -> None:
        if not soak.line.answers():
            return soak.after(0.5, note)
        soak.outages["MLflow"] += time.monotonic() - begun
        return soak.out.remove("MLflow")

    soak.after(soak.draw.uniform(1, 20), come_back)
    return True


def lock_ledger(soak: Soak) -> bool:
    """The ledger's database is locked for a while, sometimes for longer than anybody waits."""
    file = soak.line.workspace.state / "ledger.db"
    if "ledger" in soak.out or not file.is_file():
        return False
    held = sqlite3.connect(file, isolation_level=None, timeout=5)
    try:
        held.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        held.close()
        return False
    soak.out.add("ledger")
    begun = time.monotonic()

    def let_go() -> None:
        held.execute("ROLLBACK")
        held.close()
        soak.outages["ledger"] += time.monotonic() - begun
        soak.out.remove("ledger")

    soak.after(soak.draw.choice([2, 8, 40]), let_go)
    return True


EVENTS: dict[str, tuple[int, Callable[[Soak], bool]]] = {
    "edit": (12, edit),
    "burst of ten edits": (6, burst),
    "new document": (5, add),
    "move": (5, move),
    "deletion": (5, delete),
    "return to an earlier state": (6, go_back),
    "file written slowly": (4, write_slowly),
    "bad upload": (6, upload_badly),
    "touch without a change": (4, touch),
    "settings edited": (3, turn_settings),
    "relearn doctor": (3, type_doctor),
    "relearn gc": (3, type_gc),
    "relearn run --wait": (3, type_run),
    "relearn promote": (2, type_promote),
    "kill -9 of the watch": (4, kill_watch),
    "SIGTERM and restart": (3, restart_watch),
    "kill -9 of a cycle": (7, kill_cycle),
    "MLflow's server killed": (4, kill_server),
    "ledger locked": (3, lock_ledger),
}
"""How often each is drawn, beside the others, and what it does."""
