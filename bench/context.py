"""What a base finds in its context, by task and length, with the score without the context beside it.

    relearn bench context --questions 50

The tasks are those of data/context_tasks.py, after RULER (Hsieh et al. 2024). Every answer is kept (answers.parquet). A
score is the mean share of expected strings that an answer holds. Its interval is Wilson's with each question counted
once: shares spread no more than right and wrong with the same mean, so it is rather too wide than too narrow. How long
a context is read follows from the intervals (bench/context_figures.py).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from bench.context_figures import THRESHOLD, Reach, figures, reaches, too_few
from bench.context_page import About, write_page
from bench.context_run import Examinee, examinee_of, place_of, run, run_task
from bench.jobs import ALONE, Job, Places, run_jobs
from bench.kept import Report, is_whole, read_cost, read_table
from bench.measured import Figure, write_answers
from data.context_drafts import Task
from data.errors import InputError
from data.files import write_json
from data.workspace import Workspace
from models.device import keep_freed_memory

ROOT = Path(".relearn") / "bench" / "context"
SHORTEST = 64


@dataclass(frozen=True)
class Plan:
    """What is asked."""

    lengths: tuple[int, ...] = ()
    """In tokens, the room for the answer included; none: from ``SHORTEST`` on, doubling, up to what the base holds."""
    questions: int = 50
    """Of each task and length."""
    seed: int = 1
    threshold: float = THRESHOLD


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    figures: list[Figure]
    reaches: tuple[Reach, ...]
    """How long a context is read, by task."""
    left_out: tuple[str, ...]
    """Tasks that do not fit into a length, as ``task/length``."""
    kept: int
    """Tasks by length that had been answered whole before."""
    asked: int
    """Tasks by length that were asked now."""
    note: str | None
    """Why no length can be held, where the questions are too few for that."""
    answers: Path
    written: Path
    """All of this as JSON, with what each task and length took."""
    page: Path


def measure(
    workspace: Workspace,
    adapter: Path | None,
    plan: Plan,
    command: str,
    report: Report,
    page: Path | None = None,
    places: Places = ALONE,
) -> Outcome:
    """Ask what has not been asked, and write answers, figures and page.

    Args:
        workspace: its base is asked.
        adapter: put onto the base.
        plan: what is asked.
        command: as it was typed, for figures and page.
        report: hears what is asked.
        page: where the page goes; None: beside the answers.
        places: where tasks are asked.

    Raises:
        InputError: a length is more than the base holds, no task fits, there is no adapter, or the cluster cannot be
            used as it is.
        OutsideError: the disk refused a write, or a process or the cluster ended; run the same again to go on.
    """
    params, root = places.shared(workspace.params()), (workspace.root / ROOT).resolve()
    torch.set_num_threads(params.train.threads)
    keep_freed_memory()
    given = (root, workspace.base(), adapter and adapter.resolve(), plan.questions, plan.seed)
    examinee = examinee_of(*given)
    lengths = lengths_of(plan.lengths, examinee.most_tokens)
    units = [(task, length) for task in Task for length in lengths]
    kept = sum(is_whole(place_of(examinee, *unit)) for unit in units)
    run_jobs(workspace, "context", params, [_job(examinee, task, lengths, given) for task in Task], places)
    kept_in = {unit: run(examinee, *unit, report) for unit in units}
    there = [place for place in kept_in.values() if place is not None]
    if not there:
        told = ", ".join(map(str, lengths))
        raise InputError(f"No task fits into {told} tokens. Give a --length of {SHORTEST} or more.")
    left_out = tuple(f"{task}/{length}" for (task, length), place in kept_in.items() if place is None)
    answers = pa.concat_tables([read_table(place) for place in there])
    found = figures(answers.to_pylist(), plan.seed, plan.threshold, command)
    done = Outcome(
        figures=found,
        reaches=reaches(found, plan.threshold),
        left_out=left_out,
        kept=kept,
        asked=len(there) - kept,
        note=too_few(plan.questions, plan.threshold),
        answers=write_answers(root / "answers.parquet", answers),
        written=root / "figures.json",
        page=page or root / "page.html",
    )
    write_json(done.written, content(done) | {"costs": [read_cost(place) for place in there]})
    about = About(_named(workspace, adapter), command, plan.threshold, plan.seed, done.left_out, done.note)
    write_page(done.page, about, found, done.reaches, answers.to_pylist())
    return done


def content(done: Outcome) -> dict[str, object]:
    """What was found, as JSON has it."""
    return {
        "figures": [asdict(one) for one in done.figures],
        "effective": [asdict(one) for one in done.reaches],
        "left_out": list(done.left_out),
        "note": done.note,
    }


def _job(examinee: Examinee, task: Task, lengths: Sequence[int], given: tuple[Any, ...]) -> Job:
    longest = place_of(examinee, task, lengths[-1])
    return Job(task, longest.parent, longest.name, run_task, (*given, task, lengths))


def lengths_of(wanted: Sequence[int], most: int) -> tuple[int, ...]:
    """The lengths that are asked at, the shortest first.

    Raises:
        InputError: the base does not hold one of them, or not even the shortest.
    """
    if not wanted:
        doubled = [SHORTEST * 2**power for power in range(most.bit_length()) if SHORTEST * 2**power <= most]
        wanted = doubled or [SHORTEST]
    for length in wanted:
        if not 0 < length <= most:
            raise InputError(f"A length of {length} tokens was asked for; the base holds 1 to {most}. Give another.")
    return tuple(sorted(set(wanted)))


def _named(workspace: Workspace, adapter: Path | None) -> str:
    base = workspace.params().base
    return f"{base} with the adapter {adapter}" if adapter else base
