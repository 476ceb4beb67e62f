"""Each stage's work, as a cycle and as ``dvc.yaml`` call it, and what it says meanwhile."""

from importlib import import_module

from data.records import Record
from data.workspace import Workspace
from flows.progress import Lines


def perform(workspace: Workspace, stage: str) -> Record:
    """Do the work of one stage; returns its report.

    Its libraries are loaded here, so that a cycle which ends at its documents does not wait for torch.

    Raises:
        RelearnError: what stopped it.
    """
    lines = Lines(stage)
    reports = {
        "synthesize": (lines.asked, lines.warn),
        "train": (lines.trained,),
        "audit": (lines.audited,),
        "assess": (lines.answered,),
    }
    work = getattr(import_module(f"flows.{stage}"), stage)
    record: Record = work(workspace, *reports.get(stage, ()))
    return record
