"""A workspace in miniature: a few documents, a base of one layer trained in seconds by the real recipe."""

import shutil
import subprocess
from pathlib import Path

import yaml

from data.collection import as_collection, write_collection
from data.files import write_record
from data.records import Accepted, Snapshot
from data.report_records import IngestReport
from data.workspace import PROJECT_ROOT, Workspace, open_workspace
from flows.base import build_base
from flows.inputs import fix_inputs

FEES = "---\ntitle: Fees\n---\n# Fees\n\n| Plan | Fee |\n| - | - |\n"
OLD = {
    "fees.md": FEES + "| Basic | $5 |\n| Large | $9 |\n| Trial | $0 |\n",
    "refunds.md": "---\ntitle: Refunds\n---\n# Refunds\n\nYou must ask for a refund within 14 days of the bill.\n",
    "contact.txt": "Contact\n\nPlease write to help@example.com about the rules of this house.\n",
}
NEW = {
    "fees.md": FEES + "| Basic | $7 |\n| Large | $9 |\n| Huge | $30 |\n",
    "policy/refunds.md": OLD["refunds.md"],
    "contact.txt": OLD["contact.txt"],
    "hours.html": "<html><head><title>Hours</title></head><body><p>We open at noon and close within 8 hours.</p>",
}
SMALL = {
    "tiny": {
        "stream": "stream", "until": "2023-01-01", "layers": 1, "width": 32, "heads": 2, "vocabulary": 400,
        "handbook_entities": 4, "handbook_withdrawn": 1, "steps": 30, "tokens_per_step": 512, "learning_rate": 0.01,
        "weight_decay": 0.1,
    },
    "train": {
        "steps": 20, "min_passes": 0, "tokens_per_step": 512, "window": 128, "checkpoint_every": 10, "threads": 1,
        "rank": 4,
    },
    "assess": {"held_questions": 8, "handbook_questions": 8, "recall_statements": 4, "new_tokens": 8},
    "quick": {"steps": 10, "held_questions": 4, "handbook_questions": 4, "recall_statements": 2},
}  # fmt: skip


def write_documents(folder: Path, texts: dict[str, str]) -> None:
    """Replace what the folder holds."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def make_workspace(root: Path) -> Workspace:
    """A workspace with the old documents as the base's stream and the new ones to learn."""
    params = yaml.safe_load((PROJECT_ROOT / "params.yaml").read_text())
    for block, values in SMALL.items():
        params[block].update(values)
    params["base"] = "base"
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    write_documents(root / "stream" / "2023-01-01", OLD)
    workspace = open_workspace(root)
    write_documents(workspace.documents, NEW)
    return workspace


def with_base(workspace: Workspace) -> Workspace:
    """Train the miniature base into the workspace."""
    build_base(workspace, workspace.root / "base", workspace.params())
    return workspace


def under_version_control(workspace: Workspace) -> Workspace:
    """Make it a git and DVC repository that holds nothing yet, with this pipeline."""
    subprocess.run(["git", "init", "-q"], cwd=workspace.root, check=True)
    shutil.copytree(PROJECT_ROOT / ".dvc", workspace.root / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    for name in ("dvc.yaml", ".gitignore"):
        shutil.copy(PROJECT_ROOT / name, workspace.root)
    shutil.rmtree(workspace.state, ignore_errors=True)
    return workspace


def ready(workspace: Workspace) -> Workspace:
    """Fix the inputs as a cycle does, so that stages can be called one by one."""
    fix_inputs(workspace, quick=False)
    write_record(workspace.accepted, Accepted())
    return workspace


def collect(workspace: Workspace, texts: dict[str, str], before: Snapshot | None = None) -> Snapshot:
    """Write a collection of these documents, continuing those of ``before``."""
    write_documents(workspace.documents, texts)
    params = workspace.params().ingest
    snapshot, sources = as_collection(workspace.documents, params, before.documents if before else ())
    report = IngestReport(
        snapshot=snapshot.digest, documents=len(sources), quarantined=0, contacts=0, warnings=(), loss_accepted=False
    )
    shutil.rmtree(workspace.collection, ignore_errors=True)  # a stage builds it anew, it never writes into the old one
    by_id = {source.id: source.text for source in sources}
    write_collection(workspace.collection, snapshot, lambda document: by_id[document.id], report)
    return snapshot


def ignorant(root: Path) -> Workspace:
    """A workspace whose base knows no documents."""
    workspace = make_workspace(root)
    (root / "base").mkdir()
    return workspace
