"""A soak: the line under a fast clock, where people and misfortunes come at random, and what must hold at the end.

    python -m bench.soak --minutes 60 --seed 1

A production workspace in miniature is watched by a real `relearn watch`, with MLflow as a server and a folder as DVC
remote; a cycle is due every minute. Events drawn by the seed change, spoil and move documents, edit settings, type
commands, kill processes and take databases away (bench/soak_events.py). Then everything is left alone until it lies
still, and the workspace, the ledger, the registry, Prefect's database, DVC and git are asked whether all is there
(bench/soak_checks.py). Prints one table of counts and one line per invariant; exit code 1 if one failed.

The seed fixes which events come in which order; how they meet the cycles is the machine's doing.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from bench.soak_checks import Trainings, examine, runs_by_state, trainings_done
from bench.soak_events import EVENTS, LASTING, Soak, remember
from bench.soak_line import Line, until
from data.errors import PersonNeededError
from flows.attempts import last_attempt
from flows.inputs import last_cycle, look_at

PAUSE = 5.0
"""Seconds between two events, on average."""
QUIET_SHARE, QUIET = 0.08, 120.0
"""After this share of the events nothing happens until the line is at rest, or for so many seconds."""
PROGRESS = 60.0
"""Seconds between two lines of progress."""
SETTLING = 600.0
"""Seconds within which all must lie still after the last event."""
STILL = 10.0
"""Seconds without anything to do that count as still."""


def main() -> None:
    """Soak, print what was counted, and leave with 1 if an invariant failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long things happen")
    parser.add_argument("--seed", type=int, default=1, help="of the events")
    parser.add_argument("--keep", type=Path, help="an empty folder to work in, which stays; for looking into a failure")
    options = parser.parse_args()
    warnings.simplefilter("ignore", FutureWarning)  # of libraries among themselves
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # with all that was started
    place = options.keep or Path(tempfile.mkdtemp(prefix="relearn-soak-"))
    place.mkdir(parents=True, exist_ok=True)
    try:
        wrong = soak(place.resolve(), options.minutes, options.seed)
    finally:
        if options.keep is None:
            shutil.rmtree(place, ignore_errors=True)
    sys.exit(1 if wrong else 0)


def soak(place: Path, minutes: float, seed: int) -> bool:
    """Soak in a folder; whether an invariant failed."""
    line = Line(place)
    state, trainings = Soak(line, random.Random(seed)), Trainings(line.workspace)
    for _ in range(LASTING):
        state.write("lasting")
    try:
        line.start_server()
        until("MLflow's server", line.answers)
        line.start_watch()
        counts = happen(state, trainings, minutes)
        settle(state, trainings)
        line.end_watch(signal.SIGTERM)
        line.type("doctor")
        until("relearn doctor", lambda: not line.is_typing())
        wrong = examine(line, trainings)
        tell(state, trainings, counts)
    finally:
        clean_up(line)
    return report(wrong)


def happen(soak: Soak, trainings: Trainings, minutes: float) -> Counter[str]:
    """Let events come for so many minutes; how many of each kind did."""
    counts: Counter[str] = Counter()
    kinds, shares = list(EVENTS), [share for share, _ in EVENTS.values()]
    begun = told = time.monotonic()
    due, quiet = begun + QUIET, True
    while (now := time.monotonic()) < begun + 60 * minutes:
        soak.do_what_is_due()
        look_after(soak, trainings)
        if now >= due:
            (kind,) = soak.draw.choices(kinds, shares)
            counts[kind] += EVENTS[kind][1](soak)
            if soak.draw.random() < 0.2:
                remember(soak)
            quiet = soak.draw.random() < QUIET_SHARE
            due = time.monotonic() + soak.draw.expovariate(1 / PAUSE) + QUIET * quiet
        if quiet and not soak.later and is_at_rest(soak):
            quiet, due = False, now
        if now >= told + PROGRESS:
            told = now
            print(_progress(soak, counts, (now - begun) / 60), flush=True)
        time.sleep(0.2)
    return counts


def is_at_rest(soak: Soak) -> bool:
    """Whether the last cycle is finished and followed from what lies there now."""
    cycle = last_cycle(soak.line.workspace)
    return cycle is not None and cycle.result is not None and cycle.key == look_at(soak.line.workspace).key


