"""Which language a text is in, by py3langid's model of byte sequences (Lui & Baldwin, ACL 2012), included in it.

Only what is certain is said: a text of few letters, or one that the model cannot place, is in no known language and
never reported. Markup, links and numbers say nothing about a language and are taken out first.
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

SAMPLE = 1_000
"""Characters that are looked at; the rest of a document is in the same language, or its beginning counts."""
MIN_LETTERS = 20
MIN_CERTAINTY = 0.5

_ENGLISH = frozenset(
    """the and of with that this these those are from must shall should would could you your our their they be been
    which any will have has it its not other such within without when where who may each between through""".split()  # noqa: SIM905
)
"""Words of which hardly any other language has several."""

_CODE = re.compile(r"^(```|~~~).*?^\1[^\n]*$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"\]\([^()\s]*\)|<?(?:https?://|mailto:|www\.)[^\s>)]+>?|[\w.+-]+@[\w.-]+")
_NO_LETTERS = re.compile(r"[^\w\s'’-]+|[\d_]+")


def find_language(text: str) -> str | None:
    """ISO 639-1 code of the language of a Markdown text; None where it cannot be told."""
    if _is_plainly_english(text[:SAMPLE]):
        return "en"
    bare = _NO_LETTERS.sub(" ", _ADDRESS.sub(" ", _CODE.sub(" ", text[:SAMPLE])))
    if sum(map(str.isalpha, bare)) < MIN_LETTERS:
        return None
    language, certainty = _identifier().classify(" ".join(bare.split()))
    return str(language) if certainty >= MIN_CERTAINTY else None


def _is_plainly_english(text: str) -> bool:
    """Whether every eighth word is one that only English has; spares the model most of its work."""
    words = text.casefold().split()
    found = [word for word in words if word in _ENGLISH]
    return len(found) >= 10 and 8 * len(found) >= len(words) and len(set(found)) >= 4


@lru_cache(maxsize=1)
def _identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
