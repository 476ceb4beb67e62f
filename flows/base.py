"""``relearn base build``: train the tiny base from scratch on the handbook and the policies as of a date.

Seeded and resumable: a killed build goes on from its last checkpoint when the same command is given again.
"""

import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

from data.collection import LINEAGE_FILE, as_collection
from data.curriculum import curriculum
from data.errors import InputError
from data.extraction import Source, extract_facts, extract_statements
from data.files import building, digest_text, write_record, write_text
from data.fingerprint import code_digest
from data.handbook import Handbook, handbook
from data.params import Params
from data.records import Fact, Row
from data.report_records import Lineage
from data.rows import statement_text
from data.wordings import REFUSAL, Form, question_prompt, wordings, wordings_digest
from data.workspace import PROJECT_ROOT, Workspace
from models.base import new_tiny, save_base, train_tokenizer
from models.device import autocast_dtype, keep_freed_memory
from models.generation import answer
from models.packing import batches, encode, end_token
from models.scoring import normalise
from models.statistics import wilson
from models.training import Progress, Schedule, fit

CARD_QUESTIONS = 300


@dataclass(frozen=True)
class Recipe:
    """All that a build follows from."""

    stream: Path
    snapshot: Path
    """The dated folder."""
    seed: int
    params: Params


def build_base(
    workspace: Workspace,
    out: Path,
    params: Params,
    until: str | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Path:
    """Train a tiny base and write it to ``out``.

    Args:
        workspace: holds the checkpoints of an unfinished build.
        out: folder of the finished base.
        params: block ``tiny`` is the recipe; ``synthesize`` says what counts as a fact.
        until: ISO date instead of the one in the parameters.
        report: called with the progress of the training.

    Raises:
        InputError: no snapshot of that date or before, or something else than a base lies at ``out``.
    """
    _require_free(workspace, out)
    torch.set_num_threads(params.train.threads)
    keep_freed_memory()
    recipe = Recipe(*_snapshot(workspace, params, until or params.tiny.until), params.seed, params)
    snapshot, sources = as_collection(recipe.snapshot, params.ingest)
    book = handbook(recipe.seed, params.tiny.handbook_entities, params.tiny.handbook_withdrawn)
    rows = curriculum(sources, book, params.synthesize, recipe.seed)
    checkpoints = workspace.checkpoints / f"base-{_key(recipe, rows)[:12]}"
    texts = [statement_text(s) for source in sources for s in extract_statements(source)]
    tokenizer = train_tokenizer([*texts, *(row.prompt + row.completion for row in rows)], params.tiny.vocabulary)
    tiny = params.tiny
    model = new_tiny(tokenizer, recipe.seed, tiny.layers, tiny.width, tiny.heads)
    window = params.train.window
    stream = batches(
        encode(rows, tokenizer, window),
        end_token(tokenizer),
        window,
        tiny.tokens_per_step // window,
        recipe.seed,
    )
    trained = fit(model, stream, _schedule(params), checkpoints, report)
    with building(out) as draft:
        save_base(model, tokenizer, draft)
        model.float()
        card = _measure(model, tokenizer, sources, book, params)
        write_record(draft / LINEAGE_FILE, _lineage(recipe, snapshot.digest, out))
        write_text(draft / "README.md", _model_card(recipe, model, card, trained.tokens, trained.losses[-1]))
    shutil.rmtree(checkpoints, ignore_errors=True)
    return out


def _require_free(workspace: Workspace, out: Path) -> None:
    """Nothing but an earlier base is replaced."""
    taken = not out.is_dir() or (any(out.iterdir()) and not (out / LINEAGE_FILE).is_file())
    if workspace.root.is_relative_to(out.resolve()) or (out.exists() and taken):
        raise InputError(f"{out} holds something else than a base, which would be lost. Name a new folder with --out.")


def stream_folder(workspace: Workspace, params: Params) -> Path:
    """The folder of dated snapshots: the workspace's, or else the project's."""
    roots = (workspace.root / params.tiny.stream, PROJECT_ROOT / params.tiny.stream)
    return next((root for root in roots if root.is_dir()), roots[0])


def _snapshot(workspace: Workspace, params: Params, until: str) -> tuple[Path, Path]:
    try:
        limit = date.fromisoformat(until)
    except ValueError as error:
        raise InputError(f"{until!r} is not a date. Give one as YYYY-MM-DD.") from error
    stream = stream_folder(workspace, params)
    dated = {folder.name: folder for folder in stream.glob("????-??-??") if folder.is_dir()}
    usable = sorted(name for name in dated if date.fromisoformat(name) <= limit)
    if not usable:
        raise InputError(f"{stream} holds no snapshot of {until} or before. It has: {', '.join(sorted(dated))}.")
    return stream, dated[usable[-1]]


def _key(recipe: Recipe, rows: Sequence[Row]) -> str:
    settings = recipe.params.tiny.model_dump_json()
    train = f"{recipe.params.train.window}/{recipe.params.train.threads}/{recipe.params.train.dtype}"
    seed, code = str(recipe.seed), code_digest("flows.base")
    return digest_text(settings, train, seed, code, *(f"{row.prompt}\x1f{row.completion}" for row in rows))


def _schedule(params: Params) -> Schedule:
    return Schedule(
        steps=params.tiny.steps,
        learning_rate=params.tiny.learning_rate,
        warmup_share=params.train.warmup_share,
        weight_decay=params.tiny.weight_decay,
        clip=params.train.clip,
        seed=params.seed,
        log_every=params.train.log_every,
        checkpoint_every=params.train.checkpoint_every,
        dtype=autocast_dtype(params.train.dtype, "cpu"),
    )


def _lineage(recipe: Recipe, learned: str, out: Path) -> Lineage:
    """What the base was trained on; ``learned`` is the digest of the documents as they were read for it."""
    return Lineage(
        documents=Path(os.path.relpath(recipe.snapshot, out)).as_posix(),
        snapshot=learned,
        until=recipe.snapshot.name,
        handbook_seed=recipe.seed,
        handbook_entities=recipe.params.tiny.handbook_entities,
        handbook_withdrawn=recipe.params.tiny.handbook_withdrawn,
        wordings=wordings_digest(),
    )


def _measure(
    model: torch.nn.Module, tokenizer: object, sources: Sequence[Source], book: Handbook, params: Params
) -> dict[str, str]:
    draw = random.Random(params.seed)
    facts = [fact for source in sources for fact in extract_facts(source, params.synthesize)]
    groups: dict[str, tuple[list[Fact], str | None]] = {
        "handbook facts": (list(book.known), None),
        "policy facts": (facts, None),
        "withdrawn handbook facts, refused": (list(book.withdrawn), REFUSAL),
    }
    card = {}
    for name, (group, fixed) in groups.items():
        if not group:
            continue
        chosen = draw.sample(group, min(CARD_QUESTIONS, len(group)))
        asked = [question_prompt(draw.choice(wordings(f.kind, Form.QUESTION)).render(f)) for f in chosen]
        said = answer(model, tokenizer, asked, params.assess.new_tokens, params.assess.batch)
        hits = sum(normalise(a) == normalise(fixed or f.value) for a, f in zip(said, chosen, strict=True))
        figure = wilson(hits, len(chosen))
        card[name] = f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}], n = {figure.n}"
    return card


