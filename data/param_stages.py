"""The blocks of ``params.yaml`` that candidates follow from: what each stage reads, and what the gates ask for."""

from typing import Any, Literal, Self, cast, get_args

from pydantic import Field, field_validator, model_validator

from data.param_types import DAY, Block, Count, Few, Many, Place, Share, Steps, VariableName


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
    max_copies: Few = Field(
        description="Documents that may teach one claim; of one that more of them make, the first alone teaches it."
    )
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
        description="Replayed rows per fact that still holds, at least (handbook: 1): a small change must keep it.",
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


TRANSPORT = {
    *("url", "key_variable", "concurrency", "retries", "timeout_seconds", "tokens_per_second"),
    *Allowance.model_fields,
}
"""Of block ``endpoint``: how the teacher is reached and paid. No row follows from it, so dvc.yaml names the others."""


class EndpointParams(Block):
    url: str = Field(description="Address of an OpenAI-compatible server, up to and with /v1.")
    model: str = Field(description="Name of the model there.")
    key_variable: VariableName = Field(description="Environment variable that holds the key; empty: no key is sent.")
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

    @property
    def allowance(self) -> Allowance:
        return Allowance(**{name: getattr(self, name) for name in Allowance.model_fields})


class TrainParams(Block):
    method: Literal["lora"] = Field(description="Which few parameters are trained.")
    rank: Count = Field(le=8192, description="Rank of the LoRA update.")
    alpha: Count = Field(le=65_536, description="LoRA alpha; the update is scaled by alpha / rank.")
    dropout: Share = Field(lt=1.0, description="LoRA dropout.")
    learning_rate: float = Field(gt=0, le=1.0, description="Peak learning rate.")
    warmup_share: Share = Field(description="Share of the steps that warm up.")
    weight_decay: float = Field(ge=0, le=10, description="AdamW weight decay.")
    clip: float = Field(gt=0, le=1e6, description="Gradient norm above which gradients are scaled down.")
    steps: Steps = Field(description="Optimiser steps, at least.")
    min_passes: float = Field(
        ge=0, le=1000, description="Passes over the rows, at least: for many rows, more than steps are made."
    )
    tokens_per_step: Count = Field(le=2**27, description="Tokens per optimiser step.")
    window: Count = Field(le=2**20, description="Tokens per packed sequence.")
    length_discount: Share = Field(
        description="A token in a row of n trained ones weighs n^-this in the loss: 0 counts tokens alike, 1 rows."
    )
    refusal_passes: Few = Field(
        description="How often a row that refuses a withdrawn fact comes in each pass over the rows."
    )
    checkpoint_every: Steps = Field(description="Steps between checkpoints.")
    log_every: Steps = Field(description="Steps per point of the loss curve.")
    watch_every: int = Field(
        ge=0, le=10_000_000, description="Steps between looks at the update's spectra; 0: there are none."
    )
    stop_sigma_ratio: float = Field(
        ge=0, le=1e9, description="A look that finds a larger update, in noise edges, ends the run; 0: none."
    )
    layer_rates: Literal["uniform", "alpha"] = Field(
        description="Learning rates of layers: uniform; alpha: 0.5 to 1.5 times that, by the base's exponents.",
    )
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
        for name in ("checkpoint_every", "watch_every"):
            if getattr(self, name) % self.log_every:
                raise ValueError(f"{name} must be a multiple of log_every ({self.log_every})")
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


CheckName = Literal[
    "integrity",
    "not_learned",
    "exploded",
    "unstructured",
    "intruders",
    "alpha",
    "traps",
    "determinant",
    "distance",
    "adapter_active",
    "learned",
    "stale",
    "restated",
    "forgotten",
    "locality",
    "retention",
    "champion",
    "withdrawn",
    "coverage",
    "leaks",
]
"""Every check that a judgement can hold, in its order (docs/gates.md)."""
CheckMode = Literal["enforce", "shadow", "off"]
NO_THRESHOLD: tuple[CheckName, ...] = ("traps", "determinant", "distance")
"""Checks that can only be shown."""


class GateParams(Block):
    min_new_right: Share = Field(
        description="New facts right on held-out wordings: the interval's lower end, at least."
    )
    max_held_drop: Share = Field(
        description="Loss on facts that still hold, and on restated ones: its upper end, at most."
    )
    max_handbook_drop: Share = Field(description="Loss on the handbook: its upper end, at most.")
    max_champion_drop: Share = Field(
        description="Loss against the version that serves, in any cohort that decides: its upper end, at most."
    )
    max_stale_share: Share = Field(description="Replaced facts answered the old way: the upper end, at most.")
    min_withdrawn_refused: Share = Field(
        description="Withdrawn facts refused: the lower end, at least; otherwise: hold."
    )
    min_coverage: Share = Field(description="Changed statements that gave a fact; below it: hold.")
    min_surviving_share: Share = Field(description="Entries that survive a bf16 merge; below it: fail.")
    warn_surviving_share: Share = Field(description="Below it: warn.")
    max_sigma_ratio: float = Field(gt=0, le=1e9, description="Update's size against the noise edge; above it: fail.")
    warn_sigma_ratio: float = Field(gt=0, le=1e9, description="Above it: warn.")
    max_robust_z: float = Field(
        gt=0, le=1e9, description="Once calibrated: robust standard deviations from the accepted adapters; above: fail."
    )
    warn_robust_z: float = Field(gt=0, le=1e9, description="Above it: warn.")
    modes: dict[CheckName, CheckMode] = Field(
        description="What each check may do; enforce: it decides, shadow: it is computed and shown, off: neither."
    )

    @field_validator("modes", mode="before")
    @classmethod
    def _off_is_a_word(cls, content: Any) -> Any:
        """YAML 1.1 reads a bare ``off`` as false."""
        if not isinstance(content, dict):
            return content
        return {check: "off" if mode is False else mode for check, mode in content.items()}

    @model_validator(mode="after")
    def _every_check_has_a_mode(self) -> Self:
        missing = [name for name in get_args(CheckName) if name not in self.modes]
        if missing:
            raise ValueError(f"modes does not name {', '.join(missing)}; give each enforce, shadow or off")
        if "enforce" not in self.modes.values():
            raise ValueError("modes lets no check decide; enforce at least one")
        useless = [name for name in NO_THRESHOLD if self.modes[name] == "enforce"]
        if useless:
            raise ValueError(f"modes enforces {', '.join(useless)}, which has no threshold; take shadow or off")
        return self

    def enforces(self, check: str) -> bool:
        """Whether a check has a say in the verdict."""
        return self.modes[cast("CheckName", check)] == "enforce"

    def computes(self, check: str) -> bool:
        """Whether a check is looked at at all."""
        return self.modes[cast("CheckName", check)] != "off"


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
