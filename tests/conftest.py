"""Switches for every test, set before any library is imported: no telemetry, no network, no traces."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sqlalchemy import URL
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

    from data.workspace import Workspace
    from tests.teacher_server import Teacher

_HOME = tempfile.mkdtemp(prefix="relearn-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)

os.environ.update(
    {
        # usage telemetry
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "ITERATIVE_DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "GX_ANALYTICS_ENABLED": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # nothing is fetched
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        # state outside the tests' own folders
        "PREFECT_HOME": f"{_HOME}/prefect",
        "HF_HOME": f"{_HOME}/huggingface",
        "DVC_SITE_CACHE_DIR": f"{_HOME}/dvc-site",
        "DVC_GLOBAL_CONFIG_DIR": f"{_HOME}/dvc-config",
        "DVC_SYSTEM_CONFIG_DIR": f"{_HOME}/dvc-system",
        "MPLCONFIGDIR": f"{_HOME}/matplotlib",
        # commits of test workspaces
        "GIT_AUTHOR_NAME": "Relearn tests",
        "GIT_AUTHOR_EMAIL": "tests@relearn.invalid",
        "GIT_COMMITTER_NAME": "Relearn tests",
        "GIT_COMMITTER_EMAIL": "tests@relearn.invalid",
        # one thread each, so that a seeded run gives the same bits everywhere
        "OMP_NUM_THREADS": "1",
        # what trains with more sleeps while it waits: spinning beside another worker costs it most of its speed
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }
)
os.environ.pop("DVC_STAGE", None)


LONGEST = (
    "test_watch.py", "test_year.py", "test_kills.py", "test_outside.py", "test_init.py", "test_cycle.py",
    "test_interruptions.py", "test_decisions.py", "test_planted_servers.py",
)  # fmt: skip
"""Files that take minutes come first, so that no worker is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, all else as it comes."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real Prefect server that commands in processes of their own share."""
    from tests.fault_miniature import prefect_server

    with prefect_server(tmp_path_factory.mktemp("prefect")) as (address, _):
        yield address


@pytest.fixture
def teacher() -> "Iterator[Teacher]":
    """A language model's endpoint on loopback that answers by rule."""
    from tests.teacher_server import Teacher, teaching

    with teaching(Teacher()) as served:
        yield served


@pytest.fixture(scope="session")
def tokenizer() -> "PreTrainedTokenizerBase":
    """Of three hundred tokens, trained on questions about fees."""
    from tests.fees import fees_tokenizer

    return fees_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer: "PreTrainedTokenizerBase") -> "LlamaForCausalLM":
    """Two layers of random weights; a test that changes a model makes its own."""
    from tests.fees import small

    return small(tokenizer, layers=2).eval()


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and an adapter of a few weights, to be registered and never trained."""
    from tests.registry_miniature import make_weights

    return make_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def prefect_here(server: str) -> Iterator[None]:
    """Cycles in the tests' own process report to that server."""
    from tests.fault_miniature import using_prefect

    with using_prefect(server):
        yield


@pytest.fixture(scope="session")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature workspace before its first cycle, whose gates no candidate of its size passes."""
    from tests.miniature import make_workspace, under_version_control, with_base

    return under_version_control(with_base(make_workspace(tmp_path_factory.mktemp("strict") / "workspace"))).root


@pytest.fixture(scope="session")
def finished(strict: Path, tmp_path_factory: pytest.TempPathFactory) -> "Workspace":
    """The same after its first cycle, which told a program of what came of it."""
    from tests.fault_miniature import copied, tell_a_file
    from tests.programs import relearn

    workspace = tell_a_file(copied(strict, tmp_path_factory.mktemp("finished") / "workspace"))
    done = relearn("run", workspace=workspace)
    assert done.returncode == 3, done.stderr
    return workspace


@pytest.fixture(scope="session")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature workspace before its first cycle, whose gates let every candidate pass."""
    from tests.fault_miniature import make_template

    return make_template(tmp_path_factory.mktemp("lenient") / "workspace")


@pytest.fixture(scope="session")
def undisturbed(lenient: Path, server: str, tmp_path_factory: pytest.TempPathFactory) -> "Workspace":
    """The same after a cycle in which nothing went wrong; it told a program of what came of it."""
    from tests.fault_miniature import command, copied, tell_a_file

    workspace = tell_a_file(copied(lenient, tmp_path_factory.mktemp("undisturbed") / "workspace"))
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    return workspace


@pytest.fixture(scope="session")
def second_day(undisturbed: "Workspace", server: str, tmp_path_factory: pytest.TempPathFactory) -> "Workspace":
    """The same after a second cycle, with a document more."""
    from tests.fault_miniature import MORE, command, copied
    from tests.miniature import NEW, write_documents

    workspace = copied(undisturbed.root, tmp_path_factory.mktemp("second") / "workspace")
    write_documents(workspace.documents, NEW | MORE)
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    return workspace


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread of torch, so that small models give equal bits everywhere."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def sqlite_uri(tmp_path: Path) -> str:
    """Where a ledger is to be."""
    return f"sqlite:///{tmp_path}/state/ledger.db"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def uri(request: pytest.FixtureRequest) -> str:
    """The same on each kind of database."""
    return str(request.getfixturevalue("sqlite_uri" if request.param == "sqlite" else "postgresql_uri"))


@pytest.fixture(scope="session")
def postgresql() -> "Iterator[URL]":
    """A PostgreSQL server of the tests' own."""
    from tests.postgres_server import serving

    with serving() as address:
        yield address


@pytest.fixture
def postgresql_uri(postgresql: "URL") -> str:
    """Where a ledger is to be: an empty database on that server."""
    from tests.postgres_server import new_database

    return new_database(postgresql)
