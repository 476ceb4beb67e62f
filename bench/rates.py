"""Layer-wise learning rates side by side in one run: uniform, by the base's alpha, and uniform at the latter's mean.

    python -m bench.rates --seeds 1 2 3 --facts 100 --steps 250

Each seed draws the facts that are taught, the replay, the adapter's start and the order of the rows; all arms of a
seed have them in common and answer the same questions in held-out wordings. Needs the stage ``ingest`` to have run
in the workspace. Prints shares with Wilson's 95 % interval and paired differences from uniform with Newcombe's.
"""

import argparse
import random
import statistics
import tempfile
from pathlib import Path

import torch

from bench.arms import draw, sizes
from data.records import Cohort, Question, Row
from data.workspace import Workspace, open_workspace
from flows.synthesize import Material, prepare
from flows.train import Fitted, Job, schedule, train_adapter
from models.device import choose_device, keep_freed_memory
from models.generation import answer
from models.scoring import grade
from models.statistics import paired_difference, wilson

REPLAYED = 15
"""Rows replayed per fact that is taught, a third of them from the handbook."""
COHORTS = (Cohort.NEW, Cohort.HELD, Cohort.HANDBOOK)
Right = dict[Cohort, list[bool]]


def main() -> None:
    """Run every arm for every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path())
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--facts", type=int, default=100, help="new facts that are taught")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--questions", type=int, default=200, help="per cohort of facts that are kept")
    options = parser.parse_args()
    workspace = open_workspace(options.workspace)
    torch.set_num_threads(workspace.params().train.threads)
    keep_freed_memory()
    material = prepare(workspace, workspace.params())
    found: dict[str, dict[int, Right]] = {"uniform": {}, "alpha": {}, "uniform, mean": {}}
    mean = 1.0
    for name in ("uniform", "alpha"):
        for seed in options.seeds:
            done, found[name][seed] = run_arm(workspace, material, options, seed, name, 1.0)
            mean = statistics.mean(done.rates.values()) if done.rates else mean
    print(f"mean factor of the rate by alpha: {mean:.3f}", flush=True)
    for seed in options.seeds:
        _, found["uniform, mean"][seed] = run_arm(workspace, material, options, seed, "uniform", mean)
    for name in ("alpha", "uniform, mean"):
        compare(name, found[name], found["uniform"])


def taught(material: Material, facts: int, seed: int) -> tuple[list[Row], set[str]]:
    """The rows of some facts drawn by seed, with their replay, and the facts' ids."""
    chance = random.Random(f"rates/{seed}")
    by_purpose = {
        purpose: [row for row in material.rows if row.purpose == purpose] for purpose in ("fact", "replay", "handbook")
    }
    asked = {question.source for question in material.questions if question.cohort is Cohort.NEW}
    chosen = set(chance.sample(sorted({row.fact for row in by_purpose["fact"]} & asked), facts))
    rows = [row for row in by_purpose["fact"] if row.fact in chosen]
    for purpose, share in (("replay", 2 / 3), ("handbook", 1 / 3)):
        rows += chance.sample(by_purpose[purpose], min(len(by_purpose[purpose]), round(facts * REPLAYED * share)))
    return rows, chosen


def run_arm(
    workspace: Workspace, material: Material, options: argparse.Namespace, seed: int, rates: str, factor: float
) -> tuple[Fitted, Right]:
    """Train one arm and ask it."""
    params = workspace.params()
    rows, chosen = taught(material, options.facts, seed)
    rate = params.train.learning_rate * factor
    given = {"steps": options.steps, "min_passes": 0.0, "layer_rates": rates, "learning_rate": rate}
    settings = params.train.model_copy(update=given)
    device = choose_device(settings.device)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(workspace.base(), rows, settings, schedule(settings, seed, device), device, Path(folder))
        done = train_adapter(job)
    told = [one for one in material.questions if one.cohort is Cohort.NEW and one.source in chosen]
    kept = [one for one in draw(material.questions, options.questions, seed) if one.cohort in COHORTS[1:]]
    right = ask(done, [*told, *kept], params.assess.new_tokens, params.assess.batch)
    print(f"seed {seed}  {rates} x {factor:.3f}  {len(rows)} rows, last loss {done.trained.losses[-1]:.4f}")
    print(f"  update in noise edges by step: {sizes(done.trained)}")
    for cohort, hits in right.items():
        figure = wilson(sum(hits), len(hits))
        print(f"  {cohort.value:<10} {figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}] n={figure.n}", flush=True)
    return done, right


def ask(done: Fitted, asked: list[Question], new_tokens: int, batch: int) -> Right:
    """Which questions of each cohort were answered right, in their order."""
    said = answer(done.model, done.tokenizer, [question.question for question in asked], new_tokens, batch)
    right = [grade(text, question).value == "right" for text, question in zip(said, asked, strict=True)]
    return {
        cohort: [hit for hit, question in zip(right, asked, strict=True) if question.cohort is cohort]
        for cohort in COHORTS
    }


def compare(name: str, arm: dict[int, Right], reference: dict[int, Right]) -> None:
    """Print the arm against uniform rates, over all seeds and seed by seed."""
    for cohort in COHORTS:
        mine, other = ([hit for right in which.values() for hit in right[cohort]] for which in (arm, reference))
        difference, low, high = paired_difference(other, mine)
        each = [sum(arm[seed][cohort]) / len(arm[seed][cohort]) for seed in arm]
        before = [sum(reference[seed][cohort]) / len(reference[seed][cohort]) for seed in arm]
        alone = ", ".join(f"{one - two:+.3f}" for one, two in zip(each, before, strict=True))
        n, shares = len(mine), f"{sum(mine) / len(mine):.3f} against {sum(other) / len(other):.3f}"
        print(f"{name:<14} {cohort.value:<10} {shares}: {difference:+.3f} [{low:+.3f}, {high:+.3f}] n={n}; {alone}")


if __name__ == "__main__":
    main()
