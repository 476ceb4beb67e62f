"""The champion answers the candidate's questions, so that a verdict can say whether the candidate is worse.

This is no stage: which version serves is a decision, and what stages write follows from documents and settings alone.
It happens once per candidate, when its verdict is spoken, and stays with it. What the champion said lies in a cache
until the next candidate, so that a cycle killed meanwhile does not ask again.
"""

from collections.abc import Sequence
from functools import partial

from data.errors import InputError, OutsideError, PersonNeededError
from data.evaluation_records import ChampionComparison, Compared, EvaluationReport
from data.files import digest_text, read_cached, read_records, read_value, write_long_record
from data.records import Answer, Question, Record
from data.workspace import Workspace
from flows.inputs import champion_entry
from flows.progress import Lines
from models.champion_check import SLICES
from tasks import registry, serving, weights
from tasks.registry import VersionInfo
from tasks.serving import Loaded


class Said(Record):
    """What one model answered to some questions."""

    key: str
    """Digest of all that it follows from."""
    answers: tuple[str, ...]
    """In the order of the questions."""


def beside_champion(workspace: Workspace, evaluation: EvaluationReport) -> ChampionComparison:
    """The candidate beside the version that serves; what needs no answers costs none.

    Raises:
        OutsideError: the registry or the ledger is out of reach, or the disk refuses.
        PersonNeededError: the ledger was tampered with.
    """
    entry = champion_entry(workspace)
    version = entry.to_version if entry else None

    def stands(compared: Compared, why: str = "") -> ChampionComparison:
        return ChampionComparison(candidate=evaluation.adapter, version=version, compared=compared, why=why)

    if version is None:
        return stands(Compared.BASE)
    info = registry.get_version(workspace, version)
    known = {evaluation.adapter: Compared.ITSELF, "": Compared.BASE}.get(info.tags["adapter"])
    if known is not None and info.tags["base"] == evaluation.base:
        return stands(known)
    answers = [
        answer for answer in read_records(workspace.evaluation / "answers.jsonl", Answer)
        if answer.question.cohort in SLICES
    ]  # fmt: skip
    questions = [answer.question for answer in answers]
    key = _key(workspace, info, questions)
    said = read_cached(workspace.champion_answers, Said)
    if said is None or said.key != key:
        try:
            loaded = _loaded(workspace, info)
        except (InputError, OutsideError, PersonNeededError) as error:  # a missing figure holds, and stops no cycle
            return stands(Compared.UNAVAILABLE, str(error))
        said = Said(key=key, answers=tuple(_answered(workspace, loaded, questions)))
        write_long_record(workspace.champion_answers, said)
    return _compared(stands(Compared.ASKED), answers, said.answers, workspace.params().seed)


def _key(workspace: Workspace, info: VersionInfo, questions: Sequence[Question]) -> str:
    """Of the champion, of what it is asked and of how it answers."""
    code = read_value(workspace.code("assess"), "digest", str)
    asked = [part for question in questions for part in (question.id, question.question)]
    return digest_text(info.tags["adapter"], info.tags["base"], code, str(workspace.params().assess.new_tokens), *asked)


def _loaded(workspace: Workspace, info: VersionInfo) -> Loaded:
    """From where it serves, or else as the registry has it; on its own base, whatever the candidate's is."""
    from models.device import choose_device

    device, pointer = choose_device(workspace.params().train.device), serving.pointer(workspace)
    weights.require(info)
    serves = pointer is not None and pointer.version == info.version
    found = pointer.weights if pointer and serves else serving.fetch_weights(workspace, info.version)
    return serving.load(serving.absolute(workspace, found), device)


def _answered(workspace: Workspace, loaded: Loaded, questions: Sequence[Question]) -> list[str]:
    """As stage ``assess`` has base and candidate answer."""
    import torch

    from models.device import keep_freed_memory
    from models.generation import answer

    params, lines = workspace.params(), Lines("judge")
    torch.set_num_threads(params.train.threads)
    keep_freed_memory()
    prompts = [question.question for question in questions]
    size = (params.assess.new_tokens, params.assess.batch)
    told = partial(lines.answered, "champion", of=len(prompts))
    return answer(loaded.model, loaded.tokenizer, prompts, *size, told)


def _compared(
    comparison: ChampionComparison, answers: Sequence[Answer], said: Sequence[str], seed: int
) -> ChampionComparison:
    from models.scoring import grade
    from models.statistics import figures

    pairs = [
        one.model_copy(update={"base": text, "base_grade": grade(text, one.question)})
        for one, text in zip(answers, said, strict=True)
    ]
    texts = {one.question.id: one.base for one in pairs}
    return comparison.model_copy(update={"cohorts": figures(pairs, seed), "answers": texts})
