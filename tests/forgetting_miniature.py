"""The world that the tests of ``bench forgetting`` ask about: the shipped base with the shipped settings."""

from bench.forgetting_arms import arm
from bench.forgetting_learner import rows_of
from bench.forgetting_plans import PLANS, Size
from bench.forgetting_world import World, world
from data.params import load_params
from data.records import FactChange, Row
from data.workspace import PROJECT_ROOT
from models.training import Progress

BASE = str(PROJECT_ROOT / "data" / "bases" / "tiny")
PARAMS = load_params(PROJECT_ROOT / "params.yaml")


def shipped_world() -> World:
    return world(BASE, PARAMS)


def rows_on_a_day(name: str, known: World, day: int = 1) -> tuple[list[Row], list[FactChange]]:
    """What an arm trains on, on a day of a small stream of changing rules, and how the facts that it touches stand."""
    stream = PLANS["flips"].make(known.book, 1, Size(days=3, entities=1, questions=1, flips=5))
    touched = {event.fact.id for event in stream.events}
    changes = [one for one in stream.changes(day) if one.fact.id in touched]
    book = [fact for fact in stream.known if fact.id not in touched]
    return rows_of(arm(name), [*changes, *known.held], book, PARAMS, 1), changes


def silent(what: str, progress: Progress | None) -> None:
    """Hears what is run and says nothing."""
    assert what
