"""``params.yaml`` as frozen models: one block per stage, unknown keys refused with the nearest known one."""

import difflib
import re
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from data.errors import InputError
from data.events import EventName
from data.plain_yaml import parse_yaml

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(gt=0, lt=2**31)]
MOST_CHECKS = 50
"""Results of checks that a suite ever has, so that the index of a workspace that runs every day stays quick."""


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
    placeholders: list[str] = Field(
        description="Link texts that a site's build fills in; sentences with one give no rows."
    )
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
    teacher: Literal["template", "endpoint"] = Field(
        description="Who writes what no rule can: nobody (template), or the model behind block endpoint."
    )
    recipes: list[Literal["facts", "questions", "rephrase"]] = Field(
        description="What is written: facts by rule; questions and rephrasings of changed prose by the endpoint."
    )
    max_value_words: Count = Field(description="Longer values are not facts; their sentences are still statements.")
    max_subject_words: Count = Field(description="Longer subjects are not facts.")
    held_out_questions: Count = Field(
        description="Question wordings per kind that new facts are never trained on; the evaluation asks in them."
    )
    held_out_statements: Count = Field(
        description="Statement wordings per kind never trained on; a new fact is told in the others."
    )
    replay_share: Share = Field(
        description="Of all rows: replayed from what the base knows and still holds, policies and handbook."
    )
    replay_per_fact: int = Field(
        ge=0, description="Replayed rows per fact that still holds, at least: a small change must not forget the rest."
    )
    replay_handbook_share: Share = Field(description="Of the replayed rows: from the handbook.")
    replay_statement_share: Share = Field(description="Of the replayed rows: told; the others are asked.")

    @model_validator(mode="after")
    def _recipes_have_a_teacher(self) -> Self:
        if "facts" not in self.recipes or len(set(self.recipes)) < len(self.recipes):
            raise ValueError("recipes must name facts, which the gates judge, and each recipe once")
        prose = [recipe for recipe in self.recipes if recipe != "facts"]
        if prose and self.teacher != "endpoint":
            raise ValueError(f"recipe {prose[0]} needs teacher: endpoint; rules write only facts")
        return self

    @property
    def prose_recipes(self) -> tuple[str, ...]:
        """The recipes that the endpoint writes, in order."""
        return tuple(recipe for recipe in self.recipes if recipe != "facts")


class Allowance(Block):
    """What one run may spend on the teacher, at which prices."""

    budget: float
    budget_tokens: int
    price_in: float
    price_out: float

    def exceeds(self, other: "Allowance") -> bool:
        """Whether a call may fit here that did not fit there."""
        raised = self.budget > other.budget or self.budget_tokens > other.budget_tokens
        return raised or self.price_in < other.price_in or self.price_out < other.price_out


class EndpointParams(Block):
    url: str = Field(description="Address of an OpenAI-compatible server, up to and with /v1.")
    model: str = Field(description="Name of the model there.")
    key_variable: str = Field(description="Environment variable that holds the key; empty: no key is sent.")
    concurrency: Count = Field(description="Calls under way at once.")
    retries: int = Field(ge=0, description="Tries again after 408, 409, 429, 5xx, a timeout or a cut connection.")
    timeout_seconds: float = Field(gt=0, description="Longest wait for one answer.")
    temperature: float = Field(ge=0, description="Sampling temperature.")
    max_tokens: Count = Field(description="Longest answer; a longer one is cut and counts as none.")
    passage_characters: Count = Field(description="Changed sentences sent in one call, in characters.")
    questions: Count = Field(description="Questions asked for per changed sentence, at most.")
    wordings: int = Field(ge=2, le=20, description="Wordings per question; the last is kept for the evaluation.")
    rephrasings: Count = Field(description="Other ways asked for to tell a changed sentence.")
    price_in: float = Field(ge=0, description="Price of a million tokens sent.")
    price_out: float = Field(ge=0, description="Price of a million tokens received.")
    budget: float = Field(ge=0, description="Most money one run may cost, in the prices' currency.")
    budget_tokens: Count = Field(description="Most tokens one run may use, both ways; what is met first stops it.")
    tokens_per_second: float = Field(gt=0, description="Received by all calls together; the dry run assumes it.")

    @property
    def allowance(self) -> Allowance:
        return Allowance(**{name: getattr(self, name) for name in Allowance.model_fields})


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
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        description="Of the matrix products: bfloat16, float32, or auto: bfloat16 unless it slows this CPU down."
    )
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
    prose_questions: Count = Field(description="Questions that a teacher wrote about changed prose.")
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


class GcParams(Block):
    keep_versions: Count = Field(
        description="Newest promoted or promotable versions kept whole by gc, beside champion and challenger."
    )
    keep_checks: Count = Field(le=MOST_CHECKS, description="Results of checks kept per suite by gc.")


