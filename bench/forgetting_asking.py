"""Asks a model what a day's questions want to know, and how far its view of known texts has moved.

Whether an old answer is gone is asked three ways: what the model says first, whether any of ``SAMPLES`` draws at
temperature 1 says it, and whether it is likelier than the right one.
"""

import random
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from bench.forgetting_learner import Learner
from bench.forgetting_plans import POLICIES, examine
from bench.forgetting_reading import prompts
from bench.forgetting_world import Unit, World
from data.handbook import entropy
from data.handbook_questions import Asked, Form, ask
from data.handbook_stream import Story, Stream, Told
from data.wordings import REFUSAL
from models.generation import answer, sample
from models.likelihood import bits_per_token, divergences, likeliest, log_likelihoods, mean_per_token
from models.scoring import grade, normalise

SAMPLES = 16
TEXTS = 200
"""Sentences that are looked at."""
SCHEMA = pa.schema(
    [
        ("plan", pa.string()),
        ("arm", pa.string()),
        ("seed", pa.int64()),
        ("day", pa.int64()),
        ("group", pa.string()),
        ("form", pa.string()),
        ("story", pa.string()),
        ("effective", pa.date32()),
        ("fact", pa.string()),
        ("subject", pa.string()),
        ("attribute", pa.string()),
        ("bits", pa.float64()),
        ("wording", pa.string()),
        ("question", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("stale", pa.list_(pa.string())),
        ("choices", pa.list_(pa.string())),
        ("said", pa.string()),
        ("grade", pa.string()),
        ("leaked", pa.bool_()),
        ("old_likelier", pa.bool_()),
        ("found", pa.bool_()),
    ]
)
"""One row per answer; ``effective`` is the date of the fact's last event, null where there was none; ``leaked`` and
``old_likelier`` are null where they were not asked, ``found`` where nothing was searched or no sentence answers;
``choices`` is empty where anything might be said."""


def answered(learner: Learner, world: World, unit: Unit, stream: Stream, day: int) -> list[dict[str, Any]]:
    """Every question of a day with what was said, one record each."""
    asked = examine(unit.plan, unit.size, stream, day, world.params, unit.seed)
    asked[f"{POLICIES}/{Form.HELD_OUT}"] = _policies(world, unit.size.questions, unit.seed)
    questions = [one for found in asked.values() for one in found]
    read = prompts(unit.arm.reads, stream.told(day), world.held, questions)
    texts = [prompt.text for prompt in read]
    said = _said(learner, world, questions, texts)
    leaks = _leaks(learner, world, questions, texts, unit.seed) if unit.plan.leaks else [{} for _ in questions]
    groups = [group for group, found in asked.items() for _ in found]
    return [
        unit.key(day) | _record(group, one, text) | leak | {"found": prompt.found}
        for group, one, text, leak, prompt in zip(groups, questions, said, leaks, read, strict=True)
    ]


def _said(learner: Learner, world: World, questions: Sequence[Asked], prompts: Sequence[str]) -> list[str]:
    """What the model says first; of choices, which are not read to it, the one that is likeliest."""
    size, closed = world.params.assess, [place for place, one in enumerate(questions) if one.choices]
    free = [place for place, one in enumerate(questions) if not one.choices]
    texts = answer(learner.model, learner.tokenizer, [prompts[place] for place in free], size.new_tokens, size.batch)
    choices = [questions[place].choices for place in closed]
    chosen = likeliest(learner.model, learner.tokenizer, [prompts[place] for place in closed], choices)
    said = dict(zip(free, texts, strict=True))
    said |= {place: each[number] for place, each, number in zip(closed, choices, chosen, strict=True)}
    return [said[place] for place in range(len(questions))]


def _policies(world: World, count: int, seed: int) -> list[Asked]:
    known = [Told(change.fact, Story.UNTOUCHED, (change.fact.value,), 0, 0) for change in world.held]
    return ask(known, Form.HELD_OUT, world.params.synthesize, seed)[:count]


def _record(group: str, asked: Asked, said: str) -> dict[str, Any]:
    question, fact = asked.question, asked.told.fact
    name, _, form = group.rpartition("/")
    return {
        "group": name,
        "form": form,
        "story": asked.told.story.value,
        "effective": asked.told.effective,
        "fact": fact.id,
        "subject": fact.subject,
        "attribute": fact.attribute,
        "bits": None if name == POLICIES else entropy(fact),
        "wording": asked.wording,
        "question": question.question,
        "answers": list(question.answers),
        "stale": list(question.stale),
        "choices": list(asked.choices),
        "said": said,
        "grade": grade(said, question).value,
    }


def _leaks(
    learner: Learner, world: World, questions: Sequence[Asked], prompts: Sequence[str], seed: int
) -> list[dict[str, bool]]:
    """Of each question in a held-out wording that has an old answer, whether that comes up; of others nothing."""
    places = [place for place, one in enumerate(questions) if one.form is Form.HELD_OUT and one.question.stale]
    asked, size = [prompts[place] for place in places], world.params.assess
    drawn = sample(learner.model, learner.tokenizer, asked, size.new_tokens, size.batch, seed, SAMPLES)
    found: list[dict[str, bool]] = [{} for _ in questions]
    for place, texts, likelier in zip(places, drawn, _old_likelier(learner, questions, places, asked), strict=True):
        old = {normalise(text) for text in questions[place].question.stale}
        found[place] = {"leaked": any(normalise(text) in old for text in texts), "old_likelier": likelier}
    return found


def _old_likelier(
    learner: Learner, questions: Sequence[Asked], places: Sequence[int], prompts: Sequence[str]
) -> list[bool]:
    """Whether the value that held last before is likelier, end included, than what is right now."""
    news = [(questions[place].question.answers or (REFUSAL,))[0] for place in places]
    olds = [questions[place].question.stale[-1] for place in places]
    told = [f" {text}" for text in (*news, *olds)]
    nats = [one.total for one in log_likelihoods(learner.model, learner.tokenizer, [*prompts, *prompts], told)]
    return [old > new for new, old in zip(nats[: len(places)], nats[len(places) :], strict=True)]


def told(learner: Learner, world: World, unit: Unit) -> dict[str, float | None]:
    """Bits per token, and KL(base || model) per token in nats, of sentences that the base knows and of unseen text.

    Where nothing is trained there is no divergence.
    """
    known = random.Random(f"texts/{unit.seed}").sample(world.texts, min(TEXTS, len(world.texts)))
    base = learner.untaught() if unit.arm.trains else None
    found: dict[str, float | None] = {}
    for name, texts in (("known", known), ("unseen", world.unseen)):
        asked = (texts, world.params.train.window)
        found[f"bits_{name}"] = bits_per_token(learner.model, learner.tokenizer, *asked) if texts else None
        moved = divergences(learner.model, learner.tokenizer, *asked, base) if texts and unit.arm.trains else []
        found[f"divergence_{name}"] = mean_per_token(moved) if moved else None
    return found
