"""Facts stated in sentences: definitions, numbers and dates with what they apply to, addresses.

A number is asked for by the sentence it stands in, with a gap in its place, so that the question is
understandable on its own and the answer is exactly what the document says.
"""

import re
from collections.abc import Iterator, Sequence

from data.blocks import Block, Shape
from data.sentences import split_sentences, words
from data.structure_facts import Draft

GAP = "____"

_TERM = r"[\"“][_*]{0,3}(?P<term>[^\"“”]{2,60}?)[_*]{0,3},?[\"”]"
_DEFINITIONS = (
    re.compile(
        rf"^(?:the\s+(?:term|phrase)\s+)?{_TERM}\s+(?:means|shall mean|refers to|is defined as)\s*:?\s+(?P<value>.+)$",
        re.I,
    ),
    re.compile(rf"^(?:an?|the)?\s*{_TERM}\s+(?:is|are)\s+(?P<value>(?:where|when|an?|the|any)\b.+)$", re.I),
    re.compile(r"^(?P<term>[A-Z][\w-]*(?: [A-Z][\w-]*){0,4}) (?:means|refers to) (?P<value>.+)$"),
)
_PRONOUNS = {"This", "That", "It", "These", "Which", "We", "You", "They"}

_MODAL = re.compile(
    r"^(?P<subject>(?:[A-Z][\w’'-]*|the|our|your|each|any|all|a|an|of|and|or|that|who|these|[a-z]{3,})"
    r"(?:\s[\w’'-]+){0,7}?)\s+"
    r"(?P<modal>must not|must|may not|may only|may|will not|will|shall not|shall|should not|should|cannot|can|"
    r"(?:are|is) not (?:allowed|permitted|required|responsible for|obligated) ?(?:to)?|"
    r"(?:are|is) (?:required|entitled|responsible for|permitted) ?(?:to)?|"
    r"reserves? the right to|agrees? (?:not )?to|do(?:es)? not)\s+(?P<value>[a-z].+)$"
)
_NO_RULE_SUBJECT = re.compile(
    r"^(?:if|when|where|in|for|to|by|as|this|that|these|those|it|they|such|there|which|once|unless|"
    r"upon|after|before|please|what|how|why|who|and|or|but|however|also|either|neither|both|other|some)\b",
    re.IGNORECASE,
)
_ENUMERATION = re.compile(r"(?:\S+ ){0,3}?\S*,? (?:or|and)\b|\S+,")
_CONDITION = re.compile(
    r"^(?P<condition>(?:If|When|Where|Once|Unless|Before|After|Upon)\s[^,:;]{12,200}),\s+(?:then\s+)?"
    r"(?P<value>(?:we|you|your|our|GitHub|the|it|they|that|this|an?|please|all|any|no|each|such|[A-Z]\w+)\b.+)$"
)

_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_ONES = r"(?:one|two|three|four|five|six|seven|eight|nine)"
_NUMBER_WORD = (
    rf"(?:(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:-{_ONES})?"
    rf"|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|{_ONES})"
)
_UNIT = (
    r"(?:(?:calendar|business|working|consecutive|full)\s+)?"
    r"(?:day|week|month|year|hour|minute|second|percent|request|account|repositor(?:y|ie)|employee|user|seat)s?"
)
_COUNT = rf"(?:\d[\d,.]*(?:\s?[-–]\s?\d+)?|{_NUMBER_WORD}(?:\s*\(\s*\d+\s*\)|\s*-\s*\d+)?)"
_WHOLE = r"(?<![\w-])(?<!\d[.,])(?<!hundred )(?<!thousand )(?<!hundred and )"
"""Before a number: it is not the end of a longer one, such as twenty-four or 1.5."""
_QUANTITY = re.compile(
    rf"(?:USD\s?)?[$€£]\s?\d[\d,]*(?:\.\d+)?(?:\s?(?:million|billion|USD))?(?!\w|[.,]\d)"
    rf"|\b{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?,?\s+\d{{4}}\b|\b\d{{1,2}}\s+{_MONTH}\s+\d{{4}}\b"
    rf"|\b\d{{4}}-\d{{2}}-\d{{2}}\b"
    rf"|{_WHOLE}{_COUNT}[\s-]+{_UNIT}\b(?:\s+old\b)?"
    rf"|{_WHOLE}\d+(?:[.,]\d+)*\s?%"
    rf"|(?<=\bage of )\d{{1,2}}\b|(?<=\bthan )\d[\d,]*\b(?!\.\d)|(?<=\bup to )\d[\d,]*\b(?!\.\d)"
    rf"|(?<=\bVersion )\d+(?:\.\d+)+",
    re.IGNORECASE,
)
_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}\b"
    r"|(?<![\w.+-])[\w.+-]{1,64}\(at\)[\w-]{1,63}\(dot\)\w{1,63}\b"
)
_ADDRESS = re.compile(r"https?://(?:[^\s<>()\"”]|\([^\s<>()\"”]*\))+(?<![.,;:])|\bgithub\.com/[\w/-]+[\w/]")
_LONGEST_ADDRESS = 80