_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CRON: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
"""Name, least, greatest and words of each field."""


def _is_cron(part: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    """Whether a part of a cron field is ``*``, a value or a range, each with a step or without."""
    span, _, step = part.partition("/")
    ends = [f"{low}", f"{high}"] if span == "*" else span.split("-")
    numbers = [str(words.index(end.lower()) + low) if end.lower() in words else end for end in ends]
    if len(numbers) > 2 or not all(number.isascii() and number.isdigit() for number in numbers):
        return False
    inside = all(low <= int(number) <= high for number in numbers)
    stepped = not step or (step.isascii() and step.isdigit() and int(step) > 0)
    return inside and stepped and not ("/" in part and not step) and int(numbers[0]) <= int(numbers[-1])


class WatchParams(Block):
    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", description="Name of this line on a Prefect server.")
    cron: str = Field(description="When a cycle is due, changes or not, as five cron fields.")
    timezone: str = Field(description="Time zone of cron, as in the IANA database (Europe/Paris).")
    poll_seconds: float = Field(gt=0, description="Pause between two looks at the documents folder.")
    settle_seconds: float = Field(ge=0, description="A change counts once the folder has lain still this long.")
    restless_seconds: float = Field(gt=0, description="A folder that never lies still is taken as it is after this.")
    retry_seconds: float = Field(gt=0, description="Pause after an outside failure before the next try; it doubles.")
    max_retry_seconds: float = Field(gt=0, description="The longest such pause.")

    @field_validator("cron")
    @classmethod
    def _has_five_fields(cls, cron: str) -> str:
        fields = cron.split()
        if len(fields) != len(_CRON):
            raise ValueError(f"{cron!r} has {len(fields)} fields; cron takes five, such as '0 2 * * *'")
        for said, (name, low, high, words) in zip(fields, _CRON, strict=True):
            if not all(_is_cron(part, low, high, words) for part in said.split(",")):
                raise ValueError(f"{said!r} is no {name} of cron; it takes {low} to {high}, *, lists, ranges and steps")
        return cron

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, timezone: str) -> str:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{timezone!r} is no time zone; take a name such as UTC or Europe/Paris") from error
        return timezone


class VersioningParams(Block):
    commit: bool = Field(description="Commit dvc.lock and the parameters to git after each cycle.")
    push: bool = Field(description="Push to the DVC remote after each cycle, where one is set.")


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


class HookParams(Block):
    """Exactly one of ``command``, ``webhook_variable`` and ``prefect_block``."""

    on: list[EventName] = Field(min_length=1, description="Events that call it.")
    command: list[str] = Field(default=[], description="Program and arguments; the event comes as JSON on its input.")
    webhook_variable: str = Field(default="", description="Name of the environment variable with the address.")
    prefect_block: str = Field(default="", description="Prefect notification block, as type/name.")
    timeout_seconds: float = Field(default=10.0, gt=0, le=600, description="A hook that takes longer is left.")

    @model_validator(mode="before")
    @classmethod
    def _on_is_a_word(cls, content: Any) -> Any:
        """YAML 1.1 reads a bare ``on`` as true."""
        return (
            {"on" if key is True else key: value for key, value in content.items()}
            if isinstance(content, dict)
            else content
        )

    @model_validator(mode="after")
    def _is_one_hook(self) -> Self:
        if sum(map(bool, (self.command, self.webhook_variable, self.prefect_block))) != 1:
            raise ValueError("a hook has exactly one of command, webhook_variable and prefect_block")
        if self.command and not self.command[0].strip():
            raise ValueError("command begins with the name of a program")
        if self.webhook_variable and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.webhook_variable):
            raise ValueError("webhook_variable is the name of an environment variable, never the address itself")
        if self.prefect_block and not re.fullmatch(r"[^/\s]+/[^/\s]+", self.prefect_block):
            raise ValueError("prefect_block is written type/name")
        return self


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

    def shaping(self, *unrelated: str) -> dict[str, Any]:
        """What a cycle's result follows from, as JSON takes it: without how the line is run.

        Args:
            unrelated: further blocks to leave out.
        """
        return self.model_dump(mode="json", exclude={**OPERATION, **dict.fromkeys(unrelated, True)})


TRANSPORT = {
    *("url", "key_variable", "concurrency", "retries", "timeout_seconds", "tokens_per_second"),
    *Allowance.model_fields,
}
"""Of block ``endpoint``: how the teacher is reached and paid. No row follows from it, so dvc.yaml names the others."""
OPERATION: dict[str, bool | set[str]] = {
    "gc": True,
    "watch": True,
    "versioning": True,
    "notify": True,
    "endpoint": TRANSPORT,
}
"""Blocks, or keys of a block, that say how the line is run; no cycle's result follows from them."""


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
