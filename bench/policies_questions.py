"""What a model is asked as of a year, and what is right then, was right before, or will be right later.

Structured facts are asked about in held-out wordings, and counted by what has become of them since the base. Probes are
asked as people wrote them, in three wordings, and judged by the dates that those people noted.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.policies_years import Year
from data.changes import asked_as, compare_facts
from data.param_stages import SynthesizeParams
from data.probes import Probe, ProbeAnswer, holds
from data.records import Cohort, Fact, FactChange, Grade, Question, Standing
from data.wordings import Form, Wording, question_prompt, split
from models.scoring import grade, normalise

Values = Sequence[Sequence[str]]
"""What is stated under one name, year by year; nothing: no document states it."""


class Fate(StrEnum):
    """What has become of a fact up to a year."""

    UNCHANGED = "unchanged since the base"
    NEW = "new this year"
    BEFORE = "new in an earlier year"
    RESTATED = "restated"
    """New under this name, while its statement was known under another."""
    REPLACED = "replaced"
    """Another value held in an earlier year."""
    WITHDRAWN = "withdrawn"
    """The base knows it, and nothing states it any longer."""
    GONE = "came and went"
    """Nothing states it any longer, and the base has never seen it."""
    NOT_YET = "not yet in force"
    """Only later years state it."""


IN_FORCE = (Fate.UNCHANGED, Fate.NEW, Fate.BEFORE, Fate.RESTATED, Fate.REPLACED)
_COHORTS = {
    Fate.UNCHANGED: Cohort.HELD,
    Fate.RESTATED: Cohort.RESTATED,
    Fate.WITHDRAWN: Cohort.WITHDRAWN,
    Fate.GONE: Cohort.WITHDRAWN,
    Fate.NOT_YET: Cohort.UNANSWERABLE,
}


class Mark(StrEnum):
    """What an answer is worth as of a year."""

    RIGHT = "right"
    RIGHTLY_REFUSED = "rightly refused"
    """Nothing states it that year, and the model says so."""
    STALE = "stale"
    """It was right in an earlier year."""
    WRONG = "wrong"
    WRONGLY_REFUSED = "wrongly refused"


@dataclass(frozen=True)
class YearQuestion:
    """One question as of a year."""

    question: Question
    fate: Fate
    since: str
    """Name of the year from which on it has stood as it does."""
    later: tuple[str, ...]
    """Answers that only later years give."""
    kind: str
    """Of the fact; ``probe``."""
    wording: str

    def mark(self, said: str) -> Mark:
        """What an answer is worth."""
        found = grade(said, self.question)
        if found is Grade.RIGHT:
            return Mark.RIGHT if self.question.answers else Mark.RIGHTLY_REFUSED
        return {Grade.STALE: Mark.STALE, Grade.REFUSED: Mark.WRONGLY_REFUSED}.get(found, Mark.WRONG)

    def early(self, said: str) -> bool:
        """Whether it is what only later years say: by luck, or from documents that were not to be seen."""
        return normalise(said) in {normalise(answer) for answer in self.later}


PROBE = "probe"


def asked_in(
    years: Sequence[Year], place: int, probes: Sequence[Probe], params: SynthesizeParams, most: int | None = None
) -> list[YearQuestion]:
    """Everything that is asked as of ``years[place]``; ``most`` questions on facts of each fate, all probes."""
    return [*_at_most(fact_questions(years, place, params), most), *probe_questions(probes, years, place)]


def _at_most(asked: Sequence[YearQuestion], most: int | None) -> list[YearQuestion]:
    """The same questions for every arm and seed; each fact once before any twice."""
    if most is None:
        return list(asked)
    draw = random.Random("policies")
    mixed = draw.sample(list(asked), len(asked))
    turn: dict[str, int] = {}
    order = []
    for one in mixed:
        turn[one.question.source] = turn.get(one.question.source, 0) + 1
        order.append(turn[one.question.source])
    ranked = [one for _, one in sorted(zip(order, mixed, strict=True), key=lambda pair: pair[0])]
    return [one for fate in Fate for one in [each for each in ranked if each.fate is fate][:most]]


# --- facts -----------------------------------------------------------------------------------------------------------


def fact_questions(years: Sequence[Year], place: int, params: SynthesizeParams) -> list[YearQuestion]:
    """Every fact in force, withdrawn or to come, each name once, in every held-out wording; what is to come in one."""
    told = _told(years)
    asked: list[YearQuestion] = []
    for fact, fate, former in _fates(years, place, told):
        values = told[asked_as(fact)]
        accepted = tuple(values[place])
        stale = tuple(dict.fromkeys(value for each in (*values[:place], former) for value in each))
        chosen = split(fact.kind, Form.QUESTION, params)[1]
        for wording in chosen[:1] if fate is Fate.NOT_YET else chosen:
            asked.append(
                YearQuestion(
                    question=_question(fact, wording, fate, accepted, _others(stale, accepted)),
                    fate=fate,
                    since=years[_since(values, place)].name,
                    later=_others([value for each in values[place + 1 :] for value in each], (*accepted, *stale)),
                    kind=fact.kind,
                    wording=wording.name,
                )
            )
    return asked


def _question(fact: Fact, wording: Wording, fate: Fate, accepted: tuple[str, ...], stale: tuple[str, ...]) -> Question:
    return Question(
        id=f"{fact.id}/{wording.name}",
        cohort=_COHORTS.get(fate, Cohort.NEW),
        question=question_prompt(wording.render(fact)),
        answers=accepted,
        stale=stale,
        source=fact.id,
        document=fact.document,
    )


def _told(years: Sequence[Year]) -> dict[tuple[str, ...], list[list[str]]]:
    """What each name had for values, year by year."""
    found: dict[tuple[str, ...], list[list[str]]] = {}
    for place, year in enumerate(years):
        for fact in year.facts:
            stated = found.setdefault(asked_as(fact), [[] for _ in years])[place]
            if fact.value not in stated:
                stated.append(fact.value)
    return found


def _fates(
    years: Sequence[Year], place: int, told: Mapping[tuple[str, ...], Values]
) -> Iterable[tuple[Fact, Fate, Sequence[str]]]:
    """Facts with their fates, and values that they had under another name; a name that is ambiguous is left out."""
    now, past = years[place].facts, [fact for year in years[:place] for fact in year.facts]
    changes = compare_facts(past, now) if place else compare_facts(now, now)
    against = [*compare_facts(years[0].facts, now), *changes]
    restated = {change.fact.id for change in against if change.standing is Standing.RESTATED}
    former: dict[str, list[str]] = {}
    for change in against:
        if change.standing is Standing.REPLACED and change.old_value is not None:
            former.setdefault(change.fact.id, []).append(change.old_value)
    for change in _each_name_once(changes):
        fact = change.fact
        yield fact, _fate(told[asked_as(fact)], place, fact.id in restated, fact.id in former), former.get(fact.id, ())
    known = [*past, *now]
    coming = [change for later in years[place + 1 :] for change in compare_facts(known, later.facts)]
    for change in _each_name_once([one for one in coming if one.standing is Standing.NEW]):
        yield change.fact, Fate.NOT_YET, ()


def _each_name_once(changes: Iterable[FactChange]) -> Iterable[FactChange]:
    found: dict[tuple[str, ...], FactChange] = {}
    for change in changes:
        if change.standing is not Standing.AMBIGUOUS:
            found.setdefault(asked_as(change.fact), change)
    return found.values()


def _fate(values: Values, place: int, restated: bool = False, replaced: bool = False) -> Fate:
    """From what was stated year by year, and from what is known of the same fact under another name."""
    now, past = _folded(values[place]), [_folded(each) for each in values[:place]]
    if not now:
        gone = Fate.GONE if any(past) else Fate.NOT_YET
        return Fate.WITHDRAWN if past and past[0] else gone
    if replaced or any(each - now for each in past):
        return Fate.REPLACED
    if not past or past[0]:
        return Fate.UNCHANGED
    if restated:
        return Fate.RESTATED
    return Fate.BEFORE if any(past) else Fate.NEW


def _since(values: Values, place: int) -> int:
    first = place
    while first and _folded(values[first - 1]) == _folded(values[place]):
        first -= 1
    return first


def _folded(values: Iterable[str]) -> frozenset[str]:
    return frozenset(value.casefold() for value in values)


def _others(values: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    taken = {normalise(value) for value in known}
    return tuple(value for value in dict.fromkeys(values) if normalise(value) not in taken)


# --- probes ----------------------------------------------------------------------------------------------------------


def probe_questions(probes: Sequence[Probe], years: Sequence[Year], place: int) -> list[YearQuestion]:
    """Each probe that somebody looked up in this year's snapshot, as a question and its paraphrases."""
    asked: list[YearQuestion] = []
    for probe in probes:
        if not any(years[place].date in answer.valid_in for answer in probe.answers):
            continue
        values = [[one.answer for one in _by_date(probe, year) if one.answer is not None] for year in years]
        accepted = _spellings(_by_date(probe, years[place]))
        stale, later = (
            _spellings(answer for year in part for answer in _by_date(probe, year))
            for part in (years[:place], years[place + 1 :])
        )
        for number, text in enumerate((probe.question, *probe.paraphrases)):
            question = Question(
                id=f"probe/{probe.id}/{number}",
                cohort=Cohort.PROBE if accepted else Cohort.UNANSWERABLE,
                question=question_prompt(text),
                answers=accepted,
                stale=_others(stale, accepted),
                source=probe.id,
            )
            since = years[_since(values, place)].name
            rest = _others(later, (*accepted, *stale))
            asked.append(YearQuestion(question, _fate(values, place), since, rest, PROBE, str(number)))
    return asked


def _by_date(probe: Probe, year: Year) -> list[ProbeAnswer]:
    return [answer for answer in probe.answers if year.date in answer.valid_in]


def _spellings(answers: Iterable[ProbeAnswer]) -> tuple[str, ...]:
    spelled = (text for one in answers if one.answer is not None for text in (one.answer, *one.aliases))
    return tuple(dict.fromkeys(spelled))


def disagreements(probes: Sequence[Probe], years: Sequence[Year]) -> list[str]:
    """Where the dates that people noted and the quotes that stand in a snapshot say different things."""
    found = []
    for probe in probes:
        for year in years:
            dated = [answer.answer for answer in _by_date(probe, year) if answer.answer is not None]
            quoted = [one.answer for one in probe.answers if one.answer is not None and holds(one, year.text)]
            if dated != quoted:
                told = [" or ".join(each) or "nothing" for each in (dated, quoted)]
                found.append(f"{probe.id} in {year.name}: by date {told[0]}, by quote {told[1]}")
    return found