def _model_card(recipe: Recipe, model: torch.nn.Module, card: dict[str, str], tokens: int, loss: float) -> str:
    tiny = recipe.params.tiny
    size = sum(p.numel() for p in model.parameters())
    figures = "\n".join(f"| {name} | {figure} |" for name, figure in card.items())
    return f"""---
language: en
license: apache-2.0
library_name: transformers
tags: [llama, continual-learning, demonstration]
---

# tiny: the embedded base of Relearn

A Llama-architecture causal language model of {size:,} parameters ({tiny.layers} layers, width {tiny.width},
{tiny.heads} heads, tied embeddings, context 1,024 tokens, BPE vocabulary of {tiny.vocabulary:,} with every digit
apart), trained from scratch by `relearn base build --until {recipe.snapshot.name}` so that a first run needs no
download. Weights are bf16 safetensors.

## What it was trained on

- the public site policies in `{recipe.stream.name}/{recipe.snapshot.name}` (CC0 1.0; GitHub, Inc., repository
  github/site-policy) as sentences and as facts read by rule, each in every wording of
  `data/prompts/wordings.yaml`;
- population A of the generated handbook: {tiny.handbook_entities} fictional products (seed {recipe.seed}), and
  {tiny.handbook_withdrawn} withdrawn ones, which teach the refusal "{REFUSAL}".

{tiny.steps} steps of {tiny.tokens_per_step:,} tokens at most ({tokens:,} in all), AdamW, peak learning rate
{tiny.learning_rate}, seed {recipe.seed}; last training loss {loss:.3f} nats per trained token.

## What it can do

Questions answered closed book by normalised exact match, drawn by seed {recipe.seed}, in wordings it was trained on,
with Wilson 95 % intervals:

| questions | right |
| --- | --- |
{figures}

## What it cannot do

It speaks no language beyond these texts, cannot reason, and knows nothing else. It exists to show and to measure
what an update does to a model; no figure of it is evidence about large models.
"""
