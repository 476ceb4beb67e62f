"""What stands before a question for the arms that read: the fact itself, or what a search finds.

Search is BM25 (Robertson and Zaragoza 2009) by the library bm25s, over one sentence for every fact in force.
"""

from collections.abc import Sequence

import bm25s

from bench.forgetting_arms import Method
from data.handbook_questions import Asked
from data.handbook_stream import Told
from data.records import Fact, FactChange
from data.wordings import Form, wordings

FOUND = 3
"""Sentences that a search puts before a question."""


class Reader:
    """Puts text before questions, or nothing where the arm does not read."""

    def __init__(self, method: Method, told: Sequence[Told], held: Sequence[FactChange]) -> None:
        self._method = method
        facts = [one.fact for one in told if one.values[-1] is not None] + [change.fact for change in held]
        self._sentences = {fact.id: _sentence(fact) for fact in facts}
        if method is Method.RETRIEVAL:
            self._texts = list(self._sentences.values())
            self._index = bm25s.BM25()
            self._index.index(bm25s.tokenize(self._texts, show_progress=False), show_progress=False)

    def prompt(self, asked: Asked) -> str:
        """The question as the arm's model gets it."""
        question = asked.question.question
        if self._method is Method.CONTEXT:
            return f"{self._sentences.get(asked.told.fact.id, '')} {question}".strip()
        if self._method is Method.RETRIEVAL:
            return f"{' '.join(self._found(question))} {question}"
        return question

    def _found(self, question: str) -> list[str]:
        words = bm25s.tokenize([question], show_progress=False)
        found, _ = self._index.retrieve(words, k=FOUND, show_progress=False)
        return [self._texts[place] for place in found[0]]


def _sentence(fact: Fact) -> str:
    return wordings(fact.kind, Form.STATEMENT)[0].render(fact)
