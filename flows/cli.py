"""The command line: every command, its options and what it prints; the work is done elsewhere.

Heavy libraries are imported inside the commands, so that help and version answer at once.
"""

import json
import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from data.errors import RelearnError

for _name, _value in {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}.items():
    os.environ.setdefault(_name, _value)

INTERRUPTED = 130
"""What typer leaves with after Ctrl-C, as shells do (128 + SIGINT)."""
TERMINATED = 128 + signal.SIGTERM
"""What a command leaves with that was ended from outside: systemd, a container's end, kill."""
STOPPED = {INTERRUPTED: "Interrupted", TERMINATED: "Stopped by SIGTERM"}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Keep a language model up to date with a changing collection of documents.",
)
base_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The base that adapters sit on.")
config_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Show and check the configuration.")
app.add_typer(base_app, name="base")
app.add_typer(config_app, name="config")
notify_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The hooks that tell people of events.")
app.add_typer(notify_app, name="notify")

WorkspaceOption = Annotated[Path, typer.Option("--workspace", help="The folder that one deployment works in.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it stands in the ledger.")]


def main() -> None:
    """Run the command line; every failure is one sentence and an exit code, never a traceback."""
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries among themselves
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        app()
    except RelearnError as error:
        fail(str(error), error.exit_code)
    except SystemExit as leaving:
        if leaving.code in STOPPED:
            fail(f"{STOPPED[leaving.code]}. Run the same command again; it goes on where it stopped.", leaving.code)
        raise
    except Exception as error:  # a traceback shown to a user is a defect, and so is a lost one
        from data.files import refusal

        refused = refusal(error)
        if refused is not None:
            place = getattr(error, "filename", None) or "A file"
            fail(f"{place} could not be written ({refused}). Free the disk, then run the same command again.", 1)
        said = " ".join(str(error).split()) or type(error).__name__
        fail(f"{said} Run the same command again; if it stays, the details stand in {_keep_details()}.", 1)


