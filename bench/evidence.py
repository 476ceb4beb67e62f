"""What a spectrum can tell and what it cannot: every statistic against every failure, on adapters not used to set it.

    relearn bench spectra
    python -m bench.evidence --root .relearn/bench/failures

For every statistic and failure the ROC area: how often a failed adapter lies on the failure's side of a good one, one
half by chance. On which side a failure lies is settled on adapters of the tiny base of two ranks alone; what is
printed is of the other ranks, and of the other base. Intervals are bootstraps over seeds; where everything separates
they have no width, however few the seeds.
"""

import argparse
import itertools
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.bases_used import BASES
from bench.evidence_tables import table
from bench.failure_kinds import Kind
from bench.failures import QUICK, ROOT, Plan, make
from bench.measured import Figure, typed
from bench.spectral_statistics import MERGED_READINGS, READINGS, Measured, measured
from data.errors import InputError
from data.evaluation_records import Outcome
from data.param_stages import GateParams
from data.params import load_params
from data.spectral_records import Calibration
from data.workspace import PROJECT_ROOT
from models.calibration import STATISTICS, calibrate
from models.spectral_verdict import adapter_checks
from models.statistics import wilson

COMMAND = "relearn bench spectra"
SET_BASE, SET_RANKS = "tiny", (8, 32)
"""Adapters that may set a side or a threshold; figures are of all others."""
CAN_WARN = ("not_learned", "exploded", "intruders")
"""Checks that warn before they fail, or instead of it."""
DRAWS = 2000
Counts = npt.NDArray[np.float64]
SEED = 20240601


def main() -> None:
    """Measure what has not been measured, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--base", choices=sorted(BASES), help="only this one; without it both")
    parser.add_argument("--quick", action="store_true", help="one rank and one seed of everything: no evidence")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    command = typed("python -m bench.evidence", base=options.base, quick=options.quick)
    found = figures(collect(options.root, options.base, options.quick), command)
    if options.json:
        print(json.dumps({"figures": [asdict(one) for one in found]}))
    else:
        print("\n".join(table(found)))


def collect(root: Path, base: str | None = None, quick: bool = False) -> list[Measured]:
    """Make the members that are missing, and measure those that have not been.

    Raises:
        InputError: ``base`` is none of the library's, or it is not installed.
    """
    if base is not None and base not in BASES:
        raise InputError(f"{base} is no base of the library. Name one of: {', '.join(BASES)}.")
    make(root, [BASES[name]() for name in ([base] if base else BASES)], QUICK if quick else Plan())
    return measured(root)


def figures(library: Sequence[Measured], command: str = COMMAND) -> list[Figure]:
    """Every figure: ROC areas, confusion with training length, outcomes of the checks, calibration."""
    found = [*areas(library), *lengths(library), *alarms(library), *calibrated(library)]
    return [replace(one, command=command) for one in found]


# --- ROC areas -------------------------------------------------------------------------------------


def areas(library: Sequence[Measured]) -> Iterator[Figure]:
    """ROC area of every statistic against every failure, per held-out set."""
    for name in statistics_of(library):
        for kind, variant in failures_of(library):
            side = _side(library, name, kind, variant)
            for where, held in held_out(library).items():
                found = area(held, name, kind, variant, side)
                if found is not None:
                    yield Figure(f"area/{where}/{_label(kind, variant)}/{name}", *found, COMMAND)


def statistics_of(library: Sequence[Measured]) -> list[str]:
    """Names of all statistics that any member has, in the order of the readings."""
    found = {name for one in library for name in one.values}
    known = [name for name in (*READINGS, *MERGED_READINGS) if name in found]
    return [*known, *sorted(found - set(known))]


def failures_of(library: Sequence[Measured]) -> list[tuple[Kind, str]]:
    """Kinds and variants that are no good adapters, in the order of ``Kind``."""
    found = {(one.kind, one.variant) for one in library if one.kind is not Kind.GOOD}
    return sorted(found, key=lambda one: (list(Kind).index(one[0]), one[1]))


def held_out(library: Sequence[Measured]) -> dict[str, list[Measured]]:
    """The adapters that set nothing: the tiny base's other ranks, and the other base."""
    return {
        "tiny, other ranks": [one for one in library if one.base == SET_BASE and one.rank not in SET_RANKS],
        "minilm": [one for one in library if one.base != SET_BASE],
    }


