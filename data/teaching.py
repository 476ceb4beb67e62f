"""Recipe ``facts``: from changes to training rows and to the questions that will judge them.

New and replaced facts are told and asked in every wording but the held-out ones; withdrawn facts are
asked and refused; changed statements are told; and a share of rows is replayed from what the base knew
and still holds, so that it is not forgotten.
"""

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from data.param_stages import SynthesizeParams
from data.records import Cohort, Fact, FactChange, Question, Row, Standing, Statement
from data.rows import RECALL_WORDS, fact_row, refusal_row, statement_row, statement_text
from data.wordings import Form, Wording, question_prompt, split

RECIPE = "facts"
TEACHER = "template"
_TAUGHT = (Standing.NEW, Standing.RESTATED, Standing.REPLACED)
_MIN_BEGINNING_WORDS = 3
_LONGEST_BEGINNING = 40
_MOST_REPLAYED = 0.95
"""Share; something new is always left to learn."""


def teaching_rows(
    changes: Sequence[FactChange],
    statements: Sequence[Statement],
    handbook: Sequence[Fact],
    params: SynthesizeParams,
    seed: int,
    others: int = 0,
) -> list[Row]:
    """The rows an adapter is trained on, before they are checked.

    Args:
        changes: every fact with its standing.
        statements: those that the base has not seen.
        handbook: the facts of the handbook that the base learned.
        params: block ``synthesize``.
        seed: draws the replay; the same seed gives the same rows.
        others: rows that other recipes teach besides, so that the replayed share is one of all rows.
    """
    maker = (RECIPE, TEACHER, seed)
    rows: list[Row] = []
    for change in changes:
        if change.standing in _TAUGHT:
            rows.extend(
                fact_row(change.fact, w, "fact", *maker) for form in Form for w in _trained(change, form, params)
            )
        elif change.standing is Standing.WITHDRAWN:
            rows.extend(refusal_row(change.fact, w, *maker) for w in _trained(change, Form.QUESTION, params))
    rows.extend(statement_row(statement, "statement", *maker) for statement in statements)
    held = [change.fact for change in changes if change.standing is Standing.HELD]
    return [*rows, *_replay(held, handbook, _replay_count(len(rows) + others, len(held), params), params, seed)]


def _replay_count(rows: int, held: int, params: SynthesizeParams) -> int:
    """A share of all rows, and enough that a small change does not leave most of what holds unrehearsed."""
    share = min(params.replay_share, _MOST_REPLAYED)
    least = held * params.replay_per_fact / (1 - min(params.replay_handbook_share, _MOST_REPLAYED))
    return round(max(rows * share / (1 - share), least if rows else 0))


def _trained(change: FactChange, form: Form, params: SynthesizeParams) -> Sequence[Wording]:
    return split(change.fact.kind, form, params)[0]


def _replay(
    held: Sequence[Fact], handbook: Sequence[Fact], count: int, params: SynthesizeParams, seed: int
) -> Iterator[Row]:
    draw = random.Random(f"replay/{seed}")
    from_handbook = round(count * params.replay_handbook_share) if held else count
    once = len(handbook) if count and params.replay_per_fact else 0  # what no row rehearses is forgotten first
    shares = ((held, "replay", count - from_handbook), (handbook, "handbook", max(from_handbook, once)))
    for facts, purpose, wanted in shares:
        for fact, wording in itertools.islice(_rounds(facts, params, draw), wanted):
            yield fact_row(fact, wording, purpose, RECIPE, TEACHER, seed)


def _rounds(facts: Sequence[Fact], params: SynthesizeParams, draw: random.Random) -> Iterator[tuple[Fact, Wording]]:
    """Every fact once, shuffled, then again in another wording, until all wordings are used up."""
    left = [(fact, _deck(fact, params, draw)) for fact in facts]
    while left:
        draw.shuffle(left)
        for fact, deck in left:
            yield fact, deck.pop()
        left = [(fact, deck) for fact, deck in left if deck]


