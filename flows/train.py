"""Stage ``train``: rows to adapter, always from the base.

A killed run goes on from its last checkpoint; checkpoints belong to exactly these rows, this base, this code
and these parameters.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from data.errors import OutsideError, PersonNeededError
from data.files import building, digest_file, digest_text, read_json, read_records, write_json, write_record
from data.param_stages import TrainParams
from data.params import Params
from data.records import Row
from data.report_records import TrainingReport
from data.withheld import read_withheld, require_rows_in_force
from data.workspace import Workspace
from models.adapters import new_lora, save_adapter, trained_parameters
from models.base import load_base
from models.device import autocast_dtype, choose_device, keep_freed_memory, ran_out_of_memory
from models.layer_rates import rates_by_layer, rates_by_parameter
from models.packing import Batch, batches, batches_of_passes, encode, end_token, keeps_rows_apart
from models.spectral_watch import SpectralWatch
from models.training import Progress, Schedule, Trained, fit

Report = Callable[[Progress], None]
_RECOMPUTED = {"auto": (False, True), "always": (True,), "never": (False,)}
"""By ``train.gradient_checkpointing``: whether activations are recomputed, at the first try and at the next."""


@dataclass(frozen=True)
class Job:
    """What to train, on what, how."""

    base: str
    rows: Sequence[Row]
    params: TrainParams
    plan: Schedule
    """For few rows; many make it longer (``train.min_passes``)."""
    device: str
    checkpoints: Path


@dataclass(frozen=True)
class Fitted:
    """An adapter as its run left it."""

    model: PeftModel
    tokenizer: PreTrainedTokenizerBase
    trained: Trained
    rates: dict[str, float]
    """Factor of the learning rate by layer; empty: all had the same."""


def train(workspace: Workspace, report: Report = lambda progress: None) -> TrainingReport:
    """Train an adapter on the rows of the synthetic set.

    A run whose update leaves the band (``train.stop_sigma_ratio``) ends there: the adapter is written as it stands, the
    report says why, and the audit judges it like any other.

    Raises:
        InputError: the base cannot be loaded, or a row was drawn from a withdrawn document.
        OutsideError: the memory of the device does not suffice.
        PersonNeededError: there is nothing to teach.
    """
    params, seed = workspace.params().train, workspace.params().seed
    rows_file = workspace.synthetic / "rows.jsonl"
    rows = read_records(rows_file, Row)
    require_rows_in_force(rows, read_withheld(workspace.withheld))
    if not rows:
        raise PersonNeededError(
            "There is nothing to teach: the base knows all that the documents state. If it shall serve, promote "
            'its version (relearn history shows it): relearn promote VERSION --reason "...".'
        )
    base = read_json(workspace.base_digest)["digest"]
    rows_digest = digest_file(rows_file)
    torch.set_num_threads(params.threads)
    keep_freed_memory()
    device = choose_device(params.device)
    plan = schedule(params, seed, device)
    dtype = str(plan.dtype).removeprefix("torch.")
    code = read_json(workspace.code("train"))["digest"]
    checkpoints = workspace.checkpoints / f"train-{_key(workspace.params(), code, base, rows_digest, device, dtype)}"
    done = train_adapter(Job(workspace.base(), rows, params, plan, device, checkpoints), report)
    result = TrainingReport(
        base=base,
        rows=rows_digest,
        method=params.method,
        seed=seed,
        threads=params.threads,
        device=device,
        dtype=dtype,
        steps=done.trained.steps,
        tokens=done.trained.tokens,
        parameters=trained_parameters(done.model),
        losses=done.trained.losses,
        log_every=params.log_every,
        looks=done.trained.looks,
        stopped=done.trained.stopped,
        rates=done.rates,
    )
    with building(workspace.adapter) as draft:
        save_adapter(done.model, draft, workspace.params().base)
        write_record(draft / "training.json", result)
    write_json(workspace.metrics("train"), _metrics(result))
    shutil.rmtree(checkpoints, ignore_errors=True)
    return result


def train_adapter(job: Job, report: Report = lambda progress: None) -> Fitted:
    """Train with activations kept and, where memory runs out, once more from the last checkpoint without.

    Raises:
        InputError: the base cannot be loaded, or a row was drawn from a withdrawn document.
        OutsideError: the memory of the device does not suffice.
    """
    for recompute in _RECOMPUTED[job.params.gradient_checkpointing]:
        done = _try_to_train(job, report, recompute)
        if done is not None:
            return done
        torch.cuda.empty_cache()
    never = job.params.gradient_checkpointing == "never"
    raise OutsideError(
        f"The memory of {job.device} does not suffice to train this base. Lower train.tokens_per_step or train.window"
        f"{', or set train.gradient_checkpointing to auto' if never else ''}."
    )


def _try_to_train(job: Job, report: Report, recompute: bool) -> Fitted | None:
    """A fresh adapter, trained; None where memory ran out. What it held is free again when it returns."""
    params = job.params
    model, tokenizer = load_base(job.base, job.device)
    plan, stream = batches_of(job.rows, model, tokenizer, params, job.plan)
    adapted = new_lora(model, params.rank, params.alpha, params.dropout, plan.seed)
    if recompute:
        adapted.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    watch = SpectralWatch(adapted, params.stop_sigma_ratio) if plan.watch_every else None
    rates = rates_by_layer(adapted) if params.layer_rates == "alpha" else {}
    factors = rates_by_parameter(adapted, rates)
    try:
        trained = fit(adapted, stream, plan, job.checkpoints, report, watch, factors)
        return Fitted(adapted, tokenizer, trained, rates)
    except RuntimeError as error:
        if not ran_out_of_memory(error):
            raise
        return None


def batches_of(
    rows: Sequence[Row],
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    params: TrainParams,
    plan: Schedule,
) -> tuple[Schedule, Iterator[Batch]]:
    """The schedule, longer where ``train.min_passes`` over these rows take more steps, and the rows as endless batches.

    They are packed where the model keeps rows apart.
    """
    once = encode(one_pass(rows, params), tokenizer, params.window, params.length_discount)
    end, per_batch = end_token(tokenizer), max(1, params.tokens_per_step // params.window)
    packed = keeps_rows_apart(model, end)
    steps = batches_of_passes(params.min_passes, once, params.window, per_batch, plan.seed, packed)
    stream = batches(once, end, params.window, per_batch, plan.seed, packed)
    return replace(plan, steps=max(plan.steps, steps)), stream


def one_pass(rows: Sequence[Row], params: TrainParams) -> list[Row]:
    """What one pass over the rows is: refusals, which no statement backs, come ``refusal_passes`` times."""
    return [row for row in rows for _ in range(params.refusal_passes if row.purpose == "refusal" else 1)]


def schedule(params: TrainParams, seed: int, device: str) -> Schedule:
    """The training schedule that the parameters ask for on this device."""
    return Schedule(
        steps=params.steps,
        learning_rate=params.learning_rate,
        warmup_share=params.warmup_share,
        weight_decay=params.weight_decay,
        clip=params.clip,
        seed=seed,
        log_every=params.log_every,
        checkpoint_every=params.checkpoint_every,
        watch_every=params.watch_every,
        dtype=autocast_dtype(params.dtype, device),
    )


def _key(params: Params, *rest: str) -> str:
    return digest_text(params.train.model_dump_json(), str(params.seed), *rest)[:12]


def _metrics(report: TrainingReport) -> dict[str, float | int]:
    return {
        "steps": report.steps,
        "tokens": report.tokens,
        "parameters": report.parameters,
        "final_loss": report.losses[-1],
    }