def definitions(blocks: Sequence[Block]) -> Iterator[Draft]:
    """``"X" means Y``, ``X refers to Y`` and ``A "X" is where Y``."""
    for block, sentence in _sentences(blocks):
        for pattern in _DEFINITIONS:
            match = pattern.match(sentence)
            if match is None or match["term"].split()[0] in _PRONOUNS:
                continue
            value = match["value"].rstrip(". ")
            yield Draft("definition", match["term"].strip(" ,."), "meaning", value, block, sentence)
            break


def quantities(blocks: Sequence[Block]) -> Iterator[Draft]:
    """Amounts, deadlines, ages, shares and dates, each with the sentence it stands in."""
    yield from _gaps(blocks, "quantity", _QUANTITY)


def contacts(blocks: Sequence[Block]) -> Iterator[Draft]:
    """E-mail and web addresses written out in a sentence."""
    yield from _gaps(blocks, "contact", _EMAIL)
    yield from _gaps(blocks, "contact", _ADDRESS)


def links(blocks: Sequence[Block]) -> Iterator[Draft]:
    """Where a named link leads, for links that leave the collection."""
    for block in blocks:
        for text, address in block.links:
            target = address.removeprefix("mailto:")
            named = words(text) >= 2 and not _ADDRESS.search(text) and not _EMAIL.search(text)
            if named and address.startswith(("http", "mailto:")) and len(target) <= _LONGEST_ADDRESS:
                sentence = next((s for s in split_sentences(block.text) if text in s), "")
                yield Draft("link", text, "address", target, block, sentence)


def rules(blocks: Sequence[Block]) -> Iterator[Draft]:
    """Who must, may, will or cannot do what, under a heading: ``You must appoint …``."""
    for block, sentence in _sentences(blocks):
        match = _MODAL.match(_without_enumerator(sentence))
        if match is None or not block.headings or _NO_RULE_SUBJECT.match(match["subject"]):
            continue
        attribute = f"{match['subject']} {match['modal'].strip()}"
        yield Draft("rule", block.headings[-1].rstrip(". "), attribute, match["value"], block, sentence)


def conditions(blocks: Sequence[Block]) -> Iterator[Draft]:
    """What follows if, when or unless something is the case."""
    for block, sentence in _sentences(blocks):
        match = _CONDITION.match(_without_enumerator(sentence))
        if match is not None and not _ENUMERATION.match(match["value"]):
            condition = match["condition"][0].lower() + match["condition"][1:]
            yield Draft("condition", condition, "consequence", match["value"], block, sentence)


def _without_enumerator(sentence: str) -> str:
    return re.sub(r"^\(?(?:[a-z]|[ivx]{1,4}|\d{1,2})[.)]\s+", "", sentence)


def _gaps(blocks: Sequence[Block], kind: str, pattern: re.Pattern[str]) -> Iterator[Draft]:
    for block, sentence in _sentences(blocks):
        if GAP in sentence:  # a form to be filled in; which gap is meant could not be told
            continue
        for match in pattern.finditer(sentence):
            subject = f"{sentence[: match.start()]}{GAP}{sentence[match.end() :]}"
            if words(subject) >= 4:
                yield Draft(kind, subject, "gap", match.group(), block, sentence)


def _sentences(blocks: Sequence[Block]) -> Iterator[tuple[Block, str]]:
    for block in blocks:
        if block.shape in (Shape.PARAGRAPH, Shape.ITEM):
            for sentence in split_sentences(block.text):
                yield block, sentence
