"""Real policies, year after year: a base that has seen nothing later than the first, and every later year taught to it.

    relearn bench policies --quick
    relearn bench policies --arm joint,passes=2 --seed 1

The base is built first, once, by the recipe of block ``tiny`` in params.yaml, and kept. Every answer is kept
(answers.parquet), every figure has its interval (figures.json), and one page shows them. Years, arms and seeds that are
there already are not run again.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bench.forgetting_arms import Arm, Reads, Rows, arm
from bench.forgetting_world import world
from bench.jobs import ALONE, Job, Places, run_jobs
from bench.kept import Report, held, read_answers, read_costs
from bench.measured import Figure, write_answers
from bench.policies_figures import figures, sentences
from bench.policies_page import write_page
from bench.policies_questions import disagreements
from bench.policies_run import Course, Unit, folder_of, run
from bench.policies_years import Year, read_years
from data.collection import read_lineage
from data.errors import InputError
from data.files import digest_text, write_json
from data.fingerprint import code_digest
from data.params import Params
from data.probes import read_probes
from data.wordings import wordings_digest
from data.workspace import Workspace
from flows.base import build_base, stream_folder
from models.device import keep_freed_memory

ROOT = Path(".relearn") / "bench" / "policies"
SEEDS = (1, 2, 3)
ARMS = ("none", "joint,passes=2", "warm,passes=1")
"""At the shipped number of steps a year's rows pass 1.6 to 2.1 times, taught on the base of 2019."""
QUICK_ARMS = ("none", "joint,steps=200", "warm,steps=200")
QUICK_YEARS, QUICK_QUESTIONS = 3, 100
_COUNTS = {"window", "warmup_share", "weight_decay", "clip", "dtype"}
"""Of block ``train``: what a base follows from, too; threads only round otherwise."""


@dataclass(frozen=True)
class Grid:
    """What is run."""

    arms: tuple[str, ...] = ()
    """Named or written out; none: ``ARMS``."""
    seeds: tuple[int, ...] = SEEDS
    quick: bool = False
    """A small base, three years, few questions and the first seed: whether it works, no evidence."""


@dataclass(frozen=True)
class Outcome:
    """What a grid gave."""

    base: Path
    figures: list[Figure]
    sentences: list[str]
    """Each year of each arm in plain words."""
    disagreements: list[str]
    """Where a probe's dates and its quotes differ; it is judged by its dates."""
    page: Path
    answers: Path


def measure(workspace: Workspace, grid: Grid, command: str, report: Report, places: Places = ALONE) -> Outcome:
    """Build the base where there is none, run what has not been run, and write answers, figures and page.

    Raises:
        InputError: an arm is unknown or teaches in a way that documents do not allow, there are no two snapshots, or
            the cluster cannot be used as it is.
        OutsideError: the disk refused a write, or a process or the cluster ended; run the same again to go on.
    """
    units, root = units_of(grid), (workspace.root / ROOT).resolve()
    params = sized(workspace.params(), grid.quick)
    torch.set_num_threads(params.train.threads)
    keep_freed_memory()
    stream = stream_folder(workspace, params).resolve()
    years = read_years(stream, params, QUICK_YEARS if grid.quick else None)
    base = base_of(workspace, params, years[0], report)
    given = (base, places.shared(params), stream, workspace.probes.resolve(), grid.quick)
    course = course_of(*given)
    run_jobs(workspace, "policies", course.params, [_job(root, course, unit, given) for unit in units], places)
    torch.set_num_threads(course.params.train.threads)
    folders = [run(root, course, unit, report) for unit in units]
    answers, costs, differ = read_answers(folders), read_costs(folders), disagreements(course.probes, years)
    table = answers.to_pandas()
    found, told = figures(table, command), sentences(table)
    target = write_answers(root / "answers.parquet", answers)
    content = {"figures": [asdict(one) for one in found], "sentences": told, "years": costs, "disagreements": differ}
    write_json(root / "figures.json", content)
    page = write_page(root / "page.html", _about(base, params, years), command, table, found, differ)
    return Outcome(base, found, told, differ, page, target)


def course_of(base: Path, params: Params, stream: Path, probes: Path, quick: bool) -> Course:
    """What every arm goes through, from where it lies."""
    years = read_years(stream, params, QUICK_YEARS if quick else None)
    book = world(str(base), params).book.known
    return Course(str(base), params, book, years, tuple(read_probes(probes)), QUICK_QUESTIONS if quick else None)


