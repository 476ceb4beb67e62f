"""Runs one arm through one experiment, day by day: train, ask, write every answer down.

Each day has a folder that appears whole or not at all: the state of the model, the answers as Parquet, what the day
cost and did to texts as JSON. A run that was killed goes on with the first day that has none, and a training with its
last checkpoint. Arms that differ in what they read alone share one training, that of the arm that reads nothing; and
before anything was taught all arms are the base, which is asked once.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.forgetting_arms import Arm, Order
from bench.forgetting_asking import SCHEMA, answered, told
from bench.forgetting_learner import Cost, Learner, rows_of
from bench.forgetting_world import Unit, World
from bench.kept import ANSWERS, COST, Report, held, is_whole, read_cost, read_table
from data.files import building, digest_text, digest_tree, write_json
from data.fingerprint import code_digest
from data.handbook_history import history_rows
from data.handbook_stream import Stream
from data.records import FactChange, Row, Standing
from data.teaching import RECIPE, TEACHER

_TAUGHT = (Standing.NEW, Standing.REPLACED)


def folder_of(root: Path, world: World, unit: Unit) -> Path:
    """Where a unit's days lie; another base, setting, size or code has another folder."""
    settings = world.params.model_dump_json(include={"synthesize", "train", "ingest", "assess"})
    code = code_digest("bench.forgetting_run")
    key = digest_text(digest_tree(Path(world.base)), settings, repr(unit.size), code, *world.unseen)
    return root / key[:12] / unit.plan.name / unit.arm.name / f"seed-{unit.seed}"


def run(root: Path, world: World, unit: Unit, report: Report) -> Path:
    """Run every day of a unit that has not been run, and return its folder."""
    return run_days(root, world, unit, range(unit.size.days + 1), report)


def run_days(root: Path, world: World, unit: Unit, days: Sequence[int], report: Report) -> Path:
    """Run those of some days, each of which follows on the one before, that have not been run; return the folder."""
    folder = folder_of(root, world, unit)
    if not _missing(folder, days):
        return folder
    with held(folder, unit.name, report):
        missing = _missing(folder, days)
        if 0 in missing and unit.untaught != unit:
            _copy(run_days(root, world, unit.untaught, [0], report), folder, unit)
            missing.remove(0)
        if missing and unit.closed == unit:
            _run(folder, world, unit, range(missing[0], days[-1] + 1), report)
        elif missing:
            _ask_again(run_days(root, world, unit.closed, days, report), folder, world, unit, missing, report)
    return folder


def _missing(folder: Path, days: Sequence[int]) -> list[int]:
    return [day for day in days if not is_whole(_place(folder, day))]


def _place(folder: Path, day: int) -> Path:
    return folder / f"day-{day:02d}"


def _copy(untaught: Path, folder: Path, unit: Unit) -> None:
    """What the base says on day 0, as that of a unit which will teach it; the asking was the base's cost."""
    place = _place(untaught, 0)
    answers = [one | unit.key(0) for one in read_table(place).to_pylist()]
    with building(_place(folder, 0)) as draft:
        _write_day(draft, answers, read_cost(place) | unit.key(0) | {"answering_seconds": 0.0})


def _run(folder: Path, world: World, unit: Unit, days: Sequence[int], report: Report) -> None:
    """Train and ask, from the first day that is missing on."""
    stream = unit.plan.make(world.book, unit.seed, unit.size)
    learner = Learner(world.base, unit.arm, world.params, unit.training_seed)
    if days[0] > 1 and unit.arm.trains and unit.arm.order.goes_on:
        learner.load(_place(folder, days[0] - 1))
    for day in days:
        begun = time.monotonic()
        report(f"{unit.name}: day {day} of {unit.size.days}", None)
        checkpoints = folder / f"training-{day:02d}"
        cost = _learn(learner, world, unit, stream, day, checkpoints, report)
        trained = time.monotonic() - begun
        answers, texts = answered(learner, world, unit, stream, day), told(learner, world, unit)
        with building(_place(folder, day)) as draft:
            size = learner.save(draft) if unit.arm.trains else 0
            seconds = {"training_seconds": trained, "answering_seconds": time.monotonic() - begun - trained}
            taught = {"taught": sum(one.standing in _TAUGHT for one in stream.changes(day))}
            _write_day(draft, answers, unit.key(day) | taught | asdict(cost) | {"bytes": size} | texts | seconds)
        shutil.rmtree(checkpoints, ignore_errors=True)


def _ask_again(closed: Path, folder: Path, world: World, unit: Unit, missing: Sequence[int], report: Report) -> None:
    """Ask the models that ``closed`` holds, with what the arm reads before each question; their cost is theirs."""
    stream = unit.plan.make(world.book, unit.seed, unit.size)
    learner = Learner(world.base, unit.arm, world.params, unit.training_seed)
    for day in missing:
        begun = time.monotonic()
        report(f"{unit.name}: day {day} of {unit.size.days}", None)
        if unit.arm.trains:
            learner.load(_place(closed, day))
        answers = answered(learner, world, unit, stream, day)
        seconds = {"training_seconds": 0.0, "answering_seconds": time.monotonic() - begun}
        with building(_place(folder, day)) as draft:
            _write_day(draft, answers, read_cost(_place(closed, day)) | unit.key(day) | seconds)


def _write_day(draft: Path, answers: Sequence[dict[str, Any]], day: dict[str, Any]) -> None:
    pq.write_table(pa.Table.from_pylist(list(answers), schema=SCHEMA), draft / ANSWERS)
    write_json(draft / COST, day)


def _learn(
    learner: Learner, world: World, unit: Unit, stream: Stream, day: int, checkpoints: Path, report: Report
) -> Cost:
    if day == 0 or not unit.arm.trains:
        return Cost(0, 0, 0, 0, 0, 0.0)
    rows = rows_of_day(world, unit, stream, day)
    return learner.learn(day, rows, checkpoints, lambda progress: report(unit.name, progress))


def rows_of_day(world: World, unit: Unit, stream: Stream, day: int) -> list[Row]:
    """What a unit's model is trained on after a day."""
    touched = {event.fact.id for event in stream.events if event.day <= day}
    kept = {fact.id for fact in stream.known} - touched
    changes = [change for change in told_of(unit.arm, stream, day) if change.fact.id not in kept]
    book = [fact for fact in stream.known if unit.arm.stale or fact.id in kept]
    rows = rows_of(unit.arm, [*changes, *world.held], book, world.params, unit.training_seed)
    if not unit.arm.history:
        return rows
    since = day - 1 if unit.arm.order is Order.SEQUENCE else 0
    ended = [one for one in stream.told(day) if one.changed > since]
    return [*rows, *history_rows(ended, RECIPE, TEACHER, unit.training_seed)]


def told_of(arm: Arm, stream: Stream, day: int) -> list[FactChange]:
    """How facts stand against what the arm's training starts from.

    One that starts from the base is not told what came and went since: it stands neither in the base nor among the
    facts in force, which is all that the line compares.
    """
    changes = stream.changes(day, day - 1 if arm.order is Order.SEQUENCE else 0)
    if arm.order.goes_on:
        return changes
    known = {fact.id for fact in stream.known}
    return [one for one in changes if one.standing is not Standing.WITHDRAWN or one.fact.id in known]
