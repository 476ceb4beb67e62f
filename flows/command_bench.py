"""Commands that measure what the project claims: ``simulate``, and ``bench`` with ``forgetting`` and others.

They take from minutes to an hour, go on where they stopped, and print figures with n, interval and seeds. Measurements
of speed are commands of their own (``python -m bench.spectra``), as they need a quiet machine.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.command import JsonOption, WorkspaceOption, app, quiet_output, show

bench_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure what the project claims.")
app.add_typer(bench_app, name="bench")

MOST_SEED = 2**32 - 1
"""NumPy, Python and torch take no larger one alike."""
WorkersOption = Annotated[
    int, typer.Option("--workers", min=1, max=256, help="Processes that share train.threads of params.yaml.")
]
ClusterOption = Annotated[
    str | None, typer.Option("--cluster", help="Dask scheduler whose workers run all of it: tcp://HOST:8786.")
]
QuickOption = Annotated[bool, typer.Option("--quick", help="One rank and one seed: no evidence.")]


@app.command(epilog="Example: relearn simulate site-policy")
def simulate(
    stream: Annotated[str, typer.Argument(help="Name of a stream in data/streams, or a folder of dated snapshots.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="A small base, three years, few steps and questions; no evidence.")
    ] = False,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Years of documents on a line of its own: what served, what was right and stale, who decided why; hours."""
    from bench.measured import typed
    from bench.simulation import simulate as run_simulation
    from data.workspace import open_workspace
    from flows.progress import Lines

    command = typed(f"relearn simulate {stream}", quick=quick)
    with quiet_output():
        done = run_simulation(open_workspace(workspace), stream, quick, command, Lines("simulate").measured)
    content: dict[str, Any] = {"steps": [step.model_dump(mode="json", exclude={"schema_"}) for step in done.steps]}
    content["decisions"] = [entry.model_dump(mode="json", exclude={"schema_"}) for entry in done.decisions]
    content |= {"figures": [asdict(one) for one in done.figures], "sentences": done.sentences}
    content |= {"page": str(done.page), "answers": str(done.answers), "line": str(done.line)}
    small = ["Quick: a small base of few steps, built for this alone. No evidence."] if quick else []
    steps = [f"{step.name}: {step.told}" for step in done.steps]
    places = [f"Page: {done.page}", f"Answers: {done.answers}", f"Line: {done.line}"]
    show(content, as_json, [*small, *steps, *done.sentences, *places])


