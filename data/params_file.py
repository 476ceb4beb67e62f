"""``params.yaml`` as a text that explains every field, from the one place that says what each one means."""

import textwrap
from typing import get_args

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

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
    plain = block.model_dump(mode="json")
    for name, field in type(block).model_fields.items():
        value = getattr(block, name)
        said = field.description or ""
        if isinstance(value, BaseModel):
            lines += ["", *_comment(said, indent), f"{indent}{name}:", *_block(value, f"{indent}  ")]
        elif _holds_blocks(field):
            blocks = [one.model_dump(mode="json", exclude_defaults=True) for one in value]
            lines += ["", *_comment(said, indent), f"{indent}{name}: {_scalar(blocks)}"]
        elif isinstance(value, dict) and value:
            lines += [*_comment(said, indent), f"{indent}{name}:"]
            lines += [f"{indent}  {key}: {_scalar(one)}" for key, one in plain[name].items()]
        else:
            lines += _line(f"{indent}{name}: {_scalar(plain[name])}", said, indent)
    return lines


def _holds_blocks(field: FieldInfo) -> bool:
    """Whether a field is a list of blocks."""
    kinds = get_args(field.annotation)
    return any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds)


def _line(text: str, said: str, indent: str) -> list[str]:
    """The explanation behind the value where it fits, above it where it does not."""
    beside = f"{text:<{COLUMN - 1}} # {said}"
    return [beside] if len(beside) <= WIDTH else [*_comment(said, indent), text]


def _comment(said: str, indent: str) -> list[str]:
    return textwrap.wrap(said, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _scalar(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")
