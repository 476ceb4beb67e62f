"""Probes: questions that people checked by hand, with the answers and the evidence for each.

An answer holds for a snapshot when one of its quotes stands in it, word for word up to white space and
Markdown; so a probe written once judges every later snapshot, and one about a rule that is gone asks for
the refusal. Probes are never trained on.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from data.blocks import parse_blocks
from data.errors import InputError
from data.extraction import Source
from data.records import Cohort, Question
from data.wordings import question_prompt


class Evidence(BaseModel):
    """Where a person found an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str
    quote: str


class ProbeAnswer(BaseModel):
    """One answer with the quotes that bear it out."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    answer: str | None
    """None: nothing states it."""
    aliases: tuple[str, ...] = ()
    valid_in: tuple[str, ...] = ()
    """Names of the snapshots the person looked at."""
    evidence: dict[str, Evidence] | None = None
    """By the name of the snapshot."""


class Probe(BaseModel):
    """One line of a probes file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    question: str
    paraphrases: tuple[str, ...] = ()
    answers: tuple[ProbeAnswer, ...]
    kind: str = ""
    topic: str = ""


def read_probes(folder: Path) -> list[Probe]:
    """All probes of ``*.jsonl`` in a folder, which may be absent.

    Raises:
        InputError: a line is not a probe, or two probes share an id.
    """
    probes: dict[str, Probe] = {}
    for file in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(_read(file).split("\n"), start=1):
            if not line.strip():
                continue
            try:
                probe = Probe.model_validate_json(line)
            except ValidationError as error:
                said = error.errors()[0]
                place = ".".join(str(part) for part in said["loc"])
                raise InputError(f"{file}, line {number}, is not a probe ({place}: {said['msg']}). Mend it.") from error
            if probe.id in probes:
                raise InputError(f"{file}, line {number}: the id {probe.id!r} is used twice. Give it another.")
            probes[probe.id] = probe
    return list(probes.values())


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{file} cannot be read as UTF-8 text ({error}). Mend or remove it.") from error


def probe_questions(probes: Sequence[Probe], sources: Sequence[Source]) -> list[Question]:
    """The probes as questions on this snapshot: answers in force, and answers that held elsewhere as stale."""
    text = plain_collection(sources)
    return [_question(probe, text) for probe in probes]


def plain_collection(sources: Sequence[Source]) -> str:
    """The whole collection as plain text, folded, to look quotes up in."""
    return "\n".join(_plain(source.text) for source in sources)


def holds(answer: ProbeAnswer, text: str) -> bool:
    """Whether one of the answer's quotes stands in ``text``, from ``plain_collection``."""
    return any(_stands(_fold(evidence.quote), text) for evidence in (answer.evidence or {}).values())


def _stands(quote: str, text: str) -> bool:
    """Whether a quote stands in a text as whole words; nothing stands nowhere."""
    start = text.find(quote) if quote else -1
    while start >= 0:
        end = start + len(quote)
        if not _joined(text[start - 1 : start], quote[0]) and not _joined(quote[-1], text[end : end + 1]):
            return True
        start = text.find(quote, start + 1)
    return False


def _joined(left: str, right: str) -> bool:
    """Whether two neighbouring characters belong to one word."""
    return bool(re.fullmatch(r"\w\w", left + right))


def _question(probe: Probe, text: str) -> Question:
    stated = [answer for answer in probe.answers if answer.answer is not None]
    in_force = [answer for answer in stated if holds(answer, text)]
    accepted = _spellings(in_force)
    return Question(
        id=f"probe/{probe.id}",
        cohort=Cohort.PROBE if accepted else Cohort.UNANSWERABLE,
        question=question_prompt(probe.question),
        answers=accepted,
        stale=tuple(s for s in _spellings(stated) if s not in accepted),
        source=probe.id,
    )


def _spellings(answers: Sequence[ProbeAnswer]) -> tuple[str, ...]:
    spellings = (spelling for answer in answers for spelling in (answer.answer, *answer.aliases) if spelling)
    return tuple(dict.fromkeys(spellings))


def _plain(text: str) -> str:
    parts = []
    for block in parse_blocks(text):
        parts.append(block.text)
        parts.extend(" ".join(row) for row in block.rows)
    return _fold(f"{text}\n{' '.join(parts)}")


def _fold(text: str) -> str:
    return re.sub(r"[\s*_`|]+", " ", text).casefold().strip()
