"""The library of failures: adapters broken on purpose, by which a spectral gate is calibrated and judged.

    python -m bench.failures --root DIR [--base tiny|minilm] [--quick]

Makes, for each base of ``bench.bases_used``, good adapters of several ranks, seeds and lengths, and every failure of
``bench.failure_kinds``; what each member can do is measured as it is made and lies beside it as ``made.json``. A
killed run goes on where it stopped, and the seeds are the outer loop, so that a library that is not finished is a
balanced one. ``members`` reads it back.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from peft import PeftModel
from transformers import PreTrainedModel

from bench.bases_used import BASES
from bench.failure_kinds import DERIVED, Kind, Made, Member, derive, folder_name, member, weights
from bench.failure_lessons import Base, Recipe
from data.evaluation_records import Estimate
from data.files import building, leftovers, read_cached, read_record, remove, write_record
from models.adapters import load_adapter, save_adapter
from models.device import keep_freed_memory

ROOT = Path(".relearn/bench/failures")
MADE = "made.json"
Shares = dict[str, Estimate]


@dataclass(frozen=True)
class Plan:
    """Which members the library has."""

    ranks: tuple[int, ...] = (4, 8, 16, 32)
    """Of good adapters, of the cheap kinds and of all that is derived."""
    seeds: int = 8
    """Of the same."""
    costly_ranks: tuple[int, ...] = (8, 16)
    """Of kinds that are trained to fail, and of the good ones of other lengths."""
    costly_seeds: int = 4
    norm_rank: int = 8
    """Of good adapters alone that are made beside, so that there are enough of one rank for a calibration."""
    norm_seeds: int = 20


QUICK = Plan(ranks=(8,), seeds=1, costly_ranks=(8,), costly_seeds=1, norm_seeds=1)


@dataclass(frozen=True)
class Job:
    """One member that is trained."""

    kind: Kind
    variant: str
    recipe: Recipe

    @property
    def folder(self) -> str:
        return folder_name(self.kind, self.recipe.rank, self.recipe.seed, self.variant)


def main() -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--base", choices=sorted(BASES), help="only this one; without it both")
    parser.add_argument("--quick", action="store_true", help="one rank and one seed of every kind")
    options = parser.parse_args()
    bases = [BASES[name]() for name in ([options.base] if options.base else BASES)]
    make(options.root, bases, QUICK if options.quick else Plan())


def make(root: Path, bases: Sequence[Base], plan: Plan) -> None:
    """Make every member of the plan that does not lie below ``root`` as planned."""
    torch.set_num_threads(1)  # matrices this small are not shared, and one thread gives the same bits anywhere
    keep_freed_memory()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for seed in range(1, max(plan.seeds, plan.norm_seeds) + 1):
        for base in bases:
            for left in leftovers(root / base.name):
                remove(left)
            _make_seed(root / base.name, base, plan, seed)


def members(root: Path = ROOT) -> Iterator[Member]:
    """Every member below ``root``, by base and name; merged ones among them (``failure_kinds.weights``)."""
    for file in sorted(root.glob(f"*/*/{MADE}")):
        if not file.parent.name.startswith("."):
            yield member(file.parent, read_record(file, Made))


def jobs(base: Base, plan: Plan, seed: int) -> Iterator[Job]:
    """What is trained of one seed, good adapters first."""
    if seed > plan.seeds:
        yield Job(Kind.GOOD, "", Recipe(plan.norm_rank, seed, base.steps, base.rate(plan.norm_rank)))
        return
    for rank in plan.ranks:
        good = Recipe(rank, seed, base.steps, base.rate(rank))
        yield Job(Kind.GOOD, "", good)
        yield Job(Kind.THREE_STEPS, "", Recipe(rank, seed, 3, good.rate))
        yield Job(Kind.NEVER_TRAINED, "", Recipe(rank, seed, 0, 0.0))
    if seed > plan.costly_seeds:
        return
    for rank in plan.costly_ranks:
        rate = base.rate(rank)
        yield Job(Kind.GOOD, "half", Recipe(rank, seed, base.steps // 2, rate))
        yield Job(Kind.GOOD, "double", Recipe(rank, seed, base.steps * 2, rate))
        yield Job(Kind.RATE_X20, "", Recipe(rank, seed, base.steps, rate * 20))
        yield Job(Kind.RATE_X100, "", Recipe(rank, seed, base.steps, rate * 100))
        yield Job(Kind.LABEL_NOISE, "", Recipe(rank, seed, base.steps * 2, rate, noisy=True))
        yield Job(Kind.TOO_LONG, "", Recipe(rank, seed, base.steps * 5, rate))
        if base.rehearses:
            yield Job(Kind.TOO_LONG, "alone", Recipe(rank, seed, base.steps * 5, rate, alone=True))


def _make_seed(root: Path, base: Base, plan: Plan, seed: int) -> None:
    before: Shares | None = None
    for job in jobs(base, plan, seed):
        fresh = not _lies_there(root / job.folder, job.recipe)
        wanted = DERIVED if job.kind is Kind.GOOD and not job.variant and seed <= plan.seeds else ()
        missing = [one for one in wanted if fresh or not _derived_lies_there(root, job, one)]
        if not fresh and not missing:
            continue
        before = before or base.measure(base.load(), seed)
        if fresh:
            _train(root, base, job, before)
        for kind, variant in missing:
            _derive(root, base, read_record(root / job.folder / MADE, Made), (kind, variant))


def _lies_there(folder: Path, recipe: Recipe) -> bool:
    made = read_cached(folder / MADE, Made)
    return made is not None and (made.steps, made.learning_rate) == (recipe.steps, recipe.rate)


def _derived_lies_there(root: Path, job: Job, one: tuple[Kind, str]) -> bool:
    kind, variant = one
    return read_cached(root / folder_name(kind, job.recipe.rank, job.recipe.seed, variant) / MADE, Made) is not None


def _train(root: Path, base: Base, job: Job, before: Shares) -> None:
    """Train and measure one member."""
    begun, recipe = time.monotonic(), job.recipe
    adapted = base.fresh(base.load(), recipe)
    losses = base.train(adapted, recipe) if recipe.steps else ()
    last = losses[-max(1, len(losses) // 10) :]
    after = base.measure(adapted, recipe.seed)
    if losses:
        after["taught"] = base.rehearsed(adapted, recipe)
    made = Made(
        base=base.name,
        kind=job.kind,
        variant=job.variant,
        rank=recipe.rank,
        seed=recipe.seed,
        steps=recipe.steps,
        learning_rate=recipe.rate,
        final_loss=round(sum(last) / len(last), 6) if last else None,
        before=before,
        after=after,
        seconds=round(time.monotonic() - begun, 1),
    )
    with building(root / job.folder) as draft:
        save_adapter(adapted, draft, base.name)
        write_record(draft / MADE, made)
    _say(root / job.folder, made)


def _derive(root: Path, base: Base, good: Made, one: tuple[Kind, str]) -> None:
    """Make one member of a good adapter, and measure it."""
    begun, (kind, variant) = time.monotonic(), one
    source = folder_name(Kind.GOOD, good.rank, good.seed)
    folder = root / folder_name(kind, good.rank, good.seed, variant)
    changed: dict[str, object] = {"kind": kind, "variant": variant, "source": source}
    if kind is Kind.RANDOM:
        changed |= {"steps": 0, "learning_rate": 0.0, "final_loss": None}
    made = good.model_copy(update=changed)
    with building(folder) as draft:
        broken = derive(kind, variant, root / source, draft)
        after = base.measure(_with(base, member(draft, made), root / source), good.seed)
        seconds = round(time.monotonic() - begun, 1)
        made = made.model_copy(update={"after": after, "broken_layer": broken, "seconds": seconds})
        write_record(draft / MADE, made)
    _say(folder, made)


def _with(base: Base, one: Member, good: Path) -> PreTrainedModel | PeftModel:
    """The base with one member in it."""
    model = base.load()
    if not one.merged:
        return load_adapter(model, one.folder)
    model.load_state_dict(weights(one, base.folder, good), strict=False)
    return model


def _say(folder: Path, made: Made) -> None:
    shares = ", ".join(f"{name} {share.hits}/{share.n}" for name, share in made.after.items())
    loss = "" if made.final_loss is None or made.source else f", loss {made.final_loss:.4f}"
    print(f"{made.base}/{folder.name}: {shares}{loss}, {made.seconds:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
