"""Answering side by side in one run: one question at a time, batches to their longest answer, batches that shrink.

    python -m bench.answering --rounds 3

Facts that the base knows, from the handbook and from its documents, asked closed book; the base, the same
with an adapter of the line's shape whose update is random, and that adapter merged into a copy. Then the likelihood of
each fact's value after its question, one at a time and batched. Each round runs every way once; what counts are the
ratios. Every way has to give the same answers. On the CPU with one thread seconds are those of the processor, which
other work on the machine disturbs less.
"""

import argparse
import copy
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from bench.speed import trained_once
from data.collection import as_collection, read_lineage
from data.extraction import extract_facts
from data.handbook import handbook
from data.params import Params
from data.records import Fact
from data.wordings import Form, question_prompt, wordings
from data.workspace import open_workspace
from models.adapters import new_lora
from models.base import load_base
from models.device import choose_device, keep_freed_memory
from models.generation import answer
from models.likelihood import log_likelihoods
from models.packing import end_token, token_ids

KINDS = ("handbook", "documents")
CLOSE = 1e-4
"""Nats per token by which two ways to sum a likelihood may differ: float32, sums in another order."""


@dataclass
class Ways:
    """How fast each way is, round by round; the first is the reference."""

    clock: Callable[[], float]
    speeds: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, name: str, count: int, way: Callable[[], Any]) -> Any:
        """Run one way, and note how many it answered a second."""
        begun = self.clock()
        found = way()
        self.speeds.setdefault(name, []).append(count / (self.clock() - begun))
        return found

    def show(self, unit: str) -> None:
        """Print medians, and ratios to the first way with their smallest and largest."""
        first = next(iter(self.speeds.values()))
        for name, found in self.speeds.items():
            ratios = [one / reference for one, reference in zip(found, first, strict=True)]
            shown = f"ratio {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
            print(f"{name:<60} {statistics.median(found):8.1f} {unit}/s  {shown} n={len(found)}", flush=True)


def main() -> None:
    """Print questions and likelihoods per second of every way and the ratio to one at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--facts", nargs="+", choices=KINDS, default=KINDS, help="what is asked about, in equal parts")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    workspace = open_workspace(options.workspace)
    params, device = workspace.params(), choose_device("auto")
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    clock = time.process_time if device == "cpu" and options.threads == 1 else time.perf_counter
    known = known_facts(workspace.base(), params)
    facts = drawn([known[kind] for kind in options.facts], options.questions, params.seed)
    model, tokenizer = load_base(workspace.base(), device)
    settings = params.train
    adapted = new_lora(copy.deepcopy(model), settings.rank, settings.alpha, 0.0, params.seed).eval()
    models = {"base": model, "adapter": trained_once(adapted, params.seed)}
    print(f"{len(facts)} questions, {options.threads} threads, {device}, answers of {params.assess.new_tokens} tokens")
    for name, asked in models.items():
        answering(name, asked, tokenizer, facts, params.assess.new_tokens, options, Ways(clock))
        likelihoods(name, asked, tokenizer, facts, options.rounds, Ways(clock))


def known_facts(base: str, params: Params) -> dict[str, list[Fact]]:
    """What a base of the project's making learned: facts of its handbook, and of its documents."""
    lineage = read_lineage(base)
    _, sources = as_collection(Path(base) / (lineage.documents or ""), params.ingest)
    book = handbook(lineage.handbook_seed or 0, lineage.handbook_entities, lineage.handbook_withdrawn)
    told = [fact for source in sources for fact in extract_facts(source, params.synthesize)]
    return dict(zip(KINDS, (list(book.known), told), strict=True))


