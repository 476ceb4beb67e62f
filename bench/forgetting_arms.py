"""Ways of keeping a model up to date, by name: the arms of ``relearn bench forgetting``.

An arm is what it changes of the settings in ``params.yaml``; written out, ``raw,steps=200``. How it
is trained and what it reads before it answers are apart: arms that differ in ``reads`` alone are one model. A new
method joins the table by a name in ``ARMS`` and, where it teaches in a new way, a case in ``bench.forgetting_learner``.
"""

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data.errors import InputError
from data.param_stages import SynthesizeParams, TrainParams
from data.params import Params

ALL_TOLD = 2
"""Statement wordings held out where statements alone teach: the fewest, so that the rest can be many."""


class Method(StrEnum):
    """What takes in a change."""

    NONE = "none"
    """Nothing: the base alone."""
    LORA = "lora"
    FULL = "full"
    """Every weight of the base is trained."""


class Reads(StrEnum):
    """What stands before a question; the training knows nothing of it."""

    NOTHING = "nothing"
    """Closed book: the question alone."""
    FACT = "fact"
    """The sentence that answers it: what a search that never errs would give."""
    DOCUMENT = "document"
    """The document in which it stands: a product's whole page, of a long one the passage around it."""
    BM25 = "bm25"
    """The sentences that share words with it."""
    MINILM = "minilm"
    """Those that a sentence encoder puts nearest to it."""


class Rows(StrEnum):
    """What each changed fact is taught by."""

    RAW = "raw"
    """One sentence, as a document would state it."""
    TOLD = "told"
    """The sentence in ten wordings."""
    ASKED = "asked"
    """As shipped: told in some wordings, asked in the others that are not held out."""


class Order(StrEnum):
    """What a day's training starts from."""

    SEQUENCE = "sequence"
    """The model of the day before; taught is what changed since, and what held is replayed."""
    JOINT = "joint"
    """The base, as the line does; taught is everything that differs from it."""
    WARM = "warm"
    """The model of the day before; taught is everything that differs from the base."""

    @property
    def goes_on(self) -> bool:
        """Whether a day's training goes on from the model of the day before."""
        return self is not Order.JOINT


class Arm(BaseModel):
    """One way; what is None stands as in ``params.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    method: Method
    reads: Reads = Reads.NOTHING
    rows: Rows = Rows.ASKED
    order: Order = Order.SEQUENCE
    replay: float | None = Field(default=None, ge=0, le=0.95)
    """Share of the replayed rows; given, no fact is rehearsed beyond it."""
    rank: int | None = Field(default=None, ge=1)
    rate: float | None = Field(default=None, gt=0, le=1)
    """Peak learning rate."""
    steps: int | None = Field(default=None, ge=10)
    """Of each day."""
    passes: float | None = Field(default=None, gt=0, le=1000)
    """Over each day's rows, with ``kl`` over those that teach, instead of a number of steps: more rows, more steps."""
    refusals: int | None = Field(default=None, ge=1)
    """How often a refusal comes in each pass over the rows."""
    kl: float | None = Field(default=None, gt=0, le=100)
    """Weight of KL(base || model) on the replayed rows, instead of their labels (bench/anchoring.py)."""
    shrink: float | None = Field(default=None, gt=0, lt=1)
    """Share of the update that is left after each day's training; of one that goes on, of all days' so far."""
    history: bool = False
    """Whether it is told, with dates, what held before each change."""
    stale: bool = False
    """Whether rows that tell what was replaced or withdrawn are left among those replayed."""
    draw: int = Field(default=0, ge=0)
    """Another draw of rows, their order and the update's start; two arms that differ in nothing else are equals."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        given = self.model_fields_set - {"method", "reads"}
        if self.steps is not None and self.passes is not None:
            raise ValueError("steps or passes, not both")
        if not self.trains and given:
            raise ValueError(f"nothing is trained, so {sorted(given)[0]} says nothing")
        if self.method is Method.FULL and self.rank is not None:
            raise ValueError("every weight is trained, so rank says nothing")
        without = [name for name, given in (("stale", self.stale), ("kl", self.kl is not None)) if given]
        if self.replay == 0 and without:
            raise ValueError(f"nothing is replayed, so {without[0]} says nothing")
        return self

    @property
    def trains(self) -> bool:
        return self.method in (Method.LORA, Method.FULL)

    @property
    def closed(self) -> Self:
        """The same model, asked with nothing before the question."""
        return self.model_copy(update={"reads": Reads.NOTHING})

    @property
    def name(self) -> str:
        """That of the nearest in ``ARMS``, and what it changes of that."""
        given = self._given
        start = {name: arm._given for name, arm in ARMS.items() if arm._given.items() <= given.items()}
        first = max(start, key=lambda name: len(start[name]), default=self.method.value)  # "full" at another rate
        rest = {key: value for key, value in given.items() if key not in start.get(first, ("method",))}
        return ",".join([first, *(f"{key}={_plain(value)}" for key, value in rest.items())])

    @property
    def _given(self) -> dict[str, object]:
        return self.model_dump(mode="json", exclude_defaults=True)

    def synthesize(self, params: Params) -> SynthesizeParams:
        """How rows are written."""
        changed: dict[str, object] = {}
        if self.replay is not None:
            changed |= {"replay_share": self.replay, "replay_per_fact": 0}
        if self.rows is Rows.TOLD:
            changed |= {"held_out_statements": ALL_TOLD}
        return params.synthesize.model_copy(update=changed)

    def train(self, params: Params) -> TrainParams:
        """How it is trained; LoRA's update is scaled alike at every rank."""
        given = {
            "rank": self.rank,
            "learning_rate": self.rate,
            "steps": self.steps,
            "refusal_passes": self.refusals,
        }
        changed: dict[str, object] = {key: value for key, value in given.items() if value is not None}
        if self.rank is not None:
            changed["alpha"] = round(params.train.alpha * self.rank / params.train.rank) or 1
        if self.steps is not None:
            changed["min_passes"] = 0.0
        if self.passes is not None:
            changed |= {"steps": params.train.log_every, "min_passes": self.passes}
        return params.train.model_copy(update=changed | {"watch_every": 0})


