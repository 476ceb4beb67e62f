"""``params.yaml`` as frozen models: one block per stage, unknown keys refused with the nearest known one."""

import difflib
import re
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from data.cron import check_cron
from data.errors import InputError
from data.events import EventName
from data.files import shortened
from data.plain_yaml import parse_yaml

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


Place = Annotated[str, AfterValidator(_below)]


class Block(BaseModel):
    """Base of all parameter blocks."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class IngestParams(Block):
    extensions: list[str] = Field(description="File name endings that are read; others are ignored.")
    max_bytes: Count = Field(description="A larger text, in a file of its own or in an office file, is quarantined.")
    max_file_bytes: Count = Field(description="A larger office file or e-mail is quarantined.")
    convert_seconds: Count = Field(le=DAY, description="An office file that takes longer to read is quarantined.")
    convert_megabytes: Count = Field(
        le=2**20, description="An office file that takes more memory to read is quarantined."
    )
    language: str = Field(
        pattern="^([a-z]{2}|any)$",
        description="Language of the documents (ISO 639-1); others are reported. any: not looked at.",
    )
    min_characters: Many = Field(description="A document with less text is quarantined as empty.")
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
    max_value_words: Few = Field(description="Longer values are not facts; their sentences are still statements.")
    max_subject_words: Few = Field(description="Longer subjects are not facts.")
    held_out_questions: Few = Field(
        description="Question wordings per kind that new facts are never trained on; the evaluation asks in them."
    )
    held_out_statements: Few = Field(
        description="Statement wordings per kind never trained on; a new fact is told in the others."
    )
    replay_share: Share = Field(
        description="Of all rows: replayed from what the base knows and still holds, policies and handbook."
    )
    replay_per_fact: int = Field(
        ge=0,
        le=1000,
        description="Replayed rows per fact that still holds, at least: a small change must not forget the rest.",
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


class EndpointParams(Block):
    url: str = Field(description="Address of an OpenAI-compatible server, up to and with /v1.")
    model: str = Field(description="Name of the model there.")
    key_variable: str = Field(description="Environment variable that holds the key; empty: no key is sent.")
    concurrency: Count = Field(le=1024, description="Calls under way at once.")
    retries: int = Field(
        ge=0, le=100, description="Tries again after 408, 409, 429, 5xx, a timeout or a cut connection."
    )
    timeout_seconds: float = Field(gt=0, le=DAY, description="Longest wait for one answer.")
    temperature: float = Field(ge=0, le=10, description="Sampling temperature.")
    max_tokens: Many = Field(description="Longest answer; a longer one is cut and counts as none.")
    passage_characters: Many = Field(description="Changed sentences sent in one call, in characters.")
    questions: Count = Field(le=100, description="Questions asked for per changed sentence, at most.")
    wordings: int = Field(ge=2, le=20, description="Wordings per question; the last is kept for the evaluation.")
    rephrasings: Count = Field(le=100, description="Other ways asked for to tell a changed sentence.")
    price_in: float = Field(ge=0, le=1e6, description="Price of a million tokens sent.")
    price_out: float = Field(ge=0, le=1e6, description="Price of a million tokens received.")
    budget: float = Field(ge=0, le=1e9, description="Most money one run may cost, in the prices' currency.")
    budget_tokens: Count = Field(description="Most tokens one run may use, both ways; what is met first stops it.")
    tokens_per_second: float = Field(
        gt=0, le=1e9, description="Received by all calls together; the dry run assumes it."
    )


class TrainParams(Block):
    method: Literal["lora"] = Field(description="Which few parameters are trained.")
    rank: Count = Field(le=8192, description="Rank of the LoRA update.")
    alpha: Count = Field(le=65_536, description="LoRA alpha; the update is scaled by alpha / rank.")
    dropout: Share = Field(lt=1.0, description="LoRA dropout.")
    learning_rate: float = Field(gt=0, le=1.0, description="Peak learning rate.")
    warmup_share: Share = Field(description="Share of the steps that warm up.")
    weight_decay: float = Field(ge=0, le=10, description="AdamW weight decay.")
    clip: float = Field(gt=0, le=1e6, description="Gradient norm above which gradients are scaled down.")
    steps: Steps = Field(description="Optimiser steps.")
    tokens_per_step: Count = Field(le=2**27, description="Tokens per optimiser step.")
    window: Count = Field(le=2**20, description="Tokens per packed sequence.")
    length_discount: Share = Field(
        description="A token in a row of n trained ones weighs n^-this in the loss: 0 counts tokens alike, 1 rows."
    )
    checkpoint_every: Steps = Field(description="Steps between checkpoints.")
    log_every: Steps = Field(description="Steps per point of the loss curve.")
    threads: Count = Field(le=1024, description="CPU threads; the same count gives the same bits.")
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
    held_questions: Many = Field(description="Questions on facts that still hold.")
    handbook_questions: Many = Field(description="Questions on the handbook (locality).")
    recall_statements: Many = Field(description="Changed statements to recall.")
    prose_questions: Many = Field(description="Questions that a teacher wrote about changed prose.")
    new_tokens: Count = Field(le=65_536, description="Longest answer in tokens.")
    batch: Count = Field(le=4096, description="Questions answered at once.")


class GateParams(Block):
    min_new_right: Share = Field(description="New facts right on held-out wordings; below it: reject.")
    max_held_drop: Share = Field(description="Loss on facts that still hold, and on restated ones; above it: reject.")
    max_handbook_drop: Share = Field(description="Loss on the handbook; above it: reject.")
    max_stale_share: Share = Field(description="Replaced facts answered the old way; above it: reject.")
    min_withdrawn_refused: Share = Field(description="Withdrawn facts refused; below it: hold.")
    min_coverage: Share = Field(description="Changed statements that gave a fact; below it: hold.")
    min_questions: Many = Field(description="Smaller cohorts cannot decide.")
    min_surviving_share: Share = Field(description="Entries that survive a bf16 merge; below it: fail.")
    warn_surviving_share: Share = Field(description="Below it: warn.")
    max_sigma_ratio: float = Field(gt=0, le=1e9, description="Update's size against the noise edge; above it: fail.")
    warn_sigma_ratio: float = Field(gt=0, le=1e9, description="Above it: warn.")


_SERVER = re.compile(r"https?://[^\s/:@]\S*")
_DATABASE = re.compile(r"sqlite:///\S.*|(?:postgresql|mysql|mssql)(?:\+\w+)?://\S+")
"""The databases that MLflow takes."""


class RegistryParams(Block):
    mlflow_uri: str = Field(description="MLflow tracking and registry store.")
    ledger_uri: str = Field(description="Database of the ledger (SQLAlchemy URL).")
    experiment: str = Field(min_length=1, description="MLflow experiment.")
    model: str = Field(pattern=r"^[^\s/:][^/:]*$", max_length=200, description="Name of the registered model.")
    promote_first: bool = Field(description="Promote the first candidate that passes by the cycle itself.")
    retries: int = Field(ge=0, le=20, description="Tries again when the registry does not answer.")
    retry_seconds: float = Field(ge=0, le=DAY, description="Pause before the first of them; it doubles.")

    @field_validator("mlflow_uri", "ledger_uri")
    @classmethod
    def _is_an_address(cls, uri: str, field: ValidationInfo) -> str:
        is_server = field.field_name == "mlflow_uri" and _SERVER.fullmatch(uri) is not None
        if not (is_server or _DATABASE.fullmatch(uri)):
            scheme = uri.partition(":")[0][:20]  # never more of it: an address may hold a password
            kinds = "a database (sqlite:///FILE, postgresql+psycopg://HOST/NAME)"
            kinds += " or a server (https://HOST)" if field.field_name == "mlflow_uri" else ""
            raise ValueError(f"an address that begins with {scheme!r} is not understood; give that of {kinds}")
        return uri

    @model_validator(mode="after")
    def _pauses_end(self) -> Self:
        longest = self.retry_seconds * 2 ** max(0, self.retries - 1)
        if longest > DAY:
            raise ValueError(
                f"the last pause would be {longest:,.0f} seconds, more than {DAY:,}; lower retries or retry_seconds"
            )
        return self


class GcParams(Block):
    keep_versions: Many = Field(
        description="Newest promoted or promotable versions kept whole by gc, beside champion and challenger."
    )
    keep_checks: Many = Field(description="Results of checks kept per suite by gc.")


class WatchParams(Block):
    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", description="Name of this line on a Prefect server.")
    cron: str = Field(description="When a cycle is due, changes or not, as five cron fields.")
    timezone: str = Field(description="Time zone of cron, as in the IANA database (Europe/Paris).")
    poll_seconds: float = Field(ge=0.1, le=DAY, description="Pause between two looks at the documents folder.")
    settle_seconds: float = Field(ge=0, le=DAY, description="A change counts once the folder has lain still this long.")
    restless_seconds: float = Field(
        gt=0, le=30 * DAY, description="A folder that never lies still is taken as it is after this."
    )
    retry_seconds: float = Field(
        gt=0, le=30 * DAY, description="Pause after an outside failure before the next try; it doubles."
    )
    max_retry_seconds: float = Field(gt=0, le=30 * DAY, description="The longest such pause.")

    @field_validator("cron")
    @classmethod
    def _fires(cls, cron: str) -> str:
        check_cron(cron)
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
    steps: Steps = Field(description="Optimiser steps under --quick.")
    held_questions: Many = Field(description="Questions on facts that still hold under --quick.")
    handbook_questions: Many = Field(description="Handbook questions under --quick.")
    recall_statements: Many = Field(description="Statements to recall under --quick.")


class TinyParams(Block):
    stream: Place = Field(description="Folder of dated snapshots, relative to the workspace or the project.")
    until: str = Field(description="The base knows the newest snapshot of this date or before.")
    layers: Count = Field(le=256, description="Transformer blocks.")
    width: Count = Field(le=65_536, description="Hidden size.")
    heads: Count = Field(le=1024, description="Attention heads.")
    vocabulary: Many = Field(description="Tokens of the BPE tokenizer.")
    handbook_entities: Many = Field(description="Products of population A.")
    handbook_withdrawn: int = Field(ge=0, le=1_000_000, description="Products that teach the refusal.")
    steps: Steps = Field(description="Optimiser steps.")
    tokens_per_step: Count = Field(le=2**27, description="Tokens per optimiser step.")
    learning_rate: float = Field(gt=0, le=1.0, description="Peak learning rate.")
    weight_decay: float = Field(ge=0, le=10, description="AdamW weight decay.")


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


OPERATION = frozenset({"gc", "watch", "versioning", "notify"})
"""Blocks that say how the line is run; no cycle's result follows from them."""


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
