"""The instrument itself: a run on the shipped base that can be stopped anywhere, and what is counted from it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock
from prefect.server.api.server import SubprocessASGIServer

from bench.forgetting import Grid, jobs_of, measure
from bench.forgetting_arms import arm
from bench.forgetting_asking import SCHEMA, answered, told
from bench.forgetting_compared import comparisons, noise
from bench.forgetting_figures import Learned, by_arm, figures
from bench.forgetting_found import found_in, table
from bench.forgetting_learner import Learner
from bench.forgetting_page import write_page
from bench.forgetting_plans import BASE_GROUP, PLANS, POLICIES, Size, examine
from bench.forgetting_run import folder_of, run
from bench.forgetting_world import Unit, World
from bench.jobs import Job, Places
from bench.kept import ANSWERS, COST, Report, read_answers, read_costs
from bench.spread import spread
from data.errors import InputError, OutsideError
from data.handbook_questions import CHOICES, Form
from data.workspace import PROJECT_ROOT, Workspace
from models.training import Progress
from tests.forgetting_miniature import BASE, PARAMS, shipped_world, silent

SMALL = Size(days=2, entities=1, questions=6)
Ran = tuple[Path, list[Unit], list[Path]]
"""Root, units and their folders."""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def known() -> World:
    return shipped_world()


# --- questions ---------------------------------------------------------------------------------------


def test_days_to_come_are_asked_about_on_day_0_alone(known: World) -> None:
    plan = PLANS["stages"]
    stream = plan.make(known.book, 1, SMALL)
    groups = [set(examine(plan, SMALL, stream, day, PARAMS, 1)) for day in range(3)]
    held_out = [f"{name}/{Form.HELD_OUT}" for name in (BASE_GROUP, "day 1", "day 2")]

    assert groups == [set(held_out), set(held_out[:2]), set(held_out)]


# --- a run -------------------------------------------------------------------------------------------

NAMES = ("none", "default,steps=10,replay=0.1", "full,steps=10,replay=0.1")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, known: World) -> Ran:
    root = tmp_path_factory.mktemp("forgetting")
    torch.set_num_threads(1)
    plan = replace(PLANS["stages"], forms=(Form.HELD_OUT, Form.CHOICE))
    units = [Unit(plan, SMALL, arm(name), 1) for name in NAMES]
    return root, units, [run(root, known, unit, silent) for unit in units]


def _answers(folders: Sequence[Path]) -> pd.DataFrame:
    return pd.DataFrame(read_answers(folders).to_pandas())


def test_every_answer_is_kept_with_what_was_wanted(ran: Ran) -> None:
    answers = _answers(ran[2])

    assert set(answers["arm"]) == {arm(name).name for name in NAMES}
    assert sorted(set(answers["day"])) == [0, 1, 2]
    assert set(answers["group"]) == {BASE_GROUP, POLICIES, "day 1", "day 2"}
    assert answers[["question", "answers", "said", "grade"]].notna().all().all()
    base = answers[(answers["group"] == BASE_GROUP) & (answers["day"] == 0)]
    assert (base["grade"] == "right").all()
    assert base["effective"].isna().all()
    assert set(answers[answers["group"] == "day 2"]["effective"]) == {date(2025, 1, 2)}


def test_of_choices_one_is_given_and_the_base_gives_what_it_knows(ran: Ran) -> None:
    answers = _answers(ran[2])
    asked = answers[answers["form"] == Form.CHOICE.value]

    assert (answers["choices"].map(len) == np.where(answers["form"] == Form.CHOICE.value, CHOICES, 0)).all()
    assert all(said in choices for said, choices in zip(asked["said"], asked["choices"], strict=True))
    assert set(asked["group"]) == {BASE_GROUP, "day 1", "day 2"}
    assert (asked[(asked["group"] == BASE_GROUP) & (asked["day"] == 0)]["grade"] == "right").all()
    assert (asked["grade"] == "wrong").any()


@pytest.mark.parametrize("place", [1, 2])
def test_before_a_unit_is_taught_its_model_says_what_the_base_was_asked_once(
    ran: Ran, known: World, place: int
) -> None:
    _, units, folders = ran
    unit = units[place]
    stream = unit.plan.make(known.book, unit.seed, unit.size)
    learner = Learner(BASE, unit.arm, PARAMS, unit.training_seed)
    said = answered(learner, known, unit, stream, 0)
    kept, base = (pq.read_table(folder / "day-00" / "answers.parquet") for folder in (folders[place], folders[0]))

    assert told(learner, known, unit)["divergence_known"] == pytest.approx(0, abs=1e-6)
    assert kept.equals(pa.Table.from_pylist(said, schema=SCHEMA))
    assert kept.drop_columns(["arm"]).equals(base.drop_columns(["arm"]))
    assert read_costs([folders[place]])[0]["answering_seconds"] == 0 < read_costs([folders[0]])[0]["answering_seconds"]


@pytest.mark.parametrize("place", [1, 2])
def test_a_day_that_was_lost_is_made_again_from_the_day_before(ran: Ran, known: World, place: int) -> None:
    root, units, folders = ran
    before, state = _answers([folders[place]]), (folders[place] / "day-02" / "state.safetensors").read_bytes()
    shutil.rmtree(folders[place] / "day-02")

    run(root, known, units[place], silent)

    pd.testing.assert_frame_equal(_answers([folders[place]]), before)
    assert (folders[place] / "day-02" / "state.safetensors").read_bytes() == state


def test_what_is_there_is_not_run_again(ran: Ran, known: World, monkeypatch: pytest.MonkeyPatch) -> None:
    root, units, folders = ran
    monkeypatch.setattr(Learner, "__post_init__", lambda self: pytest.fail("a model was loaded"))
    assert run(root, known, units[1], silent) == folders[1]


def test_other_settings_have_another_folder(ran: Ran, known: World) -> None:
    root, units, folders = ran
    other = replace(known, params=PARAMS.model_copy(update={"train": PARAMS.train.model_copy(update={"clip": 2.0})}))

    assert folder_of(root, other, units[1]) != folders[1]
    assert folder_of(root, known, replace(units[1], seed=2)) != folders[1]
    assert folder_of(root, known, units[1]) == folders[1]


@pytest.mark.parametrize(("name", "days"), [("default", 1), ("joint", 2), ("warm", 2)])
def test_what_a_second_day_teaches(known: World, tmp_path: Path, name: str, days: int) -> None:
    unit = Unit(PLANS["stages"], SMALL, arm(f"{name},steps=10,replay=0"), 1)
    _, first, second = read_costs([run(tmp_path, known, unit, silent)])
    assert second["rows"] == days * first["rows"] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_here")
def test_two_processes_give_what_one_gives(
    ran: Ran, known: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(SubprocessASGIServer, "start", lambda *_, **__: started.append("another server"))
    params = PARAMS.model_copy(update={"train": PARAMS.train.model_copy(update={"threads": 1})})
    reads = Unit(PLANS["stages"], SMALL, arm(f"{NAMES[1]},reads=bm25"), 1)  # first: its model is trained by another
    alone, units = (
        replace(known, params=params),
        [replace(unit, plan=PLANS[unit.plan.name], size=replace(SMALL, days=1)) for unit in (reads, *ran[1])],
    )
    roots = [tmp_path / "alone", tmp_path / "spread"]

    spread(Workspace(tmp_path), "forgetting", params, jobs_of(roots[1], alone, units), Places(2))
    assert not started

    one, two = (_answers([run(root, alone, unit, silent) for unit in units]) for root in roots)
    pd.testing.assert_frame_equal(one, two)


def test_a_day_that_lacks_a_file_is_run_again_and_what_a_kill_left_is_taken_away(
    ran: Ran, known: World, tmp_path: Path
) -> None:
    unit, folder = ran[1][0], folder_of(tmp_path, known, ran[1][0])
    shutil.copytree(ran[2][0], folder)
    draft = folder / ".day-01.torn.tmp"
    draft.mkdir()
    (folder / "day-02" / COST).unlink()
    run(tmp_path, known, unit, silent)

    assert not draft.exists()
    pd.testing.assert_frame_equal(_answers([folder]), _answers([ran[2][0]]))


@pytest.mark.parametrize(("name", "torn"), [(ANSWERS, b"PAR1"), (COST, b"[1]"), (COST, b"{")])
def test_a_damaged_file_of_a_day_is_named(ran: Ran, tmp_path: Path, name: str, torn: bytes) -> None:
    shutil.copytree(ran[2][0], tmp_path / "unit")
    (tmp_path / "unit" / "day-01" / name).write_bytes(torn)
    with pytest.raises(InputError, match="day-01"):
        read_answers([tmp_path / "unit"]), read_costs([tmp_path / "unit"])


def test_two_commands_do_not_write_one_folder_at_once(ran: Ran, known: World, tmp_path: Path) -> None:
    unit = replace(ran[1][0], size=replace(SMALL, days=1))
    folder, heard = folder_of(tmp_path, known, unit), []

    def report(what: str, progress: Progress | None) -> None:
        heard.append(what)
        if "waiting" in what:
            first.release()

    folder.parent.mkdir(parents=True)
    first = FileLock(folder.with_name(f".{folder.name}.lock"))
    first.acquire()
    run(tmp_path, known, unit, report)
    assert heard[0] == f"{unit.name}: waiting for another process that runs it"
    assert heard[1] == f"{unit.name}: day 0 of 1"


def _leave(place: Path, fails: bool, report: Report) -> Path:
    """What one of two jobs does; the second needs the first."""
    if fails:
        raise OutsideError("The disk is full.")
    (place / "done").mkdir(parents=True)
    return place


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_here")
def test_what_needs_a_job_that_failed_is_not_begun(tmp_path: Path) -> None:
    places = [tmp_path / "first", tmp_path / "second"]
    jobs = [Job(place.name, place, "done", _leave, (place, turn == 0), turn=turn) for turn, place in enumerate(places)]

    with pytest.raises(OutsideError, match="The disk is full"):
        spread(Workspace(tmp_path), "forgetting", PARAMS, jobs, Places(2))
    assert not places[1].exists()


def _end(place: Path, report: Report) -> Path:
    """A job whose process is killed, as the system does where memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)
    return place


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_here")
def test_a_process_that_is_killed_is_one_sentence(tmp_path: Path) -> None:
    jobs = [Job(name, tmp_path / name, "done", _end, (tmp_path / name,)) for name in ("first", "second")]
    with pytest.raises(OutsideError, match=r"ended from outside.*goes on with what is missing"):
        spread(Workspace(tmp_path), "forgetting", PARAMS, jobs, Places(2))


