"""What a base finds in its context, by task and length, with the score without the context beside it.

    relearn bench context --questions 50

The tasks are those of data/context_tasks.py, after RULER (Hsieh et al. 2024). Every answer is kept (answers.parquet). A
score is the mean share of expected strings that an answer holds. Its interval is Wilson's with each question counted
once: shares spread no more than right and wrong with the same mean, so it is rather too wide than too narrow.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bench.measured import Figure, write_answers
from data.collection import read_lineage
from data.context_drafts import Task
from data.context_tasks import ROOM, Item, effective_length, items, recall
from data.errors import InputError
from data.files import digest_tree
from data.handbook import Handbook, handbook
from data.workspace import Workspace
from models.adapters import load_adapter
from models.base import load_base
from models.generation import answer
from models.packing import token_ids
from models.statistics import wilson_interval

ROOT = Path(".relearn") / "bench" / "context"
SHORTEST = 64
THRESHOLD = 0.856
"""Score that counts as holding a length: RULER's, that of Llama-2-7B (chat) at 4,096 tokens, on RULER's own tasks."""
_BATCH = 8
"""Prompts at once: they are as long as the model reads."""
_ALL = "all tasks"
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
class Plan:
    """What is asked."""

    lengths: tuple[int, ...] = ()
    """In tokens, the room for the answer included; none: from ``SHORTEST`` on, doubling, up to what the base holds."""
    questions: int = 50
    """Of each task and length."""
    seed: int = 1
    threshold: float = THRESHOLD


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    figures: list[Figure]
    answers: Path
    left_out: tuple[str, ...]
    """Tasks that do not fit into a length, as ``task/length``."""


def measure(
    workspace: Workspace, adapter: Path | None, plan: Plan, command: str, report: Callable[[str], None]
) -> Outcome:
    """Ask everything, and write the answers.

    Raises:
        InputError: a length is more than the base holds, or there is no adapter.
        OutsideError: the disk refused the answers.
    """
    folder = workspace.base()
    model, tokenizer = load_base(folder)
    lengths = lengths_of(plan.lengths, held(model, tokenizer))
    asked, left_out = _asked(plan, lengths, tokenizer, _book(folder))
    if not asked:
        told = ", ".join(map(str, lengths))
        raise InputError(f"No task fits into {told} tokens. Give a --length of {SHORTEST} or more.")
    adapted = load_adapter(model, adapter, digest_tree(Path(folder))) if adapter else model
    rows = [row for chosen in asked for row in answered(adapted, tokenizer, chosen, plan.seed, report)]
    target = write_answers(workspace.root / ROOT / "answers.parquet", pa.Table.from_pylist(rows, SCHEMA))
    return Outcome(figures(rows, plan, command), target, left_out)


def held(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Most tokens that the base reads and writes, as its configuration says."""
    said = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    return int(said)


def lengths_of(wanted: Sequence[int], most: int) -> tuple[int, ...]:
    """The lengths that are asked at, the shortest first.

    Raises:
        InputError: the base does not hold one of them, or not even the shortest.
    """
    if not wanted:
        doubled = [SHORTEST * 2**power for power in range(most.bit_length()) if SHORTEST * 2**power <= most]
        wanted = doubled or [SHORTEST]
    for length in wanted:
        if not 0 < length <= most:
            raise InputError(f"A length of {length} tokens was asked for; the base holds 1 to {most}. Give another.")
    return tuple(sorted(set(wanted)))


def answered(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[Item],
    seed: int,
    report: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Questions of one task and length with what was said, with the context and without."""
    room = ROOM[asked[0].task]
    report(f"{asked[0].task}, {asked[0].length} tokens")
    said = answer(model, tokenizer, [one.prompt for one in asked], room, _BATCH)
    without = answer(model, tokenizer, [one.bare for one in asked], room, _BATCH)
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
        for one, text, plain in zip(asked, said, without, strict=True)
    ]


def figures(rows: Sequence[dict[str, Any]], plan: Plan, command: str) -> list[Figure]:
    """Scores by task and length, over all tasks by length, and effective lengths (0: not even the shortest)."""
    by_place: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        for task in (str(row["task"]), _ALL):
            by_place[task, int(row["length"])].append(row)
    found: list[Figure] = []
    reached: dict[str, dict[int, float]] = defaultdict(dict)
    for (task, length), mine in sorted(by_place.items(), key=lambda one: one[0][1] if one[0][0] == _ALL else 0):
        score = _mean(f"{task}/{length}/score", [row["score"] for row in mine], plan, command)
        reached[task][length] = score.value
        found += [score, _mean(f"{task}/{length}/no context", [row["score_without"] for row in mine], plan, command)]
    for task, scores in reached.items():
        longest = float(effective_length(scores, plan.threshold) or 0)
        name = f"{task}/effective length at {plan.threshold:g}"
        found.append(Figure(name, longest, longest, longest, len(scores), (plan.seed,), command))
    return found


def table(found: Iterable[Figure]) -> list[str]:
    """One line per task and length: score with its interval, and without the context; then the effective lengths."""
    by_name = {one.name: one for one in found}
    lines = []
    for name, one in by_name.items():
        if name.endswith("/score"):
            bare = by_name[f"{name.removesuffix('/score')}/no context"]
            task, length, _ = name.split("/")
            lines.append(
                f"{task:<18} {length:>7} tokens  {one.value:.3f} [{one.low:.3f}, {one.high:.3f}]  no context "
                f"{bare.value:.3f} [{bare.low:.3f}, {bare.high:.3f}]  n={one.n}"
            )
        elif "/effective length" in name:
            lines.append(f"{name.replace('/', ': ')}: {f'{one.value:.0f} tokens' if one.value else 'none'}")
    return lines


def _mean(name: str, scores: Sequence[float], plan: Plan, command: str) -> Figure:
    share = sum(scores) / len(scores)
    low, high = wilson_interval(share, len(scores))
    return Figure(name, share, low, high, len(scores), (plan.seed,), command)


def _book(base: str) -> Handbook:
    """What the base knows of the handbook, so that no needle is about it."""
    lineage = read_lineage(base)
    if lineage.handbook_seed is None:
        return Handbook((), ())
    return handbook(lineage.handbook_seed, lineage.handbook_entities, lineage.handbook_withdrawn)


def _asked(
    plan: Plan, lengths: Sequence[int], tokenizer: PreTrainedTokenizerBase, book: Handbook
) -> tuple[list[list[Item]], tuple[str, ...]]:
    """Questions by task and length, and where there are none."""
    tokenizer.model_max_length = _UNCOUNTED  # texts are counted before it is known whether they fit

    def count(text: str) -> int:
        return len(token_ids(tokenizer, [text])[0])

    made = {
        (task, length): items(task, length, plan.questions, plan.seed, count, book)
        for task in Task
        for length in lengths
    }
    left_out = tuple(f"{task}/{length}" for (task, length), asked in made.items() if not asked)
    return [asked for asked in made.values() if asked], left_out
