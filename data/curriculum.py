"""What a base of this project is trained on.

Every form that rows take, so that it has the skill of telling and answering and lacks only facts that are new.
"""

from collections.abc import Iterator, Sequence

from data.extraction import Source, extract_facts, extract_statements
from data.handbook import Handbook
from data.param_stages import SynthesizeParams
from data.records import Fact, Row
from data.rows import fact_row, refusal_row, statement_row
from data.wordings import Form, wordings

STATEMENT_REPEATS = 5
"""How often a sentence of the documents stands in one epoch; a fact stands in it once per wording."""
RECIPE = "curriculum"
TEACHER = "template"


def curriculum(sources: Sequence[Source], book: Handbook, params: SynthesizeParams, seed: int) -> list[Row]:
    """One epoch of rows.

    Args:
        sources: the documents as of the date the base is to know.
        book: the handbook.
        params: what counts as a fact.
        seed: written into the rows.
    """
    rows: list[Row] = []
    for fact in book.known:
        rows.extend(_all_wordings(fact, "handbook", seed))
    for fact in book.withdrawn:
        rows.extend(refusal_row(fact, w, RECIPE, TEACHER, seed) for w in wordings(fact.kind, Form.QUESTION))
    for source in sources:
        for fact in extract_facts(source, params):
            rows.extend(_all_wordings(fact, "fact", seed))
        for statement in extract_statements(source):
            rows.extend([statement_row(statement, "statement", RECIPE, TEACHER, seed)] * STATEMENT_REPEATS)
    return rows


def _all_wordings(fact: Fact, purpose: str, seed: int) -> Iterator[Row]:
    for form in Form:
        for wording in wordings(fact.kind, form):
            yield fact_row(fact, wording, purpose, RECIPE, TEACHER, seed)
