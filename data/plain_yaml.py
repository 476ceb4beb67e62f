"""YAML read as plain data, one way for parameters and front matter.

No tags that run code, no merge keys, which multiply without bound, and no key twice in one mapping, of which
the later would silently win.
"""

from collections.abc import Hashable
from typing import Any

import yaml

from data.errors import quoted


class NotYamlError(ValueError):
    """The text is not plain YAML; the message says why, in one line."""


class _Loader(yaml.SafeLoader):
    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave ``<<`` as the key that it is."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) < len(node.value):
            keys = [key.value for key, _ in node.value]
            twice = next((key for key in keys if keys.count(key) > 1), "a key")
            raise NotYamlError(f"{twice} stands twice, line {node.start_mark.line + 1} and below")
        return mapping


def parse_yaml(text: str) -> Any:
    """The content of a YAML text: mappings, lists, texts, numbers, dates.

    Raises:
        NotYamlError: it is not YAML, holds a key twice, or a value that is none of these.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - it is a safe loader
    except RecursionError as error:
        raise NotYamlError("it is nested too deep") from error
    except (yaml.YAMLError, ValueError, LookupError, ArithmeticError, AttributeError, TypeError) as error:
        raise NotYamlError(quoted(error)) from error
