"""A workspace whose stages have run, in miniature: a one-layer Llama, a rank-2 adapter, two cohorts."""

import shutil
from pathlib import Path

import torch
import yaml

from data.evaluation_records import Check, EvaluationReport, Judgement, Outcome, Verdict
from data.files import digest_text, digest_tree, write_record, write_records, write_text
from data.records import Answer, Cohort, Grade, Question, Snapshot, Standing
from data.report_records import SynthesisReport, TrainingReport
from data.spectral_records import Look, SpectralReport
from data.workspace import PROJECT_ROOT, Workspace, open_workspace
from models.adapters import new_lora
from models.base import load_base, new_tiny, save_base, train_tokenizer
from models.statistics import figures
from tasks.candidate import Candidate, Decision, collect
from tests.judgements import NO_MARKS

BASE = "data/bases/mini"


def make_weights(folder: Path) -> Path:
    """Base and adapter, randomly initialised, in ``folder``."""
    tokenizer = train_tokenizer(["Question: Who may approve it? Answer: the board"], vocabulary=300)
    save_base(new_tiny(tokenizer, seed=1, layers=1, width=32, heads=2), tokenizer, folder / "base")
    model, _ = load_base(folder / "base")
    adapted = new_lora(model, rank=2, alpha=4, dropout=0.0, seed=2)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5)
    adapted.save_pretrained(str(folder / "adapter"))
    return folder


def make_workspace(root: Path, weights: Path) -> Workspace:
    """A workspace with the base in its place and the project's parameters."""
    params = yaml.safe_load((PROJECT_ROOT / "params.yaml").read_text(encoding="utf-8"))
    params |= {"base": BASE, "assess": {**params["assess"], "new_tokens": 4}}
    write_text(root / "params.yaml", yaml.safe_dump(params))
    shutil.copytree(weights / "base", root / BASE)
    return open_workspace(root)


def run_stages(workspace: Workspace, weights: Path, day: str) -> None:
    """Write what the stages of one day would have written; another day is another adapter."""
    shutil.rmtree(workspace.adapter, ignore_errors=True)
    shutil.copytree(weights / "adapter", workspace.adapter)
    base, rows = base_digest(workspace), digest_text(day)
    losses = (3.0, 2.0, 1.0)
    training = TrainingReport(
        base=base, rows=rows, method="lora", seed=1, threads=1, device="cpu", dtype="float32", steps=30, tokens=900,
        parameters=64, losses=losses, log_every=10, looks=(look(20, 0.4), look(30, 0.8)),
    )  # fmt: skip
    write_record(workspace.adapter / "training.json", training)
    write_record(workspace.collection / "snapshot.json", Snapshot(digest=digest_text("documents", day), documents=()))
    synthesis = SynthesisReport(
        snapshot=digest_text("documents", day), base=base, recipe="facts", teacher="template", seed=1,
        facts=dict.fromkeys(Standing, 1), new_statements=1, gone_statements=0, rows={"fact": 3}, dropped={},
        coverage=(), rows_digest=rows,
    )  # fmt: skip
    write_record(workspace.synthetic / "report.json", synthesis)
    write_text(workspace.synthetic / "rows.jsonl", "")
    adapter = digest_tree(workspace.adapter)
    write_record(workspace.spectral / "report.json", SpectralReport(adapter=adapter, base=base, layers=()))
    write_record(workspace.evaluation / "report.json", evaluation(adapter, base))
    write_records(workspace.evaluation / "answers.jsonl", answers())


def look(step: int, sigma_ratio: float) -> Look:
    """A look at the spectra in mid-training."""
    return Look(
        step=step, finite=True, sigma_ratio=sigma_ratio, layer="model.layers.0.mlp.up_proj", stable_rank=1.5,
        effective_rank=0.75, null_share=0.25, norm=2.0 * sigma_ratio,
    )  # fmt: skip


def answers() -> list[Answer]:
    """Nine of ten new facts learned, nothing forgotten."""
    return [
        Answer(
            question=Question(id=f"{cohort}/{place}", cohort=cohort, question=f"Which {place}?", answers=("x",)),
            base="", base_grade=Grade.RIGHT if place < known else Grade.WRONG,
            candidate="", candidate_grade=Grade.RIGHT if place < 9 else Grade.WRONG,
        )
        for cohort, known in ((Cohort.NEW, 0), (Cohort.HELD, 9))
        for place in range(10)
    ]  # fmt: skip


def evaluation(adapter: str, base: str) -> EvaluationReport:
    """The figures of these answers."""
    return EvaluationReport(
        adapter=adapter, base=base, questions="q", adapter_active=True, logit_shift=1.5, cohorts=figures(answers()),
        leaks=NO_MARKS,
    )  # fmt: skip


def base_digest(workspace: Workspace) -> str:
    return digest_tree(workspace.root / BASE)


def make_candidate(workspace: Workspace, weights: Path, day: str, verdict: Verdict) -> Candidate:
    """A judged candidate of one day."""
    run_stages(workspace, weights, day)
    outcome = Outcome.PASS if verdict is Verdict.PROMOTE else Outcome.FAIL
    check = Check(check="learned", outcome=outcome, reason=f"{day} was measured.")
    judgement = Judgement(verdict=verdict, reasons=(check.reason,), checks=(check,))
    return collect(workspace, Decision(judgement=judgement), base_digest=base_digest(workspace), code_digest="code")
