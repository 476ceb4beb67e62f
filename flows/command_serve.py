"""Commands that decide what serves, from ``promote`` to ``reinstate``, and ``ask``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command import JsonOption, ReasonOption, WorkspaceOption, app, quiet_output, show

if TYPE_CHECKING:
    from flows.switch import Switched
    from flows.withdraw import Withdrawal


OverrideOption = Annotated[bool, typer.Option("--override", help="Although its verdict is not promote.")]


@app.command(epilog='Example: relearn promote 3 --reason "checked by hand"')
def promote(
    version: Annotated[int, typer.Argument(help="Version of the registered model.")],
    reason: ReasonOption,
    override: OverrideOption = False,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Let a version serve."""
    from flows.running import promote_version

    with quiet_output():
        done = promote_version(workspace, version, reason, override)
    already = f'Version {version} serves already, because: "{done.reason}" Nothing was entered into the ledger, '
    _show_switch(done, as_json, "" if done.entered else f"{already}and the reason given now is kept nowhere.")


@app.command(epilog='Example: relearn rollback --to 2 --reason "version 3 answers from the old price list"')
def rollback(
    reason: ReasonOption,
    to: Annotated[
        int | None, typer.Option("--to", help="Default: the newest that passes and rests on no withdrawn document.")
    ] = None,
    override: OverrideOption = False,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Let an earlier version serve again, without training."""
    from flows.running import roll_back

    with quiet_output():
        done = roll_back(workspace, reason, to, override)
    _show_switch(done, as_json)


@app.command(epilog='Example: relearn reject 4 --reason "it mixes up the two plans"')
def reject(
    version: Annotated[int, typer.Argument(help="Version of the registered model.")],
    reason: ReasonOption,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Let a version never serve, whatever its verdict; an override would take that back."""
    from flows.running import reject_version

    with quiet_output():
        content = reject_version(workspace, version, reason)
    show(content, as_json, [f"Version {version} is rejected."])


DocumentArgument = Annotated[str, typer.Argument(help="Its id, the beginning of its id, or its path.")]


@app.command(epilog='Example: relearn withdraw pricing/2024.md --reason "superseded on 1 December"')
def withdraw(
    document: DocumentArgument,
    reason: ReasonOption,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Let nothing rest on a document any longer, in any version of it; what serves is looked at at once."""
    _show_withdrawal(workspace, document, reason, as_json)


@app.command(epilog='Example: relearn reinstate pricing/2024.md --reason "it is honoured again"')
def reinstate(
    document: DocumentArgument,
    reason: ReasonOption,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Let a withdrawn document be learned again."""
    _show_withdrawal(workspace, document, reason, as_json, back=True)


def _show_withdrawal(workspace: Path, document: str, reason: str, as_json: bool, back: bool = False) -> None:
    from flows.running import withdraw_document

    with quiet_output():
        done = withdraw_document(workspace, document, reason, back=back)
    content = done.model_dump(mode="json", by_alias=True, exclude={"schema_"})
    lines = [f"{done.path} is {'reinstated' if back else 'withdrawn'}."]
    if done.from_version != done.to_version:
        lines.append(_now(done))
    show(content, as_json, [*lines, *done.notes])
    if done.waits:
        raise typer.Exit(3)


def _show_switch(done: "Switched", as_json: bool, instead: str = "") -> None:
    content = done.model_dump(mode="json", by_alias=True, exclude={"schema_"})
    show(content, as_json, [instead or _now(done), *done.notes])


def _now(done: "Switched | Withdrawal") -> str:
    return f"Version {done.to_version} serves now (before: {done.from_version}). It took {done.seconds:.1f} s."


@app.command(epilog='Example: relearn ask "What is the minimum age under the GitHub Terms of Service?"')
def ask(
    question: Annotated[str, typer.Argument(help="One question.")],
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Answer a question from the champion; exit code 3 where something does not follow the ledger."""
    from data.workspace import open_workspace
    from flows.progress import Lines
    from tasks.mirrors import looked_at
    from tasks.serving import ask as ask_champion

    place = open_workspace(workspace)
    with quiet_output():
        answer, version = ask_champion(place, question)
        warnings, unreached = looked_at(place)
    for sentence in (*warnings, *unreached):
        Lines("ask").warn(sentence)
    show({"answer": answer, "version": version, "warnings": [*warnings, *unreached]}, as_json, [answer])
    if warnings:
        raise typer.Exit(3)
