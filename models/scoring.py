"""What an answer is worth: a normalised exact match, never a part of the text.

The normalisation follows the exact match of SQuAD (Rajpurkar et al., EMNLP 2016, section 6.1), but it
touches only the text's ends, its case, its spaces and its typography. Punctuation within the text
stays, since it carries numbers: "1.5" is not "15", "-5" is not "5", "5%" is not "5".
"""

import re
import unicodedata

from data.grounding import TYPOGRAPHY
from data.records import Grade, Question
from data.wordings import REFUSAL

__all__ = ["REFUSAL", "grade", "normalise"]

_PAIRS = {"'": "'", '"': '"', "*": "*", "_": "_", "(": ")", "[": "]"}
_ARTICLE = re.compile(r"(?:the|an|a) (?=\S)")


def normalise(text: str) -> str:
    """``text`` in the form in which answers are compared; applying it twice changes nothing more.

    NFKC and case folding; one kind of quote and dash; single spaces; without trailing sentence
    punctuation, without quotes, emphasis or brackets around the whole, without leading articles.
    """
    while (form := _trim(_plain(text))) != text:
        text = form
    return text


def grade(answer: str, question: Question) -> Grade:
    """Grade one answer.

    Right is an accepted answer, or the refusal where no answer is accepted. An answer that is both
    accepted and stale is right. An answer without content is wrong.
    """
    given = normalise(answer)
    refused = given == normalise(REFUSAL)
    accepted = {normalise(text) for text in question.answers or (REFUSAL,)}
    if given and given in accepted:
        return Grade.RIGHT
    if refused:
        return Grade.REFUSED
    if given and given in {normalise(text) for text in question.stale}:
        return Grade.STALE
    return Grade.WRONG


def _plain(text: str) -> str:
    shown = "".join(_spelled_out(char) for char in text if unicodedata.category(char) != "Cf")
    composed = unicodedata.normalize("NFKC", shown.translate(TYPOGRAPHY))
    folded = unicodedata.normalize("NFKC", composed.casefold())
    return " ".join(folded.translate(TYPOGRAPHY).split())


def _spelled_out(char: str) -> str:
    """A superscript, fraction or circled number kept apart: NFKC alone would make "10\u00b2" into "102"."""
    if unicodedata.category(char) != "No":
        return char
    mark = "^" if unicodedata.decomposition(char).startswith("<super>") else " "
    return mark + unicodedata.normalize("NFKC", char)


def _trim(text: str) -> str:
    text = text.rstrip(" .,;:!?")
    if len(text) > 1 and _PAIRS.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    return _ARTICLE.sub("", text, count=1) if _ARTICLE.match(text) else text
