"""Arms of the adapter's recipe side by side in one run: what each learns, forgets and costs.

    python -m bench.arms steps=350 steps=700 steps=700,rank=32 replay_share=0.1

Every arm starts from ``params.yaml`` and changes what it names (blocks ``train`` and ``synthesize``). All
answer the same questions: a seeded draw of each cohort, in held-out wordings. Needs the stages ``ingest``
to have run in the workspace. Prints one line per arm and cohort with n and the Wilson 95 % interval.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import torch

from data.params import Params
from data.records import Cohort, Question
from data.workspace import Workspace, open_workspace
from flows.synthesize import prepare
from flows.train import Job, schedule, train_adapter
from models.base import load_base
from models.device import choose_device, keep_freed_memory
from models.generation import answer
from models.packing import encode
from models.scoring import grade
from models.statistics import wilson
from models.training import Trained

COHORTS = (Cohort.NEW, Cohort.RESTATED, Cohort.WITHDRAWN, Cohort.HELD, Cohort.HANDBOOK)


def main() -> None:
    """Run every arm given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arms", nargs="*", default=[""], help="name=value,name=value")
    parser.add_argument("--workspace", type=Path, default=Path())
    parser.add_argument("--questions", type=int, default=200, help="per cohort")
    parser.add_argument("--base-too", action="store_true", help="let the base answer as well")
    options = parser.parse_args()
    workspace = open_workspace(options.workspace)
    params = workspace.params()
    torch.set_num_threads(params.train.threads)
    keep_freed_memory()
    if options.base_too:
        asked = prepare(workspace, params).questions
        model, tokenizer = load_base(workspace.base())
        report("base", model, tokenizer, draw(asked, options.questions, params.seed), params, 0.0)
    for arm in options.arms:
        run_arm(arm, workspace, changed(params, arm), options.questions)


def changed(params: Params, arm: str) -> Params:
    """The parameters with an arm's values in place."""
    for setting in filter(None, arm.split(",")):
        name, _, value = setting.partition("=")
        block = "train" if name in type(params.train).model_fields else "synthesize"
        old = getattr(params, block)
        parsed = json.loads(value)
        new = type(old).model_validate({**old.model_dump(), name: parsed})
        params = params.model_copy(update={block: new})
    return params


def draw(asked: list[Question], count: int, seed: int) -> list[Question]:
    """The same number of questions from each cohort."""
    chosen: list[Question] = []
    for cohort in COHORTS:
        pool = [question for question in asked if question.cohort is cohort]
        chosen.extend(random.Random(f"{cohort}/{seed}").sample(pool, min(count, len(pool))))
    return chosen


def run_arm(arm: str, workspace: Workspace, params: Params, count: int) -> None:
    """Train one arm and report on it."""
    material = prepare(workspace, params)
    settings, device = params.train, choose_device(params.train.device)
    plan = schedule(settings, params.seed, device)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        job = Job(workspace.base(), material.rows, settings, plan, device, Path(folder))
        done = train_adapter(job)
    seconds = time.monotonic() - begun
    name = arm or "params.yaml"
    epochs = done.trained.tokens / sum(len(row.ids) for row in encode(material.rows, done.tokenizer, settings.window))
    print(
        f"{name}: {len(material.rows)} rows, {epochs:.2f} epochs, last loss {done.trained.losses[-1]:.4f}", flush=True
    )
    print(f"  update in noise edges by step: {sizes(done.trained)}", flush=True)
    report(name, done.model, done.tokenizer, draw(material.questions, count, params.seed), params, seconds)


def sizes(trained: Trained) -> str:
    """The largest update of any layer at each look, in noise edges of its base, and why the run was ended."""
    return f"{', '.join(f'{one.step}: {one.sigma_ratio:.2f}' for one in trained.looks)} {trained.stopped}".strip()


def report(arm: str, model: object, tokenizer: object, asked: list[Question], params: Params, seconds: float) -> None:
    """Print the share of right answers per cohort."""
    prompts = [question.question for question in asked]
    said = answer(model, tokenizer, prompts, params.assess.new_tokens, params.assess.batch)
    grades = [grade(text, question).value for text, question in zip(said, asked, strict=True)]
    for cohort in COHORTS:
        wrong = [
            f"    {q.question[10:]!r} -> {a!r}, not {q.answers}"
            for a, q, g in zip(said, asked, grades, strict=True)
            if q.cohort is cohort and g != "right"
        ]
        print("\n".join(wrong[:5]))
        mine = [g for g, question in zip(grades, asked, strict=True) if question.cohort is cohort]
        figure = wilson(mine.count("right"), len(mine))
        shown = f"right {figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}] n={figure.n}"
        print(f"  {arm:<40} {cohort.value:<10} {shown} {seconds:6.0f} s", flush=True)


if __name__ == "__main__":
    main()