def _side(library: Sequence[Measured], name: str, kind: Kind, variant: str) -> int:
    """1: failures have the larger values, -1: the smaller ones; by the adapters that may set it."""
    chosen = [one for one in library if one.base == SET_BASE and one.rank in SET_RANKS]
    wins_SS, pairs_SS = _by_seeds(*_values(chosen, name, kind, variant))
    return 1 if 2 * wins_SS.sum() >= pairs_SS.sum() else -1


def area(
    held: Sequence[Measured], name: str, kind: Kind, variant: str, side: int
) -> tuple[float, float, float, int, tuple[int, ...]] | None:
    """Area, interval, number of failed adapters, and seeds; None where no two seeds can be compared.

    Adapters of one rank and of different seeds are compared: most statistics change with the rank, and those of one
    seed share facts, or are made of one another.
    """
    good, bad = _values(held, name, kind, variant)
    seeds = _seeds_of(good, bad)
    wins_SS, pairs_SS = _by_seeds(good, bad)
    wins_SS = wins_SS if side > 0 else pairs_SS - wins_SS
    if not pairs_SS.any():
        return None
    random = np.random.default_rng([SEED, zlib.crc32(f"{name}/{kind}/{variant}".encode())])
    drawn_DS = random.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), DRAWS)
    wins_D, pairs_D = (np.einsum("ds,st,dt->d", drawn_DS, counts, drawn_DS) for counts in (wins_SS, pairs_SS))
    low, high = np.quantile(wins_D[pairs_D > 0] / pairs_D[pairs_D > 0], (0.025, 0.975))
    count = sum(map(len, bad.values()))
    return float(wins_SS.sum() / pairs_SS.sum()), float(low), float(high), count, tuple(seeds)


BySeed = dict[tuple[int, int], list[float]]
"""Values by seed and rank."""


def _by_seeds(good: BySeed, bad: BySeed) -> tuple[Counts, Counts]:
    """Pairs of one rank in which the failed adapter is larger, and all, by seed of the good and of the failed one."""
    seeds, ranks = _seeds_of(good, bad), {rank for _, rank in bad}
    wins, pairs = np.zeros((2, len(seeds), len(seeds)))
    for (row, one), (column, other) in itertools.permutations(enumerate(seeds), 2):
        for rank in ranks:
            known, failed = good.get((one, rank), ()), bad.get((other, rank), ())
            if known and failed:
                pairs[row, column] += len(known) * len(failed)
                wins[row, column] += roc_area(known, failed) * len(known) * len(failed)
    return wins, pairs


def _seeds_of(good: BySeed, bad: BySeed) -> list[int]:
    return sorted({seed for seed, _ in (*good, *bad)})


def _values(chosen: Sequence[Measured], name: str, kind: Kind, variant: str) -> tuple[BySeed, BySeed]:
    """Values of the good adapters of plain length and of the failed ones."""
    good: BySeed = {}
    bad: BySeed = {}
    for one in chosen:
        value = one.values.get(name)
        if value is None:
            continue
        if one.kind is Kind.GOOD and not one.variant:
            good.setdefault((one.seed, one.rank), []).append(value)
        elif (one.kind, one.variant) == (kind, variant):
            bad.setdefault((one.seed, one.rank), []).append(value)
    return good, bad


def roc_area(good: Sequence[float], bad: Sequence[float]) -> float:
    """Share of pairs in which the bad one is larger; ties count half (Mann and Whitney)."""
    ordered = np.sort(good)
    below, up_to = (np.searchsorted(ordered, bad, side=side) for side in ("left", "right"))
    return float((below + up_to).sum()) / (2 * len(good) * len(bad))


# --- confusion with length -------------------------------------------------------------------------


LENGTHS = {
    "twice the steps against half": ((Kind.GOOD, "half"), (Kind.GOOD, "double")),
    "label noise against as many steps": ((Kind.GOOD, "double"), (Kind.LABEL_NOISE, "")),
}
"""What is compared so that length is all that differs, or does not differ: the one taken for good, and the other."""


def lengths(library: Sequence[Measured]) -> Iterator[Figure]:
    """ROC area of every statistic where mere length differs, and of memorised noise where it does not."""
    for question, (good, bad) in LENGTHS.items():
        for base in sorted({one.base for one in library}):
            chosen = _relabelled([one for one in library if one.base == base], good, bad)
            for name in statistics_of(chosen):
                found = area(chosen, name, Kind.TOO_LONG, "", 1)
                if found is not None:
                    yield Figure(f"length/{base}: {question}/{name}", *found, COMMAND)