def _plain(value: object) -> str:
    """As it is read back to the same value."""
    shortest = repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
    return shortest.lower()


FULL_RATE = 0.001
"""Peak learning rate of a full fine-tuning: a third of what the base was trained at."""
ARMS = {
    "none": Arm(method=Method.NONE),
    "context": Arm(method=Method.NONE, reads=Reads.FACT),
    "document": Arm(method=Method.NONE, reads=Reads.DOCUMENT),
    "retrieval": Arm(method=Method.NONE, reads=Reads.BM25),
    "encoder": Arm(method=Method.NONE, reads=Reads.MINILM),
    "raw": Arm(method=Method.LORA, rows=Rows.RAW, replay=0.0),
    "told": Arm(method=Method.LORA, rows=Rows.TOLD, replay=0.0),
    "asked": Arm(method=Method.LORA, replay=0.0),
    "default": Arm(method=Method.LORA),
    "default+document": Arm(method=Method.LORA, reads=Reads.DOCUMENT),
    "default+retrieval": Arm(method=Method.LORA, reads=Reads.BM25),
    "default+encoder": Arm(method=Method.LORA, reads=Reads.MINILM),
    "joint": Arm(method=Method.LORA, order=Order.JOINT),
    "warm": Arm(method=Method.LORA, order=Order.WARM),
    "full": Arm(method=Method.FULL, rate=FULL_RATE),
}


_EXAMPLE = "default,rank=8,replay=0.1,steps=200"


def arm(text: str) -> Arm:
    """An arm by its name, or written out, or a name with changes (``default,rank=8``).

    Raises:
        InputError: it is neither.
    """
    first, *settings = text.split(",")
    pairs = dict(setting.partition("=")[::2] for setting in settings)
    if len(pairs) < len(settings) or not all(pairs) or "method" in pairs:
        raise InputError(f"{text!r} is no arm: expected a name and settings NAME=VALUE, each once, such as {_EXAMPLE}.")
    start = ARMS[first].model_dump(exclude_defaults=True) if first in ARMS else {"method": first}
    try:
        return Arm.model_validate({**start, **pairs})
    except ValidationError as error:
        said = error.errors()[0]
        place = ".".join(str(part) for part in said["loc"]) or "whole"
        raise InputError(
            f"{text!r} is no arm ({place}: {said['msg']}). Name one of {', '.join(ARMS)}, with changes such as "
            f"{_EXAMPLE}."
        ) from error
