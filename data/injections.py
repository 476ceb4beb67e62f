"""Instructions in a document that are aimed at a model, not at a reader.

A sentence that tells a model to drop its instructions, a template token of some chat format, a system prompt in the
middle of a policy: taught, they would steer the model that learned them. Only forms that no text for people needs are
listed, so that an honest document is not set aside; what is written to evade them is not a matter for patterns.
The forms are those of OWASP's LLM01 (prompt injection) and of the chat templates of current models.
"""

import re
import unicodedata
from collections.abc import Sequence

_ADDRESSED = (
    r"(?:(?:an?|my|our) (?:(?!of\b|to\b|for\b|with\b|in\b|by\b)\w+ ){0,2})?"
    r"(?:ai|llm|language model|assistant|chat ?bot|dan)\b"
)
_ROLE = r"(?:system|assistant|system prompt) ?:"
_FORMS = (
    # drop what you were told
    r"\b(?:ignore|disregard|forget|override|bypass) (?:(?:all|any|every|each|of|the|your|these|those|my) ){0,3}"
    r"(?:previous|prior|above|earlier|preceding|foregoing|existing|system|safety) "
    r"(?:instructions?|prompts?|directives?|guardrails?)\b",
    # be somebody else
    rf"\byou are (?:now|no longer) {_ADDRESSED}",
    r"\b(?:pretend|act as if|behave as if) (?:that )?you (?:are|were) (?:an? |the )?"
    r"(?:unrestricted|jailbroken|uncensored)\b",
    r"\b(?:enter|enable|activate|you are (?:now )?in) (?:developer|dan|god|jailbreak) mode\b",
    # say what you were told
    r"\b(?:reveal|print|repeat|show|output|leak|disclose) (?:me )?(?:your|the) (?:\w+ )?(?:system|hidden|initial) "
    r"(?:prompt|instructions)\b",
    # spoken to models as such
    r"\b(?:if|when|since|because) you are an? (?:ai|llm|large language model|language model|ai assistant|chat ?bot) "
    r"(?:reading|processing|summari[sz]ing|parsing|trained|being trained)\b",
    r"\battention,? (?:all )?(?:ai|llms?|language models?|ai (?:models|assistants|agents))\b",
    r"\b(?:begin|start|end)(?: of)? system prompt\b",
    rf"(?:^|\n)[#>* ]*{_ROLE} you are\b",
    # tokens and marks of chat templates: ChatML, Llama 2 and 3, Phi, Alpaca
    r"<\|[a-z0-9_]{2,32}\|>",
    r"\[/?inst\]|<</?sys>>",
    r"<(?:start|end)_of_turn>",
    r"### ?instruction:\s[^#]*### ?response:",
)
_PATTERN = re.compile("|".join(f"(?:{form})" for form in _FORMS))
_HINTS = (
    "instruction", "prompt", "directive", "guardrail", "you are", "you were", " mode", "attention", "<|", "inst]",
    "sys>>", "_of_turn>", "system:", "assistant:", "system :", "assistant :",
)  # fmt: skip
"""Of which every form holds at least one; most documents hold none of most."""
_INVISIBLE = dict.fromkeys(
    (0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
)
_SPACE = re.compile(rf"[^\S\n]*+\n(?:(?=[a-z])|(?:[^\S\n]|>)++(?=[a-z])(?!{_ROLE}))|[^\S\n]{{2,}}+|[^\S\n ]")
"""A line that was only broken, indented or in a quotation too; what names a speaker begins a line of its own."""
_SHOWN = 80


def find_instruction(text: str, allowed: Sequence[str] = ()) -> str | None:
    """The first phrase of ``text`` that is aimed at a model, in lower case; None where there is none.

    Args:
        allowed: phrases that a person lets through.
    """
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text).translate(_INVISIBLE)
    plain = _SPACE.sub(" ", plain.casefold())  # first, since a hint may be broken over two lines as well
    if not any(hint in plain for hint in _HINTS):
        return None
    let_through = {" ".join(phrase.casefold().split()) for phrase in allowed}
    for match in _PATTERN.finditer(plain):
        phrase = " ".join(match.group().split())[:_SHOWN]
        if phrase not in let_through:
            return phrase
    return None