KindOf = tuple[Kind, str]


def _relabelled(library: Sequence[Measured], good: KindOf, bad: KindOf) -> list[Measured]:
    """The one as good adapters, the other as failures; no others."""
    changes = {good: {"kind": Kind.GOOD, "variant": ""}, bad: {"kind": Kind.TOO_LONG, "variant": ""}}
    kinds = [(one, changes.get((one.kind, one.variant))) for one in library]
    return [one.model_copy(update=change) for one, change in kinds if change is not None]


# --- the checks with their default thresholds, and calibrated --------------------------------------


def alarms(library: Sequence[Measured]) -> Iterator[Figure]:
    """Share of adapters that each check fails, and that it warns of or fails: of good ones false alarms."""
    for where, held in held_out(library).items():
        for (kind, variant), chosen in _by_kind(held):
            outcomes = [_outcomes(one, None) for one in chosen]
            for group, counted in (("fails", {Outcome.FAIL}), ("warns", {Outcome.WARN, Outcome.FAIL})):
                for check in outcomes[0] if group == "fails" else CAN_WARN:
                    judged = [one[check] for one in outcomes if one[check] is not Outcome.INSUFFICIENT]
                    if judged:
                        found = wilson(sum(one in counted for one in judged), len(judged))
                        name = f"{group}/{where}/{_label(kind, variant)}/{check}"
                        yield Figure(name, found.value, found.low, found.high, len(judged), _seeds(chosen), COMMAND)


def calibrated(library: Sequence[Measured]) -> Iterator[Figure]:
    """Of each base and rank with enough good adapters: alarms of their norm, and what it fails that is not of it.

    ``left out`` is the share of good adapters that the norm of the others would reject, all checks together; the
    others are the outcomes of each check by the norm of all, of adapters that have no part in it. Merged weights have
    no rank, and no norm is held against them.
    """
    for base, rank in sorted({(one.base, one.rank) for one in library}):
        alike = [one for one in library if (one.base, one.rank, one.report.layers[0].rank) == (base, rank, rank)]
        good = [one for one in alike if (one.kind, one.variant) == (Kind.GOOD, "")]
        norm = calibrate([one.report for one in good], _policy().max_robust_z)
        if norm is None:
            continue
        found, where = wilson(norm.false_alarms, norm.adapters), f"calibrated/{base} r{rank}"
        yield Figure(f"{where}/good/left out", found.value, found.low, found.high, norm.adapters, _seeds(good), COMMAND)
        for (kind, variant), chosen in _by_kind(alike):
            judged = [_outcomes(one, norm) for one in chosen]
            for check in (*STATISTICS, ANY) if (kind, variant) != (Kind.GOOD, "") else ():
                failed = [outcomes[check] is Outcome.FAIL for outcomes in judged]
                share = wilson(sum(failed), len(failed))
                name = f"{where}/{_label(kind, variant)}/{check}"
                yield Figure(name, share.value, share.low, share.high, len(failed), _seeds(chosen), COMMAND)


ANY = "any that decides"


def _outcomes(one: Measured, norm: Calibration | None) -> dict[str, Outcome]:
    """Of every check, and ``ANY``: whether the gate would reject the adapter."""
    checks = adapter_checks(one.report.layers, _policy(), norm)
    rejects = any(check.decides and check.outcome is Outcome.FAIL for check in checks)
    return {check.check: check.outcome for check in checks} | {ANY: Outcome.FAIL if rejects else Outcome.PASS}


@cache
def _policy() -> GateParams:
    return load_params(PROJECT_ROOT / "params.yaml").gates


def _by_kind(chosen: Sequence[Measured]) -> list[tuple[tuple[Kind, str], list[Measured]]]:
    """Good adapters first, those of other lengths next, then the failures."""
    kinds = [(Kind.GOOD, ""), (Kind.GOOD, "half"), (Kind.GOOD, "double"), *failures_of(chosen)]
    found = [(one, [member for member in chosen if (member.kind, member.variant) == one]) for one in kinds]
    return [(one, members) for one, members in found if members]


def _label(kind: Kind, variant: str) -> str:
    return f"{kind.value} {variant}".strip()


def _seeds(chosen: Sequence[Measured]) -> tuple[int, ...]:
    return tuple(sorted({one.seed for one in chosen}))


if __name__ == "__main__":
    main()
