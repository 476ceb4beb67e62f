"""Changed prose: to a teacher behind the endpoint and back as checked proposals."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from data.params import Params
from data.passages import Passage, passages
from data.prompting import QUESTIONS, Parts, Prompt, UnusableError, W, prompts, read_questions, read_rephrasings
from data.proposals import Proposal, Written
from data.prose_questions import Maker, teach_questions
from data.records import Statement
from data.rephrasings import teach_rephrasings
from data.workspace import Workspace
from tasks.conversation import Spending, converse
from tasks.purse import NOTHING, Tokens
from tasks.replies import Reply


@dataclass(frozen=True)
class Prose:
    """What a teacher wrote."""

    written: tuple[Written, ...] = ()
    """One per recipe."""
    calls: int = 0
    tokens: Tokens = NOTHING
    """Of all answers, whichever run paid for them."""


def teach_prose(
    fresh: Sequence[Statement],
    taken: Iterable[str],
    workspace: Workspace,
    params: Params,
    report: Callable[[Spending], None],
) -> Prose:
    """What the teacher wrote about changed sentences, recipe by recipe, each proposal checked.

    Args:
        fresh: the sentences that the base has not seen; nothing else is sent.
        taken: prompts that other rows and questions have.
        workspace: where answers are kept.
        params: all parameters.
        report: called after each call.

    Raises:
        RelearnError: the endpoint does not answer, refuses, or costs more than the budget.
    """
    calls = prose_calls(fresh, params)
    replies = converse(calls, params.endpoint, workspace.endpoint_cache, report)
    maker = Maker(teacher_name(params), params.seed, params.synthesize.max_value_words)
    written = []
    for recipe in params.synthesize.prose_recipes:
        answered = [(call.passage, reply) for call, reply in zip(calls, replies, strict=True) if call.recipe == recipe]
        if recipe == QUESTIONS:
            written.append(teach_questions(_read(answered, read_questions), taken, maker))
        else:
            written.append(teach_rephrasings(_read(answered, read_rephrasings), maker))
    return Prose(tuple(written), len(calls), sum((reply.tokens for reply in replies), NOTHING))


def teacher_name(params: Params) -> str:
    """As the rows of the prose recipes name their teacher."""
    return f"endpoint:{params.endpoint.model}"


def prose_calls(fresh: Sequence[Statement], params: Params) -> list[Prompt]:
    """The calls that changed sentences need; none where no recipe is for prose."""
    pieces = passages(fresh, params.endpoint.passage_characters)
    return prompts(params.synthesize.prose_recipes, pieces, params.endpoint)


def _read(
    answered: Iterable[tuple[Passage, Reply]], reader: Callable[[str], Parts[W]]
) -> list[tuple[Passage, Parts[W] | Proposal]]:
    return [(passage, _parts(passage, reply, reader)) for passage, reply in answered]


def _parts(passage: Passage, reply: Reply, reader: Callable[[str], Parts[W]]) -> Parts[W] | Proposal:
    """What an answer holds; one that is none counts as one proposal that failed."""
    said = f"{passage.title}: {reply.content or passage.sentences[0]}"
    if reply.problem:
        return Proposal(said, failed=reply.problem)
    try:
        return reader(reply.content)
    except UnusableError as error:
        return Proposal(said, failed=str(error))
