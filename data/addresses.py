"""Addresses of servers and databases, and the secrets that they may hold."""

import re

_IN_QUERY = re.compile(r"([?&][\w-]*(?:pass|pwd|secret|token|key)[\w-]*=)[^&\s\'\")]+", re.IGNORECASE)
"""What the query of an address calls a secret."""


def without_passwords(text: str) -> str:
    """``text`` with every password of an address in it masked: ``scheme://user:password@host``, or in its query."""
    return _IN_QUERY.sub(r"\1***", re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text))
