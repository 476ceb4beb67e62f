"""Learning against forgetting: arms through experiments whose truth is known, and what came of them.

    relearn bench forgetting --quick
    relearn bench forgetting --plan stages --arm default --arm default,replay=0.05 --seed 1

Every answer is kept (answers.parquet), every figure has its interval (figures.json), and one page shows them. Arms and
days that are there already are not run again.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch

from bench.forgetting_arms import Arm, Reads, arm
from bench.forgetting_figures import by_arm
from bench.forgetting_found import Found, found_in
from bench.forgetting_page import write_page
from bench.forgetting_plans import PLANS, Size
from bench.forgetting_run import folder_of, run, run_days
from bench.forgetting_world import Unit, World, world
from bench.jobs import ALONE, Job, Places, run_jobs
from bench.kept import Report, read_answers, read_costs
from bench.measured import write_answers
from bench.sentence_encoder import minilm_folder
from data.errors import InputError
from data.files import write_json
from data.params import Params
from data.workspace import Workspace
from models.device import keep_freed_memory

SEEDS = (1, 2, 3)
ROOT = Path(".relearn") / "bench" / "forgetting"


@dataclass(frozen=True)
class Grid:
    """What is run."""

    plans: tuple[str, ...] = ()
    """Of ``PLANS``; none: all."""
    arms: tuple[str, ...] = ()
    """Named or written out; none: those of each plan."""
    seeds: tuple[int, ...] = SEEDS
    quick: bool = False
    """Small streams, few arms and the first seed: whether it works, no evidence."""


@dataclass(frozen=True)
class Outcome:
    """What a grid gave."""

    found: Found
    page: Path
    answers: Path


def measure(workspace: Workspace, grid: Grid, command: str, report: Report, places: Places = ALONE) -> Outcome:
    """Run what has not been run, and write answers, figures and page.

    Raises:
        InputError: a plan or an arm is unknown, what the base knows cannot be measured, an arm needs the encoder and it
            is not installed, or the cluster cannot be used as it is.
        OutsideError: the disk refused a write, or a process or the cluster ended; run the same again to go on.
    """
    units, root = units_of(grid), (workspace.root / ROOT).resolve()
    if any(unit.arm.reads is Reads.MINILM for unit in units):
        minilm_folder()
    params = places.shared(workspace.params())
    torch.set_num_threads(params.train.threads)
    keep_freed_memory()
    known = world(str(workspace.base()), params)
    run_jobs(workspace, "forgetting", params, jobs_of(root, known, units), places)
    folders = [run(root, known, unit, report) for unit in units]
    answers, days = read_answers(folders), read_costs(folders)
    learned = by_arm(answers.to_pandas(), pd.DataFrame(days), command)
    found, families = found_in(learned)
    target = write_answers(root / "answers.parquet", answers)
    write_json(root / "figures.json", asdict(found) | {"days": days})
    page = write_page(root / "page.html", params.base, command, learned, families, found)
    return Outcome(found, page, target)


def jobs_of(root: Path, known: World, units: Sequence[Unit]) -> list[Job]:
    """The base before anything is taught, then each unit, those last that only ask another's models again."""
    base = str(Path(known.base).resolve())
    taught = [unit for unit in units if unit.untaught != unit]
    first = dict.fromkeys(one for unit in taught for one in (unit.untaught.closed, unit.untaught))
    parts = [
        *((unit, range(1), 0) for unit in first),
        *((unit, range(unit.size.days + 1), 2) for unit in units),
    ]
    return [
        Job(
            unit.name,
            folder_of(root, known, unit),
            f"day-{days[-1]:02d}",
            run_unit,
            (root, base, known.params, unit.plan.name, unit.size, unit.arm.name, unit.seed, days),
            turn=turn + (unit.closed != unit),
        )
        for unit, days, turn in parts
    ]


def run_unit(
    root: Path, base: str, params: Params, plan: str, size: Size, name: str, seed: int, days: range, report: Report
) -> Path:
    """Some days of one arm with one seed, by names that another process understands, and where they are kept."""
    return run_days(root, world(base, params), Unit(PLANS[plan], size, arm(name), seed), days, report)


def units_of(grid: Grid) -> Sequence[Unit]:
    """Arms in the order named, each with every seed before the next; before one that reads, the same closed book.

    Raises:
        InputError: a plan or an arm is unknown.
    """
    unknown = [name for name in grid.plans if name not in PLANS]
    if unknown:
        raise InputError(f"{unknown[0]!r} is no experiment of this bench. Name one of: {', '.join(PLANS)}.")
    chosen = [PLANS[name] for name in dict.fromkeys(grid.plans or PLANS)]
    seeds = tuple(dict.fromkeys(grid.seeds))[: 1 if grid.quick else None]
    return [
        Unit(plan, plan.quick if grid.quick else plan.whole, one, seed)
        for plan in chosen
        for one in _with_closed(grid.arms or (plan.quick_arms if grid.quick else plan.arms))
        for seed in seeds
    ]


def _with_closed(names: Sequence[str]) -> list[Arm]:
    return list(dict.fromkeys(one for name in names for one in (arm(name).closed, arm(name))))
