"""What every command of the command line shares: the application, its options, and how it speaks.

Sentences and JSON go through ``show`` and ``fail``; tables through flows/terminal.py.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.table import Table

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


def fail(message: str, code: int) -> NoReturn:
    """Print one sentence to standard error and leave."""
    from data.files import printable

    typer.echo(f"relearn: {printable(message)}", err=True)
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
    """Print the result: one JSON object, or lines for people, both without what would steer their terminal."""
    from data.files import printable_lines

    typer.echo(steady_json(content) if as_json else printable_lines("\n".join(lines)))


def steady_json(content: dict[str, Any]) -> str:
    """One line of JSON with letters as they are, and what would steer a terminal as JSON escapes it."""
    text = json.dumps(content, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def show_table(content: dict[str, Any], as_json: bool, table: "Callable[[], Table]") -> None:
    """Print the result: one JSON object, or a table for people."""
    if as_json:
        show(content, as_json, [])
    else:
        from flows.terminal import put

        put(table())
