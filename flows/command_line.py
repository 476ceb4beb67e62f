"""Commands that make or run a line: ``init``, ``run``, each stage, ``watch`` and ``base build``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.command import (
    JsonOption,
    ReasonOption,
    WorkspaceOption,
    app,
    base_app,
    fail,
    quiet_output,
    show,
    show_table,
)


@app.command(epilog="Example: relearn init /srv/relearn --remote s3://bucket/relearn")
def init(
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist or is empty.")],
    base: Annotated[str, typer.Option("--base", help="Folder or Hugging Face id; default: the shipped one.")] = "",
    remote: Annotated[str, typer.Option("--remote", help="DVC remote that each cycle pushes to.")] = "",
    as_json: JsonOption = False,
) -> None:
    """A production workspace: a git and DVC repository of its own, with every parameter explained."""
    from flows.init import make_workspace

    with quiet_output():
        made = make_workspace(folder, base or None, remote or None)
    show(
        {"workspace": str(made.root)},
        as_json,
        [
            f"{made.root} is a workspace. Put documents into {made.documents}, then:",
            f"relearn run --workspace {folder}",
        ],
    )


@app.command(epilog='Example: relearn run --accept-loss --reason "the old handbook was retired"')
def run(
    workspace: WorkspaceOption = Path(),
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer steps and questions (block quick); no gate is lowered for it.")
    ] = False,
    accept_loss: Annotated[bool, typer.Option("--accept-loss", help="Go on although documents were lost.")] = False,
    reason: ReasonOption = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a cycle under way instead of leaving.")] = False,
    as_json: JsonOption = False,
) -> None:
    """One cycle, from the documents to a decision; does nothing, fast, when nothing changed."""
    from flows.running import run_cycle

    with quiet_output():
        result = run_cycle(workspace, quick, _loss_reason(accept_loss, reason), wait)
    content = result.model_dump(mode="json", exclude={"schema_", "next_command"})
    show(content, as_json, _run_lines(content, result.next_command))
    if result.warnings or (result.changed and result.verdict != "promote"):
        raise typer.Exit(3)


def _loss_reason(accept_loss: bool, reason: str) -> str | None:
    if not accept_loss:
        return None
    if not reason.strip():
        fail('--accept-loss needs a reason. Say why with --reason "...".', 2)
    return reason


def _run_lines(content: dict[str, Any], command: str) -> list[str]:
    head = "" if content["changed"] else "Nothing changed since the last cycle.\n"
    lines = [f"{head}Verdict   {content['verdict']} (version {content['version']})"]
    lines.extend(f"          {reason}" for reason in content["reasons"])
    if content["switched"]:
        lines.append(f"Champion  {content['switched']}")
    lines.extend(f"Warning   {warning}" for warning in content["warnings"])
    lines.extend(f"Notice    {notice}" for notice in content["notices"])
    return [*lines, f"Report    {content['report']}", f"Next      {command}"]


def _stage(name: str) -> Any:
    def command(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
        from flows.running import run_stage_alone

        with quiet_output():
            record = run_stage_alone(workspace, name)
        content = record.model_dump(mode="json", by_alias=True)
        show(content, as_json, [f"{name} done."])

    return command


def _synthesize(
    workspace: WorkspaceOption = Path(),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would send, cost and write; nothing is sent or written.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    from data.workspace import open_workspace
    from flows.estimate import estimate
    from flows.running import run_stage_alone
    from flows.terminal import dry_run_table, funnel_table

    with quiet_output():
        record = estimate(open_workspace(workspace)) if dry_run else run_stage_alone(workspace, "synthesize")
    content = record.model_dump(mode="json", by_alias=True)
    show_table(content, as_json, lambda: dry_run_table(content) if dry_run else funnel_table(content["funnel"]))


for _stage_name, _help in {
    "ingest": "Stage 1: documents to snapshot, checked.",
    "synthesize": "Stage 2: snapshot to training rows and questions.",
    "train": "Stage 3: rows to adapter.",
    "audit": "Stage 4: adapter to spectral report.",
    "assess": "Stage 5: base and candidate side by side, to evaluation report.",
}.items():
    app.command(_stage_name, help=f"{_help} What dvc.yaml calls.", epilog=f"Example: relearn {_stage_name} --json")(
        _synthesize if _stage_name == "synthesize" else _stage(_stage_name)
    )


@app.command(epilog="Example: relearn watch --workspace /srv/relearn")
def watch(
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """A cycle whenever the documents change, and by the schedule in params.yaml; until Ctrl-C."""
    from flows.running import watch_workspace

    with quiet_output():
        watch_workspace(workspace)
    show({"watched": str(workspace)}, as_json, ["The watch has ended."])


@base_app.command("build", epilog="Example: relearn base build --until 2023-06-01 --out data/bases/mine")
def base_build(
    until: Annotated[str, typer.Option("--until", help="The base knows documents of this date or before.")] = "",
    out: Annotated[Path, typer.Option("--out", help="Folder of the new base.")] = Path("data/bases/tiny"),
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Train the tiny base from scratch; a killed build goes on when called again."""
    from data.workspace import open_workspace
    from flows.base import build_base
    from flows.progress import Lines
    from flows.running import locked

    place = open_workspace(workspace)
    with quiet_output(), locked(place, "a build of the base"):
        folder = build_base(place, place.root / out, place.params(), until or None, Lines("base").trained)
    show({"base": str(folder)}, as_json, [f"The base lies in {folder}; its README.md says what it knows."])
