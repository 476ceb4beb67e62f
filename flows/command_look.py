"""Commands that look at a workspace (``status``, ``history``, ``report``, ``diff``) or keep it (``doctor``, ``gc``)."""

from pathlib import Path
from typing import Annotated

import typer

from flows.command import JsonOption, WorkspaceOption, app, fail, quiet_output, show, show_table


@app.command(epilog="Example: relearn status")
def status(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """What serves now and why."""
    from flows.overview import status as read_status
    from flows.overview import surroundings
    from flows.terminal import status_table

    with quiet_output():
        content = read_status(workspace)
    show_table(content, as_json, lambda: status_table(content, surroundings(workspace)))
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
    from flows.terminal import findings_table

    with quiet_output():
        findings = examine(workspace, check)
    content = {"findings": [finding.model_dump(mode="json", exclude={"schema_"}) for finding in findings]}
    show_table(content, as_json, lambda: findings_table(content["findings"]))
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
    from flows.terminal import freed_table

    with quiet_output():
        freed = collect_garbage(workspace, dry_run)
    content = freed.model_dump(mode="json", exclude={"schema_"})
    show_table(content, as_json, lambda: freed_table(content, dry_run))


@app.command(epilog="Example: relearn history --verify")
def history(
    workspace: WorkspaceOption = Path(),
    verify: Annotated[bool, typer.Option("--verify", help="Check the chain of digests.")] = False,
    export: Annotated[Path | None, typer.Option("--export", help="Write every entry to this file, one a line.")] = None,
    source: Annotated[Path | None, typer.Option("--from", help="Read such a file instead of the ledger.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The ledger: who decided what, when and why."""
    from flows.overview import history as read_history
    from flows.overview import overridden
    from flows.terminal import history_table

    content = read_history(workspace, verify, source, export)
    lines = [] if content["entries"] else ["The ledger is empty."]
    if export is not None:
        lines.append(f"{export} holds {len(content['entries']):,} entries.")
    elif content["entries"] and not as_json:
        show_table(content, as_json, lambda: history_table(content["entries"], overridden(workspace, source)))
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


@app.command(epilog="Example: relearn impact github-terms-of-service.md")
def impact(
    document: Annotated[str, typer.Argument(help="Its id, the beginning of its id, or a path it has or had.")],
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Which rows, adapters and versions learned from a document, in any version of it."""
    from flows.impact import impact as find_impact
    from flows.terminal import impact_lines, impact_table

    with quiet_output():
        content = find_impact(workspace, document)
    if not as_json:
        for line in impact_lines(content):
            typer.echo(line)
    show_table(content, as_json, lambda: impact_table(content))


@app.command(epilog="Example: relearn diff --json")
def diff(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """The documents folder against the last snapshot; changes nothing."""
    from data.files import shortened
    from flows.overview import folder_diff

    content = folder_diff(workspace)
    lines = [f"{kind:<10} {shortened(path)}" for kind in ("added", "changed", "withdrawn") for path in content[kind]]
    lines += [f"moved      {shortened(old)} -> {shortened(new)}" for old, new in content["moved"]]
    show(content, as_json, lines or ["Nothing changed."])
