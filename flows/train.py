"""Stage ``train``: rows to adapter, always from the base.

A killed run goes on from its last checkpoint; checkpoints belong to exactly these rows, this base and
these parameters.
"""

import shutil
from collections.abc import Callable

import torch

from data.errors import PersonNeededError
from data.files import building, digest_file, digest_text, read_json, read_records, write_json, write_record
from data.params import Params, TrainParams
from data.records import Row, TrainingReport
from data.workspace import Workspace
from models.adapters import new_lora, save_adapter, trained_parameters
from models.base import load_base
from models.device import DTYPES, choose_device, keep_freed_memory
from models.packing import batches, encode, end_token
from models.training import Progress, Schedule, fit


def train(workspace: Workspace, report: Callable[[Progress], None] = lambda progress: None) -> TrainingReport:
    """Train an adapter on the rows of the synthetic set.

    Raises:
        InputError: the base cannot be loaded.
        PersonNeededError: there is nothing to teach.
    """
    params, seed = workspace.params().train, workspace.params().seed
    rows_file = workspace.synthetic / "rows.jsonl"
    rows = read_records(rows_file, Row)
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
    model, tokenizer = load_base(workspace.base(), device)
    adapted = new_lora(model, params.rank, params.alpha, params.dropout, seed)
    if params.gradient_checkpointing:
        adapted.enable_input_require_grads()
        adapted.gradient_checkpointing_enable()
    stream = batches(
        encode(rows, tokenizer, params.window),
        end_token(tokenizer),
        params.window,
        max(1, params.tokens_per_step // params.window),
        seed,
    )
    checkpoints = workspace.checkpoints / f"train-{_key(workspace.params(), base, rows_digest, device)}"
    trained = fit(adapted, stream, schedule(params, seed), checkpoints, report)
    result = TrainingReport(
        base=base,
        rows=rows_digest,
        method=params.method,
        seed=seed,
        threads=params.threads,
        device=device,
        steps=params.steps,
        tokens=trained.tokens,
        parameters=trained_parameters(adapted),
        losses=trained.losses,
        log_every=params.log_every,
    )
    with building(workspace.adapter) as draft:
        save_adapter(adapted, draft, workspace.params().base)
        write_record(draft / "training.json", result)
    write_json(workspace.metrics("train"), _metrics(result))
    shutil.rmtree(checkpoints, ignore_errors=True)
    return result


def schedule(params: TrainParams, seed: int) -> Schedule:
    """The training schedule that the parameters ask for."""
    return Schedule(
        steps=params.steps,
        learning_rate=params.learning_rate,
        warmup_share=params.warmup_share,
        weight_decay=params.weight_decay,
        clip=params.clip,
        seed=seed,
        log_every=params.log_every,
        checkpoint_every=params.checkpoint_every,
        dtype=DTYPES[params.dtype],
    )


def _key(params: Params, base: str, rows: str, device: str) -> str:
    return digest_text(params.train.model_dump_json(), str(params.seed), base, rows, device)[:12]


def _metrics(report: TrainingReport) -> dict[str, float | int]:
    return {
        "steps": report.steps,
        "tokens": report.tokens,
        "parameters": report.parameters,
        "final_loss": report.losses[-1],
    }
