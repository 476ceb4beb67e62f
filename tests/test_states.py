"""Whatever people do, in whatever order, and wherever a process is killed: there is one champion, and it may be it."""

import itertools
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from data.workspace import Workspace
from tests import line_miniature as line
from tests.fault_miniature import At, copied
from tests.line_miniature import INSTANTS, NAMES, POLICIES, Step

if TYPE_CHECKING:
    from sqlalchemy import URL

SEQUENCES, STEPS = 200, 6
FATE, KILLED = st.integers(1, 8), 5
NAME = st.sampled_from(NAMES)
PLACE = st.integers(0, 9)
RUN = st.just(Step("run"))
DECIDED = st.one_of(
    st.builds(lambda place, override: Step("promote", (place, override)), PLACE, st.booleans()),
    st.builds(lambda place, override: Step("rollback", (place, override)), st.none() | PLACE, st.booleans()),
    st.builds(lambda place: Step("reject", (place,)), PLACE),
)
DOCUMENTS = st.one_of(
    st.builds(lambda name, version: Step("amend", (name, version)), NAME, st.sampled_from((1, 2))),
    st.builds(lambda name: Step("vanish", (name,)), NAME),
)
WITHDRAWN = st.builds(
    lambda how, name: Step(how, (name,)), st.sampled_from(("withdraw", "withdraw", "reinstate")), NAME
)
GATES = st.builds(lambda policy: Step("gates", (policy,)), st.sampled_from(sorted(POLICIES)))


class Line(RuleBasedStateMachine):
    """A line that people work on, from a template each time."""

    place: Path
    template: Path
    weights: Path
    number = itertools.count()
    own_ledger: Callable[[], str] | None = None
    """Makes a copy of the template's ledger; None: it lies in the workspace."""

    def __init__(self) -> None:
        super().__init__()
        self.workspace: Workspace = copied(self.template, self.place / str(next(self.number)))
        if self.own_ledger is not None:
            line.keep_ledger_at(self.workspace, self.own_ledger())

    @rule(step=st.one_of(RUN, DOCUMENTS, GATES, WITHDRAWN, DECIDED), instant=st.sampled_from(INSTANTS), fate=FATE)
    def act(self, step: Step, instant: At, fate: int) -> None:
        if fate == KILLED:
            if line.do_and_be_killed(self.workspace, self.weights, step, instant):
                line.assert_sound(self.workspace)
                line.assert_recovers(self.workspace)
        elif line.do(self.workspace, self.weights, step) is None and step.name == "run":
            line.assert_clean(self.workspace)

    @invariant()
    def is_sound(self) -> None:
        line.assert_sound(self.workspace)

    def teardown(self) -> None:
        line.assert_evidence_is_readable(self.workspace)
        shutil.rmtree(self.workspace.root)


@pytest.mark.timeout(1200)
def test_there_is_always_one_champion_and_it_may_be_it(tmp_path: Path, weights: Path) -> None:
    Line.weights, Line.place, Line.own_ledger = weights, tmp_path, None
    Line.template = line.make_template(tmp_path / "template", weights).root
    _drive()


@pytest.mark.postgres
@pytest.mark.timeout(1200)
def test_there_is_always_one_champion_by_a_ledger_in_postgresql(
    tmp_path: Path, weights: Path, postgresql: "URL"
) -> None:
    from tests.postgres_server import new_database

    kept = new_database(postgresql)
    Line.weights, Line.place, Line.own_ledger = weights, tmp_path, partial(new_database, postgresql, kept)
    Line.template = line.make_template(tmp_path / "template", weights, kept).root
    _drive()


def _drive() -> None:
    run_state_machine_as_test(
        Line,
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