@bench_app.command(epilog="Example: relearn bench forgetting --plan stages --arm default --arm default,replay=0.05")
def forgetting(
    plan: Annotated[
        list[str] | None, typer.Option("--plan", help="day, stages, changes or flips; without it all. Repeatable.")
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option("--arm", help="A way of learning by name, or with changes; without it the plan's. Repeatable."),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            "--seed", min=0, max=MOST_SEED, help="Of streams and training; without it 1, 2 and 3. Repeatable."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small streams and the first seed, in minutes.")] = False,
    workers: WorkersOption = 1,
    cluster: ClusterOption = None,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """What ways of learning take in, forget and leave stale: minutes with --quick, hours without."""
    from bench.forgetting import SEEDS, Grid, measure
    from bench.forgetting_found import table
    from bench.jobs import Places
    from bench.measured import typed
    from data.workspace import open_workspace
    from flows.progress import Lines

    grid = Grid(tuple(plan or ()), tuple(arm or ()), tuple(seed or SEEDS), quick)
    command = typed("relearn bench forgetting", plan=grid.plans, arm=grid.arms, seed=tuple(seed or ()), quick=quick)
    with quiet_output():
        done = measure(open_workspace(workspace), grid, command, Lines("bench").measured, Places(workers, cluster))
    content: dict[str, Any] = asdict(done.found) | {"page": str(done.page), "answers": str(done.answers)}
    show(content, as_json, [*table(done.found), f"Page: {done.page}", f"Answers: {done.answers}"])


@bench_app.command(epilog="Example: relearn bench policies --arm none --arm joint,passes=2 --seed 1")
def policies(
    arm: Annotated[
        list[str] | None,
        typer.Option(
            "--arm", help="none, joint, warm, default or full, or with changes such as joint,passes=2. Repeatable."
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option("--seed", min=0, max=MOST_SEED, help="Of the training; without it 1, 2 and 3. Repeatable."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A small base, three years, few questions, first seed; in minutes.")
    ] = False,
    workers: WorkersOption = 1,
    cluster: ClusterOption = None,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """What is right, stale, wrong or refused as real policies change, year by year; builds its base first: hours."""
    from bench.jobs import Places
    from bench.measured import typed
    from bench.policies import SEEDS, Grid, measure
    from data.workspace import open_workspace
    from flows.progress import Lines

    grid = Grid(tuple(arm or ()), tuple(seed or SEEDS), quick)
    command = typed("relearn bench policies", arm=grid.arms, seed=tuple(seed or ()), quick=quick)
    with quiet_output():
        done = measure(open_workspace(workspace), grid, command, Lines("bench").measured, Places(workers, cluster))
    content: dict[str, Any] = {"base": str(done.base), "figures": [asdict(one) for one in done.figures]}
    content |= {"sentences": done.sentences, "disagreements": done.disagreements}
    content |= {"page": str(done.page), "answers": str(done.answers)}
    told = [f"A probe's dates, by which it is judged, and its quotes differ: {one}." for one in done.disagreements]
    small = ["Quick: a small base of few steps, built for this alone. No evidence."] if quick else []
    places = [f"Base: {done.base}", f"Page: {done.page}", f"Answers: {done.answers}"]
    show(content, as_json, [*small, *done.sentences, *told, *places])


@bench_app.command(epilog="Example: relearn bench spectra --base tiny")
def spectra(
    base: Annotated[str | None, typer.Option("--base", help="tiny or minilm; without it both.")] = None,
    quick: QuickOption = False,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """What spectra tell about adapters that were broken on purpose: about an hour, most of it training them."""
    from bench.evidence import collect, figures
    from bench.evidence_tables import table
    from bench.failures import ROOT
    from bench.measured import typed

    with quiet_output():
        found = figures(collect(workspace / ROOT, base, quick), typed("relearn bench spectra", base=base, quick=quick))
    show({"figures": [asdict(one) for one in found]}, as_json, table(found))


@bench_app.command(epilog="Example: relearn bench grokking --task modular")
def grokking(
    task: Annotated[str, typer.Option("--task", help="digits, digits-long, modular or modular-free.")] = "digits",
    steps: Annotated[
        int | None, typer.Option("--steps", help="Of each network; without it as many as reported.")
    ] = None,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Whether alpha or traps announce that a network will generalise: minutes to an hour."""
    from bench.grokking import SETUPS, STEPS, figures
    from bench.measured import typed
    from data.errors import InputError

    if task not in SETUPS:
        raise InputError(f"{task} is no task of this bench. Name one of: {', '.join(SETUPS)}.")
    out = workspace / ".relearn" / "bench" / "grokking" / task
    setup = SETUPS[task]
    with quiet_output():
        command = typed("relearn bench grokking", task=task, steps=steps)
        found = figures(task, setup.seeds, setup.controls, steps or STEPS[task], out, command)
    lines = [
        f"{one['name']:<90} {one['value']:9.3f} [{one['low']:.3f}, {one['high']:.3f}] n={one['n']}" for one in found
    ]
    show({"figures": found}, as_json, lines)


@bench_app.command(
    "tasks", epilog="Example: relearn bench tasks --task arc_easy --task hellaswag --limit 200 --download"
)
def harness_tasks(
    task: Annotated[list[str], typer.Option("--task", help="Task, group or tag by name. Repeatable.")],
    adapter: Annotated[Path | None, typer.Option("--adapter", help="Folder of an adapter on this base.")] = None,
    include_path: Annotated[
        Path | None, typer.Option("--include-path", help="Folder with tasks of your own, as plain YAML.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Questions of each task; without it all.")] = None,
    num_fewshot: Annotated[
        int | None, typer.Option("--num-fewshot", min=0, help="Examples before each question; without it the task's.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Prompts at once.")] = 8,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=MOST_SEED, help="Of drawn examples; the harness's own.")
    ] = 1234,
    download: Annotated[bool, typer.Option("--download", help="Fetch datasets that are not on this machine.")] = False,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Tasks of lm-evaluation-harness, on the base and an adapter side by side; needs the extra `harness`."""
    from bench.harness_library import Request, require_library

    require_library()
    from bench.harness import measure
    from bench.harness_figures import table
    from bench.measured import typed
    from data.workspace import open_workspace
    from flows.progress import Lines

    request = Request(tuple(task), include_path, limit, num_fewshot, batch_size, seed, download)
    options = {"include_path": include_path, "limit": limit, "num_fewshot": num_fewshot, "seed": seed}
    command = typed("relearn bench tasks", task=request.tasks, adapter=adapter, **options)
    progress = Lines("bench")
    with quiet_output():
        done = measure(open_workspace(workspace), adapter, request, command, lambda what: progress.measured(what, None))
    content: dict[str, Any] = {"figures": [asdict(one) for one in done.figures]}
    content["comparisons"] = [asdict(one) for one in done.comparisons]
    content |= {"left_out": done.left_out, "answers": str(done.answers), "results": str(done.results)}
    told = [f"No mean over questions, in the results alone: {', '.join(done.left_out)}"] if done.left_out else []
    lines = [*table(done.figures, done.comparisons), *told, f"Answers: {done.answers}", f"Results: {done.results}"]
    show(content, as_json, lines)
