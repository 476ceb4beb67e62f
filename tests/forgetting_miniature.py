"""The world that the tests of ``bench forgetting`` ask about: the shipped base with the shipped settings."""

from bench.forgetting_world import World, world
from data.params import load_params
from data.workspace import PROJECT_ROOT
from models.training import Progress

BASE = str(PROJECT_ROOT / "data" / "bases" / "tiny")
PARAMS = load_params(PROJECT_ROOT / "params.yaml")


def shipped_world() -> World:
    return world(BASE, PARAMS)


def silent(what: str, progress: Progress | None) -> None:
    """Hears what is run and says nothing."""
    assert what
