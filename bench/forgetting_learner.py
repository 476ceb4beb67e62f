"""A model that takes in one day after another in the way of its arm, and answers in between.

Rows are written and models trained by the product's own code; an arm only chooses among them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from bench.anchoring import anchored, anchored_loss
from bench.forgetting_arms import Arm, Method, Rows
from data.errors import InputError
from data.files import building
from data.params import Params
from data.records import Fact, FactChange, Row, Standing
from data.teaching import teaching_rows
from data.wordings import Form
from flows.train import batches_of, schedule
from models.adapters import new_lora, trained_parameters
from models.base import load_base
from models.device import choose_device
from models.loss import labelled_loss
from models.training import Loss, Progress, fit

_STATE = "state.safetensors"
_FIRST_WORDING = "/0"


@dataclass(frozen=True)
class Cost:
    """What one day's training took."""

    rows: int
    replayed: int
    """Of them."""
    steps: int
    tokens: int
    parameters: int
    """Trained ones; 0: nothing is trained."""
    loss: float
    """Last logged, nats per trained token."""


def rows_of(arm: Arm, changes: Sequence[FactChange], known: Sequence[Fact], params: Params, seed: int) -> list[Row]:
    """What an arm trains on where facts changed so: rows that teach, then those replayed.

    ``known`` are the handbook's facts that the model knows and no change speaks of; replayed are they and those held.
    """
    settings = arm.synthesize(params)
    changed = [change for change in changes if change.standing is not Standing.HELD]
    held = [change for change in changes if change.standing is Standing.HELD]
    taught = [row for row in teaching_rows(changed, (), (), settings, seed) if _teaches(arm.rows, row)]
    return [*taught, *teaching_rows(held, (), known, settings, seed, others=len(taught))]


def _teaches(rows: Rows, row: Row) -> bool:
    if rows is Rows.ASKED:
        return True
    told = f"/{Form.STATEMENT}/" in row.wording
    return told and (rows is Rows.TOLD or row.wording.endswith(_FIRST_WORDING))


@dataclass
class Learner:
    """The model of one arm, from the base on."""

    base: str
    arm: Arm
    params: Params
    seed: int
    model: torch.nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.device = choose_device(self.params.train.device)
        self._start()

    def _start(self) -> None:
        model, self.tokenizer = load_base(self.base, self.device)
        settings = self.arm.train(self.params)
        adapts = self.arm.method is Method.LORA
        self.model = new_lora(model, settings.rank, settings.alpha, settings.dropout, self.seed) if adapts else model

    def learn(
        self,
        day: int,
        rows: Sequence[Row],
        checkpoints: Path,
        report: Callable[[Progress], None] = lambda progress: None,
    ) -> Cost:
        """Train on one day's rows; a killed run goes on from its last checkpoint.

        Raises:
            InputError: the arm is held to the base on rows that are replayed, and none is.
        """
        if not self.arm.order.goes_on:
            self._start()
        replayed = [row for row in rows if row.replayed]
        taught = rows if self.arm.kl is None else [row for row in rows if not row.replayed]
        settings = self.arm.train(self.params)
        plan = schedule(settings, self.seed * 1000 + day, self.device)
        plan, stream = batches_of(taught, self.model, self.tokenizer, settings, plan)
        loss: Loss = labelled_loss
        if self.arm.kl is not None:
            if not replayed:
                raise InputError(f"{self.arm.name}: no row is replayed that could hold it to the base; raise replay.")
            _, kept = batches_of(replayed, self.model, self.tokenizer, settings, plan)
            stream = anchored(stream, kept)
            loss = anchored_loss(self.arm.kl, self.untaught())
        trained = fit(self.model, stream, plan, checkpoints, report, loss=loss)
        self._shrink()
        size = trained_parameters(self.model)
        return Cost(len(rows), len(replayed), trained.steps, trained.tokens, size, trained.losses[-1])

    def untaught(self) -> PreTrainedModel | None:
        """The base beside the model; None: it is in the model, under an adapter."""
        return None if self.arm.method is Method.LORA else load_base(self.base, self.device)[0]

    @torch.no_grad()
    def _shrink(self) -> None:
        """Scale the update, all that the model differs from the base by, to the arm's share."""
        if self.arm.shrink is None:
            return
        base = self.untaught()
        start = dict(base.named_parameters()) if base else {}
        for name, parameter in self._trained().items():
            if base:
                parameter.lerp_(start[name], 1 - self.arm.shrink)
            elif "lora_B" in name:  # the update is B A
                parameter.mul_(self.arm.shrink)

    def save(self, folder: Path) -> int:
        """Write what is trained, and return its bytes; the base's own weights stay where they are."""
        with building(folder) as draft:
            state = {name: p.detach().cpu().contiguous() for name, p in self._trained().items()}
            save_file(state, draft / _STATE)
        return (folder / _STATE).stat().st_size

    def load(self, folder: Path) -> None:
        """Go on from what ``save`` wrote."""
        state = load_file(folder / _STATE)
        with torch.no_grad():
            for name, parameter in self._trained().items():
                parameter.copy_(state[name])

    def _trained(self) -> dict[str, torch.nn.Parameter]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}
