"""Which arms real policies are taught to, and which years there must be."""

from pathlib import Path

import pytest

from bench.policies import ARMS, Grid, units_of
from bench.policies_years import read_years
from data.errors import InputError
from data.params import load_params
from data.workspace import PROJECT_ROOT
from tests.miniature import FEES, write_documents


def test_the_base_alone_is_asked_once_and_what_trains_with_every_seed() -> None:
    units = units_of(Grid(seeds=(1, 2)))
    assert [unit.name for unit in units] == [
        "none/seed 1",
        *(f"{name}/seed {seed}" for name in ARMS[1:] for seed in (1, 2)),
    ]


@pytest.mark.parametrize("name", ["context", "raw", "default,stale=true", "joint,history=true"])
def test_an_arm_that_documents_do_not_allow_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is no arm of this bench"):
        units_of(Grid((name,)))


def test_a_single_snapshot_is_too_few(tmp_path: Path) -> None:
    write_documents(tmp_path / "2019-06-01", {"fees.md": FEES})
    with pytest.raises(InputError, match="holds 1 dated snapshots"):
        read_years(tmp_path, load_params(PROJECT_ROOT / "params.yaml"))
