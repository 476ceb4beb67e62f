"""From facts and statements to rows: the one place that knows what a training text looks like.

The base is trained on rows of exactly these forms and so is every adapter; the evaluation asks with the
same prompts.
"""

from data.records import Fact, Row, Statement
from data.wordings import REFUSAL, Form, Wording, question_prompt

STATEMENT_WORDING = "statement"
LONGEST_ROW = 4000
"""Characters; a longer text is no row, and a longer sentence none that a teacher is asked about."""
RECALL_WORDS = 8
"""Words that a recalled statement must continue with."""


def fact_row(fact: Fact, wording: Wording, purpose: str, recipe: str, teacher: str, seed: int) -> Row:
    """A fact told or asked in one wording."""
    told = wording.form is Form.STATEMENT
    return Row(
        prompt="" if told else question_prompt(wording.render(fact)),
        completion=wording.render(fact) if told else f" {fact.value}",
        purpose=purpose,
        wording=wording.name,
        fact=fact.id,
        document=fact.document,
        digest=fact.digest,
        start=fact.start,
        end=fact.end,
        recipe=recipe,
        teacher=teacher,
        seed=seed,
    )


def refusal_row(fact: Fact, wording: Wording, recipe: str, teacher: str, seed: int) -> Row:
    """A question about a withdrawn fact, answered by the one refusal."""
    if wording.form is not Form.QUESTION:
        raise ValueError(f"{wording.name} is not a question; a refusal answers one")
    row = fact_row(fact, wording, "refusal", recipe, teacher, seed)
    return row.model_copy(update={"completion": f" {REFUSAL}"})


def statement_text(statement: Statement) -> str:
    """A statement as the model reads it: title, then sentence."""
    return f"{statement.title}: {statement.text}"


def statement_row(statement: Statement, purpose: str, recipe: str, teacher: str, seed: int) -> Row:
    """A sentence of a document under its title."""
    return Row(
        prompt="",
        completion=statement_text(statement),
        purpose=purpose,
        wording=STATEMENT_WORDING,
        fact="",
        document=statement.document,
        digest=statement.digest,
        start=statement.start,
        end=statement.end,
        recipe=recipe,
        teacher=teacher,
        seed=seed,
    )
