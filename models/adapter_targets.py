"""Which modules a PEFT configuration speaks of: by the ends of their names, and by patterns.

The rules are PEFT's own (``check_target_module_exists`` and ``get_pattern_key`` in 0.21). A pattern is a regular
expression that somebody else wrote, and of some a search takes longer than anybody waits (``(a+)+$``). So only patterns
are accepted whose ways to match are few: characters, classes, groups of alternatives without anything repeated in them,
and one or two repetitions. That is what names of modules need.
"""

import functools
import re
from collections.abc import Iterable
from typing import Any

from data.errors import InputError, quoted

_LONGEST = 256
"""Characters of a pattern, and of a name that is held against one."""
_WAYS = 2**16
"""In which an accepted pattern may be laid over a name of that length."""
_ONE = r"(?:[\w-]|\\[.\-_dDwW]|\.|\[\^?[\w.-]+\])"
"""A character, or any of a class."""
_REPEATED = r"(?:[*+?]|\{\d{1,3}(?:,\d{0,3})?\})\??"
_GROUP = rf"\((?:\?:)?{_ONE}*(?:\|{_ONE}*)*\)"
_PART = re.compile(rf"(?P<group>{_GROUP})|{_ONE}(?P<repeated>{_REPEATED})?|\^|\$")


def is_harmless(pattern: str) -> bool:
    """Whether a pattern can be held against a name in a time that nobody notices."""
    if len(pattern) > _LONGEST:
        return False
    ways, place = 1, 0
    while place < len(pattern):
        part = _PART.match(pattern, place)
        if part is None:
            return False
        ways *= part["group"].count("|") + 1 if part["group"] else _LONGEST if part["repeated"] else 1
        place = part.end()
    return ways <= _WAYS


def require_harmless(config: dict[str, Any], named: str) -> None:
    """Refuse a configuration with a pattern that could take for ever.

    Raises:
        InputError: it holds one.
    """
    keys = (key for setting in ("rank_pattern", "alpha_pattern") for key in config.get(setting) or {})
    bad = next((key for key in keys if not is_harmless(key)), None)
    if bad is not None:
        raise InputError(
            f"{named} names layers by the pattern {quoted(repr(bad[:80]))}, which repeats within a group, repeats more "
            f"than twice or is longer than {_LONGEST} characters and could be searched for without end. Name the "
            "layers in full."
        )


def fits(pattern: str, module: str) -> bool:
    """Whether a key of ``rank_pattern`` or ``alpha_pattern`` speaks of a module.

    Args:
        pattern: one that is harmless.
        module: its name in the base.

    Raises:
        InputError: the name is longer than any module's.
    """
    if len(module) > _LONGEST:
        raise InputError(
            f"An adapter's layer has a name of {len(module)} characters ({module[:40]} ...); at most {_LONGEST} were "
            "expected. Restore the adapter."
        )
    return _compiled(pattern).match(module) is not None


@functools.lru_cache(maxsize=8192)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(.*\.)?({pattern})$")


def targeted(config: dict[str, Any], modules: Iterable[str]) -> list[str]:
    """Those of the modules that a configuration of LoRA says are adapted; none where it gives no list of them.

    Experts are left out: a base may rest with a weight for each and run with one for all of them, or the reverse.
    """
    chosen, words = config.get("layers_to_transform"), _names(config, "layers_pattern")
    left_out, whole = _names(config, "exclude_modules"), _names(config, "modules_to_save")
    if not isinstance(config.get("target_modules"), list) or isinstance(config.get("exclude_modules"), str):
        return []
    if not all(re.fullmatch(r"[\w.-]+", name) for name in (*words, *whole)):  # PEFT reads these as patterns
        return []
    targets = _names(config, "target_modules")
    blocks = None if chosen is None or chosen == [] else chosen if isinstance(chosen, list) else [chosen]
    return [
        module
        for module in modules
        if _ends_with(module, targets)
        and not _ends_with(module, left_out)
        and not any(f".{name}." in f".{module}." for name in whole)
        and (blocks is None or module in targets or _block(module, words) in blocks)
        and ".experts." not in module
    ]


def _names(config: dict[str, Any], setting: str) -> list[str]:
    given = config.get(setting)
    return [str(name) for name in ([given] if isinstance(given, str) else given if isinstance(given, list) else [])]


def _ends_with(module: str, ends: Iterable[str]) -> bool:
    return any(f".{module}".endswith(f".{end}") for end in ends)


def _block(module: str, words: list[str]) -> int | None:
    """The number of the block that a module lies in: the first in its name, or the first after one of the words."""
    starts = [rf"(?:^|.*?\.){re.escape(word)}" for word in words] or [r".*?\.[^.]*"]
    found = next((match for start in starts if (match := re.match(rf"{start}\.(\d{{1,9}})\.", module))), None)
    return int(found[1]) if found is not None else None
