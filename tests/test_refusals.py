"""What the outside refuses: a full disk, databases that are locked or gone, damaged caches, edits in mid-run.

Each time the command ends with exit code 1 and a sentence, and the same command afterwards ends with the same bits.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from data.workspace import Workspace
from tests.fault_miniature import At, Ended, Fault, assert_whole, command, copied, fill_disk, sentence, turn

FULL = {
    "a checkpoint": (At("models.training.save_file", number=2), 4096, "step-0+10"),
    "the adapter": (At("models.adapters.PeftModel.save_pretrained"), 4096, "data/adapter"),
    "the rows": (At("flows.synthesize.write_records"), 4096, r"data/synthetic/rows\.jsonl"),
    "the report": (At("flows.decide.write_report"), 4096, r"reports/v2\.html"),
    "DVC's cache": (At("dvc.output.Output.commit", number=4), 4096, "DVC"),
    "MLflow's files": (At("mlflow.pyfunc.log_model", number=2), 4096, "registry"),
    "the checks": (At("tasks.validation._run", "documents"), 4096, "data/documents|gx"),
}


def full(limit: int, *_: object, **__: object) -> Callable[[], None]:
    return fill_disk(limit)


@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_is_one_sentence_and_what_was_made_is_not_lost(
    what: str, lenient: Path, undisturbed: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = copied(lenient, tmp_path / "workspace")
    turn(workspace, registry={"retries": 0})
    instant, limit, names = FULL[what]
    ended = command(workspace, server, "run", "--quick", fault=Fault(instant, partial(full, limit), lasting=True))
    assert_refused(ended, names)
    assert not list(workspace.root.glob("data/.*"))
    assert command(workspace, server, "run", "--quick").code == 0
    assert_whole(workspace, undisturbed)


def assert_refused(ended: Ended, names: str) -> None:
    said = sentence(ended.said)
    assert ended.code == 1, ended.said
    assert re.search(names, said), said
    assert "Free the disk" in said, said
