"""``params.yaml`` as frozen models: one block per stage, unknown keys refused with the nearest known one."""

import difflib
import functools
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from data.addresses import without_passwords
from data.errors import InputError
from data.files import shortened
from data.param_operation import (
    OPERATION,
    GcParams,
    HookParams,
    PeopleParams,
    RegistryParams,
    VersioningParams,
    WatchParams,
)
from data.param_stages import (
    AssessParams,
    EndpointParams,
    GateParams,
    IngestParams,
    QuickParams,
    SynthesizeParams,
    TinyParams,
    TrainParams,
)
from data.param_types import Block, Place
from data.plain_yaml import parse_yaml


class Params(Block):
    """All of ``params.yaml``."""

    base: Place = Field(description="Folder of the base model, or a Hugging Face id.")
    seed: int = Field(ge=0, lt=2**31, description="Seed of everything that draws.")
    ingest: IngestParams = Field(description="How documents are read and checked.")
    synthesize: SynthesizeParams = Field(description="How training rows are written.")
    endpoint: EndpointParams = Field(description="The teacher of the recipes questions and rephrase.")
    train: TrainParams = Field(description="How the adapter is trained.")
    assess: AssessParams = Field(description="What base and candidate are asked.")
    gates: GateParams = Field(description="What a candidate must reach.")
    registry: RegistryParams = Field(description="Where versions and decisions are kept.")
    people: PeopleParams = Field(description="Who may decide what.")
    gc: GcParams = Field(description="What relearn gc keeps.")
    watch: WatchParams = Field(
        description="When cycles begin by themselves (prefect.yaml repeats cron, timezone and name)."
    )
    versioning: VersioningParams = Field(description="What a cycle does with git and the DVC remote.")
    quick: QuickParams = Field(description="What relearn run --quick turns instead.")
    tiny: TinyParams = Field(description="How relearn base build makes the base that is shipped.")
    notify: list[HookParams] = Field(
        default=[],
        description="Whom to tell, and of what; try it with relearn notify test. For example: "
        "[{on: [held, rejected, failed], command: [mail, -s, Relearn, operations@example.com]}, "
        "{on: [quarantined, missed], webhook_variable: RELEARN_WEBHOOK, timeout_seconds: 10}]",
    )

    @model_validator(mode="after")
    def _endpoint_is_named(self) -> Self:
        if self.synthesize.prose_recipes and not self.endpoint.model:
            raise ValueError("endpoint.model is empty; name the model that writes the prose recipes")
        if self.synthesize.prose_recipes and not self.endpoint.url.startswith(("http://", "https://")):
            raise ValueError("endpoint.url has to begin with http:// or https://")
        return self

    @model_validator(mode="after")
    def _short_runs_are_logged(self) -> Self:
        for name, steps in (("quick", self.quick.steps), ("tiny", self.tiny.steps)):
            if steps < self.train.log_every:
                raise ValueError(f"{name}.steps must be at least train.log_every ({self.train.log_every})")
        return self

    @model_validator(mode="after")
    def _git_keeps_no_secret(self) -> Self:
        for name, address in self.addresses().items():
            if self.versioning.commit and without_passwords(address) != address:
                raise ValueError(
                    f"{name} holds a password, and versioning.commit puts this file into git; leave the password to "
                    "the environment (MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, PGPASSFILE, "
                    "endpoint.key_variable)"
                )
        return self

    def addresses(self) -> dict[str, str]:
        """Where servers and databases are, by parameter."""
        return {
            "registry.mlflow_uri": self.registry.mlflow_uri,
            "registry.ledger_uri": self.registry.ledger_uri,
            "endpoint.url": self.endpoint.url,
        }

    def shaping(self, *unrelated: str) -> dict[str, Any]:
        """What a cycle's result follows from, as JSON takes it: without how the line is run.

        Args:
            unrelated: further blocks to leave out.
        """
        return self.model_dump(mode="json", exclude={**OPERATION, **dict.fromkeys(unrelated, True)})


def load_params(path: Path) -> Params:
    """Read and check ``params.yaml``.

    Raises:
        InputError: missing, not YAML, an unknown key (the nearest known one is named), a wrong type.
    """
    try:
        return _checked(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError as error:
        raise InputError(
            f"{path} does not exist. Run the command in a workspace, or name one with --workspace."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}). It has to be a file.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not YAML ({error}). Mend the line it names.") from error


@functools.lru_cache(maxsize=16)
def _checked(text: str, path: Path) -> Params:
    """The parameters that a text holds; a command asks dozens of times, and parsing takes 15 ms."""
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise InputError(f"{path} is not YAML ({error}). Mend the line it names.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no keys. Start from the params.yaml of the project.")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {'; '.join(_explain(entry) for entry in error.errors())}.") from error


def _explain(entry: Any) -> str:
    place = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(entry["loc"][-1]), _known_keys(entry["loc"][:-1]), n=1, cutoff=0.4)
        hint = f", did you mean {near[0]}?" if near else ""
        return f"{place} is not a known key{hint}"
    if entry["type"] == "missing":
        return f"{place} is missing; copy its line from the project's params.yaml"
    if entry["type"] == "value_error":
        return f"{place}: {entry['ctx']['error']}" if place else str(entry["ctx"]["error"])
    return f"{place} is {shortened(repr(entry['input']))}: {entry['msg'][0].lower()}{entry['msg'][1:]}"


def _known_keys(place: tuple[int | str, ...]) -> list[str]:
    block: type[BaseModel] = Params
    for part in place:
        if isinstance(part, int):  # an entry of a list of blocks
            continue
        field = block.model_fields.get(part)
        inner = _block_in(field.annotation) if field else None
        if inner is None:
            return []
        block = inner
    return list(block.model_fields)


def _block_in(annotation: Any) -> type[BaseModel] | None:
    """The block that a field holds, alone or in a list; None for plain values."""
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    return next((kind for kind in kinds if issubclass(kind, BaseModel)), None)


def explain(block: type[BaseModel], place: str = "") -> list[str]:
    """One line per parameter: its place and what it means."""
    lines = []
    for name, field in block.model_fields.items():
        kind = _block_in(field.annotation)
        if kind is None or field.description:
            lines.append(f"{place}{name}: {field.description}")
        if kind is not None:
            lines.extend(explain(kind, f"{place}{name}." if kind is field.annotation else f"{place}{name}[]."))
    return lines
