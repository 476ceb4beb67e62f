"""Stage ``assess``: base and candidate answer the same questions, side by side.

What was learned (held-out wordings), forgotten (facts that still hold, the handbook) and stale (replaced
and withdrawn facts), with every answer on record; and whether planted marks and secrets come out (data/leaks.py).
"""

import random
from collections.abc import Callable, Sequence

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.collection import read_collection
from data.evaluation_records import EvaluationReport
from data.extraction import Source
from data.files import (
    building,
    digest_file,
    digest_tree,
    read_json,
    read_records,
    write_json,
    write_record,
    write_records,
)
from data.leaks import Mark, find_marks, leaks_of, read_canaries
from data.param_stages import AssessParams
from data.probes import probe_questions, read_probes
from data.records import Answer, Cohort, Question, Row
from data.rows import RECALL_WORDS
from data.withheld import read_withheld, require_questions_in_force
from data.workspace import Workspace
from models.adapters import load_adapter
from models.base import load_base
from models.device import choose_device, keep_freed_memory
from models.generation import answer, logit_shift
from models.packing import token_ids
from models.scoring import grade
from models.statistics import figures

SHIFT_PROMPTS = 8
SPARE_TOKENS = 8
"""That a continuation may have besides the longest mark's, since it may be tokenised otherwise."""


def assess(
    workspace: Workspace, report: Callable[[str, int, int], None] = lambda what, done, of: None
) -> EvaluationReport:
    """Ask base and candidate, grade every answer, and write the evaluation report.

    Args:
        report: called with (who is answering, questions answered, of how many).

    Raises:
        InputError: a probe or a canary is not readable, a question rests on a withdrawn document, or the adapter does
            not fit the base.
    """
    params = workspace.params()
    torch.set_num_threads(params.train.threads)
    keep_freed_memory()
    asked = choose_questions(workspace, params.assess, params.seed)
    prompts = [question.question for question in asked]
    marks = choose_marks(workspace)
    model, tokenizer = load_base(workspace.base(), choose_device(params.train.device))
    size = (params.assess.new_tokens, params.assess.batch)
    base = answer(model, tokenizer, prompts, *size, lambda done: report("base", done, len(prompts)))
    told = _continued(model, tokenizer, marks, params.assess.batch)
    adapted = load_adapter(model, workspace.adapter, read_json(workspace.base_digest)["digest"])
    shift = logit_shift(adapted, tokenizer, prompts[:SHIFT_PROMPTS])
    candidate = answer(adapted, tokenizer, prompts, *size, lambda done: report("candidate", done, len(prompts)))
    drawn = _continued(adapted, tokenizer, marks, params.assess.batch)
    answers = _graded(asked, base, candidate)
    result = EvaluationReport(
        adapter=digest_tree(workspace.adapter),
        base=read_json(workspace.base_digest)["digest"],
        questions=digest_file(workspace.synthetic / "questions.jsonl"),
        adapter_active=shift > 0,
        logit_shift=shift,
        cohorts=figures(answers, params.seed),
        leaks=leaks_of(marks, told, drawn, answers),
    )
    with building(workspace.evaluation) as draft:
        write_records(draft / "answers.jsonl", answers)
        write_record(draft / "report.json", result)
    write_json(workspace.metrics("assess"), _metrics(result))
    return result


def choose_questions(workspace: Workspace, params: AssessParams, seed: int) -> list[Question]:
    """All questions on what changed, a seeded draw of the others, and every probe.

    Raises:
        InputError: a probe is not readable, or a question rests on a withdrawn document.
    """
    limits = {
        Cohort.HELD: params.held_questions,
        Cohort.HANDBOOK: params.handbook_questions,
        Cohort.RECALL: params.recall_statements,
        Cohort.PROSE: params.prose_questions,
    }
    written = read_records(workspace.synthetic / "questions.jsonl", Question)
    withheld = read_withheld(workspace.withheld)
    require_questions_in_force(written, withheld)
    chosen = [question for question in written if question.cohort not in limits]
    for cohort, limit in limits.items():
        pool = [question for question in written if question.cohort is cohort]
        draw = random.Random(f"{cohort}/{seed}")
        chosen.extend(draw.sample(pool, min(limit, len(pool))))
    return [*chosen, *probe_questions(read_probes(workspace.probes), list(_in_force(workspace)))]


def choose_marks(workspace: Workspace) -> list[Mark]:
    """What must not come out: planted marks, and what looks like a secret in a document in force.

    Raises:
        InputError: the file of canaries is not readable.
    """
    rows = read_records(workspace.synthetic / "rows.jsonl", Row)
    return find_marks(_in_force(workspace), rows, read_canaries(workspace.probes))


def _in_force(workspace: Workspace) -> dict[Source, str]:
    """The documents of the collection that are not withheld, with their paths."""
    withheld = read_withheld(workspace.withheld)
    snapshot, sources = read_collection(workspace.collection)
    placed = zip(sources, (document.path for document in snapshot.documents), strict=True)
    return {source: path for source, path in placed if not withheld.names(source.id, source.digest)}


def _continued(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, marks: Sequence[Mark], batch: int
) -> list[str]:
    """What comes after each mark's prompts, mark after mark, long enough to hold the longest of them."""
    prompts = [prompt for mark in marks for prompt in mark.prompts]
    longest = max(map(len, token_ids(tokenizer, [mark.value for mark in marks])), default=0)
    return answer(model, tokenizer, prompts, longest + SPARE_TOKENS, batch)


def _graded(asked: Sequence[Question], base: Sequence[str], candidate: Sequence[str]) -> list[Answer]:
    return [
        Answer(
            question=question,
            base=before,
            base_grade=grade(before, question),
            candidate=after,
            candidate_grade=grade(after, question),
        )
        for question, before, after in zip(asked, map(_cut, asked, base), map(_cut, asked, candidate), strict=True)
    ]


def _cut(question: Question, text: str) -> str:
    """A recalled statement is judged by its next words; whatever the model says beyond them is cut."""
    return " ".join(text.split()[:RECALL_WORDS]) if question.cohort is Cohort.RECALL else text


def _metrics(report: EvaluationReport) -> dict[str, object]:
    cohorts: dict[str, object] = {
        cohort.cohort.value: {
            "n": cohort.n,
            "base": {name.value: round(share.value, 6) for name, share in cohort.base.items()},
            "candidate": {name.value: round(share.value, 6) for name, share in cohort.candidate.items()},
        }
        for cohort in report.cohorts
    }
    found = report.leaks
    return cohorts | ({"leaks": found.model_dump(include={"canaries", "secrets", "probes"})} if found else {})
