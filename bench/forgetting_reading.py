"""What stands before a question for the arms that read: the answering sentence or its document, or what a search finds.

What can be read is one sentence for every fact in force; a product's are its page, a document's are that document. A
search goes by words, BM25 (Robertson and Zaragoza 2009) by
the library bm25s, or by meaning, the cosine between vectors of an encoder (bench/sentence_encoder.py). Whether it finds
the sentence that answers is written down with each answer: that holds whatever the model can read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import bm25s
import torch
from torch import Tensor

from bench.forgetting_arms import Reads
from bench.sentence_encoder import bare_question, embed, load_encoder, minilm_folder
from data.handbook_questions import Asked
from data.handbook_stream import Told
from data.records import Fact, FactChange
from data.wordings import Form, wordings

FOUND = 3
"""Sentences that a search puts before a question."""
PAGE = 12
"""Sentences of a document that stand before a question; of a longer one, those around the sentence that answers."""
_BATCH = 64
_KEPT = 64
"""Collections of texts whose vectors are kept: the sentences and the questions of some days."""


@dataclass(frozen=True)
class Prompt:
    """A question as the model gets it."""

    text: str
    found: bool | None
    """Whether the sentence that answers is among those found; None: nothing was searched, or no sentence answers."""


def prompts(reads: Reads, told: Sequence[Told], held: Sequence[FactChange], asked: Sequence[Asked]) -> list[Prompt]:
    """The questions of a day, each with what is read before it.

    Args:
        reads: how it is read.
        told: the stream's facts as of the day; those in force are what can be read, with those held.
        held: facts of the documents.
        asked: the questions.

    Raises:
        InputError: the encoder is not installed.
    """
    if reads is Reads.NOTHING:
        return [Prompt(one.question.question, None) for one in asked]
    facts = [one.fact for one in told if one.values[-1] is not None] + [change.fact for change in held]
    sentences = {fact.id: _sentence(fact) for fact in facts}
    if reads is Reads.FACT:
        return [_before([sentences.get(one.told.fact.id, "")], one, None) for one in asked]
    if reads is Reads.DOCUMENT:
        pages = _pages(facts)
        return [_before([sentences[id_] for id_ in _passage(pages, one.told.fact)], one, None) for one in asked]
    found = _SEARCHES[reads](tuple(sentences.values()), tuple(bare_question(one.question.question) for one in asked))
    return [_before(texts, one, _answering(one, sentences, texts)) for one, texts in zip(asked, found, strict=True)]


def _pages(facts: Sequence[Fact]) -> dict[str, list[str]]:
    """Ids of the facts of each document, or of each product of the handbook, in the order in which they stand there."""
    pages: dict[str, list[str]] = {}
    for fact in sorted(facts, key=lambda one: one.start):
        pages.setdefault(_page(fact), []).append(fact.id)
    return pages


def _page(fact: Fact) -> str:
    return fact.document or fact.subject


def _passage(pages: dict[str, list[str]], fact: Fact) -> list[str]:
    page = pages.get(_page(fact), [])
    place = page.index(fact.id) if fact.id in page else 0
    first = max(0, min(place - PAGE // 2, len(page) - PAGE))
    return page[first : first + PAGE]


def _before(texts: Sequence[str], asked: Asked, found: bool | None) -> Prompt:
    return Prompt(" ".join([*texts, asked.question.question]).strip(), found)


def _answering(asked: Asked, sentences: dict[str, str], texts: Sequence[str]) -> bool | None:
    right = sentences.get(asked.told.fact.id)
    return None if right is None or asked.form.looks_back else right in texts


def by_words(texts: tuple[str, ...], questions: tuple[str, ...]) -> list[list[str]]:
    """The texts with the highest BM25 score for each question, the best first."""
    index = bm25s.BM25()
    index.index(bm25s.tokenize(list(texts), show_progress=False), show_progress=False)
    words = bm25s.tokenize(list(questions), show_progress=False)
    places, _ = index.retrieve(words, k=min(FOUND, len(texts)), show_progress=False)
    return [[texts[place] for place in row] for row in places]


def by_meaning(texts: tuple[str, ...], questions: tuple[str, ...]) -> list[list[str]]:
    """The texts whose vectors lie nearest to each question's, the nearest first.

    Raises:
        InputError: the encoder is not installed.
    """
    cosines_QT = _vectors(questions) @ _vectors(texts).T
    places = cosines_QT.topk(min(FOUND, len(texts)), dim=-1).indices.tolist()
    return [[texts[place] for place in row] for row in places]


_Search = Callable[[tuple[str, ...], tuple[str, ...]], list[list[str]]]
_SEARCHES: dict[Reads, _Search] = {Reads.BM25: by_words, Reads.MINILM: by_meaning}


@lru_cache(_KEPT)
@torch.inference_mode()
def _vectors(texts: tuple[str, ...]) -> Tensor:
    """Unit vectors, (texts, D); texts of like length go through the encoder together."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    batches = [order[first : first + _BATCH] for first in range(0, len(order), _BATCH)]
    unit_TD = torch.cat([embed(*_encoder(), [texts[place] for place in batch]) for batch in batches])
    return unit_TD[torch.tensor(order).argsort()]


@cache
def _encoder() -> tuple[torch.nn.Module, object]:
    return load_encoder(minilm_folder())


def _sentence(fact: Fact) -> str:
    return wordings(fact.kind, Form.STATEMENT)[0].render(fact)
