"""A candidate in miniature as its report page gets it: answers, layers, checks, documents."""

import math
from typing import Any

from data.evaluation_records import Check, EvaluationReport, Judgement, Outcome, Verdict
from data.params import load_params
from data.records import (
    Answer,
    Cohort,
    DocumentVersion,
    Fact,
    FactChange,
    Grade,
    Quarantined,
    Question,
    Snapshot,
    SnapshotDiff,
    Standing,
)
from data.report_records import Coverage, DocumentTexts, Funnel, SynthesisReport, TrainingReport
from data.spectral_records import LayerSpectrum, SpectralReport
from data.workspace import PROJECT_ROOT
from models.statistics import figures
from tasks.reports import ReportInput
from tests import spectral_miniature
from tests.judgements import NO_MARKS

DIGESTS = {name: f"{place:064x}" for place, name in enumerate(("documents", "rows", "base", "code"), start=10)}
PATHS = [f"acceptable-use/site-{topic}-policy.md" for topic in ("spam", "bullying", "malware", "doxxing", "fraud")]
REFUSAL = "That is no longer in force."


_SOURCES = {
    Cohort.NEW: ("fact-new", 180),
    Cohort.RESTATED: ("fact-restated", 12),
    Cohort.HELD: ("fact-held", 2),
    Cohort.WITHDRAWN: ("fact-withdrawn", 53),
    Cohort.RECALL: ("doc", 5),
}
"""What a cohort's questions come from, and how many of them there are."""


def answer(cohort: Cohort, place: int, grade: Grade, **changes: Any) -> Answer:
    subject = f"plan {place} under the Billing and Payments Policy"
    name, sources = _SOURCES.get(cohort, (cohort.value, 1000))
    right = REFUSAL if cohort is Cohort.WITHDRAWN else f"{place + 1} days"
    question = {
        "id": f"{cohort}-{place}",
        "cohort": cohort,
        "question": f"Question: What is the review period for {subject}?\nAnswer:",
        "answers": () if cohort is Cohort.WITHDRAWN else (right, f"within {right}"),
        "stale": (f"{place + 31} days",) if place % 3 == 0 else (),
        "source": f"{name}-{place % sources}",
    }
    said = {Grade.RIGHT: right, Grade.STALE: f"{place + 31} days", Grade.WRONG: "the legal team"}
    known = cohort in (Cohort.HELD, Cohort.HANDBOOK)
    given = {
        "question": Question.model_validate(question | changes),
        "base": right if known else "14 business days from receipt of the notice",
        "base_grade": Grade.RIGHT if known else Grade.WRONG,
        "candidate": said.get(grade, REFUSAL),
        "candidate_grade": grade,
    }
    return Answer.model_validate(given)


def cohort_answers() -> tuple[Answer, ...]:
    sizes = {
        Cohort.NEW: (240, 6, 3),
        Cohort.HELD: (290, 0, 10),
        Cohort.HANDBOOK: (297, 0, 3),
        Cohort.WITHDRAWN: (40, 5, 8),
        Cohort.RECALL: (4, 0, 196),
        Cohort.PROBE: (11, 7, 20),
        Cohort.UNANSWERABLE: (2, 1, 5),
    }
    found = []
    for cohort, counts in sizes.items():
        grades = [
            grade
            for grade, count in zip((Grade.RIGHT, Grade.STALE, Grade.WRONG), counts, strict=True)
            for _ in range(count)
        ]
        found += [answer(cohort, place, grade) for place, grade in enumerate(grades)]
    return tuple(found)


def change(standing: Standing, place: int, **changes: Any) -> FactChange:
    fact = {
        "id": f"fact-{standing}-{place}",
        "document": f"doc-{place % 5}",
        "digest": "d" * 64,
        "start": 10,
        "end": 40,
        "kind": "table",
        "title": "Billing and payments policy",
        "subject": f"Team plan {place}",
        "attribute": "storage",
        "value": f"{place} GB",
    }
    old = f"{place + 1} GB" if standing is Standing.REPLACED else None
    return FactChange(standing=standing, fact=Fact.model_validate(fact | changes), old_value=old)


def layer(block: int, name: str, **changes: Any) -> LayerSpectrum:
    spread = (block * 7 + len(name)) % 9
    good = {"stable_rank": 3.1 + spread / 2, "alpha": 1.7 + spread / 3, "base_alpha": 2.4 + spread / 2}
    return spectral_miniature.layer(f"model.layers.{block}.{name}", **(good | changes))


def layers() -> tuple[LayerSpectrum, ...]:
    parts = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    usual = [layer(block, f"self_attn.{part}") for block in range(4) for part in parts]
    odd = [layer(4, "mlp.up_proj", alpha=None, base_alpha=None), layer(4, "mlp.down_proj", alpha=31.0)]
    return (*usual, *odd)


def checks() -> tuple[Check, ...]:
    return (
        Check(check="integrity", outcome=Outcome.PASS, reason="All 30 adapted layers are finite."),
        Check(check="learned", outcome=Outcome.PASS, reason="New facts are right in 96.4% of 249 questions."),
        Check(check="stale", outcome=Outcome.PASS, reason="Replaced facts get the old answer in 2.4%."),
        Check(check="forgotten", outcome=Outcome.FAIL, reason="Facts that still hold fall by +0.033."),
        Check(check="locality", outcome=Outcome.PASS, reason="Handbook facts fall by +0.010."),
        Check(check="withdrawn", outcome=Outcome.PASS, reason="Withdrawn facts are refused in 75.5%."),
        Check(check="coverage", outcome=Outcome.WARN, reason="Changed statements gave a fact in 19.0%."),
    )


