"""``params.yaml`` as frozen models: one block per stage, unknown keys refused with the nearest known one."""

import difflib
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from data.errors import InputError
from data.plain_yaml import parse_yaml

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(gt=0, lt=2**31)]


def _below(path: str) -> str:
    if ".." in PurePath(path).parts:
        raise ValueError("'..' leads out of the workspace; give a path below it, or an absolute one")
    return path


Place = Annotated[str, AfterValidator(_below)]


class Block(BaseModel):
    """Base of all parameter blocks."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class IngestParams(Block):
    extensions: list[str] = Field(description="File name endings that are read; others are ignored.")
    max_bytes: Count = Field(description="A larger text, in a file of its own or in an office file, is quarantined.")
    max_file_bytes: Count = Field(description="A larger office file or e-mail is quarantined.")
    convert_seconds: Count = Field(description="An office file that takes longer to read is quarantined.")
    convert_megabytes: Count = Field(description="An office file that takes more memory to read is quarantined.")
    language: str = Field(
        pattern="^([a-z]{2}|any)$",
        description="Language of the documents (ISO 639-1); others are reported. any: not looked at.",
    )
    min_characters: Count = Field(description="A document with less text is quarantined as empty.")
    placeholders: list[str] = Field(description="Link texts that a site's build fills in later.")
    allowed_instructions: list[str] = Field(
        description="Phrases that look like instructions to a model and set no document aside."
    )
    similarity: Share = Field(
        description="Share of the shorter text's shingles found in the longer that makes them one."
    )
    max_quarantined_share: Share = Field(description="Quarantined documents above this share stop the run.")
    max_lost_share: Share = Field(description="Lost documents at or above this share wait for a person.")
    max_changed_share: Share = Field(description="Changed documents above this share give a warning.")


class SynthesizeParams(Block):
    teacher: Literal["template"] = Field(description="Who writes the rows.")
    recipe: Literal["facts"] = Field(description="What is written.")
    max_value_words: Count = Field(description="Longer values are not facts.")
    max_subject_words: Count = Field(description="Longer subjects are not facts.")
    held_out_questions: Count = Field(description="Question wordings per kind kept for the evaluation.")
    held_out_statements: Count = Field(description="Statement wordings per kind never trained on.")
    replay_share: Share = Field(description="Share of rows replayed from what the base knows.")
    replay_per_fact: int = Field(ge=0, description="At least this many rows per fact that still holds.")
    replay_handbook_share: Share = Field(description="Of the replayed rows: from the handbook.")
    replay_statement_share: Share = Field(description="Of the replayed rows: told; the others are asked.")


class TrainParams(Block):
    method: Literal["lora"] = Field(description="Which few parameters are trained.")
    rank: Count = Field(description="Rank of the LoRA update.")
    alpha: Count = Field(description="LoRA alpha; the update is scaled by alpha / rank.")
    dropout: Share = Field(description="LoRA dropout.")
    learning_rate: float = Field(gt=0, description="Peak learning rate.")
    warmup_share: Share = Field(description="Share of the steps that warm up.")
    weight_decay: float = Field(ge=0, description="AdamW weight decay.")
    clip: float = Field(gt=0, description="Gradient norm above which gradients are scaled down.")
    steps: Count = Field(description="Optimiser steps.")
    tokens_per_step: Count = Field(description="Tokens per optimiser step.")
    window: Count = Field(description="Tokens per packed sequence.")
    length_discount: Share = Field(
        description="A token in a row of n trained ones weighs n^-this in the loss: 0 counts tokens alike, 1 rows."
    )
    checkpoint_every: Count = Field(description="Steps between checkpoints.")
    log_every: Count = Field(description="Steps per point of the loss curve.")
    threads: Count = Field(description="CPU threads; the same count gives the same bits.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(description="Where to train.")
    dtype: Literal["auto", "bfloat16", "float32"] = Field(description="Type of the matrix products (autocast).")
    gradient_checkpointing: Literal["auto", "always", "never"] = Field(
        description="Recompute activations to save memory; auto: once memory has run out."
    )

    @model_validator(mode="after")
    def _intervals_fit(self) -> Self:
        if self.checkpoint_every % self.log_every:
            raise ValueError(f"checkpoint_every must be a multiple of log_every ({self.log_every})")
        if self.steps < self.log_every:
            raise ValueError(f"steps must be at least log_every ({self.log_every})")
        return self


class AssessParams(Block):
    held_questions: Count = Field(description="Questions on facts that still hold.")
    handbook_questions: Count = Field(description="Questions on the handbook (locality).")
    recall_statements: Count = Field(description="Changed statements to recall.")
    new_tokens: Count = Field(description="Longest answer in tokens.")
    batch: Count = Field(description="Questions answered at once.")


class GateParams(Block):
    min_new_right: Share = Field(description="New facts right on held-out wordings; below it: reject.")
    max_held_drop: Share = Field(description="Loss on facts that still hold, and on restated ones; above it: reject.")
    max_handbook_drop: Share = Field(description="Loss on the handbook; above it: reject.")
    max_stale_share: Share = Field(description="Replaced facts answered the old way; above it: reject.")
    min_withdrawn_refused: Share = Field(description="Withdrawn facts refused; below it: hold.")
    min_coverage: Share = Field(description="Changed statements that gave a fact; below it: hold.")
    min_questions: Count = Field(description="Smaller cohorts cannot decide.")
    min_surviving_share: Share = Field(description="Entries that survive a bf16 merge; below it: fail.")
    warn_surviving_share: Share = Field(description="Below it: warn.")
    max_sigma_ratio: float = Field(gt=0, description="Update's size against the noise edge; above it: fail.")
    warn_sigma_ratio: float = Field(gt=0, description="Above it: warn.")


class RegistryParams(Block):
    mlflow_uri: str = Field(description="MLflow tracking and registry store.")
    ledger_uri: str = Field(description="Database of the ledger (SQLAlchemy URL).")
    experiment: str = Field(description="MLflow experiment.")
    model: str = Field(description="Name of the registered model.")
    promote_first: bool = Field(description="Promote the first candidate that passes by the cycle itself.")
    retries: int = Field(ge=0, description="Tries again when the registry does not answer.")
    retry_seconds: float = Field(ge=0, description="Pause before the first of them; it doubles.")


class QuickParams(Block):
    steps: Count = Field(description="Optimiser steps under --quick.")
    held_questions: Count = Field(description="Questions on facts that still hold under --quick.")
    handbook_questions: Count = Field(description="Handbook questions under --quick.")
    recall_statements: Count = Field(description="Statements to recall under --quick.")


class TinyParams(Block):
    stream: Place = Field(description="Folder of dated snapshots, relative to the workspace or the project.")
    until: str = Field(description="The base knows the newest snapshot of this date or before.")
    layers: Count = Field(description="Transformer blocks.")
    width: Count = Field(description="Hidden size.")
    heads: Count = Field(description="Attention heads.")
    vocabulary: Count = Field(description="Tokens of the BPE tokenizer.")
    handbook_entities: Count = Field(description="Products of population A.")
    handbook_withdrawn: int = Field(ge=0, description="Products that teach the refusal.")
    steps: Count = Field(description="Optimiser steps.")
    tokens_per_step: Count = Field(description="Tokens per optimiser step.")
    learning_rate: float = Field(gt=0, description="Peak learning rate.")
    weight_decay: float = Field(ge=0, description="AdamW weight decay.")


class Params(Block):
    """All of ``params.yaml``."""

    base: Place = Field(description="Folder of the base model, or a Hugging Face id.")
    seed: int = Field(ge=0, lt=2**31, description="Seed of everything that draws.")
    ingest: IngestParams
    synthesize: SynthesizeParams
    train: TrainParams
    assess: AssessParams
    gates: GateParams
    registry: RegistryParams
    quick: QuickParams
    tiny: TinyParams

    @model_validator(mode="after")
    def _short_runs_are_logged(self) -> Self:
        for name, steps in (("quick", self.quick.steps), ("tiny", self.tiny.steps)):
            if steps < self.train.log_every:
                raise ValueError(f"{name}.steps must be at least train.log_every ({self.train.log_every})")
        return self


def load_params(path: Path) -> Params:
    """Read and check ``params.yaml``.

    Raises:
        InputError: missing, not YAML, an unknown key (the nearest known one is named), a wrong type.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path} does not exist. Run the command in a workspace, or name one with --workspace."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}). It has to be a file.") from error
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
        return f"{place} is missing"
    if entry["type"] == "value_error":
        return f"{place}: {entry['ctx']['error']}" if place else str(entry["ctx"]["error"])
    return f"{place} is {entry['input']!r}: {entry['msg'][0].lower()}{entry['msg'][1:]}"


def _known_keys(place: tuple[int | str, ...]) -> list[str]:
    block: type[BaseModel] = Params
    for part in place:
        field = block.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return []
        block = field.annotation
    return list(block.model_fields)


def explain(block: type[BaseModel], place: str = "") -> list[str]:
    """One line per parameter: its place and what it means."""
    lines = []
    for name, field in block.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            lines.extend(explain(kind, f"{place}{name}."))
        else:
            lines.append(f"{place}{name}: {field.description}")
    return lines
