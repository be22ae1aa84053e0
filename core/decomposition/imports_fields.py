"""Single values of a published settings file, with errors that name the file."""

from collections.abc import Mapping
from typing import Any

from core.errors import UsageError

Plain = dict[str, Any]
"""Plain data, as YAML gives it."""


def need(data: Mapping[str, Any], key: str, source: str) -> Any:
    """A value that must be there.

    Raises:
        UsageError: it is missing or null.
    """
    if data.get(key) is None:
        raise UsageError(f"{source} has no {key!r}.", "The file may be cut short or of an unknown version.")
    return data[key]


def whole(data: Mapping[str, Any], key: str, default: int, source: str) -> int:
    """A positive whole number.

    Raises:
        UsageError: the value is something else.
    """
    value = data.get(key, default)
    if not isinstance(value, int) or value <= 0:
        raise UsageError(f"{source}: {key} must be a positive whole number, not {value!r}.")
    return value


def mapping(value: Any, name: str, source: str) -> Plain:
    """A value that must be a mapping; `name` says which in the error.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(value, dict):
        raise UsageError(f"{source}: {name} must be a mapping, not {value!r}.")
    return value


def mappings(value: Any, name: str, source: str) -> list[Plain]:
    """A value that must be a list of mappings.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(value, list):
        raise UsageError(f"{source}: {name} must be a list, not {value!r}.")
    return [mapping(item, name, source) for item in value]