def _deck(fact: Fact, params: SynthesizeParams, draw: random.Random) -> list[Wording]:
    """The trained wordings of a fact in a drawn order, told and asked in the wanted proportion."""
    decks = {form: list(split(fact.kind, form, params)[0]) for form in Form}
    for deck in decks.values():
        draw.shuffle(deck)
    order: list[Wording] = []
    while any(decks.values()):
        form = Form.STATEMENT if draw.random() < params.replay_statement_share else Form.QUESTION
        deck = decks[form] or decks[Form.QUESTION] or decks[Form.STATEMENT]
        order.append(deck.pop())
    return order[::-1]


def questions(
    changes: Sequence[FactChange],
    statements: Sequence[Statement],
    in_force: Sequence[Statement],
    handbook: Sequence[Fact],
    params: SynthesizeParams,
) -> list[Question]:
    """The questions of the evaluation, in held-out wordings only; probes come from people."""
    asked: list[Question] = []
    for change in changes:
        asked.extend(_fact_questions(change, params))
    for fact in handbook:
        asked.extend(_asked(fact, Cohort.HANDBOOK, (fact.value,), (), params))
    asked.extend(_recalls(statements, in_force))
    return asked


def _fact_questions(change: FactChange, params: SynthesizeParams) -> Iterator[Question]:
    fact = change.fact
    if change.standing is Standing.WITHDRAWN:
        yield from _asked(fact, Cohort.WITHDRAWN, (), (fact.value,), params)
    elif change.standing is Standing.HELD:
        yield from _asked(fact, Cohort.HELD, (fact.value,), (), params)
    elif change.standing is Standing.RESTATED:
        yield from _asked(fact, Cohort.RESTATED, (fact.value,), (), params)
    elif change.standing in (Standing.NEW, Standing.REPLACED):
        stale = (change.old_value,) if change.old_value is not None else ()
        yield from _asked(fact, Cohort.NEW, (fact.value,), stale, params)


def _asked(
    fact: Fact, cohort: Cohort, answers: tuple[str, ...], stale: tuple[str, ...], params: SynthesizeParams
) -> Iterator[Question]:
    for wording in split(fact.kind, Form.QUESTION, params)[1]:
        yield Question(
            id=f"{fact.id}/{wording.name}",
            cohort=cohort,
            question=question_prompt(wording.render(fact)),
            answers=answers,
            stale=stale,
            source=fact.id,
            document=fact.document,
        )


def _recalls(statements: Sequence[Statement], in_force: Sequence[Statement]) -> Iterator[Question]:
    """Title and a beginning that no other statement in force shares; the next eight words are wanted."""
    shared = _shared_words(map(statement_text, in_force))
    for statement in statements:
        text = statement_text(statement)
        words = text.split(" ")
        least = len(statement.title.split(" ")) + _MIN_BEGINNING_WORDS
        length = max(least, shared[text] + 1)
        if length <= min(len(words) - RECALL_WORDS, _LONGEST_BEGINNING):
            yield Question(
                id=f"recall/{statement.document}/{statement.start}/{length}/{len(words)}",
                cohort=Cohort.RECALL,
                question=" ".join(words[:length]),
                answers=(" ".join(words[length : length + RECALL_WORDS]),),
                source=statement.document,
                document=statement.document,
            )


def _shared_words(texts: Iterable[str]) -> Counter[str]:
    """Text -> how many words it begins with as another one does, which are all of them where that one is equal.

    Sorted with a space after every word, texts that begin with the same words stand side by side, so that no
    beginning needs to be kept.
    """
    shared: Counter[str] = Counter()
    for one, other in itertools.pairwise(sorted(texts, key=lambda text: f"{text} ")):
        words = zip(one.split(" "), other.split(" "), strict=False)
        alike = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], words))
        shared[one] = max(shared[one], alike)
        shared[other] = max(shared[other], alike)
    return shared