def _job(root: Path, course: Course, unit: Unit, given: tuple[Any, ...]) -> Job:
    place = folder_of(root, course, unit)
    return Job(unit.name, place, course.years[-1].date, run_unit, (root, *given, unit.called, unit.seed))


def run_unit(
    root: Path,
    base: Path,
    params: Params,
    stream: Path,
    probes: Path,
    quick: bool,
    name: str,
    seed: int,
    report: Report,
) -> Path:
    """One arm with one seed, by what another process understands, and where it is kept."""
    return run(root, course_of(base, params, stream, probes, quick), Unit(name, arm(name), seed), report)


def units_of(grid: Grid) -> Sequence[Unit]:
    """Arms in the order named, each with every seed before the next; the base alone draws nothing, and is asked once.

    Raises:
        InputError: an arm is unknown, or teaches in a way that documents do not allow.
    """
    seeds = tuple(dict.fromkeys(grid.seeds))[: 1 if grid.quick else None]
    named: dict[Arm, str] = {}
    for name in grid.arms or (QUICK_ARMS if grid.quick else ARMS):
        named.setdefault(_as_shipped(name), name)
    return [Unit(name, one, seed) for one, name in named.items() for seed in (seeds if one.trains else seeds[:1])]


def _as_shipped(name: str) -> Arm:
    found = arm(name)
    if found.reads is not Reads.NOTHING or found.rows is not Rows.ASKED or found.stale or found.history:
        raise InputError(
            f"{name} is no arm of this bench, which teaches documents as the line does, or nothing. Name none, joint, "
            "warm, default or full, with changes such as joint,passes=2."
        )
    return found


def sized(params: Params, quick: bool) -> Params:
    """Parameters as set; quick: with a base of half the width, a quarter of the steps and a sixth of the handbook."""
    if not quick:
        return params
    tiny = params.tiny
    small = {
        "width": max(tiny.heads, tiny.width // 2),
        "steps": max(10, tiny.steps // 4),
        "handbook_entities": max(1, tiny.handbook_entities // 6),
        "handbook_withdrawn": tiny.handbook_withdrawn // 6,
    }
    return params.model_copy(update={"tiny": tiny.model_copy(update=small)})


def base_folder(workspace: Workspace, params: Params, first: Year) -> Path:
    """Where the base lies that knows ``first`` and nothing later; another recipe or other code has another folder."""
    tiny = params.tiny.model_dump_json(exclude={"stream", "until"})
    recipe = (tiny, params.train.model_dump_json(include=_COUNTS), str(params.seed), wordings_digest())
    learned = (one.model_dump_json() for one in (*first.facts, *first.statements))
    key = digest_text(first.date, first.digest, *recipe, code_digest("flows.base"), *learned)
    return workspace.root / ROOT / f"base-{key[:12]}"


def base_of(workspace: Workspace, params: Params, first: Year, report: Report) -> Path:
    """The base that knows ``first`` and nothing later, built where it is not there; a killed build goes on.

    Raises:
        InputError: what lies there has seen another snapshot.
    """
    folder = base_folder(workspace, params, first)
    if not folder.is_dir():
        with held(folder, folder.name, report):
            _build(workspace, folder, params, first, report)
    lineage = read_lineage(str(folder))
    if (lineage.until, lineage.snapshot) != (first.date, first.digest):
        raise InputError(
            f"The base {folder} has seen the snapshot {lineage.until}, but {first.date} as it lies there now was "
            "expected. Delete the folder and run the same again."
        )
    return folder


def _build(workspace: Workspace, folder: Path, params: Params, first: Year, report: Report) -> None:
    if folder.is_dir():  # built by another command meanwhile
        return
    report(f"base of {first.date}: {params.tiny.steps} steps, at {folder}", None)
    build_base(workspace, folder, params, first.date, lambda progress: report("base", progress))


def _about(base: Path, params: Params, years: Sequence[Year]) -> str:
    tiny = params.tiny
    return (
        f"{base.name}, built for this by {tiny.steps} steps at width {tiny.width}, with a tokenizer of its own, from "
        f"the {years[0].documents} documents of {years[0].date}; {', '.join(year.date for year in years[1:])} followed"
    )
