"""Commands that hold training against its rivals: ``bench break-even`` and ``bench context``."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.break_even_case import EXAMPLE_RIGHT, Load, Prices, Training
from flows.command import JsonOption, WorkspaceOption, quiet_output, show
from flows.command_bench import MOST_SEED, ClusterOption, WorkersOption, bench_app


def _named(part: type[Prices] | type[Training]) -> str:
    return ", ".join(f"{one.name}={one.default:g}" for one in fields(part))


_PRICES = f"Money as NAME=NUMBER, tokens by the million. Examples, no vendor's: {_named(Prices)}. Repeatable."
_TRAINING = f"How documents become weights, as NAME=NUMBER: {_named(Training)}. Repeatable."
_RIGHT = (
    "Share of questions that a way answers right, as you measured it, as WAY=SHARE; WAY=none leaves it out. Invented: "
    f"{', '.join(f'{way}={share:g}' for way, share in EXAMPLE_RIGHT.items())}. Repeatable."
)


@bench_app.command(
    "break-even",
    epilog="Example: relearn bench break-even --documents-tokens 100000 --queries 5000 --price input=2",
)
def break_even(
    documents_tokens: Annotated[float, typer.Option("--documents-tokens", help="Tokens of all documents.")],
    queries: Annotated[float, typer.Option("--queries", help="Questions a day.")],
    changed: Annotated[
        float, typer.Option("--changed", help="Share of the documents' tokens that changes a day.")
    ] = Load.changed,
    prompt_tokens: Annotated[
        float, typer.Option("--prompt-tokens", help="Of a question with its instructions.")
    ] = Load.prompt_tokens,
    answer_tokens: Annotated[float, typer.Option("--answer-tokens", help="Of an answer.")] = Load.answer_tokens,
    retrieved_tokens: Annotated[
        float, typer.Option("--retrieved-tokens", help="That a search puts before a question.")
    ] = Load.retrieved_tokens,
    window: Annotated[float, typer.Option("--window", help="Most tokens that the model reads.")] = Load.window,
    floor: Annotated[float, typer.Option("--floor", help="Share right below which a way is no choice.")] = 0.8,
    price: Annotated[list[str] | None, typer.Option("--price", help=_PRICES)] = None,
    training: Annotated[list[str] | None, typer.Option("--training", help=_TRAINING)] = None,
    right: Annotated[list[str] | None, typer.Option("--right", help=_RIGHT)] = None,
    hour_price: Annotated[
        float | None, typer.Option("--hour-price", help="Of training hardware; with its speed, in place of trained=.")
    ] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option("--tokens-per-second", help="That this hardware trains.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Draw a page there.")] = None,
    as_json: JsonOption = False,
) -> None:
    """When training the documents costs less than retrieval or a long context, and when neither pays; at once."""
    from bench.break_even import compare
    from bench.break_even_case import case, per_million
    from bench.break_even_words import figures, lines, sentences
    from bench.measured import typed
    from data.errors import InputError

    load = Load(documents_tokens, queries, changed, prompt_tokens, answer_tokens, retrieved_tokens, window)
    prices = price or []
    if hour_price is not None and tokens_per_second is not None:
        prices = [*prices, f"trained={per_million(hour_price, tokens_per_second)}"]
    elif hour_price != tokens_per_second:
        raise InputError(
            "Hardware by the hour needs both --hour-price and --tokens-per-second. Give the other one too."
        )
    found = compare(case(load, prices, training or (), right or (), floor))
    options = {one.name: f"{getattr(load, one.name):.12g}" for one in fields(Load)}
    repeated = {"price": tuple(prices), "training": tuple(training or ()), "right": tuple(right or ())}
    command = typed("relearn bench break-even", **options, floor=floor, **repeated)
    content: dict[str, Any] = {
        "cheapest": found.cheapest.way if found.cheapest else None,
        "stretches": [{"from": start, "way": way} for start, way in found.stretches],
        "break_even": [asdict(one) for one in found.crossings],
        "no_choice": {one.way: one.hindrance for one in found.lines if one.hindrance},
        "summary": sentences(found),
        "figures": [asdict(one) for one in figures(found, command)],
    }
    told = lines(found)
    if html is not None:
        from bench.break_even_page import write_page

        content["page"] = str(write_page(html, found, command))
        told.append(f"Page: {content['page']}")
    show(content, as_json, told)


@bench_app.command(epilog="Example: relearn bench context --length 128 --length 256 --questions 25")
def context(
    length: Annotated[
        list[int] | None,
        typer.Option(
            "--length", min=1, help="In tokens; without it 64, doubling up to what the base holds. Repeatable."
        ),
    ] = None,
    questions: Annotated[int, typer.Option("--questions", min=1, help="Of each task and length.")] = 50,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MOST_SEED, help="Of the questions.")] = 1,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0, max=1, help="Score that holds a length; RULER's is 0.856.")
    ] = 0.856,
    adapter: Annotated[Path | None, typer.Option("--adapter", help="Folder of an adapter on this base.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Draw the page there, not beside the answers.")] = None,
    workers: WorkersOption = 1,
    cluster: ClusterOption = None,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """What the base finds in its context, by task and length, and without the context: minutes on the shipped base.

    What was answered before is not asked again.
    """
    from bench.context import Plan, content, measure
    from bench.context_figures import table
    from bench.jobs import Places
    from bench.measured import typed
    from data.workspace import open_workspace
    from flows.progress import Lines

    plan = Plan(tuple(length or ()), questions, seed, threshold)
    command = typed(
        "relearn bench context",
        length=plan.lengths,
        questions=questions,
        seed=seed,
        threshold=threshold,
        adapter=adapter,
    )
    with quiet_output():
        report, places = Lines("bench").measured, Places(workers, cluster)
        done = measure(open_workspace(workspace), adapter, plan, command, report, html, places)
    told = [f"No room for the needles: {', '.join(done.left_out)}"] if done.left_out else []
    if done.note:
        told.append(done.note)
    if done.kept:
        told.append(f"Kept from before: {done.kept} of {done.kept + done.asked} tasks by length")
    files = {"page": str(done.page), "written": str(done.written), "answers": str(done.answers)}
    where = [f"Page: {done.page}", f"Figures: {done.written}", f"Answers: {done.answers}"]
    lines = [*table(done.figures, done.reaches, threshold), *told, *where]
    show(content(done) | {"kept": done.kept, "asked": done.asked} | files, as_json, lines)
