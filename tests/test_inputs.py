"""What a cycle follows from: settings that shape the result, and none that only say how the line is run."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from data.errors import OutsideError
from data.param_stages import TRANSPORT
from data.workspace import Workspace
from flows.inputs import look_at, require_same_settings
from tests.miniature import ignorant

OTHER: dict[str, Any] = {
    "url": "https://elsewhere/v1",
    "key_variable": "KEY",
    "concurrency": 2,
    "retries": 1,
    "timeout_seconds": 9.0,
    "price_in": 1.0,
    "price_out": 1.0,
    "budget": 99.0,
    "budget_tokens": 9_000_000,
    "tokens_per_second": 9.0,
    "model": "other",
    "temperature": 0.9,
    "max_tokens": 99,
    "passage_characters": 99,
    "questions": 9,
    "wordings": 9,
    "rephrasings": 9,
}
"""Of every key of block ``endpoint``, a value that the shipped file does not have."""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return ignorant(tmp_path)


def turn(workspace: Workspace, block: str, key: str, value: object) -> None:
    params = yaml.safe_load(workspace.params_file.read_text())
    assert params[block][key] != value
    params[block][key] = value
    workspace.params_file.write_text(yaml.safe_dump(params))


@pytest.mark.parametrize("key", OTHER)
def test_of_the_endpoint_only_what_shapes_the_rows_makes_another_cycle(key: str, workspace: Workspace) -> None:
    before = look_at(workspace)
    turn(workspace, "endpoint", key, OTHER[key])
    assert (look_at(workspace).key == before.key) is (key in TRANSPORT)


def test_what_no_result_follows_from_makes_no_other_cycle(workspace: Workspace) -> None:
    usual, quick = look_at(workspace).key, look_at(workspace, quick=True).key
    turn(workspace, "quick", "steps", 60)
    turn(workspace, "registry", "retries", 9)
    turn(workspace, "gates", "min_new_right", 0.5)
    assert look_at(workspace).key == usual
    assert look_at(workspace, quick=True).key != quick


def test_a_raised_budget_is_seen_by_a_look(workspace: Workspace) -> None:
    before = look_at(workspace)
    turn(workspace, "endpoint", "budget", 99.0)
    assert look_at(workspace).allowance.exceeds(before.allowance)


def test_a_cycle_goes_on_with_another_budget_and_stops_at_another_model(workspace: Workspace) -> None:
    begun = workspace.pinned()
    turn(workspace, "endpoint", "budget", 99.0)
    require_same_settings(begun)
    turn(workspace, "endpoint", "model", "other")
    with pytest.raises(OutsideError, match=r"^endpoint in "):
        require_same_settings(begun)
