"""Secrets and contact details in text, found by their shape.

Secrets are found by the detectors of Yelp's detect-secrets that know a real key format; those that
judge by entropy, by the word "password" or by any IP address raise false alarms on prose and stay out.
Formats younger than that library are listed here with where they are documented. Everything runs in
the process on the text alone: no finding is ever verified over the network. A finding is reported by
the name of its detector, never by its value.

Contact details are counted, not judged: a policy names addresses on purpose.
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detect_secrets.plugins.base import BasePlugin

_NOISY_ON_PROSE = frozenset({"KeywordDetector", "Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector"})

_YOUNGER_FORMATS = {
    # docs.github.com, "About authentication to GitHub", fine-grained personal access token
    "GitHub Token": re.compile(r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    # cloud.google.com/docs/authentication/api-keys: 39 characters that begin with AIza
    "Google API Key": re.compile(r"(?<![\w-])AIza[A-Za-z0-9_-]{35}(?![\w-])"),
    # huggingface.co/docs/hub/security-tokens
    "Hugging Face Token": re.compile(r"(?<!\w)hf_[A-Za-z]{34}(?!\w)"),
    # docs.anthropic.com, "API keys"
    "Anthropic API Key": re.compile(r"sk-ant-[a-z]+[0-9]{2}-[A-Za-z0-9_-]{80,}"),
    # RFC 5958 in the PEM form of RFC 7468, section 11
    "Private Key": re.compile(r"BEGIN ENCRYPTED PRIVATE KEY"),
}

_SHORTEST = 20
"""Characters of an AWS access key id, the shortest format that has no word of its own in ``_HINTS``."""
_HINTS = ("://", "AKC", "AP", "eyJ", "xox", "_authToken", "PRIVATE KEY", "PuTTY")
"""Of which each shorter format holds one: an address with a password, Artifactory, JWT, Slack, npm, key files."""

# These two detectors also match placeholders and prose in capitals: https://user:password@host.
_EASILY_FOOLED = frozenset({"Artifactory Credentials", "Basic Auth Credentials"})
_PLACEHOLDERS = frozenset({"pass", "passwd", "password", "pwd", "secret", "token", "x-oauth-basic"})

# RFC 5321, section 4.1.2, without quoted local parts and address literals, which no document uses.
_EMAIL = re.compile(r"(?<![\w.%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])")
# ITU-T E.164, written internationally: a plus sign and 8 to 15 digits, separated at will.
_INTERNATIONAL = re.compile(r"(?<![\w+])\+[1-9](?:[ .()-]{0,2}[0-9]){7,14}(?![0-9])")
# North American Numbering Plan, written nationally: (NXX) NXX-XXXX.
_NATIONAL = re.compile(
    r"(?<![\w+.(-])(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}(?![\w-])"
)


# What every number holds: a plus sign, or the last seven digits of the plan.
_SEVEN_DIGITS = re.compile(r"[0-9]{3}[ .-][0-9]{4}")


def find_secrets(text: str) -> tuple[str, ...]:
    """Names of the detectors that found a secret in ``text``, sorted, each once."""
    if not _may_hold_one(text):
        return ()
    known = {
        str(detector.secret_type)
        for detector in _detectors()
        if any(not _is_placeholder(detector.secret_type, value) for value in detector.analyze_string(text))
    }
    younger = {name for name, pattern in _YOUNGER_FORMATS.items() if pattern.search(text)}
    return tuple(sorted(known | younger))


def count_contacts(text: str) -> int:
    """Number of different e-mail addresses and telephone numbers in ``text``."""
    addresses = {match.group().casefold() for match in _EMAIL.finditer(text)} if "@" in text else set()
    if "+" not in text and not _SEVEN_DIGITS.search(text):
        return len(addresses)
    international = {_digits(match.group()) for match in _INTERNATIONAL.finditer(text)}
    rest = _INTERNATIONAL.sub(" ", text)
    national = {_digits(match.group()) for match in _NATIONAL.finditer(rest)}
    return len(addresses) + len(international | national)


def _may_hold_one(text: str) -> bool:
    """Whether a detector can find anything: all but a few formats are at least twenty characters without a space."""
    return max(map(len, text.split()), default=0) >= _SHORTEST or any(hint in text for hint in _HINTS)


@lru_cache(maxsize=1)
def _detectors() -> tuple["BasePlugin", ...]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    detectors: list[type[BasePlugin]] = list(get_mapping_from_secret_type_to_class().values())
    return tuple(detector() for detector in detectors if detector.__name__ not in _NOISY_ON_PROSE)


def _is_placeholder(detector: str, value: str) -> bool:
    from detect_secrets.filters.heuristic import is_prefixed_with_dollar_sign, is_templated_secret

    if "EXAMPLE" in value:  # the keys that vendors print in their own manuals
        return True
    if detector not in _EASILY_FOOLED:
        return False
    bare = value.strip(' \n\t"=:*')
    word = bare.isalpha() and bare.isupper()
    named = bare.casefold() in _PLACEHOLDERS
    return not bare or word or named or is_templated_secret(bare) or is_prefixed_with_dollar_sign(bare)


def _digits(number: str) -> str:
    return re.sub(r"[^0-9]", "", number)