def drawn(groups: Sequence[Sequence[Fact]], count: int, seed: int) -> list[tuple[str, str]]:
    """(prompt, value) of as many facts of each group, each in a wording drawn for it."""
    draw = random.Random(f"answering/{seed}")
    chosen = [fact for group in groups for fact in draw.sample(list(group), count // len(groups))]
    return [
        (question_prompt(draw.choice(wordings(fact.kind, Form.QUESTION)).render(fact)), f" {fact.value}")
        for fact in chosen
    ]


def answering(
    name: str,
    model: Any,
    tokenizer: Any,
    facts: Sequence[tuple[str, str]],
    new_tokens: int,
    options: argparse.Namespace,
    ways: Ways,
) -> None:
    """Time every way to answer, and hold their answers against one another."""
    prompts = [prompt for prompt, _ in facts]
    answer(model, tokenizer, prompts[:8], new_tokens, 8)
    trials = {"generate, one question at a time": partial(generate, model, tokenizer, prompts, new_tokens, 1)}
    for batch in options.batches:
        trials[f"generate, {batch} by length"] = partial(generate, model, tokenizer, prompts, new_tokens, batch)
        trials[f"answer, {batch} at once"] = partial(answer, model, tokenizer, prompts, new_tokens, batch)
    if isinstance(model, PeftModel):
        merged = copy.deepcopy(model).merge_and_unload()
        trials[f"merged into a copy: answer, {batch} at once"] = partial(
            answer, merged, tokenizer, prompts, new_tokens, batch
        )
    alone: list[str] = []
    for _ in range(options.rounds):
        for way, trial in trials.items():
            said = ways.measure(f"{name}: {way}", len(prompts), trial)
            alone = alone or said
            print_differences(f"{name}: {way}", alone, said)
    ways.show("questions")
    lengths = sorted(len(ids) for ids in token_ids(tokenizer, alone))
    print(f"{name}: tokens of an answer {statistics.mean(lengths):.1f} on average, {lengths[-1]} at most")


def print_differences(way: str, alone: Sequence[str], said: Sequence[str]) -> None:
    """Name answers that differ from those of one question at a time."""
    for one, other in zip(alone, said, strict=True):
        if one != other:
            print(f"{way} DIFFERS: {other!r}, alone {one!r}", flush=True)


@torch.inference_mode()
def generate(model: Any, tokenizer: Any, prompts: Sequence[str], new_tokens: int, batch: int) -> list[str]:
    """The library's own greedy decoding, prompts sorted by length and padded on the left."""
    end = end_token(tokenizer)
    encoded = [[end, *ids] for ids in token_ids(tokenizer, prompts)]
    order = sorted(range(len(encoded)), key=lambda place: len(encoded[place]))
    answers = [""] * len(prompts)
    for first in range(0, len(order), batch):
        chosen = order[first : first + batch]
        longest = max(len(encoded[place]) for place in chosen)
        ids_BT = torch.tensor([[end] * (longest - len(encoded[place])) + encoded[place] for place in chosen])
        mask_BT = torch.tensor(
            [[int(at >= longest - len(encoded[place])) for at in range(longest)] for place in chosen]
        )
        output_BT = model.generate(
            input_ids=ids_BT.to(model.device),
            attention_mask=mask_BT.to(model.device),
            max_new_tokens=new_tokens,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=end,
        )
        texts = tokenizer.batch_decode(output_BT[:, longest:], skip_special_tokens=True)
        for place, text in zip(chosen, texts, strict=True):
            answers[place] = text.strip()
    return answers


def likelihoods(
    name: str, model: Any, tokenizer: Any, facts: Sequence[tuple[str, str]], rounds: int, ways: Ways
) -> None:
    """Time the likelihood of each value after its question, and hold both ways against one another."""
    prompts, values = [prompt for prompt, _ in facts], [value for _, value in facts]
    for _ in range(rounds):
        alone = ways.measure(
            f"{name}: likelihood, one pass per question", len(facts), lambda: plainly(model, tokenizer, facts)
        )
        sums = ways.measure(
            f"{name}: likelihood, batched", len(facts), lambda: log_likelihoods(model, tokenizer, prompts, values)
        )
        apart = max(abs(one - two.total) / two.tokens for one, two in zip(alone, sums, strict=True))
        if apart > CLOSE:
            print(f"{name}: likelihoods DIFFER by {apart:.2e} nats per token", flush=True)
    ways.show("likelihoods")


@torch.inference_mode()
def plainly(model: Any, tokenizer: Any, facts: Sequence[tuple[str, str]]) -> list[float]:
    """The sum of the log-softmax at every token of each value and its end, question by question."""
    end, found = end_token(tokenizer), []
    for prompt, value in facts:
        before, after = token_ids(tokenizer, [prompt, value])
        ids_1T = torch.tensor([[end, *before, *after, end]], device=model.device)
        logs_TV = model(input_ids=ids_1T, use_cache=False).logits[0, len(before) : -1].float().log_softmax(dim=-1)
        found.append(float(logs_TV.gather(1, ids_1T[0, len(before) + 1 :].unsqueeze(1)).sum()))
    return found


if __name__ == "__main__":
    main()
