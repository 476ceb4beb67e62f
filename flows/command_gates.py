"""Commands about the gate policy: ``gates show`` and ``gates diff``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.command import JsonOption, WorkspaceOption, app, quiet_output, show, show_table

gates_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The gate policy, and what another would do.")
app.add_typer(gates_app, name="gates")


@gates_app.command("show", epilog="Example: relearn gates show")
def gates_show(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """The policy in params.yaml: thresholds, and which checks decide; exit code 3 where the ledger holds another."""
    from flows.policy_shown import show as read_policy
    from flows.terminal import gates_table

    with quiet_output():
        content = read_policy(workspace)
    show_table(content, as_json, lambda: gates_table(content))
    if content["warnings"]:
        raise typer.Exit(3)


@gates_app.command("diff", epilog="Example: relearn gates diff current stricter.yaml")
def gates_diff(
    old: Annotated[str, typer.Argument(help="A params.yaml, the beginning of a digest, or current.")] = "current",
    new: Annotated[str, typer.Argument(help="The same; default: the workspace's params.yaml as it lies.")] = "",
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Which registered versions would fall or rise under another policy; changes nothing."""
    from flows.policy_shown import difference

    with quiet_output():
        content = difference(workspace, old, new)
    show(content, as_json, list(_lines(content)))


def _lines(content: dict[str, Any]) -> list[str]:
    if content["old"] == content["new"]:
        return ["The two policies are the same."]
    lines = [f"{edit['name']}: {edit['old']} -> {edit['new']}" for edit in content["changed"]]
    lines = lines or ["No threshold and no mode differs, but the rules of this release do."]
    for found in content["versions"]:
        serves = " (it serves)" if found["champion"] else ""
        old, reason = found["old"] or "not judged", "".join(found["reasons"][:1])
        lines.append(f"Version {found['version']}{serves}: {old} -> {found['new']}. {reason}")
    return lines if content["versions"] else [*lines, f"No verdict of {content['judged']} versions would change."]
