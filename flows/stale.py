"""Whether the champion still answers from documents that are withdrawn: it is asked what it was measured on."""

from collections.abc import Sequence
from dataclasses import dataclass

from data.files import read_records
from data.records import Answer, DocumentVersion, Grade, Question
from data.workspace import Workspace
from tasks import serving
from tasks.registry import VersionInfo
from tasks.tracking import fetched

ANSWERS_ARTIFACT = "evaluation/answers.jsonl"
MOST_ASKED = 64
"""Questions; one confirmed answer is enough."""


@dataclass(frozen=True)
class Stale:
    """An answer that a withdrawn document gave."""

    question: str
    answer: str


def answers_from(workspace: Workspace, info: VersionInfo, documents: Sequence[DocumentVersion]) -> list[Stale]:
    """What a version answers from these documents that the base alone did not: asked of it now, not remembered.

    Raises:
        InputError: its files were exchanged.
        OutsideError: MLflow is out of reach.
    """
    from models.generation import answer
    from models.scoring import grade

    with fetched(workspace, info.run, ANSWERS_ARTIFACT) as file:
        asked = _about(read_records(file, Answer) if file is not None else (), {one.id for one in documents})
    if not asked:
        return []
    loaded = serving.load(serving.absolute(workspace, serving.fetch_weights(workspace, info.version)))
    prompts = [question.question for question in asked]
    said = answer(loaded.model, loaded.tokenizer, prompts, loaded.new_tokens, loaded.batch)
    return [
        Stale(" ".join(question.question.split()), text)
        for question, text in zip(asked, said, strict=True)
        if grade(text, question) is Grade.RIGHT
    ]


def _about(answers: Sequence[Answer], documents: set[str]) -> list[Question]:
    """Questions that such a document answers, those first that the version answered right and the base did not."""
    about = [
        one for one in answers
        if one.question.document in documents and one.question.answers and one.base_grade is not Grade.RIGHT
    ]  # fmt: skip
    about.sort(key=lambda one: one.candidate_grade is not Grade.RIGHT)
    return [one.question for one in about[:MOST_ASKED]]
