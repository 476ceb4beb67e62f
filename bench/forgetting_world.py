"""What an experiment starts from, and what it consists of: a base whose knowledge is known, and its units."""

from dataclasses import dataclass, replace
from pathlib import Path

from bench.forgetting_arms import Arm, Method
from bench.forgetting_plans import Plan, Size
from data.changes import compare_facts
from data.collection import as_collection, read_lineage
from data.errors import InputError
from data.extraction import extract_facts, extract_statements
from data.handbook import Handbook, handbook
from data.params import Params
from data.probes import read_probes
from data.records import FactChange, Standing
from data.rows import statement_text
from data.workspace import PROJECT_ROOT

PROBES = PROJECT_ROOT / "data" / "probes"


@dataclass(frozen=True)
class World:
    """What the base knows, and the settings of the line."""

    base: str
    params: Params
    book: Handbook
    held: tuple[FactChange, ...]
    """Facts of the documents that the base knows, which hold throughout."""
    texts: tuple[str, ...]
    """Sentences of those documents."""
    unseen: tuple[str, ...]
    """Text that no base was trained on: the questions of the shipped probes, as people put them."""


@dataclass(frozen=True)
class Unit:
    """One arm in one experiment with one seed, which draws the stream and, with the arm's own draw, its training."""

    plan: Plan
    size: Size
    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        return f"{self.plan.name}/{self.arm.name}/seed {self.seed}"

    @property
    def training_seed(self) -> int:
        return self.seed + 1_000 * self.arm.draw

    @property
    def closed(self) -> "Unit":
        """The same model, asked with nothing before the questions."""
        return replace(self, arm=self.arm.closed)

    @property
    def untaught(self) -> "Unit":
        """The base, asked as this unit's model is."""
        return replace(self, arm=Arm(method=Method.NONE, reads=self.arm.reads))

    def key(self, day: int) -> dict[str, str | int]:
        """What every record of a day begins with."""
        return {"plan": self.plan.name, "arm": self.arm.name, "seed": self.seed, "day": day}


def world(base: str, params: Params) -> World:
    """What the lineage of a base says that it knows.

    Raises:
        InputError: there is no such base, or it learned no handbook, so that nothing about it is known.
    """
    if not Path(base).is_dir():
        raise InputError(
            f"The base {base} is not on this machine. The first cycle fetches one from the Hugging Face hub (relearn "
            "run); or set base in params.yaml to data/bases/tiny."
        )
    lineage = read_lineage(base)
    if lineage.handbook_seed is None:
        raise InputError(
            f"The base {base} learned no handbook, so what it knows cannot be measured by one. Set base in "
            "params.yaml to data/bases/tiny, or build one: relearn base build."
        )
    book = handbook(lineage.handbook_seed, lineage.handbook_entities, lineage.handbook_withdrawn)
    if lineage.documents is None:
        return World(base, params, book, (), (), _unseen())
    _, sources = as_collection((Path(base) / lineage.documents).resolve(), params.ingest)
    facts = [fact for source in sources for fact in extract_facts(source, params.synthesize)]
    held = tuple(change for change in compare_facts(facts, facts) if change.standing is Standing.HELD)
    texts = tuple(statement_text(one) for source in sources for one in extract_statements(source))
    return World(base, params, book, held, texts, _unseen())


def _unseen() -> tuple[str, ...]:
    return tuple(text for probe in read_probes(PROBES) for text in (probe.question, *probe.paraphrases))
