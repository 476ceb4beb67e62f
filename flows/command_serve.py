"""Commands about what serves: ``promote`` and ``ask``."""

from pathlib import Path
from typing import Annotated

import typer

from flows.command import JsonOption, ReasonOption, WorkspaceOption, app, quiet_output, show


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
    now = f"Version {version} serves now (before: {content['from']})."
    already = f'Version {version} serves already, because: "{promotion.reason}" Nothing was entered into the ledger, '
    show(content, as_json, [now if promotion.entered else f"{already}and the reason given now is kept nowhere."])


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