def _keep_details() -> str:
    """The traceback in a file of its own, for whoever mends it."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="relearn-", suffix=".log", delete=False, encoding="utf-8") as file:
            file.write(traceback.format_exc())
            return file.name
    except OSError:
        return "no file, as no temporary folder can be written to"


def fail(message: str, code: int) -> NoReturn:
    """Print one sentence to standard error and leave."""
    typer.echo(f"relearn: {message}", err=True)
    sys.exit(code)


@contextmanager
def quiet_output() -> Iterator[None]:
    """Send what libraries print to standard output to standard error, so that ours stays clean."""
    saved = os.dup(1)
    sys.stdout.flush()
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)


def show(content: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    """Print the result: one JSON object, or lines for people."""
    typer.echo(json.dumps(content, ensure_ascii=False) if as_json else "\n".join(lines))


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Options of all commands."""
    if version:
        typer.echo(f"relearn {installed_version('relearn')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


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
    if result.verdict is not None and result.verdict.value != "promote":
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
    from flows.tables import dry_run_lines, funnel_lines

    with quiet_output():
        record = estimate(open_workspace(workspace)) if dry_run else run_stage_alone(workspace, "synthesize")
    content = record.model_dump(mode="json", by_alias=True)
    show(content, as_json, dry_run_lines(content) if dry_run else funnel_lines(content["funnel"]))


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


@app.command(epilog="Example: relearn status")
def status(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """What serves now and why."""
    from flows.overview import status as read_status

    with quiet_output():
        content = read_status(workspace)
    if as_json:
        show(content, as_json, [])
    else:
        from flows.overview import surroundings
        from flows.terminal import put, status_table

        put(status_table(content, surroundings(workspace)))
    if content["warnings"]:
        raise typer.Exit(3)


@app.command(epilog="Example: relearn doctor --check")
def doctor(
    workspace: WorkspaceOption = Path(),
    check: Annotated[bool, typer.Option("--check", help="Look only; change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check machine, services, data and unfinished work; mend what kills left behind."""
    from data.findings import exit_code
    from flows.doctor import doctor as examine

    with quiet_output():
        findings = examine(workspace, check)
    content = {"findings": [finding.model_dump(mode="json", exclude={"schema_"}) for finding in findings]}
    lines = [
        f"{finding.state.value:<9} {finding.what:<11} {finding.says} {finding.remedy}".rstrip() for finding in findings
    ]
    show(content, as_json, lines)
    if exit_code(findings):
        raise typer.Exit(exit_code(findings))


@app.command(epilog="Example: relearn gc --dry-run")
def gc(
    workspace: WorkspaceOption = Path(),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be freed; free nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Free space, keeping what a rollback needs (params.yaml, block gc)."""
    from flows.collect_garbage import collect_garbage

    with quiet_output():
        freed = collect_garbage(workspace, dry_run)
    content = freed.model_dump(mode="json", exclude={"schema_"})
    verb = "would be freed" if dry_run else "freed"
    lines = [f"{size:>15,} bytes  {kind}" for kind, size in freed.bytes.items()]
    lines.append(f"{sum(freed.bytes.values()):>15,} bytes  {verb}; versions kept: {', '.join(map(str, freed.kept))}")
    show(content, as_json, [*lines, *freed.notes])


@app.command(epilog="Example: relearn history --verify")
def history(
    workspace: WorkspaceOption = Path(),
    verify: Annotated[bool, typer.Option("--verify", help="Check the chain of digests.")] = False,
    as_json: JsonOption = False,
) -> None:
    """The ledger: who decided what, when and why."""
    from flows.overview import history as read_history

    content = read_history(workspace, verify)
    lines = [] if content["entries"] else ["The ledger is empty."]
    if content["entries"] and not as_json:
        from flows.overview import overridden
        from flows.terminal import history_table, put

        put(history_table(content["entries"], overridden(workspace)))
    if verify:
        lines.append(
            "The chain is intact." if content["intact"] else f"The chain breaks at entry {content['broken_at']}."
        )
    if as_json or lines:
        show(content, as_json, lines)
    if verify and not content["intact"]:
        raise typer.Exit(3)


@app.command(epilog="Example: relearn report 2 --open")
def report(
    version: Annotated[int | None, typer.Argument(help="Default: the version of the last cycle.")] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser as well.")] = False,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """The path of a version's HTML report."""
    import webbrowser

    from flows.overview import report_path

    path = report_path(workspace, version)
    show({"report": str(path)}, as_json, [str(path)])
    if open_it:
        with quiet_output():
            opened = webbrowser.open(path.as_uri())
        if not opened:
            fail(f"No browser could be started here. Open {path} in one, or set the variable BROWSER.", 1)


@app.command(epilog="Example: relearn diff --json")
def diff(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """The documents folder against the last snapshot; changes nothing."""
    from data.files import printable
    from flows.overview import folder_diff

    content = folder_diff(workspace)
    lines = [f"{kind:<10} {printable(path)}" for kind in ("added", "changed", "withdrawn") for path in content[kind]]
    lines += [f"moved      {printable(old)} -> {printable(new)}" for old, new in content["moved"]]
    show(content, as_json, lines or ["Nothing changed."])


@app.command(epilog='Example: relearn promote 3 --reason "checked by hand"')
def promote(
    version: Annotated[int, typer.Argument(help="Version of the registered model.")],
    reason: ReasonOption,
    override: Annotated[bool, typer.Option("--override", help="Although its verdict is not promote.")] = False,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Let a version serve."""
    from flows.running import promote_version

    with quiet_output():
        promotion = promote_version(workspace, version, reason, override)
    content = promotion.model_dump(mode="json", by_alias=True, exclude={"schema_"})
    show(content, as_json, [f"Version {content['to']} serves now (before: {content['from']})."])


@app.command(epilog='Example: relearn ask "What is the minimum age under the GitHub Terms of Service?"')
def ask(
    question: Annotated[str, typer.Argument(help="One question.")],
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Answer a question from the champion."""
    from data.workspace import open_workspace
    from tasks.serving import ask as ask_champion

    with quiet_output():
        answer, version = ask_champion(open_workspace(workspace), question)
    show({"answer": answer, "version": version}, as_json, [answer])


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


@config_app.command("show", epilog="Example: relearn config show --json")
def config_show(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """The parameters in force."""
    from data.workspace import open_workspace

    content = open_workspace(workspace).params().model_dump(mode="json")
    show(content, as_json, [json.dumps(content, indent=2)])


@config_app.command("check", epilog="Example: relearn config check")
def config_check(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """Check params.yaml and the base it names."""
    from data.workspace import open_workspace, require_model

    place = open_workspace(workspace)
    content = {"params": str(place.params_file), "base": place.base(), "valid": bool(place.params())}
    if Path(place.base()).is_dir():
        require_model(Path(place.base()))
    fetched = "" if Path(place.base()).is_dir() else " (the first cycle fetches it)"
    show(content, as_json, [f"{place.params_file} is valid; the base is {content['base']}{fetched}."])


@config_app.command("schema", epilog="Example: relearn config schema")
def config_schema(as_json: JsonOption = False) -> None:
    """What every parameter means."""
    from data.params import Params, explain

    show(Params.model_json_schema(), as_json, explain(Params))


@notify_app.command("test", epilog="Example: relearn notify test")
def notify_test(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """Call every hook of params.yaml once with a trial event."""
    from data.workspace import open_workspace
    from flows.notices import try_hooks

    with quiet_output():
        tried = try_hooks(open_workspace(workspace))
    lines = [f"{one['hook']}: " + (f"took {one['event']}." if one["sent"] else one["reason"]) for one in tried]
    show({"hooks": tried}, as_json, lines)
    if not all(one["sent"] for one in tried):
        raise typer.Exit(1)
