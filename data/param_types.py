"""What a parameter may be: shares, counts, seconds and places; a block of them refuses unknown keys."""

import re
from pathlib import PurePath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(gt=0, lt=2**31)]
Few = Annotated[int, Field(gt=0, le=1000)]
Many = Annotated[int, Field(gt=0, le=1_000_000)]
Steps = Annotated[int, Field(gt=0, le=10_000_000)]
DAY = 86_400
"""Seconds; few pauses and time limits are sensible beyond it."""


def _below(path: str) -> str:
    if ".." in PurePath(path).parts:
        raise ValueError("'..' leads out of the workspace; give a path below it, or an absolute one")
    return path


def _variable(name: str) -> str:
    if name and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("this is the name of an environment variable, never what it holds")
    return name


VariableName = Annotated[str, AfterValidator(_variable)]
"""Where a secret is read from; empty: there is none."""
Place = Annotated[str, AfterValidator(_below)]


class Block(BaseModel):
    """Base of all parameter blocks."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
