"""Every step of a promotion and of a rollback, with everything that can happen to it: one champion, nothing lost."""

import itertools
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import requests

from data.errors import RelearnError
from data.workspace import Workspace
from flows.recovery import recover
from tasks import ledger
from tasks.places import ledger_uri
from tests import line_miniature as line
from tests.fault_miniature import FORKS, At, Fault, copied, fill_disk, install, kill
from tests.line_miniature import DEEDS, Step

FIRST, OTHER = 2, 3
STEPS = {
    "the intent is to be entered": At("tasks.ledger.append"),
    "the intent stands": At("tasks.ledger.append", after=True),
    "the alias is to be moved": At("tasks.registry.set_alias"),
    "the alias is moved": At("tasks.registry.set_alias", after=True),
    "the version is to be probed": At("tasks.serving.probe"),
    "the commit is to be entered": At("tasks.ledger.append", number=2),
    "the commit stands": At("tasks.ledger.append", number=2, after=True),
    "the data are to follow": At("tasks.registry.fetch_lock"),
    "the report is to be marked": At("tasks.report_mark.mark"),
    "the decision is to be kept beside its evidence": At("flows.switch.keep_approvals"),
    "the pointer is to be moved": At("tasks.serving.point_to"),
    "the pointer is moved": At("tasks.serving.point_to", after=True),
}
DEEDS_DONE = {"promotion": Step("promote", (OTHER - 1, False)), "rollback": Step("rollback", (0, False))}


def ledger_gone(workspace: Workspace, *_: object, **__: object) -> None:
    """As where its disk was unmounted: its place cannot be opened."""
    file = workspace.state / "ledger.db"
    file.rename(file.with_name("ledger.away"))
    file.mkdir()


def disk_full(_: Workspace, *__: object, **___: object) -> None:
    """No file grows from now on."""
    fill_disk(0)


def registry_silent(_: Workspace, *__: object, **___: object) -> None:
    """MLflow's server takes the call and never answers."""
    from tasks import tracking

    def knock(uri: str) -> None:
        raise requests.ReadTimeout(f"{uri} did not answer in time")

    tracking._knock = knock


KINDS: dict[str, Callable[..., None]] = {
    "killed": kill,
    "the ledger is gone": ledger_gone,
    "the disk is full": disk_full,
    "the registry is silent": registry_silent,
}
CASES = list(itertools.product(DEEDS_DONE, STEPS, KINDS))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """A line on which version 2 serves and version 3 passes."""
    return line.make_template(tmp_path_factory.mktemp("faults") / "line", weights).root


@pytest.mark.parametrize(("deed", "step", "kind"), CASES, ids=[", ".join(case) for case in CASES])
def test_whatever_happens_at_any_step_there_is_one_champion_and_nothing_is_lost(
    deed: str, step: str, kind: str, template: Path, weights: Path, tmp_path: Path
) -> None:
    workspace = copied(template, tmp_path / "line")
    before = ledger.entries(ledger_uri(workspace))
    suffered = _suffer(workspace, weights, DEEDS_DONE[deed], Fault(STEPS[step], partial(KINDS[kind], workspace)))
    _mended(workspace)
    assert suffered == (-9 if kind == "killed" else 0)
    line.assert_sound(workspace)
    recover(workspace)
    state = ledger.state(ledger_uri(workspace))
    assert state.version in (FIRST, OTHER if deed == "promotion" else 1)
    assert ledger.entries(ledger_uri(workspace))[: len(before)] == before
    line.assert_recovers(workspace)
    line.assert_evidence_is_readable(workspace)
    assert line.do(workspace, weights, DEEDS_DONE[deed]) is None or state.version != FIRST, "and it can be done again"


def _suffer(workspace: Workspace, weights: Path, step: Step, fault: Fault) -> int:
    process = FORKS.Process(target=_child, args=(workspace, weights, step, fault))
    process.start()
    process.join(120)
    assert not process.is_alive()
    return int(process.exitcode or 0)


def _child(workspace: Workspace, weights: Path, step: Step, fault: Fault) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    install(fault)
    with suppress(RelearnError):  # one sentence, as it should be
        DEEDS[step.name](workspace, weights, *step.arguments)


def _mended(workspace: Workspace) -> None:
    """What was gone is there again."""
    away = workspace.state / "ledger.away"
    if away.is_file():
        shutil.rmtree(workspace.state / "ledger.db")
        away.rename(workspace.state / "ledger.db")
