"""Commands about the settings of a workspace: ``config`` and ``notify``."""

import json
from pathlib import Path

import typer

from flows.command import JsonOption, WorkspaceOption, config_app, notify_app, quiet_output, show


@config_app.command("show", epilog="Example: relearn config show --json")
def config_show(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """The parameters in force."""
    from data.addresses import without_passwords
    from data.workspace import open_workspace

    params = open_workspace(workspace).params()
    content = params.model_dump(mode="json")
    for name, address in params.addresses().items():
        block, key = name.split(".")
        content[block][key] = without_passwords(address)
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
