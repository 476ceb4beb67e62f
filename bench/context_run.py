"""Asks one task at one length, with the context and without, and writes every answer down.

A task is a folder, in which each length is one that appears whole or not at all, so that a run that was killed goes on
with the first that is missing, and another choice of lengths asks only what is new.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bench.kept import ANSWERS, COST, Report, held, is_whole
from data.collection import read_lineage
from data.context_drafts import Task
from data.context_tasks import ROOM, Item, items, recall
from data.files import building, digest_text, digest_tree, write_json
from data.fingerprint import code_digest
from data.handbook import Handbook, handbook
from models.adapters import load_adapter
from models.base import load_base
from models.generation import answer
from models.packing import token_ids

_BATCH = 8
"""Prompts at once: they are as long as the model reads."""
_UNCOUNTED = 10**12
SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("length", pa.int64()),
        ("number", pa.int64()),
        ("seed", pa.int64()),
        ("depth", pa.float64()),
        ("prompt", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("said", pa.string()),
        ("score", pa.float64()),
        ("said_without", pa.string()),
        ("score_without", pa.float64()),
    ]
)
"""One row per question, with its context and without."""


@dataclass(frozen=True)
class Examinee:
    """Who is asked how much."""

    folder: Path
    """Where the answers are kept; another base, adapter, seed, code, number of questions or of threads has another."""
    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    most_tokens: int
    """That it reads and writes."""
    book: Handbook
    """What the base knows of the handbook, so that no needle is about it."""
    questions: int
    """Of each task and length."""
    seed: int


def examinee_of(root: Path, base: str, adapter: Path | None, questions: int, seed: int) -> Examinee:
    """Who is asked, and where below ``root`` that is kept.

    Raises:
        InputError: there is no such base, or no such adapter on it.
    """
    model, tokenizer = load_base(base)
    most = most_tokens(model, tokenizer)
    tokenizer.model_max_length = _UNCOUNTED  # texts are counted before it is known whether they fit
    own = digest_tree(Path(base))
    adapted = load_adapter(model, adapter, own) if adapter else model
    threads = torch.get_num_threads()  # a sum over more of them is rounded otherwise
    parts = (own, digest_tree(adapter) if adapter else "", f"{questions}/{seed}/{threads}")
    key = digest_text(*parts, code_digest("bench.context_run"))
    return Examinee(root / key[:12], adapted, tokenizer, most, _book(base), questions, seed)


def most_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Most tokens that the base reads and writes, as its configuration says."""
    said = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    return int(said)


def place_of(examinee: Examinee, task: Task, length: int) -> Path:
    """Where the answers to one task at one length lie."""
    return examinee.folder / task.replace(" ", "-") / f"{length:07d}"


def run(examinee: Examinee, task: Task, length: int, report: Report) -> Path | None:
    """Ask what has not been asked, and return where it is kept; None where the needles do not fit into the length.

    Raises:
        InputError: no text has exactly this length with the tokenizer.
        OutsideError: the disk refused a write.
    """
    place, name = place_of(examinee, task, length), f"{task}, {length} tokens"
    if is_whole(place):
        return place
    begun = time.monotonic()
    chosen = items(task, length, examinee.questions, examinee.seed, lambda text: _count(examinee, text), examinee.book)
    if not chosen:
        return None
    with held(place.parent, name, report):
        if not is_whole(place):
            report(name, None)
            _ask(examinee, chosen, place, time.monotonic() - begun)
    return place


def run_task(
    root: Path,
    base: str,
    adapter: Path | None,
    questions: int,
    seed: int,
    task: Task,
    lengths: Sequence[int],
    report: Report,
) -> Path:
    """One task at every length, by what another process understands, and where it is kept."""
    examinee = examinee_of(root, base, adapter, questions, seed)
    for length in lengths:
        run(examinee, task, length, report)
    longest = place_of(examinee, task, lengths[-1])
    longest.mkdir(parents=True, exist_ok=True)  # empty where the needles do not fit
    return longest.parent


def answered(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, chosen: Sequence[Item], seed: int
) -> list[dict[str, Any]]:
    """Questions of one task and length with what was said, with the context and without."""
    room = ROOM[chosen[0].task]
    said = answer(model, tokenizer, [one.prompt for one in chosen], room, _BATCH)
    without = answer(model, tokenizer, [one.bare for one in chosen], room, _BATCH)
    return [
        {
            **{name: value for name, value in asdict(one).items() if name != "bare"},
            "answers": list(one.answers),
            "seed": seed,
            "said": text,
            "score": recall(text, one.answers),
            "said_without": plain,
            "score_without": recall(plain, one.answers),
        }
        for one, text, plain in zip(chosen, said, without, strict=True)
    ]


def _ask(examinee: Examinee, chosen: Sequence[Item], place: Path, making: float) -> None:
    begun = time.monotonic()
    rows = answered(examinee.model, examinee.tokenizer, chosen, examinee.seed)
    seconds = {"making_seconds": making, "answering_seconds": time.monotonic() - begun}
    with building(place) as draft:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), draft / ANSWERS)
        write_json(draft / COST, {"task": chosen[0].task, "length": chosen[0].length, "steps": 0, **seconds})


def _count(examinee: Examinee, text: str) -> int:
    return len(token_ids(examinee.tokenizer, [text])[0])


def _book(base: str) -> Handbook:
    lineage = read_lineage(base)
    if lineage.handbook_seed is None:
        return Handbook((), ())
    return handbook(lineage.handbook_seed, lineage.handbook_entities, lineage.handbook_withdrawn)
