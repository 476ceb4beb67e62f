"""A full disk, at every kind of write: one sentence that names the place, and nothing that was made is lost."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from data.workspace import Workspace
from tests.fault_miniature import At, Ended, Fault, assert_whole, command, copied, fill_disk, sentence, turn

FULL = {
    "MLflow's tables": (At("tasks.tracking._make_database"), 200_000, r"registry at sqlite"),
    "the ledger": (At("tasks.ledger.append"), 0, r"ledger at sqlite"),
    "the checks": (At("tasks.validation._run", "documents"), 4096, r"\.relearn/gx"),
    "the rows": (At("flows.synthesize.write_records"), 4096, r"data/synthetic/rows\.jsonl"),
    "DVC's cache": (At("dvc.output.Output.commit"), 4096, r"by DVC"),
    "a checkpoint": (At("models.training.save_file", number=2), 4096, r"/step-0+10 "),
    "the adapter": (At("models.adapters.PeftModel.save_pretrained"), 4096, r"data/adapter"),
    "the answers": (At("flows.assess.write_records"), 1024, r"data/evaluation/answers\.jsonl"),
    "the candidate's model": (At("mlflow.pyfunc.log_model"), 4096, r"registry at sqlite"),
    "the report": (At("flows.decide.write_report"), 4096, r"reports/v2\.html"),
    "the cycle's record": (At("flows.cycle.write_record"), 0, r"\.relearn/cycle\.json"),
}
"""In the order of a cycle: the call that meets a full disk, how many bytes a file may have, what the sentence names."""


def full(limit: int, *_: object, **__: object) -> Callable[[], None]:
    return fill_disk(limit)


def test_a_full_disk_is_one_sentence_and_what_was_made_is_not_lost(
    lenient: Path, undisturbed: Workspace, server: str, tmp_path: Path
) -> None:
    workspace = copied(lenient, tmp_path / "workspace")
    turn(workspace, registry={"retries": 0})
    for what, (instant, limit, names) in FULL.items():
        ended = command(workspace, server, "run", "--quick", fault=Fault(instant, partial(full, limit), lasting=True))
        assert_refused(what, ended, names)
        assert not list(workspace.root.glob("data/.*")), what
    ended = command(workspace, server, "run", "--quick")
    assert ended.code == 0, ended.said
    assert "train       unchanged" in ended.said
    assert_whole(workspace, undisturbed)


def assert_refused(what: str, ended: Ended, names: str) -> None:
    assert ended.code == 1, (what, ended.said)
    said = sentence(ended.said)
    assert re.search(names, said), (what, said)
    assert "Free the disk" in said, (what, said)