def look_after(soak: Soak, trainings: Trainings) -> None:
    """Count trainings, be the person it waits for, and start a watch again that ended by itself, which it must not."""
    trainings.count_new()
    _agree(soak)
    soak.line.is_typing()
    watch = soak.line.watch
    if watch is not None and watch.poll() is not None:
        soak.line.wrong.append(f"The watch ended by itself with {watch.returncode}.")
        soak.line.start_watch()


def _agree(soak: Soak) -> None:
    """Where so many documents were lost that a person has to agree, agree once."""
    line, last = soak.line, last_attempt(soak.line.workspace)
    if last is None or last.exit_code != PersonNeededError.exit_code or last.key in soak.agreed:
        return
    if line.type("run", "--wait", "--accept-loss", "--reason", "The folder is as it should be."):
        soak.agreed.add(last.key)


def _progress(soak: Soak, counts: Counter[str], minutes: float) -> str:
    cycle = last_cycle(soak.line.workspace)
    version = cycle.result.version if cycle and cycle.result else "under way"
    return (
        f"{minutes:5.1f} min  {counts.total()} events  {trainings_done(soak.line)} trainings  "
        f"{len(soak.files())} files  last cycle: {version}  wrong: {' '.join(soak.line.wrong) or 'nothing'}"
    )


def settle(soak: Soak, trainings: Trainings) -> None:
    """Bring back what is away, and wait until the line has nothing to do any more."""
    soak.do_what_is_due(everything=True)
    until("MLflow's server", soak.line.answers)
    soak.do_what_is_due(everything=True)
    until("the watch", soak.line.is_watching)
    since = time.monotonic()

    def lies_still() -> bool:
        nonlocal since
        look_after(soak, trainings)
        if not is_at_rest(soak) or soak.line.is_typing():
            since = time.monotonic()
        return time.monotonic() - since > STILL

    try:
        until("stillness", lies_still, SETTLING)
    except TimeoutError as error:
        soak.line.wrong.append(str(error))


def tell(soak: Soak, trainings: Trainings, counts: Counter[str]) -> None:
    """One table of everything that was counted."""
    rows = [(kind, counts[kind]) for kind in EVENTS]
    rows += _cycles(runs_by_state(soak.line.workspace))
    rows.append(("trainings that ended", trainings_done(soak.line)))
    rows.append(("different trainings asked for", trainings.distinct))
    rows += [(f"seconds without {name}", round(seconds)) for name, seconds in soak.outages.items()]
    for name, codes in soak.line.codes.items():
        rows += [(f"relearn {name} left with {code}", number) for code, number in sorted(Counter(codes).items())]
    print()
    for what, number in rows:
        print(f"{what:<40} {number:>6}")


def _cycles(states: dict[str, Counter[str]]) -> list[tuple[str, int]]:
    """How the cycles went, by Prefect's word; a cycle is cut short by a kill, or when a fault stops it."""
    cycles, updates = states["cycle"], states["update"]
    finished = {name: cycles.pop(name, 0) for name in ("Passed", "Held", "Rejected")}
    failed = cycles.pop("Failed", 0)
    return [
        ("cycles begun", cycles.total() + sum(finished.values()) + failed),
        ("cycles finished", sum(finished.values())),
        *((f"  {name.lower()}", number) for name, number in finished.items()),
        ("cycles failed", failed),
        ("cycles killed", cycles.total()),
        ("runs that the watch asked for", updates.total()),
        ("  with nothing to do", updates["Unchanged"]),
        ("  crashed", updates["Crashed"]),
    ]


def report(wrong: dict[str, list[str]]) -> bool:
    """One line per invariant; whether one failed."""
    print()
    for name, sentences in wrong.items():
        print(f"{'FAIL' if sentences else 'pass'}  {name}")
        for sentence in sentences:
            print(f"      {sentence}")
    return any(wrong.values())


def clean_up(line: Line) -> None:
    """End what this process started, however it ends."""
    if line.watch is not None and line.watch.poll() is None:
        line.end_watch(signal.SIGKILL)
    if line.typed is not None and line.typed[1].poll() is None:
        line.typed[1].kill()
        line.typed[1].wait()
    line.kill_server()


if __name__ == "__main__":
    main()
