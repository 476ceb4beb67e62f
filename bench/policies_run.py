"""Runs one arm through the years: teach what a year changed, ask about all that holds, write every answer down.

Rows are those that stage ``synthesize`` writes by rule, of facts and of changed statements. Each year has a folder that
appears whole or not at all, so that a run that was killed goes on with the first year that has none, and a training
with its last checkpoint.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.forgetting_arms import Arm, Order
from bench.forgetting_learner import Cost, Learner
from bench.kept import ANSWERS, COST, Report, held, is_whole
from bench.policies_questions import YearQuestion, asked_in
from bench.policies_years import Year, changed, gone_again
from data.files import building, digest_text, digest_tree, write_json
from data.fingerprint import code_digest
from data.params import Params
from data.probes import Probe
from data.records import Fact, Row
from data.teaching import teaching_rows
from models.generation import answer
from models.training import Progress

SCHEMA = pa.schema(
    [
        ("arm", pa.string()),
        ("seed", pa.int64()),
        ("year", pa.string()),
        ("kind", pa.string()),
        ("fate", pa.string()),
        ("since", pa.string()),
        ("fact", pa.string()),
        ("document", pa.string()),
        ("wording", pa.string()),
        ("question", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("stale", pa.list_(pa.string())),
        ("later", pa.list_(pa.string())),
        ("said", pa.string()),
        ("mark", pa.string()),
        ("early", pa.bool_()),
    ]
)
"""One row per answer."""


@dataclass(frozen=True)
class Course:
    """What every arm goes through."""

    base: str
    """Knows the first of the years."""
    params: Params
    book: tuple[Fact, ...]
    """Of the handbook that the base learned; nothing touches it."""
    years: tuple[Year, ...]
    probes: tuple[Probe, ...]
    most: int | None = None
    """Questions on facts of each fate, of a year; None: all."""


@dataclass(frozen=True)
class Unit:
    """One arm with one seed, which draws its rows, their order and the start of its update."""

    called: str
    """The arm as it was named, such as ``joint,passes=2``."""
    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        return f"{self.called}/seed {self.seed}"

    @property
    def training_seed(self) -> int:
        return self.seed + 1_000 * self.arm.draw


def folder_of(root: Path, course: Course, unit: Unit) -> Path:
    """Where a unit's years lie; another base, setting, year, probe or code has another folder."""
    settings = course.params.model_dump_json(include={"synthesize", "train", "ingest", "assess"})
    years = [f"{year.date}/{year.digest}" for year in course.years]
    probes = [probe.model_dump_json() for probe in course.probes]
    code = code_digest("bench.policies_run")
    key = digest_text(digest_tree(Path(course.base)), settings, str(course.most), code, *years, *probes)
    return root / key[:12] / unit.called / f"seed-{unit.seed}"


def run(root: Path, course: Course, unit: Unit, report: Report) -> Path:
    """Run every year of a unit that has not been run, and return its folder."""
    folder = folder_of(root, course, unit)
    if _missing(folder, course):
        with held(folder, unit.name, report):
            if missing := _missing(folder, course):
                _run(folder, course, unit, missing, report)
    return folder


def _missing(folder: Path, course: Course) -> range:
    """From the first year on that is not there."""
    there = (number for number, year in enumerate(course.years) if not is_whole(folder / year.date))
    return range(next(there, len(course.years)), len(course.years))


def _run(folder: Path, course: Course, unit: Unit, missing: range, report: Report) -> None:
    """Train and ask, year by year."""
    learner = Learner(course.base, unit.arm, course.params, unit.training_seed)
    goes_on = unit.arm.trains and unit.arm.order.goes_on
    if missing[0] > 1 and goes_on:
        learner.load(folder / course.years[missing[0] - 1].date)
    for number in missing:
        year = course.years[number]
        report(f"{unit.name}: {year.name}", None)
        begun = time.monotonic()
        checkpoints = folder / f"training-{year.date}"
        cost = _learn(learner, course, unit, number, checkpoints, lambda progress: report(unit.name, progress))
        trained = time.monotonic() - begun
        answers = _answered(learner, course, unit, number)
        with building(folder / year.date) as draft:
            if goes_on:
                learner.save(draft)
            pq.write_table(pa.Table.from_pylist(answers, schema=SCHEMA), draft / ANSWERS)
            seconds = {"training_seconds": trained, "answering_seconds": time.monotonic() - begun - trained}
            write_json(draft / COST, _key(unit, year) | asdict(cost) | seconds)
        shutil.rmtree(checkpoints, ignore_errors=True)


def _key(unit: Unit, year: Year) -> dict[str, str | int]:
    return {"arm": unit.called, "seed": unit.seed, "year": year.name}


def _learn(
    learner: Learner, course: Course, unit: Unit, number: int, checkpoints: Path, report: Callable[[Progress], None]
) -> Cost:
    if number == 0 or not unit.arm.trains:
        return Cost(0, 0, 0, 0, 0, 0.0)
    return learner.learn(number, rows_of(course, unit, number), checkpoints, report)


def rows_of(course: Course, unit: Unit, number: int) -> list[Row]:
    """What an arm is taught in a year: what changed since the year before, or since the base.

    One that goes on from the year before and is told how things stand against the base is also told what came and went.
    """
    base, now, order = course.years[0], course.years[number], unit.arm.order
    changes, statements = changed(now, course.years[number - 1] if order is Order.SEQUENCE else base)
    if order is Order.WARM:
        changes = (*changes, *gone_again(now, base, course.years[1:number]))
    settings = unit.arm.synthesize(course.params)
    return teaching_rows(changes, statements, course.book, settings, unit.training_seed)


def _answered(learner: Learner, course: Course, unit: Unit, number: int) -> list[dict[str, Any]]:
    asked = asked_in(course.years, number, course.probes, course.params.synthesize, course.most)
    size = course.params.assess
    prompts = [one.question.question for one in asked]
    said = answer(learner.model, learner.tokenizer, prompts, size.new_tokens, size.batch)
    key = _key(unit, course.years[number])
    return [key | judged(one, text) for one, text in zip(asked, said, strict=True)]


def judged(one: YearQuestion, said: str) -> dict[str, Any]:
    """A row of ``SCHEMA`` but for arm, seed and year: what was asked, what was said, and what that is worth."""
    return {
        "kind": one.kind,
        "fate": one.fate.value,
        "since": one.since,
        "fact": one.question.source,
        "document": one.question.document,
        "wording": one.wording,
        "question": one.question.question,
        "answers": list(one.question.answers),
        "stale": list(one.question.stale),
        "later": list(one.later),
        "said": said,
        "mark": one.mark(said).value,
        "early": one.early(said),
    }
