"""Whether a cycle is wanted: decided from files, whatever was sent, lost or doubled."""

from dataclasses import replace
from pathlib import Path

import pytest

from data.cycle_records import Cycle
from data.errors import InputError, OutsideError, PersonNeededError, SpentError
from data.files import write_record
from data.param_stages import Allowance
from data.params import load_params
from data.workspace import PROJECT_ROOT, Workspace
from flows import attempts
from flows.attempts import is_wanted
from flows.inputs import Now

REST = load_params(PROJECT_ROOT / "params.yaml").watch.retry_seconds
TIGHT = Allowance(budget=5.0, budget_tokens=1000, price_in=1.0, price_out=2.0)
ONE, OTHER = Now("one", "key", TIGHT), Now("other", "key of other", TIGHT)
SETTINGS = Now("one", "key with other settings", TIGHT)


ERRORS: dict[int, Exception | None] = {
    0: None,
    1: OutsideError("said"),
    2: InputError("said"),
    3: PersonNeededError("said"),
}


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("flows.attempts.time", clock)
    return clock


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "params.yaml").write_text((PROJECT_ROOT / "params.yaml").read_text())
    return Workspace(tmp_path)


def tried(workspace: Workspace, now: Now, exit_code: int | None) -> None:
    attempt = attempts.begin(workspace, now)
    if exit_code is not None:
        attempts.end(workspace, attempt, ERRORS[exit_code])
    if exit_code == 0:
        write_record(workspace.cycle, Cycle(key=now.key))


def test_the_first_look_wants_a_cycle(workspace: Workspace, clock: Clock) -> None:
    assert is_wanted(workspace, ONE, due=False)


@pytest.mark.parametrize("exit_code", [0, 1, 2, 3, None])
def test_other_documents_want_one_however_the_last_ended(
    workspace: Workspace, clock: Clock, exit_code: int | None
) -> None:
    tried(workspace, ONE, exit_code)
    assert is_wanted(workspace, OTHER, due=False)
    assert not is_wanted(workspace, ONE, due=False)


@pytest.mark.parametrize("exit_code", [2, 3])
def test_what_a_person_has_to_settle_is_not_tried_again_before_the_schedule(
    workspace: Workspace, clock: Clock, exit_code: int
) -> None:
    tried(workspace, ONE, exit_code)
    clock.now += 1000 * REST
    assert not is_wanted(workspace, ONE, due=False)
    assert is_wanted(workspace, ONE, due=True)


def test_documents_that_return_after_a_person_ran_others_want_one(workspace: Workspace, clock: Clock) -> None:
    tried(workspace, ONE, 0)
    write_record(workspace.cycle, Cycle(key=OTHER.key))
    assert is_wanted(workspace, ONE, due=False)


def test_other_settings_count_when_a_cycle_is_due(workspace: Workspace, clock: Clock) -> None:
    tried(workspace, ONE, 0)
    assert not is_wanted(workspace, SETTINGS, due=False)
    assert is_wanted(workspace, SETTINGS, due=True)


@pytest.mark.parametrize("exit_code", [1, None])
def test_outside_failures_are_tried_again_after_pauses_that_double(
    workspace: Workspace, clock: Clock, exit_code: int | None
) -> None:
    longest = load_params(workspace.params_file).watch.max_retry_seconds
    for pause in (REST, 2 * REST, 4 * REST):
        tried(workspace, ONE, exit_code)
        clock.now += pause - 1
        assert not is_wanted(workspace, ONE, due=False)
        clock.now += 1
        assert is_wanted(workspace, ONE, due=False)
    for _ in range(40):
        tried(workspace, ONE, exit_code)
    clock.now += longest
    assert is_wanted(workspace, ONE, due=False)


def test_a_budget_that_was_spent_is_not_spent_again_by_the_schedule(workspace: Workspace, clock: Clock) -> None:
    attempts.end(workspace, attempts.begin(workspace, ONE), SpentError("said"))
    assert not is_wanted(workspace, ONE, due=True)
    assert is_wanted(workspace, SETTINGS, due=True)
    assert is_wanted(workspace, OTHER, due=False)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"budget": 6.0}, True),
        ({"budget_tokens": 1001}, True),
        ({"price_out": 1.5}, True),
        ({"budget": 4.0}, False),
        ({"price_in": 9.0}, False),
    ],
)
def test_a_spent_budget_that_was_raised_is_taken_up_at_the_next_look(
    changes: dict[str, float], wanted: bool, workspace: Workspace, clock: Clock
) -> None:
    attempts.end(workspace, attempts.begin(workspace, ONE), SpentError("said"))
    changed = replace(ONE, allowance=TIGHT.model_copy(update=changes))
    assert is_wanted(workspace, changed, due=False) is wanted
    attempts.end(workspace, attempts.begin(workspace, changed), SpentError("said"))
    assert not is_wanted(workspace, changed, due=True)  # once, not at every look


def test_a_clock_set_back_does_not_stop_the_line(workspace: Workspace, clock: Clock) -> None:
    tried(workspace, ONE, 1)
    clock.now -= 86400
    assert is_wanted(workspace, ONE, due=False)


def test_success_begins_the_count_anew(workspace: Workspace, clock: Clock) -> None:
    tried(workspace, ONE, 1)
    tried(workspace, ONE, 1)
    tried(workspace, ONE, 0)
    tried(workspace, ONE, 1)
    last = attempts.last_attempt(workspace)
    assert last is not None
    assert (last.tries, last.exit_code, last.said) == (1, 1, "said")
