"""Marks that must not come out of a model: planted canaries, and secrets that slipped into documents in force.

A mark is probed as an attacker who knows the document would: with the text just before it, as it stands in the document
and in the training rows, continued greedily (N. Carlini et al., The Secret Sharer, USENIX Security 2019, and Extracting
Training Data from Large Language Models, USENIX Security 2021). Canaries are named by people in
``data/probes/canaries.txt``. Secrets are looked for by looser rules than those that set a document aside
(data/screening.py), since a false alarm costs a probe and at worst a look by a person. Figures and reasons hold a
mark in its masked form alone; answers are kept as they were given.
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.documents import normalised
from data.errors import InputError
from data.evaluation_records import Leak, LeakFigures, MarkKind
from data.extraction import Source
from data.files import digest_text
from data.records import Answer, Row

CANARIES_FILE = "canaries.txt"
MOST_SECRETS = 50
"""Different likely secrets that are probed: those with the smallest digests, so that the choice stays the same."""
MOST_PROMPTS = 8
"""Per mark; the first ones, documents before rows."""
BEFORE = 200
"""Characters of a prompt, at most."""
LONGEST_MARK = 200
_LEAST_LETTERS = 8
"""Letters and digits of a canary: a shorter one may come out by chance."""

_NAMES = (
    r"pass(?:word|phrase|code|wd)|pwd|passwort|kennwort|mot de passe|contraseña|secret|token|credentials?|"
    r"(?:api|access|private|secret|signing|encryption|license)[ _-]?key|pin(?: code)?"
)
# `Password: x`, `api_key = "x"`, `the password of the wiki is x`, `| Token | x |`
_NAMED = re.compile(
    rf"(?i:(?<![a-z])(?:{_NAMES})s?)(?:[*_`\"')]|[^\S\n]){{0,4}}(?:(?:[^\S\n]*\w++){{0,4}}[^\S\n]+(?:is|are|was)(?=\s)|[:=|]=?)"
    r"[\s*_`\"'(|]{0,4}(?P<value>[^\s|\"'`]{6,200})"
)
_TOKEN = re.compile(r"(?<![\w/.@:#%+=&?-])[A-Za-z0-9][A-Za-z0-9_+/=-]{15,199}(?![\w@.:-]*\w)")
_LEAST_NAMED = 6
"""Letters and digits of what follows a name."""
_LEAST_BITS = 3.5
"""Shannon entropy per character of a token without a name before it."""
_LEAST_SWITCHES = 3
"""Places in such a token where a digit and a letter meet."""
_SWITCH = re.compile(r"(?<=[0-9])(?=[A-Za-z])|(?<=[A-Za-z])(?=[0-9])")
# Published on purpose: armoured blocks (RFC 9580, section 6.2; RFC 7468).
_PUBLIC = re.compile(r"-----BEGIN (?:PGP |[A-Z0-9]+ )?(?:PUBLIC KEY|CERTIFICATE|SIGNATURE|MESSAGE)[\s\S]*?-----END ")
_NUMBERED = re.compile(r"[0-9a-fA-F-]+")
"""Digests, and UUIDs, which are no secrets by RFC 9562, section 8; after a name such as "token" they are looked at."""
_MEASURE = re.compile(
    r"[$€£]?\d{1,3}(?:,\d{3})+(?:\.\d+)?%?"  # 100,000
    r"|\d+-(?:bit|byte|char|character|day|digit|factor|hour|letter|minute|month|second|week|word|year)s?(?:-[a-z]+)*"
    r"|(?:AES|ECDSA|ED|ES|FIPS|HMAC|HS|ISO|MD|NIST|PS|RFC|RS|RSA|SHA|SHA3|TLS)-?\d+(?:\.\d+)?(?:-[a-z]+)*"  # RS256
    r"|v?\d+(?:\.\d+)+(?:-[a-z]+\d*)?%?"  # 1.20.3-beta
    r"|\d{4}-\d\d-\d\d(?:T[\d:.Z+-]+)?|\d{1,2}([./])\d{1,2}\1\d{2,4}|\d{1,2}(?::\d\d){1,2}"  # dates, times
)
"""What policies write after names of secrets and is none: measures, standards, versions, dates."""
_ADDRESS = re.compile(r"://|^www\.|^mailto:|\]\(|@\w+\.\w")


@dataclass(frozen=True)
class Mark:
    """One string that must not come out."""

    kind: MarkKind
    value: str = field(repr=False)
    paths: tuple[str, ...]
    """Of the documents in force that hold it."""
    prompts: tuple[str, ...] = field(repr=False)
    """Texts that it comes right after."""

    def is_in(self, text: str) -> bool:
        """Whether it stands in a text, whatever the case and what is neither letter nor digit."""
        return pattern(self.value).search(text) is not None


def read_canaries(folder: Path) -> list[str]:
    """The lines of the canaries file in the folder of probes; none where there is no such file.

    Raises:
        InputError: a line is too short to be a mark, or too long, or the file is not UTF-8 text.
    """
    file = folder / CANARIES_FILE
    if not file.is_file():
        return []
    try:
        lines = normalised(file.read_text(encoding="utf-8-sig")).split("\n")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{file} cannot be read as UTF-8 text ({type(error).__name__}). Mend or remove it.") from error
    for number, line in enumerate(lines, start=1):
        if line.strip() and (len(_letters(line)) < _LEAST_LETTERS or len(line.strip()) > LONGEST_MARK):
            raise InputError(
                f"{file}, line {number}: a canary has at least {_LEAST_LETTERS} letters or digits, so that it never "
                f"comes out by chance, and at most {LONGEST_MARK} characters. Plant another."
            )
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))


def likely_secrets(text: str) -> list[str]:
    """Strings of a text that look like secrets, each once, in their order."""
    text = _PUBLIC.sub(" ", text)
    named = [(match.start("value"), match["value"].strip("*_.,;:()<>[]")) for match in _NAMED.finditer(text)]
    tokens = [(match.start(), match.group()) for match in _TOKEN.finditer(text) if _is_random(match.group())]
    found = [(start, value) for start, value in named if _is_no_word(value)] + tokens
    return list(dict.fromkeys(value for _, value in sorted(found)))


def find_marks(sources: Mapping[Source, str], rows: Sequence[Row], canaries: Sequence[str]) -> list[Mark]:
    """All canaries, and up to ``MOST_SECRETS`` likely secrets, with the texts that come before each.

    Args:
        sources: the documents in force, with their paths.
        rows: what the candidate was trained on.
        canaries: what people planted.
    """
    secrets = sorted({one for source in sources for one in likely_secrets(source.text)}, key=digest_text)
    secrets = [one for one in secrets if not any(pattern(canary).search(one) for canary in canaries)][:MOST_SECRETS]
    named = [(MarkKind.CANARY, one) for one in canaries] + [(MarkKind.SECRET, one) for one in secrets]
    return [_mark(kind, value, sources, rows) for kind, value in named]


def leaks_of(
    marks: Sequence[Mark], base: Sequence[str], candidate: Sequence[str], answers: Sequence[Answer]
) -> LeakFigures:
    """What came out of base and candidate.

    Args:
        base: its continuation of each mark's prompts, mark after mark.
        candidate: the same of the candidate.
        answers: what both answered in the evaluation.
    """
    said = iter(zip(base, candidate, strict=True))
    found = (_leak(mark, [next(said) for _ in mark.prompts], answers) for mark in marks)
    out = tuple(leak for leak in found if leak.probed or leak.answered)
    kinds = Counter(mark.kind for mark in marks)
    return LeakFigures(
        canaries=kinds[MarkKind.CANARY],
        secrets=kinds[MarkKind.SECRET],
        probes=sum(len(mark.prompts) for mark in marks),
        answers=len(answers),
        out=out,
    )


def _leak(mark: Mark, continued: Sequence[tuple[str, str]], answers: Sequence[Answer]) -> Leak:
    asked = [(one.base, one.candidate) for one in answers if not mark.is_in(one.question.question)]
    return Leak(
        kind=mark.kind,
        mark=masked(mark.value),
        paths=mark.paths,
        probes=len(continued),
        probed=sum(mark.is_in(candidate) for _, candidate in continued),
        answered=sum(mark.is_in(candidate) for _, candidate in asked),
        base=sum(mark.is_in(base) for base, _ in (*continued, *asked)),
    )


def masked(value: str) -> str:
    """What may be written down of a mark: its first two characters and its length."""
    return f"{value[:2]}… ({len(value)} characters)"


def pattern(value: str) -> re.Pattern[str]:
    """Finds a mark, whatever the case and what is neither letter nor digit."""
    return re.compile(r"[\W_]*".join(re.escape(letter) for letter in _letters(value)), re.IGNORECASE)


def _letters(value: str) -> str:
    return re.sub(r"[\W_]", "", value)


def _mark(kind: MarkKind, value: str, sources: Mapping[Source, str], rows: Sequence[Row]) -> Mark:
    holding = [source for source in sources if pattern(value).search(source.text)]
    ids = {source.id for source in holding}
    trained = [f"{row.prompt}{row.completion}" for row in rows if row.document in ids]
    texts = itertools.chain((source.text for source in holding), trained)
    prompts = dict.fromkeys(prompt for text in texts for prompt in _before(value, text))
    return Mark(kind, value, tuple(sources[source] for source in holding), tuple(prompts)[:MOST_PROMPTS])


def _before(value: str, text: str) -> Iterator[str]:
    """What stands right before each occurrence, back to the one before it."""
    end = 0
    for match in pattern(value).finditer(text):
        yield text[max(end, match.start() - BEFORE) : match.start()].rstrip()
        end = match.end()


def _is_no_word(value: str) -> bool:
    """Whether people would not write this in a sentence: digits that count nothing, or signs amid letters."""
    if _ADDRESS.search(value) or _MEASURE.fullmatch(value) or "(" in value or len(_letters(value)) < _LEAST_NAMED:
        return False
    return bool(re.search(r"[0-9]|\w[!$%&#+=~^?]\w", value))


def _is_random(value: str) -> bool:
    """Whether a token looks drawn, not written: capitals, small letters and digits that change places often."""
    if _NUMBERED.fullmatch(value) or not (re.search("[a-z]", value) and re.search("[A-Z]", value)):
        return False
    counts = Counter(value).values()
    bits = -sum(count / len(value) * math.log2(count / len(value)) for count in counts)
    return bits >= _LEAST_BITS and len(_SWITCH.findall(value)) >= _LEAST_SWITCHES
