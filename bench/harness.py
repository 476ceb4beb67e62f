"""Tasks of lm-evaluation-harness by name, asked of the base and of an adapter on it, question by question.

    relearn bench tasks --task arc_easy --task hellaswag --adapter data/adapter --limit 200 --download

Prompts, metrics and names are the harness's own (Gao et al., "The Language Model Evaluation Harness", 2024,
doi:10.5281/zenodo.12608602). Intervals and tests are this project's, over the answers: base and adapter answered the
same questions, so they are compared in pairs, which the harness's standard errors know nothing of.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from bench.harness_figures import Compared, compared, figures, scores
from bench.harness_library import (
    VERSION,
    Request,
    contained,
    evaluate,
    language_model,
    load_tasks,
    require_library,
    require_room,
)
from bench.measured import Figure, write_answers
from data.files import digest_tree, write_json
from data.workspace import Workspace
from models.adapters import load_adapter
from models.base import load_base
from models.device import choose_device, keep_freed_memory

ROOT = Path(".relearn") / "bench" / "tasks"
SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("task", pa.string()),
        ("filter", pa.string()),
        ("metric", pa.string()),
        ("number", pa.int64()),
        ("value", pa.float64()),
        ("target", pa.string()),
        ("arguments", pa.string()),
        ("responses", pa.string()),
    ]
)
"""One row per model, question, filter and metric. ``arguments`` (prompts, and what may follow) and ``responses`` (log
likelihoods, or texts) are the harness's, as JSON; ``value`` is null where a metric has none for a single question."""
_KEPT = ("results", "groups", "group_subtasks", "versions", "n-shot", "n-samples", "higher_is_better")
"""What of the harness's outcome is kept beside the answers."""


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    figures: list[Figure]
    comparisons: list[Compared]
    left_out: tuple[str, ...]
    """Metrics that are no mean over questions; they stand in ``results`` alone."""
    answers: Path
    results: Path


def measure(
    workspace: Workspace, adapter: Path | None, request: Request, command: str, report: Callable[[str], None]
) -> Outcome:
    """Ask the base and, if there is one, the adapter, and write answers and results.

    Raises:
        InputError: the extra is missing, or a task is unknown, does not fit, runs code or lacks its data.
        OutsideError: data could not be fetched, or the disk refused a write.
    """
    require_library()
    params = workspace.params()
    torch.set_num_threads(params.train.threads)
    keep_freed_memory()
    with contained(request.download) as refused:
        found = load_tasks(request, refused)
        model, tokenizer = load_base(workspace.base(), choose_device(params.train.device))
        lm = language_model(model, tokenizer, request.batch_size)
        require_room(found, lm, request)
        digest = digest_tree(Path(workspace.base()))
        if adapter is not None:  # before the base is asked, for hours
            load_adapter(model, adapter, digest).unload()
        report(f"base: {', '.join(found['tasks'])}")
        outcomes = {"base": evaluate(found, lm, request)}
        if adapter is not None:
            adapted = load_adapter(model, adapter, digest)
            report(f"adapter: {', '.join(found['tasks'])}")
            outcomes["adapter"] = evaluate(found, language_model(adapted, tokenizer, request.batch_size), request)
    return _written(workspace.root / ROOT, outcomes, request, command)


def _written(root: Path, outcomes: dict[str, dict[str, Any]], request: Request, command: str) -> Outcome:
    rows = [row for model, outcome in outcomes.items() for row in rows_of(model, outcome)]
    target = write_answers(root / "answers.parquet", pa.Table.from_pylist(rows, SCHEMA))
    known, left_out = scores(rows, {model: outcome["results"] for model, outcome in outcomes.items()})
    found, pairs = figures(known, request.seed, command), compared(known)
    content = {
        "figures": [asdict(one) for one in found],
        "comparisons": [asdict(one) for one in pairs],
        "harness": VERSION,
        "outcomes": {
            model: {name: outcome[name] for name in _KEPT if name in outcome} for model, outcome in outcomes.items()
        },
    }
    write_json(root / "results.json", json.loads(_json(content)))
    return Outcome(found, pairs, left_out, target, root / "results.json")


def rows_of(model: str, outcome: dict[str, Any]) -> list[dict[str, Any]]:
    """Every answer of one model, by ``SCHEMA``."""
    return [
        {
            "model": model,
            "task": task,
            "filter": sample["filter"],
            "metric": metric,
            "number": sample["doc_id"],
            "value": _number(sample[metric]),
            "target": str(sample["target"]),
            "arguments": _json(sample["arguments"]),
            "responses": _json(sample["filtered_resps"]),
        }
        for task, samples in outcome["samples"].items()
        for sample in samples
        for metric in sample["metrics"]
    ]


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type] # of numpy, too
    except (TypeError, ValueError):
        return None


def _json(content: object) -> str:
    """JSON of what a task's own code may have made, as text where it is no number."""
    return json.dumps(content, default=lambda value: _number(value) if _number(value) is not None else str(value))
