"""Recipe ``questions``: what a teacher asks about changed prose, checked and made into rows.

A question counts only if its quote stands in one sentence of the passage and its answer stands in the quote,
word for word. So an invented answer is dropped whatever brought it about: a model's fancy, or a document that
tells the model what to write. Of the wordings that pass, the last is never trained and judges (cohort ``prose``).
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from data.files import digest_text
from data.grounding import negates, place_of, quoted, words
from data.passages import Passage
from data.prompting import QUESTIONS, Parts, WrittenQuestion
from data.proposals import Proposal, Written
from data.records import Cohort, Question, Row, Statement
from data.wordings import question_prompt

PURPOSE = "question"
_LONGEST_WORDING = 60
"""Words; what is longer is no question."""
_STEM = 5
"""Characters by which two forms of one word are told to be the same."""
_BEFORE = 3
"""Words before an answer in which a negation turns it round."""
_POINTING = frozenset(("this", "these", "those", "it", "itself", "they", "them", "he", "she", "him", "here"))
_POINTED_AT = frozenset(
    (
        "above",
        "below",
        "article",
        "clause",
        "document",
        "excerpt",
        "following",
        "paragraph",
        "passage",
        "section",
        "text",
    )
)
_SMALL = frozenset(("a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "under", "with"))


@dataclass(frozen=True)
class Maker:
    """Who writes, as the rows name it."""

    teacher: str
    seed: int
    longest_answer: int
    """Words."""


def teach_questions(
    answers: Iterable[tuple[Passage, Parts[WrittenQuestion] | Proposal]], taken: Iterable[str], maker: Maker
) -> Written:
    """Rows and questions of the evaluation from all answers of a teacher, in their order.

    Args:
        answers: per passage what the teacher wrote, or the one failed proposal that an unusable answer is.
        taken: prompts that other rows and questions have; asking the same again is a duplicate.
        maker: who wrote it.
    """
    seen = {words(prompt) for prompt in taken}
    proposals: list[Proposal] = []
    asked: list[Question] = []
    for passage, parts in answers:
        if isinstance(parts, Proposal):
            proposals.append(parts)
            continue
        proposals.extend(Proposal(text, failed="wrong_schema") for text in parts.malformed)
        for item in parts.items:
            made, question = _taught(item, passage, seen, maker)
            proposals.extend(made)
            asked.extend([question] if question else [])
    return Written(QUESTIONS, tuple(proposals), tuple(asked))


def _taught(
    item: WrittenQuestion, passage: Passage, seen: set[tuple[str, ...]], maker: Maker
) -> tuple[list[Proposal], Question | None]:
    """Proposals of one question, and the one that is asked in the evaluation where a wording is left for it."""
    statement = next((one for one in passage.statements if quoted(item.quote, one.text)), None)
    failed = _failed(item, maker) if statement else "quote"
    if failed or statement is None:
        lost = max(1, len(item.wordings) - 1)
        return [Proposal(_line(item, number), failed=failed) for number in range(lost)], None
    good, proposals = [], []
    for number, wording in enumerate(item.wordings):
        prompt = _prompt(item, wording)
        failed = _failed_wording(item, wording, passage.title) or ("duplicate" if words(prompt) in seen else "")
        if failed:
            proposals.append(Proposal(_line(item, number), failed=failed))
        else:
            seen.add(words(prompt))
            good.append(number)
    trained, held = (good[:-1], good[-1]) if len(good) > 1 else (good, None)
    rows = [Proposal(_line(item, number), _row(item, number, statement, maker)) for number in trained]
    return [*rows, *proposals], _question(item, held, statement) if held is not None else None


# --- filters ---------------------------------------------------------------------------------------


def _failed(item: WrittenQuestion, maker: Maker) -> str:
    """The first filter that a question with a true quote fails; empty: none."""
    return next((name for name, fails in _FILTERS.items() if fails(item, maker)), "")


def _is_ungrounded(item: WrittenQuestion, _: Maker) -> bool:
    return place_of(words(item.answer), words(item.quote)) is None


def _is_turned_round(item: WrittenQuestion, _: Maker) -> bool:
    """Whether a "not" stands right before the answer in its quote, and neither answer nor question says so."""
    quote = words(item.quote)
    place = place_of(words(item.answer), quote) or 0
    cut = negates(" ".join(quote[max(0, place - _BEFORE) : place]))
    return cut and not negates(item.answer) and not all(map(negates, item.wordings))


def _has_bad_choices(item: WrittenQuestion, _: Maker) -> bool:
    choices = [words(choice) for choice in item.choices]
    if item.kind != "choice":
        return bool(choices)
    return len(choices) < 2 or len(set(choices)) < len(choices) or choices.count(words(item.answer)) != 1


_FILTERS: dict[str, Callable[[WrittenQuestion, Maker], bool]] = {
    "long_answer": lambda item, maker: len(item.answer.split()) > maker.longest_answer,
    "ungrounded": _is_ungrounded,
    "negation": _is_turned_round,
    "choices": _has_bad_choices,
}


def _failed_wording(item: WrittenQuestion, wording: str, title: str) -> str:
    asked = words(wording)
    if not asked or len(asked) > _LONGEST_WORDING:
        return "long_wording"
    if _points(asked) or not _names(asked, title):
        return "unnamed"
    gives_away = item.kind != "choice" and place_of(words(item.answer), asked) is not None
    return "gives_away" if gives_away else ""


def _points(asked: Sequence[str]) -> bool:
    """Whether a question points at what only a reader of the passage sees."""
    pairs = itertools.pairwise(asked)
    return bool(_POINTING.intersection(asked)) or any(one == "the" and two in _POINTED_AT for one, two in pairs)


def _names(asked: Sequence[str], title: str) -> bool:
    """Whether a question holds a word of the title; a title without telling words is named by any question."""
    telling = {word[:_STEM] for word in words(title) if word not in _SMALL}
    return not telling or any(word[:_STEM] in telling for word in asked)


# --- forms -----------------------------------------------------------------------------------------


def _prompt(item: WrittenQuestion, wording: str) -> str:
    """The question as the model gets it; choices stand in an order that says nothing."""
    asked = " ".join(wording.split())
    if item.kind == "choice":
        choices = sorted((" ".join(choice.split()) for choice in item.choices), key=lambda one: digest_text(asked, one))
        asked = f"{asked} ({' / '.join(choices)})"
    return question_prompt(asked)


def _line(item: WrittenQuestion, number: int) -> str:
    wording = item.wordings[number] if number < len(item.wordings) else "no wording"
    return f"{wording} -> {item.answer} (quote: {item.quote})"


def _row(item: WrittenQuestion, number: int, statement: Statement, maker: Maker) -> Row:
    return Row(
        prompt=_prompt(item, item.wordings[number]),
        completion=f" {_answer(item)}",
        purpose=PURPOSE,
        wording=f"{QUESTIONS}/{item.kind}/{number}",
        fact="",
        document=statement.document,
        digest=statement.digest,
        start=statement.start,
        end=statement.end,
        recipe=QUESTIONS,
        teacher=maker.teacher,
        seed=maker.seed,
    )


def _question(item: WrittenQuestion, number: int, statement: Statement) -> Question:
    prompt = _prompt(item, item.wordings[number])
    return Question(
        id=f"prose/{statement.document}/{digest_text(prompt)[:16]}",
        cohort=Cohort.PROSE,
        question=prompt,
        answers=(_answer(item),),
        source=statement.document,
        document=statement.document,
    )


def _answer(item: WrittenQuestion) -> str:
    return " ".join(item.answer.split())


# --- what the checks of the rows left --------------------------------------------------------------


def judging(questions: Iterable[Question], rows: Sequence[Row]) -> list[Question]:
    """The questions of the evaluation whose answer is still taught and whose wording no row has."""
    taught = {(row.document, row.completion.strip()) for row in rows if row.purpose == PURPOSE}
    trained = {row.prompt for row in rows}
    return [q for q in questions if (q.source, q.answers[0]) in taught and q.question not in trained]


def statements_asked(statements: Iterable[Statement], rows: Iterable[Row]) -> tuple[Statement, ...]:
    """The sentences that hold the answer of at least one question read from their place."""
    answers: defaultdict[tuple[str, int], set[tuple[str, ...]]] = defaultdict(set)
    for row in rows:
        if row.purpose == PURPOSE:
            answers[row.document, row.start].add(words(row.completion))
    return tuple(
        one
        for one in statements
        if any(place_of(answer, words(one.text)) is not None for answer in answers.get((one.document, one.start), ()))
    )
