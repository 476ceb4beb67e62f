"""What a person would type next."""

import shlex

from data.evaluation_records import Verdict
from data.files import read_records
from data.records import Answer, Cohort, Grade
from data.workspace import Workspace
from flows.inputs import champion_entry


def next_command(workspace: Workspace, version: int, verdict: Verdict) -> str:
    """What follows from a version's verdict and from what serves now."""
    if is_champion(workspace, version):
        return f"relearn ask {shlex.quote(_sample_question(workspace))}"  # headings are untrusted text
    if verdict is Verdict.PROMOTE:
        return f'relearn promote {version} --reason "..."'
    if verdict is Verdict.HOLD:
        return override(version)
    return f"relearn report {version}"


def override(version: int) -> str:
    """How a person decides against a verdict."""
    return f'relearn promote {version} --override --reason "..."'


def is_champion(workspace: Workspace, version: int) -> bool:
    """Whether a version serves."""
    entry = champion_entry(workspace)
    return entry is not None and entry.to_version == version


def _sample_question(workspace: Workspace) -> str:
    """A short question that the base could not answer and the candidate can, from a table if there is one."""
    file = workspace.evaluation / "answers.jsonl"
    learned = [
        answer.question
        for answer in (read_records(file, Answer) if file.is_file() else ())
        if answer.question.cohort is Cohort.NEW
        and answer.candidate_grade is Grade.RIGHT
        and answer.base_grade is not Grade.RIGHT
    ]
    plainest = min(learned, key=lambda question: ("/table/" not in question.id, len(question.question)), default=None)
    return plainest.question.removeprefix("Question: ").removesuffix("\nAnswer:") if plainest else "..."