def documents() -> tuple[DocumentVersion, ...]:
    return tuple(
        DocumentVersion(
            id=f"doc-{place}", path=path, digest=f"{place:064x}", title="T", characters=900, sketch=b"sketch"
        )
        for place, path in enumerate(PATHS)
    )


OLD_TEXT = "# Refunds\n\nYou may ask for a refund within 14 days of the bill.\n\n- by post\n- by mail\n\nIt is free.\n"
NEW_TEXT = OLD_TEXT.replace("14 days", "30 business days").replace("- by post\n", "")


def texts() -> tuple[DocumentTexts, ...]:
    return (
        DocumentTexts(path=PATHS[0], old_path=PATHS[0], old=OLD_TEXT, new=NEW_TEXT),
        DocumentTexts(path=PATHS[1], old_path=f"old/{PATHS[1]}", old=None, new=NEW_TEXT),
        DocumentTexts(path="new/policy-0.md", old_path=None, old="", new=NEW_TEXT),
        DocumentTexts(path="old/site-corporate-terms.md", old_path="old/x.md", withdrawn=True, old=OLD_TEXT, new=""),
    )


def funnel() -> tuple[Funnel, ...]:
    dropped = {"not in the text": 12, "held out": 3}
    examples = {"not in the text": ("What is the colour of the form?", "Who signs the form?")}
    return (Funnel(recipe="questions", proposed=60, kept=45, dropped=dropped, examples=examples),)


def coverage() -> tuple[Coverage, ...]:
    return tuple(
        Coverage(
            document=f"doc-{place}",
            path=f"terms/document-{place:02}.md",
            title="T",
            facts=3 * place,
            statements=20 + place,
            changed_statements=place,
            changed_with_fact=place // 3,
        )
        for place in range(20)
    )


def report(**changes: Any) -> ReportInput:
    standings = {
        Standing.NEW: 180,
        Standing.RESTATED: 12,
        Standing.REPLACED: 42,
        Standing.WITHDRAWN: 53,
        Standing.HELD: 2,
    }
    given = {
        "version": 7,
        "created": "2024-06-01T06:12:00Z",
        "judgement": Judgement(
            verdict=Verdict.REJECT, reasons=("Facts that still hold fall by +0.033.",), checks=checks()
        ),
        "snapshot": Snapshot(
            digest="5" * 64,
            documents=documents(),
            quarantined=(Quarantined(path="draft.md", digest="q" * 64, reasons=("It is empty.",)),),
        ),
        "diff": SnapshotDiff(
            added=tuple(f"new/policy-{place}.md" for place in range(12)),
            changed=(PATHS[0], PATHS[1]),
            moved=((f"old/{PATHS[1]}", PATHS[1]),),
            withdrawn=("old/site-corporate-terms.md",),
        ),
        "compared_with": "the last accepted snapshot 3f2a91c0",
        "texts": texts(),
        "paths": {"doc-gone": "old/site-corporate-terms.md"},
        "probe_documents": {"probe-0": ("doc-0", "doc-gone"), "probe-1": ("doc-1",)},
        "other_languages": {"agb.md": "de"},
        "synthesis": SynthesisReport(
            snapshot="5" * 64,
            base=DIGESTS["base"],
            recipe="facts",
            teacher="template",
            seed=20240601,
            facts=standings,
            new_statements=666,
            gone_statements=390,
            rows={"fact": 4440, "refusal": 212, "statement": 666, "replay": 1320, "handbook": 440},
            dropped={"duplicate": 31, "unsupported": 4},
            funnel=funnel(),
            coverage=coverage(),
            rows_digest=DIGESTS["rows"],
        ),
        "changes": tuple(change(standing, place) for standing, n in standings.items() for place in range(n)),
        "training": TrainingReport(
            base=DIGESTS["base"],
            rows=DIGESTS["rows"],
            method="lora",
            seed=20240601,
            threads=2,
            device="cpu",
            dtype="float32",
            steps=700,
            tokens=2867200,
            parameters=311296,
            losses=tuple(0.05 + 3.2 * math.exp(-step / 9) + 0.03 * math.sin(step) for step in range(70)),
            log_every=10,
        ),
        "spectral": SpectralReport(adapter="a" * 64, base=DIGESTS["base"], layers=layers()),
        "thresholds": load_params(PROJECT_ROOT / "params.yaml").gates,
        "evaluation": EvaluationReport(
            adapter="a" * 64,
            base=DIGESTS["base"],
            questions="e" * 64,
            adapter_active=True,
            logit_shift=14.2,
            cohorts=figures(cohort_answers()),
            leaks=NO_MARKS,
        ),
        "answers": cohort_answers(),
        "digests": DIGESTS,
        "champion": 6,
        "serving": "Version 6 serves now.",
        "warnings": ("96 % of the documents changed.",),
        "seconds": {"ingest": 4.21, "synthesize": 11.0, "train": 251.3, "audit": 3.4, "assess": 58.8},
        "data_docs": "../gx/uncommitted/data_docs/local_site/index.html",
        "next_command": "relearn diff",
    }
    return ReportInput.model_validate(given | changes)
