"""What comes between a cycle and its end: too little memory, a changed document, new code, another cycle."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from data.collection import read_collection
from data.errors import OutsideError
from data.files import digest_tree, read_json, write_json
from data.workspace import Workspace
from flows.ingest import ingest
from flows.running import locked, run_cycle
from flows.synthesize import synthesize
from flows.train import train
from models.training import Trained, fit
from tasks.versioning import inputs
from tests.fault_miniature import copied

pytestmark = pytest.mark.usefixtures("prefect_here")


def test_where_memory_runs_out_activations_are_recomputed(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = copied(finished.root, tmp_path / "workspace")
    tried: list[bool] = []

    def fit_in_half_the_memory(model: Any, *rest: Any) -> Trained:
        tried.append(model.is_gradient_checkpointing)
        if not model.is_gradient_checkpointing:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return fit(model, *rest)

    monkeypatch.setattr("flows.train.fit", fit_in_half_the_memory)
    report = train(workspace)
    assert tried == [False, True]
    assert report.losses[-1] < report.losses[0]
    (workspace.root / "params.yaml").write_text(
        (workspace.root / "params.yaml")
        .read_text()
        .replace("gradient_checkpointing: auto", "gradient_checkpointing: never")
    )
    with pytest.raises(OutsideError, match=r"does not suffice.*or set train\.gradient_checkpointing to auto"):
        train(workspace)


@pytest.mark.parametrize("when", ["before anything is read", "before", "after", "and put back"])
def test_documents_written_while_they_are_read_are_not_taken_for_the_others(
    when: str, finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = copied(finished.root, tmp_path / "workspace")
    file = workspace.documents / "late.md"
    old, new = (f"# Late\n\nYou must pay within {days} days of the bill.\n" for days in (5, 6))
    file.write_text(old)

    def ingest_while_somebody_writes(place: Workspace) -> object:
        if when in ("before", "and put back"):
            file.write_text(new)
        report = ingest(place)
        file.write_text(old if when == "and put back" else new)
        return report

    def inputs_after_somebody_wrote(place: Workspace, stage: str) -> str:
        file.write_text(new)
        return inputs(place, stage)

    with monkeypatch.context() as patch:
        if when == "before anything is read":
            patch.setattr("tasks.versioning.inputs", inputs_after_somebody_wrote)
        else:
            patch.setattr("flows.ingest.ingest", ingest_while_somebody_writes)
        with pytest.raises(OutsideError, match="changed while"):
            run_cycle(workspace.root, quick=True, loss_reason=None)
    file.write_text(old)
    assert run_cycle(workspace.root, quick=True, loss_reason=None).changed
    _, sources = read_collection(workspace.collection)
    assert [" 5 days" in source.text for source in sources if "Late" in source.text] == [True]


def test_two_cycles_at_once_one_says_who_holds_the_lock(finished: Workspace) -> None:
    with locked(finished, "a cycle"), pytest.raises(OutsideError, match="process") as refused:
        run_cycle(finished.root, quick=False, loss_reason=None)
    assert str(os.getpid()) in str(refused.value)


def test_code_that_is_upgraded_in_mid_cycle_never_works_under_the_old_digest(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = copied(finished.root, tmp_path / "workspace")
    (workspace.documents / "late.md").write_text("# Late\n\nYou must pay within 5 days of the bill.\n")
    adapter = digest_tree(workspace.adapter)

    def synthesize_while_somebody_upgrades(place: Workspace, *rest: Any) -> object:
        report = synthesize(place, *rest)
        known = read_json(place.code("train"))
        write_json(place.code("train"), known | {"digest": "of the code before the upgrade"})
        return report

    with monkeypatch.context() as patch:
        patch.setattr("flows.synthesize.synthesize", synthesize_while_somebody_upgrades)
        with pytest.raises(OutsideError, match="code of stage train changed"):
            run_cycle(workspace.root, quick=True, loss_reason=None)
    assert digest_tree(workspace.adapter) == adapter
    assert run_cycle(workspace.root, quick=True, loss_reason=None).version == 3
