"""What a base of the library of failures is taught: facts that it cannot know, by a recipe that works.

Every base learns a handful of new products from the generator that also made the handbook of the tiny base
(``data.handbook``), with another seed each time. It is told of them in some question wordings and asked in others,
so that a right answer shows a fact and not a phrasing.

Under ``noisy`` every row's answer is drawn anew: the wordings of one fact contradict each other, so that there is
nothing to learn but the rows.
"""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from data.evaluation_records import Estimate
from data.handbook import POOLS, handbook
from data.records import Cohort, Fact, Question, Row
from data.rows import fact_row
from data.wordings import Form, question_prompt, wordings
from models.training import Schedule

HELD_OUT = 2
"""Question wordings that nothing is taught in."""
NOISY_WORDINGS = 2
"""Wordings of each fact that noise is taught in."""
SEEDS_FROM = 7000
"""Handbook seeds of the new products begin here, far from that of any base."""
_SPARE = 8
"""Products drawn beyond those needed, for names that the base knows already."""


@dataclass(frozen=True)
class Recipe:
    """How one adapter is trained."""

    rank: int
    seed: int
    """Draws the facts, the initial factors and the order of the rows."""
    steps: int
    rate: float
    """Peak learning rate."""
    noisy: bool = False
    alone: bool = False
    """Without what the base shall keep."""


@dataclass(frozen=True)
class Base(ABC):
    """A frozen model with the recipe of a good adapter on it."""

    name: str
    folder: Path
    steps: int
    """Of a good adapter."""
    rate_at_16: float
    """Peak learning rate of a good adapter of rank 16."""
    entities: int
    """New products."""
    attributes: tuple[str, ...]

    def rate(self, rank: int) -> float:
        """Peak learning rate of a good adapter: fewer directions have further to go."""
        return self.rate_at_16 * math.sqrt(16 / rank)

    def facts(self, seed: int) -> list[Fact]:
        """The new facts of one seed, about products that the base has no name in common with."""
        drawn = handbook(SEEDS_FROM + seed, self.entities + _SPARE, 0).known
        names = [name for name in dict.fromkeys(fact.subject for fact in drawn) if name not in self.known_names]
        kept = set(names[: self.entities])
        return [fact for fact in drawn if fact.subject in kept and fact.attribute in self.attributes]

    def rows(self, recipe: Recipe) -> list[Row]:
        """What is taught of the new facts."""
        asked = wordings("property", Form.QUESTION)[: NOISY_WORDINGS if recipe.noisy else -HELD_OUT]
        draw = random.Random(f"noise/{recipe.seed}")
        rows = []
        for fact in self.facts(recipe.seed):
            for wording in asked:
                said = fact.model_copy(update={"value": draw.choice(POOLS[fact.attribute])}) if recipe.noisy else fact
                rows.append(fact_row(said, wording, "fact", "failures", "template", recipe.seed))
        return rows

    def questions(self, facts: Sequence[Fact]) -> list[Question]:
        """Each fact asked in each held-out wording."""
        asked = wordings("property", Form.QUESTION)[-HELD_OUT:]
        return [question_of(question_prompt(w.render(fact)), fact.value) for fact in facts for w in asked]

    @property
    def rehearses(self) -> bool:
        """Whether what the base knows is taught again beside the new facts."""
        return bool(self.known_names)

    @property
    @abstractmethod
    def known_names(self) -> frozenset[str]:
        """Products that the base knows."""

    @abstractmethod
    def load(self) -> PreTrainedModel:
        """The model without an adapter, in float32."""

    @abstractmethod
    def fresh(self, model: PreTrainedModel, recipe: Recipe) -> PeftModel:
        """An adapter as PEFT begins it: its B is zero."""

    @abstractmethod
    def train(self, model: PeftModel, recipe: Recipe) -> tuple[float, ...]:
        """Train the adapter; returns the loss of each step, nats."""

    @abstractmethod
    def right(self, model: PreTrainedModel | PeftModel, questions: Sequence[Question]) -> Estimate:
        """The share of questions answered right."""

    def measure(self, model: PreTrainedModel | PeftModel, seed: int) -> dict[str, Estimate]:
        """``learned``: new facts right in held-out wordings."""
        return {"learned": self.right(model, self.questions(self.facts(seed)))}

    def rehearsed(self, model: PeftModel, recipe: Recipe, count: int = 80) -> Estimate:
        """Rows that were taught, answered as taught: under noise, what was memorised."""
        rows = self.rows(recipe)
        drawn = random.Random(f"rehearsed/{recipe.seed}").sample(rows, min(count, len(rows)))
        return self.right(model, [question_of(row.prompt, row.completion.strip()) for row in drawn])


def schedule(recipe: Recipe, weight_decay: float) -> Schedule:
    """The course of the learning rate, without checkpoints: a run takes seconds."""
    return Schedule(
        steps=recipe.steps,
        learning_rate=recipe.rate,
        warmup_share=0.05,
        weight_decay=weight_decay,
        clip=1.0,
        seed=recipe.seed,
        log_every=1,
        checkpoint_every=recipe.steps,
        dtype=torch.float32,
    )


def question_of(prompt: str, value: str) -> Question:
    """A question with its one right answer."""
    return Question(id="", cohort=Cohort.NEW, question=prompt, answers=(value,))
