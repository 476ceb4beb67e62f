"""Years of real policies on a line as it is run: who served when, what was right, stale and wrong, and who decided why.

    relearn simulate site-policy
    relearn simulate path/to/stream --quick

The base is built first, as of the first snapshot, and kept. Every later snapshot is a day on which the documents
change: a cycle runs on a line of its own, and what passes its gates is promoted. Then somebody rolls back and promotes
again; the document of which the champion knows most is withdrawn; and it is reinstated. Every version is asked what
holds in every year. A simulation that was killed goes on with the step that it was at.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch

from bench.kept import Report, held
from bench.measured import Figure, write_answers
from bench.policies import base_of, sized
from bench.policies_figures import figures, sentence
from bench.policies_page import page_of
from bench.policies_questions import Fate, Mark, YearQuestion, asked_in
from bench.policies_run import SCHEMA, judged
from bench.policies_years import Year, read_snapshots, read_years
from bench.simulation_line import TRIED, Done, Line, Result, make_line
from bench.simulation_page import SERVED, Page, write_page
from data.cycle_records import LedgerEntry
from data.errors import InputError
from data.files import building, digest_text, digest_tree, read_cached, write_json, write_long_record
from data.fingerprint import code_digest
from data.params import Params
from data.probes import Probe, read_probes
from data.records import Record
from data.workspace import PROJECT_ROOT, Workspace
from models.device import choose_device, keep_freed_memory
from models.generation import answer
from tasks import registry, serving
from tasks.registry import VersionInfo

ROOT = Path(".relearn") / "simulations"
STREAMS = Path("data") / "streams"
WITHDRAWN = "withdrawn"
"""Name of the time in which a document of the last year is withdrawn."""
WHY_WITHDRAWN = "It is to hold no longer."
WHY_REINSTATED = "It holds again."
QUICK_YEARS, QUICK_QUESTIONS = 3, 100


@dataclass(frozen=True)
class Outcome:
    """What a simulation gave."""

    steps: list[Done]
    decisions: list[LedgerEntry]
    figures: list[Figure]
    sentences: list[str]
    """Each year of what served, in plain words."""
    page: Path
    answers: Path
    line: Path
    """The workspace that it ran in: ``relearn status --workspace`` and the like look at it."""


class _Said(Record):
    """What one version answered, by prompt."""

    answers: dict[str, str]


@dataclass(frozen=True)
class _Run:
    """One simulation under way."""

    root: Path
    line: Line
    params: Params
    years: tuple[Year, ...]
    folders: tuple[Path, ...]
    """Of the years."""
    probes: tuple[Probe, ...]
    most: int | None
    report: Report


def simulate(workspace: Workspace, stream: str, quick: bool, command: str, report: Report) -> Outcome:
    """Run what has not been run, ask every version, and write answers, figures and page.

    Args:
        workspace: whose settings, probes and streams are taken; its versions and decisions are not touched.
        stream: name of a stream, or its folder.
        quick: a small base, three years, few steps and questions: whether it works, no evidence.
        command: as it was typed.
        report: hears what is being done.

    Raises:
        InputError: there is no such stream, or fewer than two snapshots in it.
        OutsideError: git, DVC, MLflow, the ledger or the disk is out of reach; run the same again to go on.
    """
    place = stream_of(workspace, stream)
    params = sized(workspace.params(), quick)
    params = params.model_copy(update={"tiny": params.tiny.model_copy(update={"stream": str(place)})})
    torch.set_num_threads(params.train.threads)
    keep_freed_memory()
    years = read_years(place, params, QUICK_YEARS if quick else None)
    base = base_of(workspace, params, years[0], report)
    root = (workspace.root / ROOT).resolve() / f"{place.name}-{_key(params, base, years, quick)[:12]}"
    with held(root, stream, report):
        line = make_line(root, params, base, workspace.probes, quick)
        folders = tuple(place / year.date for year in years)
        probes = tuple(read_probes(workspace.probes))
        run = _Run(root, line, params, years, folders, probes, QUICK_QUESTIONS if quick else None, report)
        return _finished(run, base, command)


def stream_of(workspace: Workspace, stream: str) -> Path:
    """The folder of dated snapshots: of the workspace, of the project, or as it is given.

    Raises:
        InputError: there is none.
    """
    roots = (workspace.root / STREAMS / stream, PROJECT_ROOT / STREAMS / stream, Path(stream))
    for root in roots:
        if root.is_dir():
            return root.resolve()
    known = sorted(path.name for path in (PROJECT_ROOT / STREAMS).iterdir() if path.is_dir())
    raise InputError(
        f"There is no stream {stream!r}. Name one of {', '.join(known)}, or a folder of snapshots, each in a folder "
        "named by its date (2024-06-01)."
    )


def _key(params: Params, base: Path, years: Sequence[Year], quick: bool) -> str:
    settings = params.model_dump_json(exclude={"base", "tiny", "notify", "watch", "versioning", "people", "gc"})
    dated = [f"{year.date}/{year.digest}" for year in years]
    return digest_text(settings, digest_tree(base), str(quick), code_digest("bench.simulation_line"), *dated)


def _finished(run: _Run, base: Path, command: str) -> Outcome:
    steps, path = _steps(run)
    times = _times(run, path)
    answers = pa.Table.from_pylist(list(_answers(run, times, _served(steps))), schema=SCHEMA)
    table = answers.to_pandas()
    withdrawn = _about(run, table, path)
    of_steps = tuple(_of_steps(steps, path, command, run.params.seed))
    of_answers = figures(pd.concat([table, withdrawn]), command)
    found = [*of_steps, *of_answers]
    told = [sentence(mine) for _, mine in table[table["arm"] == SERVED].groupby("year", sort=False)]
    told += [sentence(mine) for _, mine in withdrawn.groupby("arm", sort=False)]
    decisions = run.line.entries()
    target = write_answers(run.root / "answers.parquet", answers)
    content = {
        "steps": [done.model_dump(mode="json") for done in steps],
        "decisions": [entry.model_dump(mode="json") for entry in decisions],
        "figures": [asdict(one) for one in found],
    }
    write_json(run.root / "figures.json", content)
    about = f"{base.name}, which knows the {run.years[0].documents} documents of {run.years[0].date} and nothing later"
    shown = Page(page_of(about, command, table, of_answers, ()), tuple(steps), tuple(decisions), of_steps)
    page = write_page(run.root / "page.html", shown)
    return Outcome(steps, decisions, found, told, page, target, run.line.workspace.root)


def _about(run: _Run, answers: pd.DataFrame, path: str) -> pd.DataFrame:
    """What was said about the withdrawn document while it was withdrawn, under a name of its own."""
    (document,) = (document for document, its in run.years[-1].paths.items() if its == path)
    there = (answers["year"] == WITHDRAWN) & (answers["document"] == document)
    return answers[there].assign(year=f"about {path} while it is withdrawn")


# --- what happens ------------------------------------------------------------------------------------


def _steps(run: _Run) -> tuple[list[Done], str]:
    """Everything that is done, in order, and the path of the document that is withdrawn."""
    steps: list[Done] = []
    line, last = run.line, run.years[-1]

    def do(name: str, year: str, act: Callable[[], Result]) -> None:
        run.report(name, None)
        steps.append(line.step(len(steps), name, year, act))

    for year, folder in zip(run.years[1:], run.folders[1:], strict=True):
        do(f"documents of {year.date}", year.name, partial(line.documents, folder))
    served = steps[-1].serves
    do("rolled back", last.name, partial(line.rollback, TRIED))
    if served is not None and steps[-1].serves != served:
        do("promoted again", last.name, partial(line.promote, served, TRIED))
    path = _best_known(run, steps[-1].serves)
    do(f"withdrawn: {path}", WITHDRAWN, partial(line.withdraw, path, WHY_WITHDRAWN))
    do("the next cycle", WITHDRAWN, line.cycle)
    do(f"reinstated: {path}", last.name, partial(line.reinstate, path, WHY_REINSTATED))
    do("the cycle after it", last.name, line.cycle)
    return steps, path


def _best_known(run: _Run, version: int | None) -> str:
    """Path of the document of which a version gets most right that the base was never told; else of which it gets most.

    Of several it is the first by path.

    Raises:
        InputError: no document of the last snapshot states a fact.
    """
    last = len(run.years) - 1
    asked = [one for one in _asked(run, run.years, last) if one.question.document]
    said = _said(run, _info(run, version), asked)
    right = [one for one in asked if one.mark(said[one.question.question]) is Mark.RIGHT]
    news = [one for one in right if one.fate is not Fate.UNCHANGED] or right or asked
    paths = run.years[last].paths
    counts: dict[str, int] = {}
    for one in news:
        if one.question.document in paths:
            path = paths[one.question.document]
            counts[path] = counts.get(path, 0) + 1
    if not counts:
        raise InputError(f"No document of {run.years[-1].date} states a fact, so that none is worth withdrawing.")
    return min(counts, key=lambda path: (-counts[path], path))


def _times(run: _Run, path: str) -> tuple[Year, ...]:
    """The years, and the last one without the document that was withdrawn."""
    without = run.root / WITHDRAWN
    if not without.is_dir():
        with building(without) as draft:
            shutil.copytree(run.folders[-1], draft, dirs_exist_ok=True)
            (draft / path).unlink()
    named = [(year.name, folder) for year, folder in zip(run.years, run.folders, strict=True)]
    return read_snapshots([*named, (WITHDRAWN, without)], run.params)


def _served(steps: Sequence[Done]) -> dict[str, int | None]:
    """What serves at the end of each time, by its name; where a time comes again, what served first."""
    found: dict[str, int | None] = {}
    for year, done in groupby(steps, key=lambda done: done.year):
        found.setdefault(year, list(done)[-1].serves)
    return found


# --- what is asked -----------------------------------------------------------------------------------


def _answers(run: _Run, times: Sequence[Year], served: Mapping[str, int | None]) -> Iterator[dict[str, Any]]:
    """Every version asked what holds at every time; and what served then, once more under its own name."""
    asked = [_asked(run, times, place) for place in range(len(times))]
    flat = [one for each in asked for one in each]
    infos = registry.get_versions(run.line.workspace)
    said = {info.version: _said(run, info, flat) for info in infos}
    base = next(info.version for info in infos if info.kind == "base")
    arms = {SERVED: [served.get(time.name) or base for time in times]}
    arms |= {_called(info): [info.version] * len(times) for info in infos}
    for name, versions in arms.items():
        for time, questions, version in zip(times, asked, versions, strict=True):
            key = {"arm": name, "seed": run.params.seed, "year": time.name}
            for one in questions:
                yield key | judged(one, said[version][one.question.question])


def _called(info: VersionInfo) -> str:
    return f"version {info.version}" + (", the base alone" if info.kind == "base" else "")


def _asked(run: _Run, times: Sequence[Year], place: int) -> list[YearQuestion]:
    return asked_in(times, place, run.probes, run.params.synthesize, run.most)


def _info(run: _Run, version: int | None) -> VersionInfo:
    infos = registry.get_versions(run.line.workspace)
    return next((info for info in infos if info.version == version), infos[-1])


def _said(run: _Run, info: VersionInfo, asked: Sequence[YearQuestion]) -> dict[str, str]:
    """What a version answers, by prompt; each prompt is asked once, and kept."""
    file = run.root / "said" / f"{info.version}.json"
    known = read_cached(file, _Said) or _Said(answers={})
    missing = list(dict.fromkeys(one.question.question for one in asked if one.question.question not in known.answers))
    if not missing:
        return known.answers
    workspace = run.line.workspace
    run.report(f"{_called(info)}: {len(missing):,} questions", None)
    weights = serving.absolute(workspace, serving.fetch_weights(workspace, info.version))
    loaded = serving.load(weights, choose_device(run.params.train.device))
    size = run.params.assess
    said = answer(loaded.model, loaded.tokenizer, missing, size.new_tokens, size.batch)
    answers = known.answers | dict(zip(missing, said, strict=True))
    write_long_record(file, _Said(answers=answers))
    return answers


# --- figures of what was done ------------------------------------------------------------------------


def _of_steps(steps: Sequence[Done], path: str, command: str, seed: int) -> Iterator[Figure]:
    """How long a decision took, and for how many cycles a champion rested on what was withdrawn."""

    def once(name: str, value: float) -> Figure:
        return Figure(name, value, value, value, 1, (seed,), command)

    for done in steps:
        if done.resumed:
            continue  # its seconds are of what a kill had left
        if done.switch_seconds is not None:
            yield once(f"{done.name}: seconds from intent until all had followed", done.switch_seconds)
        elif done.version is not None:
            yield once(f"{done.name}: seconds, {'with' if done.trained else 'without'} training", done.seconds)
    after = [done for done in steps if done.year == WITHDRAWN]
    cycles = next((number for number, done in enumerate(after) if path not in done.rests_on), len(after))
    yield once("cycles until no champion rests on the withdrawn document", cycles)
