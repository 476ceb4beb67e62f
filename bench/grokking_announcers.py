"""Does a statistic that crosses a level announce an event: in how many networks, how long before, how often wrongly?

An announcement is the first checkpoint at which the statistic is at or beyond the level. It is *timely* if it comes
before the event, by no more than a factor ``REACH`` of steps: what fires from the first step on announces nothing.
Level and direction are those that tell best on one half of the networks (share of timely ones minus share of alarms in
networks without the event); what is reported is the other half, both ways round, so that each network is judged once.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.grokking_roc import Array, Flags, halves
from bench.grokking_series import Event
from data.evaluation_records import Estimate
from models.statistics import wilson

REACH = 8.0
LEVELS = 60
"""Levels tried, quantiles of all values."""


class Rule(NamedTuple):
    """Fires at or beyond a level."""

    level: float
    below: bool


class Announcer(NamedTuple):
    """What a statistic is worth as an announcer."""

    rules: tuple[Rule, ...]
    timely: Estimate | None
    alarms: Estimate | None
    """Networks without the event in which it fired all the same."""
    leads: tuple[float, ...]
    """Steps of the event over steps of the announcement, of the timely ones."""


def fires(scores_ST: Array, rule: Rule, event: Event) -> npt.NDArray[np.int64]:
    """Index of the first checkpoint, since the event was possible, at which the rule holds; -1 if never."""
    beyond = scores_ST <= rule.level if rule.below else scores_ST >= rule.level
    beyond &= np.arange(scores_ST.shape[1])[None, :] >= event.since_S[:, None]
    return np.where(beyond.any(1), beyond.argmax(1), -1)


def judge(scores_ST: Array, steps_T: Array, event: Event, rule: Rule) -> tuple[Flags, Flags, Array]:
    """Per network: timely, false alarm, and the lead as a ratio of steps."""
    fired = fires(scores_ST, rule, event)
    lead = np.where(event.happened & (fired >= 0), steps_T[event.at_S] / steps_T[fired], np.nan)
    timely = np.nan_to_num(lead, nan=0.0) > 1.0
    timely &= np.nan_to_num(lead, nan=np.inf) <= REACH
    return timely, ~event.happened & event.possible & (fired >= 0), lead


def best_rule(scores_ST: Array, steps_T: Array, event: Event, among_S: Flags) -> Rule:
    """The level and direction that tell best among these networks."""
    levels = np.unique(np.quantile(scores_ST[among_S & event.possible], np.linspace(0, 1, LEVELS), method="nearest"))
    rules = [Rule(float(level), below) for level in levels for below in (True, False)]
    worth = [_worth(scores_ST, steps_T, event, among_S, rule) for rule in rules]
    best = [rule for rule, one in zip(rules, worth, strict=True) if one == max(worth)]
    return best[len(best) // 2]


def _worth(scores_ST: Array, steps_T: Array, event: Event, among_S: Flags, rule: Rule) -> tuple[float, float]:
    """Timely less alarms; among equals the one that is more often timely, as one that never fires is worth 0 too."""
    timely, alarm, _ = judge(scores_ST, steps_T, event, rule)
    with_it, without = among_S & event.happened, among_S & event.possible & ~event.happened
    found = float(timely[with_it].mean())
    return found - (float(alarm[without].mean()) if without.any() else 0.0), found


def held_out(scores_ST: Array, steps_T: Array, event: Event) -> Announcer | None:
    """Rules found on each half and judged on the other; None where a half has no event."""
    half_S = halves(np.where(event.possible, event.happened, -1).astype(float))
    if not all((event.happened & (half_S == h)).any() for h in (0, 1)):
        return None
    rules = tuple(best_rule(scores_ST, steps_T, event, half_S != h) for h in (0, 1))
    judged = [judge(scores_ST, steps_T, event, rule) for rule in rules]
    timely, alarm, lead = (np.where(half_S == 0, first, second) for first, second in zip(*judged, strict=True))
    return _announcer(rules, timely.astype(bool), alarm.astype(bool), lead, event)


def fixed(scores_ST: Array, steps_T: Array, event: Event, rule: Rule) -> Announcer:
    """A rule that was given beforehand, judged on all networks."""
    return _announcer((rule,), *judge(scores_ST, steps_T, event, rule), event)


def _announcer(rules: tuple[Rule, ...], timely: Flags, alarm: Flags, lead: Array, event: Event) -> Announcer:
    with_it, without = event.happened, event.possible & ~event.happened
    return Announcer(
        rules,
        wilson(int(timely[with_it].sum()), int(with_it.sum())) if with_it.any() else None,
        wilson(int(alarm[without].sum()), int(without.sum())) if without.any() else None,
        tuple(float(one) for one in lead[timely & with_it]),
    )
