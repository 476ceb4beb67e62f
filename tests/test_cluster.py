"""A grid on a real Dask cluster of this machine: a scheduler and workers on loopback, ended when the test is."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from bench.cluster import dask
from bench.forgetting import jobs_of
from bench.forgetting_arms import arm
from bench.forgetting_plans import PLANS, Size
from bench.forgetting_run import folder_of, run
from bench.forgetting_world import Unit, World, world
from bench.jobs import Places
from bench.kept import read_answers
from bench.spread import spread
from data.errors import InputError, OutsideError
from data.params import load_params
from data.workspace import PROJECT_ROOT, Workspace
from flows.cli import app
from models.training import Progress

START_SECONDS, END_SECONDS = 60, 30
SMALL = Size(days=1, entities=1, questions=2)
ARM = "default,steps=10"


def test_without_the_extra_one_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask", None)
    monkeypatch.setitem(sys.modules, "distributed", None)
    (tmp_path / "params.yaml").write_bytes((PROJECT_ROOT / "params.yaml").read_bytes())
    typed = ["bench", "forgetting", "--cluster", "tcp://127.0.0.1:9", "--workspace", str(tmp_path)]
    done = CliRunner().invoke(app, typed)
    assert isinstance(done.exception, InputError)
    assert "is not installed" in str(done.exception)
    assert "make cluster-setup" in str(done.exception)


def test_an_empty_address_is_no_cluster() -> None:
    with pytest.raises(InputError, match="address is empty"):
        Places(cluster="")


# --- with the extra ----------------------------------------------------------------------------------


@contextmanager
def _process(place: Path, *arguments: str, code: Path = PROJECT_ROOT) -> Iterator["subprocess.Popen[bytes]"]:
    """A program of Dask, ended with this block."""
    with (place / f"{arguments[0]}.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{arguments[0]}", *arguments[1:], "--no-dashboard"],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(code)},
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise


@contextmanager
def _scheduler(place: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Its address, on a port that was free, and its process."""
    file = place / "scheduler.json"
    with _process(place, "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)) as child:
        deadline = time.monotonic() + START_SECONDS
        while not file.is_file() and time.monotonic() < deadline:
            time.sleep(0.1)
        yield json.loads(file.read_text())["address"], child


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _scheduler(tmp_path_factory.mktemp("scheduler")) as (address, _):
        yield address


def _options(place: Path, threads: int = 1) -> list[str]:
    return ["--host", "127.0.0.1", "--nthreads", str(threads), "--no-nanny", "--local-directory", str(place)]


def _wait_for_worker(address: str) -> None:
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=START_SECONDS)


@contextmanager
def _worker(place: Path, address: str, threads: int = 1, code: Path = PROJECT_ROOT) -> Iterator[None]:
    """One worker that the scheduler knows; it works in a folder of its own, where nothing of this project lies."""
    from distributed import Client

    place.mkdir()
    with _process(place, "worker", address, *_options(place, threads), code=code):
        _wait_for_worker(address)
        yield
    with Client(address, set_as_default=False) as client:
        while client.scheduler_info()["workers"]:
            time.sleep(0.1)


@pytest.fixture(scope="module")
def known() -> World:
    params = load_params(PROJECT_ROOT / "params.yaml")
    one_thread = params.model_copy(update={"train": params.train.model_copy(update={"threads": 1})})
    return world(str(PROJECT_ROOT / "data" / "bases" / "tiny"), one_thread)


def _units(name: str) -> list[Unit]:
    return [Unit(PLANS["stages"], SMALL, arm(name), 1)]


def _spread(place: Path, root: Path, known: World, units: list[Unit], address: str) -> None:
    spread(Workspace(place), "forgetting", known.params, jobs_of(root, known, units), Places(cluster=address))


def _silent(what: str, progress: Progress | None) -> None:
    assert what


@pytest.mark.extras
@pytest.mark.timeout(600)
def test_a_cluster_gives_what_one_process_gives(scheduler: str, known: World, tmp_path: Path) -> None:
    units, roots = _units(ARM), (tmp_path / "alone", tmp_path / "cluster")
    with _worker(tmp_path / "worker", scheduler):
        _spread(tmp_path, roots[1], known, units, scheduler)
    said = (tmp_path / "worker" / "worker.log").read_text()

    assert "Error logging to API" not in said  # of what a server that is gone was to hear
    assert f"stages/{arm(ARM).name}/seed 1: day 1 of 1" in said
    alone = read_answers([run(roots[0], known, unit, _silent) for unit in units])
    there = read_answers([folder_of(roots[1], known, unit) for unit in units])
    pd.testing.assert_frame_equal(alone.to_pandas(), there.to_pandas())


@pytest.mark.extras
def test_what_a_worker_of_other_code_did_is_not_taken(scheduler: str, known: World, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for package in ("bench", "data", "models", "tasks", "flows"):
        shutil.copytree(
            PROJECT_ROOT / package, other / package, ignore=shutil.ignore_patterns("__pycache__", "streams")
        )
    with (other / "models" / "packing.py").open("a") as file:
        file.write("\n\nDIFFERENT = 1\n")
    with (
        _worker(tmp_path / "worker", scheduler, code=other),
        pytest.raises(OutsideError, match=r"stages/none/seed 1 was to be kept in .* this version"),
    ):
        _spread(tmp_path, tmp_path / "root", known, _units("none"), scheduler)


@pytest.mark.extras
def test_a_scheduler_that_goes_away_ends_the_grid_in_a_sentence(known: World, tmp_path: Path) -> None:
    with _scheduler(tmp_path) as (address, child), _process(tmp_path, "worker", address, *_options(tmp_path)):
        _wait_for_worker(address)
        ending = threading.Thread(target=_end_when, args=(child, tmp_path / "worker.log", "day 0 of 1"))
        ending.start()
        with pytest.raises(OutsideError, match="The Dask cluster stopped working"):
            _spread(tmp_path, tmp_path / "root", known, _units("none"), address)
        ending.join()


def _end_when(child: "subprocess.Popen[bytes]", log: Path, said: str) -> None:
    deadline = time.monotonic() + 3 * START_SECONDS
    while said not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    child.kill()


@pytest.mark.extras
def test_a_worker_that_trains_two_at_once_is_refused(scheduler: str, tmp_path: Path) -> None:
    with _worker(tmp_path / "worker", scheduler, threads=2), pytest.raises(InputError, match="takes 2 tasks at once"):
        dask(scheduler)


@pytest.mark.extras
def test_a_scheduler_without_workers_is_told_from_none(scheduler: str) -> None:
    with pytest.raises(OutsideError, match="has no workers"):
        dask(scheduler)
    with pytest.raises(OutsideError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        dask("tcp://127.0.0.1:9")
    with pytest.raises(InputError, match="is no address"):
        dask("http://127.0.0.1:9")
