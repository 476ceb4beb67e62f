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

_CODE = re.compile(r"^(```|~~~).*?^\1[^\n]*$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"\]\([^()\s]*\)|<?(?:https?://|mailto:|www\.)[^\s>)]+>?|[\w.+-]+@[\w.-]+")
_NO_LETTERS = re.compile(r"[^\w\s'’-]+|[\d_]+")


def find_language(text: str) -> str | None:
    """ISO 639-1 code of the language of a Markdown text; None where it cannot be told."""
    bare = _NO_LETTERS.sub(" ", _ADDRESS.sub(" ", _CODE.sub(" ", text[:SAMPLE])))
    if sum(map(str.isalpha, bare)) < MIN_LETTERS:
        return None
    language, certainty = _identifier().classify(" ".join(bare.split()))
    return str(language) if certainty >= MIN_CERTAINTY else None


@lru_cache(maxsize=1)
def _identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
