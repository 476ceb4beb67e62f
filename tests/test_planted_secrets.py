"""Secrets planted wherever the line takes them from; then all that it wrote and printed is searched for them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from data.workspace import Workspace
from tests.fault_miniature import MORE, copied
from tests.miniature import NEW, write_documents
from tests.programs import git, relearn

ENVIRONMENT = {
    "RELEARN_TEACHER_KEY": "planted-teacher-key-1",
    "RELEARN_HOOK": "http://127.0.0.1:9/planted-hook-2",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-3",
    "PGPASSWORD": "planted-postgres-4",
}
IN_ADDRESS, IN_PASSFILE, IN_REMOTE = "planted-address-5", "planted-passfile-6", "planted-remote-7"
IN_DOCUMENT = "AKIAQ7PLANTEDKEY8XYZ"
"""An access key id by its shape."""
PLANTED = (*ENVIRONMENT.values(), IN_ADDRESS, IN_PASSFILE, IN_REMOTE, IN_DOCUMENT)


class Searched(NamedTuple):
    workspace: Workspace
    said: dict[str, str]
    """What commands printed, by what was typed."""
    codes: dict[str, int]
    others: Path
    """Folder of what was written elsewhere."""


@pytest.fixture(scope="module")
def searched(second_day: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searched]:
    """A line on which everything was done that writes: cycles, decisions, reports, exports, and failures."""
    others = tmp_path_factory.mktemp("others")
    workspace = copied(second_day.root, tmp_path_factory.mktemp("planted") / "workspace")
    passfile = others / "pgpass"
    passfile.write_text(f"127.0.0.1:1:*:relearn:{IN_PASSFILE}\n")
    passfile.chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, "PGPASSFILE": str(passfile)}.items():
            patch.setenv(name, value)
        git(workspace, "remote", "add", "origin", f"https://somebody:{IN_REMOTE}@127.0.0.1:9/line.git")
        turn(
            workspace,
            endpoint={"url": f"http://somebody:{IN_ADDRESS}@127.0.0.1:9/v1", "key_variable": "RELEARN_TEACHER_KEY"},
        )
        hook = {
            "on": ["promoted", "rolled_back", "quarantined", "held", "rejected"],
            "webhook_variable": "RELEARN_HOOK",
        }
        write(workspace, yaml.safe_load(workspace.params_file.read_text()) | {"notify": [hook]})
        write_documents(
            workspace.documents, NEW | MORE | {"keys.md": f"# Keys\n\nThe key of the store is {IN_DOCUMENT}.\n"}
        )
        yield Searched(workspace, *everything(workspace, others), others)


def turn(workspace: Workspace, **blocks: dict[str, object]) -> None:
    params = yaml.safe_load(workspace.params_file.read_text())
    for block, values in blocks.items():
        params[block] |= values
    write(workspace, params)


def write(workspace: Workspace, params: dict[str, object]) -> None:
    workspace.params_file.write_text(yaml.safe_dump(params))


def everything(workspace: Workspace, others: Path) -> tuple[dict[str, str], dict[str, int]]:
    said, codes = {}, {}

    def type_in(*arguments: str) -> None:
        name = " ".join(arguments[:2])
        ended = relearn(*arguments, workspace=workspace)
        said[name], codes[name] = ended.stdout + ended.stderr, ended.returncode

    type_in("run", "--quick")
    type_in("promote", "3", "--override", "--reason", "to search what it writes")
    type_in("rollback", "--reason", "and back")
    type_in("status")
    type_in("doctor")
    type_in("report")
    type_in("diff")
    type_in("history", "--export", str(others / "ledger.jsonl"))
    type_in("config", "show")
    type_in("gates", "show")
    type_in("notify", "test")
    kept = workspace.params_file.read_text()
    turn(workspace, synthesize={"teacher": "endpoint", "recipes": ["facts", "questions"]}, endpoint={"model": "m"})
    turn(workspace, endpoint={"retries": 0})
    type_in("synthesize", "--dry-run")
    type_in("run", "--accept-loss", "--reason", "a teacher that refuses the connection")
    workspace.params_file.write_text(kept)
    address = f"postgresql+psycopg://relearn:{IN_ADDRESS}@127.0.0.1:1/ledger?connect_timeout=1"
    turn(workspace, registry={"ledger_uri": address, "retries": 0})
    type_in("status", "--json")
    workspace.params_file.write_text(kept)
    return said, codes


def test_everything_was_done_that_writes(searched: Searched) -> None:
    assert searched.codes["run --quick"] in (0, 3), searched.said["run --quick"]
    assert searched.codes["promote 3"] == searched.codes["rollback --reason"] == 0
    assert searched.codes["run --accept-loss"] == 1, searched.said["run --accept-loss"]
    assert searched.codes["status --json"] == 1, searched.said["status --json"]
    assert (searched.others / "ledger.jsonl").stat().st_size > 1000
    assert "keys.md" in (searched.workspace.collection / "snapshot.json").read_text(), "it was set aside by name"


@pytest.mark.parametrize("secret", PLANTED)
def test_no_command_prints_one(searched: Searched, secret: str) -> None:
    assert [name for name, text in searched.said.items() if secret in text] == []


@pytest.mark.parametrize("secret", PLANTED)
def test_no_file_holds_one_but_where_a_person_put_it(searched: Searched, secret: str) -> None:
    root = searched.workspace.root
    own = {root / "params.yaml": {IN_ADDRESS}, root / ".git" / "config": {IN_REMOTE}}
    own |= {root / "data" / "documents" / "keys.md": {IN_DOCUMENT}, searched.others / "pgpass": {IN_PASSFILE}}
    files = [file for place in (root, searched.others) for file in place.rglob("*") if file.is_file()]
    assert len(files) > 200, "the whole workspace is searched"
    assert [file for file in files if secret in own.get(file, ()) and secret.encode() not in file.read_bytes()] == []
    assert [file for file in files if secret not in own.get(file, ()) and secret.encode() in file.read_bytes()] == []


def test_the_search_finds_what_is_there(searched: Searched) -> None:
    found = subprocess.run(
        ["grep", "--recursive", "--files-with-matches", "--binary-files=text", IN_DOCUMENT, "."],
        cwd=searched.workspace.root, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert found == ["./data/documents/keys.md"]
