"""The figures that say whether a spectrum announces grokking or its collapse, or whether something plainer does.

Three kinds, each for the spectral statistics and for their rivals (weight norm, training loss, step count, number of
training examples): announcements by a level (bench/grokking_announcers.py), areas under the ROC curve
(bench/grokking_roc.py), and the rank correlation, at one step before any network grokked, with when each will.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.grokking_announcers import Announcer, Rule, fixed, held_out
from bench.grokking_roc import DRAWS, Array, Flags, area
from bench.grokking_series import RIVALS, SPECTRAL, Event, Series, collapse, grokking, series, wide_layers
from bench.grokking_spectra import Reading
from bench.grokking_training import Run
from models.statistics import wilson

SEED = 20240601
"""Of every bootstrap."""
SOON = 2.0
"""An event within so many times the steps is near."""
ALPHA_TWO = Rule(2.0, below=True)
ANY_TRAP = Rule(1.0, below=False)
CANDIDATES = (*SPECTRAL, *RIVALS)

Figure = dict[str, Any]


def answers(run: Run, command: str) -> list[Figure]:
    """Every figure of a run: name, value, low, high, n (networks), seeds, command."""
    found = series(run)
    grokked, middle_S = grokking(found)
    lost = collapse(found, grokked, middle_S)
    parts: list[Figure] = [*_counts(found, grokked, lost)]
    errors = np.array([one.sigma for one in _wide_readings(run) if one.sigma is not None])
    parts += _late(found, grokked)
    parts.append(_figure("standard error of alpha, median and 5th to 95th percentile", *_spread(errors), len(errors)))
    for name, event in (("grokking", grokked), ("collapse", lost)):
        parts += _announcements(found, event, name)
    parts += [*_areas(found, grokked, lost, middle_S), *_early(found, grokked)]
    seeds = [run.setup.seed * 1000 + member for member in range(run.setup.stack)]
    return [{**one, "seeds": seeds, "command": command} for one in parts]


def _figure(name: str, value: float, low: float, high: float, n: int) -> Figure:
    return {"name": name, "value": value, "low": low, "high": high, "n": n}


def _counts(found: Series, grokked: Event, lost: Event) -> Iterator[Figure]:
    true = ~found.control_S
    for name, happened, among in (
        ("true labels, grokked", grokked.happened, true),
        ("random labels, grokked", grokked.happened, ~true),
        ("grokked, collapsed", lost.happened, grokked.happened),
    ):
        if among.any():
            share = wilson(int((happened & among).sum()), int(among.sum()))
            yield _figure(name, share.value, share.low, share.high, share.n)
    if grokked.happened.any():
        steps = found.steps_T[grokked.at_S[grokked.happened]]
        yield _figure("step of grokking, median and range", *_range(steps), len(steps))
        held = found.test_ST[grokked.happened]
        yield _figure(
            "test accuracy lost since its best, median and range", *_range(held.max(1) - held[:, -1]), len(held)
        )


def _late(found: Series, memorised: Event) -> Iterator[Figure]:
    """What the claimed signs of a collapse look like at the end, and how test accuracy went on after them."""
    places = np.arange(len(found.steps_T))[None, :]
    trapped = (found.statistics["traps"] >= 1) & memorised.possible[:, None] & (places >= memorised.since_S[:, None])
    for labels, chosen in (("true labels", ~found.control_S), ("random labels", found.control_S)):
        if not chosen.any():
            continue
        for name in ("alpha", "least alpha"):
            last = found.statistics[name][chosen, -1]
            yield _figure(f"{labels}, {name} at the end, median and range", *_range(last), len(last))
        share = wilson(int(trapped[chosen].any(1).sum()), int(chosen.sum()))
        yield _figure(f"{labels}, a trap since memorisation", share.value, share.low, share.high, share.n)
    seen = trapped.any(1) & ~found.control_S
    if seen.any():
        gained = found.test_ST[seen, -1] - found.test_ST[seen, trapped[seen].argmax(1)]
        yield _figure("test accuracy gained since the first trap, median and range", *_range(gained), len(gained))


def _wide_readings(run: Run) -> Iterator[Reading]:
    """Those of the matrices that count, of all networks and checkpoints."""
    wide = wide_layers(run)
    return (one for point in run.checkpoints for layer in wide for one in point.matrices[layer])


def _spread(values: Array) -> tuple[float, float, float]:
    median, low, high = np.quantile(values, [0.5, 0.05, 0.95])
    return float(median), float(low), float(high)


def _range(values: Array) -> tuple[float, float, float]:
    return float(np.median(values)), float(values.min()), float(values.max())


def _announcements(found: Series, event: Event, name: str) -> Iterator[Figure]:
    judged: dict[str, Announcer | None] = {
        "alpha at most 2": fixed(found.statistics["alpha"], found.steps_T, event, ALPHA_TWO),
        "least alpha at most 2": fixed(found.statistics["least alpha"], found.steps_T, event, ALPHA_TWO),
        "any trap": fixed(found.statistics["traps"], found.steps_T, event, ANY_TRAP),
    }
    for statistic in CANDIDATES:
        judged[statistic] = held_out(found.statistics[statistic], found.steps_T, event)
    for statistic, one in judged.items():
        if one is not None:
            yield from _announcement(one, f"{statistic} before {name}")


def _announcement(one: Announcer, name: str) -> Iterator[Figure]:
    for part, share in (("timely", one.timely), ("alarms without it", one.alarms)):
        if share is not None:
            yield _figure(f"{name}, {part}", share.value, share.low, share.high, share.n)
    if one.leads:
        random = np.random.default_rng(SEED)
        drawn = np.median(random.choice(one.leads, (DRAWS, len(one.leads))), axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        yield _figure(f"{name}, times earlier", float(np.median(one.leads)), float(low), float(high), len(one.leads))


def questions(found: Series, grokked: Event, lost: Event, middle_S: Array) -> dict[str, tuple[Flags, Flags]]:
    """What is to be told apart: the checkpoints of yes and of no, (S, T) each."""
    places = np.arange(len(found.steps_T))[None, :]
    known = grokked.possible[:, None] & (places >= grokked.since_S[:, None])
    above = known & grokked.happened[:, None] & (found.test_ST >= middle_S[:, None])
    waiting = known & ~(grokked.happened[:, None] & (places >= grokked.at_S[:, None]))
    holding = lost.possible[:, None] & (places >= lost.since_S[:, None])
    holding &= ~(lost.happened[:, None] & (places >= lost.at_S[:, None]))
    return {
        "generalises now": (above, known & ~above),
        "grokking is near": _near(found, grokked, waiting),
        "collapse is near": _near(found, lost, holding),
    }


def _near(found: Series, event: Event, waiting: Flags) -> tuple[Flags, Flags]:
    """Of the checkpoints before an event, those within ``SOON`` of it, and those that are known not to be.

    Nothing is known of the last ones of a network that had no event: it may have one after the run.
    """
    steps = found.steps_T
    goal = np.where(event.happened, steps[event.at_S], np.inf)[:, None]
    near = waiting & (goal <= SOON * steps[None, :])
    known = found.control_S[:, None] | event.happened[:, None] | (SOON * steps[None, :] <= steps[-1])
    return near, waiting & ~near & known


def _areas(found: Series, grokked: Event, lost: Event, middle_S: Array) -> Iterator[Figure]:
    places = np.broadcast_to(np.arange(len(found.steps_T), dtype=float), found.test_ST.shape)
    strata = {
        "any steps": np.zeros_like(places),
        "equal steps": places,
        "equal steps and examples": places * 1e6 + found.examples_S[:, None],
    }
    for question, (yes, no) in questions(found, grokked, lost, middle_S).items():
        for networks, chosen in (("all", np.full(len(yes), True)), ("true labels", ~found.control_S)):
            for kind, stratum in strata.items():
                for statistic in CANDIDATES:
                    name = f"ROC area of {statistic}, {question}, {kind}, {networks}"
                    mine = (yes & chosen[:, None], no & chosen[:, None])
                    one = area(
                        found.statistics[statistic], *mine, stratum, found.control_S * 1e6 + found.examples_S, SEED
                    )
                    if one is not None:
                        yield _figure(name, one.value, one.low, one.high, one.networks)


def _early(found: Series, grokked: Event) -> Iterator[Figure]:
    """Spearman's correlation with log step of grokking, what the number of examples explains taken out of both."""
    chosen = np.flatnonzero(grokked.happened & ~found.control_S)
    if chosen.size < 5 or grokked.at_S[chosen].min() == 0:
        return
    at = int(grokked.at_S[chosen].min()) - 1
    when, groups = np.log2(found.steps_T[grokked.at_S[chosen]]), found.examples_S[chosen]
    random = np.random.default_rng(SEED)
    draws = random.integers(chosen.size, size=(DRAWS, chosen.size))
    for statistic in (name for name in CANDIDATES if name not in ("step", "examples")):
        shown = found.statistics[statistic][chosen, at]
        value = _rank_correlation(shown, when, groups)
        if np.isnan(value):  # the same in all networks
            continue
        low, high = np.nanquantile([_rank_correlation(shown[d], when[d], groups[d]) for d in draws], [0.025, 0.975])
        name = f"rank correlation of {statistic} at step {found.steps_T[at]:.0f} with the step of grokking"
        yield _figure(name, value, float(low), float(high), int(chosen.size))


def _rank_correlation(one: Array, other: Array, groups: Array) -> float:
    first, second = (_ranks(_centred(values, groups)) for values in (one, other))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Array) -> Array:
    """Ties share the mean of their ranks."""
    ranks: Array = (values[:, None] > values).sum(1) + (values[:, None] == values).sum(1) / 2.0
    return ranks


def _centred(values: Array, groups: Array) -> Array:
    means = {group: values[groups == group].mean() for group in np.unique(groups)}
    centred: Array = values - np.array([means[group] for group in groups])
    return centred