def linger(place: Path, report: Report) -> Path:
    """A job that says which process runs it, and does not end."""
    place.mkdir()
    (place / str(os.getpid())).touch()
    time.sleep(600)
    return place


_LINGERS = """
import signal, sys
from pathlib import Path
from bench.jobs import Job, Places
from bench.spread import spread
from data.workspace import PROJECT_ROOT, Workspace
from tests.test_forgetting import PARAMS, linger
root = Path(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
spread(Workspace(root), "forgetting", PARAMS, [Job("one", root / "one", "done", linger, (root / "one",))], Places(2))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_here")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_the_command_that_started_them(tmp_path: Path, number: int) -> None:
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT)}
    with subprocess.Popen([sys.executable, "-c", _LINGERS, str(tmp_path)], env=environment) as command:
        _until(lambda: list((tmp_path / "one").glob("*")))
        command.send_signal(number)
        command.wait(30)
    worker = int(next((tmp_path / "one").iterdir()).name)
    _until(lambda: not Path(f"/proc/{worker}").exists())


def _until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_grid_is_measured_and_what_is_there_is_measured_again_without_a_model(
    known: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(PLANS["day"], quick=Size(days=1, entities=1, questions=6))
    monkeypatch.setitem(PLANS, "day", small)
    train = PARAMS.train.model_copy(update={"threads": 1})
    workspace = Workspace(tmp_path, PARAMS.model_copy(update={"base": BASE, "train": train}))
    grid = Grid(plans=("day",), arms=("none", "default,steps=10,replay=0.1"), seeds=(1, 2), quick=True)
    done = measure(workspace, grid, "relearn bench forgetting", silent)
    monkeypatch.setattr(Learner, "__post_init__", lambda self: pytest.fail("a model was loaded"))
    again = measure(workspace, grid, "relearn bench forgetting", silent)

    written = json.loads((done.page.parent / "figures.json").read_text())
    assert again == done
    assert set(written) == {"figures", "comparisons", "at_levels", "apart", "rivals", "days"}
    found = {one["name"]: one for one in written["figures"]}
    learned = found["day/default,replay=0.1,steps=10/learned when taught"]["value"]
    levels = {one["level"]: one["said"] for one in written["at_levels"]}
    assert list(levels) == [0.9, 0.95]
    assert all(f"{learned:.3f}" in said for said in levels.values())
    assert found["day/none/base's facts right at the end, choice of 4 (chance 0.25)"]["n"] == 6
    assert {one["seed"] for one in written["days"]} == {1}
    answers = pd.read_parquet(done.answers)
    assert set(answers["arm"]) == {"none", "default,replay=0.1,steps=10"}
    assert levels[0.95] in done.page.read_text(encoding="utf-8")
    assert any(levels[0.95] in line for line in table(done.found))


# --- figures and page --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned(ran: Ran) -> list[Learned]:
    days = pd.DataFrame(read_costs(ran[2]))
    return by_arm(_answers(ran[2]), days, "relearn bench forgetting")


def test_figures_are_counted_from_the_answers(ran: Ran, learned: list[Learned]) -> None:
    found = {one.name: one for one in figures(learned)}
    answers = _answers(ran[2])
    answers = answers[(answers["form"] == Form.HELD_OUT.value) & (answers["group"] != POLICIES)]
    none = answers[(answers["arm"] == "none") & (answers["day"] == 2)]
    average = (none["grade"] == "right").groupby(none["group"]).mean().mean()

    assert found["stages/none/final average"].value == pytest.approx(average)
    assert found["stages/none/base's facts lost"].value == 0.0
    assert found["stages/none/facts of documents right at the end"].n == SMALL.questions
    assert all(one.low - 1e-9 <= one.value <= one.high + 1e-9 for one in found.values())
    moved = {name.split("/")[1]: one.value for name, one in found.items() if "KL" in name}
    assert set(moved) == {one.arm for one in learned[1:]}
    assert all(value > 0.001 for value in moved.values())


def test_equals_are_told_from_others_and_p_is_adjusted(learned: list[Learned]) -> None:
    base = learned[1]
    equal = replace(base, arm=f"{base.arm},draw=1")
    found = comparisons([base, equal, learned[0]])

    assert {one.arm for one in found if one.equals} == {equal.arm}
    assert all(one.difference == 0 and one.p == 1 for one in found if one.equals)
    assert all(one.low < 0 < one.high for one in found if one.equals), "no difference seen is not none for certain"
    assert {one.reference for one in found} == {base.arm}
    assert {one.said for one in found if one.equals} == {"noise of the training"}
    assert all(one.between_equals == 0 for one in found)
    assert {one.between_equals for one in comparisons([base, learned[0]])} == {None}
    shipped = replace(base, arm="default,steps=20")
    assert {one.reference for one in comparisons([shipped, base, equal]) if one.equals} == {base.arm}
    apart = noise([base, equal, learned[0]])
    assert [one.value for one in apart] == [0.0, 0.0]
    assert all(equal.arm in one.name for one in apart)


def test_the_page_shows_every_arm_and_loads_nothing(learned: list[Learned], tmp_path: Path) -> None:
    found, families = found_in(learned)
    page = write_page(tmp_path / "page.html", "tiny", "relearn", learned, families, found)
    text = page.read_text(encoding="utf-8")

    assert text.count("<svg") == 2 + len(NAMES)
    assert len(found.at_levels) == 4
    assert all(one.said and one.said in text for one in found.at_levels)
    assert all(one.arm in text for one in learned)
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_days_say_what_they_cost(ran: Ran) -> None:
    days = {(one["arm"], one["day"]): one for one in read_costs(ran[2])}
    lora = days[arm(NAMES[1]).name, 1]

    assert (lora["steps"], lora["rows"] > lora["replayed"] > 0) == (10, True)
    assert lora["divergence_known"] > 0
    full = arm(NAMES[2]).name
    assert days[full, 1]["divergence_unseen"] > 0
    assert days["none", 1]["parameters"] == days["none", 1]["bytes"] == 0
    assert lora["bytes"] == (ran[2][1] / "day-01" / "state.safetensors").stat().st_size > 4 * lora["parameters"]
    assert json.dumps(list(days.values()))
