"""``params.yaml`` as a text that explains every field, from the one place that says what each one means."""

import textwrap

import yaml
from pydantic import BaseModel

from data.params import Params

WIDTH = 120
COLUMN = 42
"""Where the explanation of a field begins."""
HEAD = "# Every value that a person may turn, one block per stage."


def render(params: Params) -> str:
    """The file's text; reading it gives ``params`` again."""
    return "\n".join([HEAD, "", *_block(params, ""), ""])


def _block(block: BaseModel, indent: str) -> list[str]:
    lines: list[str] = []
    for name, field in type(block).model_fields.items():
        value = getattr(block, name)
        said = field.description or ""
        if isinstance(value, BaseModel):
            lines += ["", *_comment(said, indent), f"{indent}{name}:", *_block(value, f"{indent}  ")]
        else:
            lines += _line(f"{indent}{name}: {_scalar(value)}", said, indent)
    return lines


def _line(text: str, said: str, indent: str) -> list[str]:
    """The explanation behind the value where it fits, above it where it does not."""
    beside = f"{text:<{COLUMN - 1}} # {said}"
    return [beside] if len(beside) <= WIDTH else [*_comment(said, indent), text]


def _comment(said: str, indent: str) -> list[str]:
    return textwrap.wrap(said, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _scalar(value: object) -> str:
    several = isinstance(value, list) and all(isinstance(one, BaseModel) for one in value)
    plain = [one.model_dump(mode="json") for one in value] if several else value  # type: ignore[attr-defined]
    return yaml.safe_dump(plain, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")
