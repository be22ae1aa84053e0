"""Typed settings: frozen, unknown keys refused by name, read from and written to YAML, overridable by path.

Every settings class of the project derives from `Settings` and sits beside the code that reads it.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import UsageError, nearest_names
from core.settings_errors import explain


class Settings(BaseModel):
    """Base of all settings: immutable, no unknown keys, field docstrings are the documentation."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )


S = TypeVar("S", bound=Settings)


def to_plain(settings: Settings) -> dict[str, Any]:
    """Settings as plain Python data, every default written out."""
    return settings.model_dump(mode="json")


def to_yaml(settings: Settings) -> str:
    """The whole resolved settings as YAML, in declaration order."""
    return yaml.dump(to_plain(settings), Dumper=_Dumper, sort_keys=False, width=100)


def settings_digest(settings: Settings) -> str:
    """A 16-digit hexadecimal hash of the resolved settings; equal settings, and only they, share it."""
    text = json.dumps(to_plain(settings), sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def parse_settings(kind: type[S], data: Any, source: str) -> S:
    """Validate plain data into `kind`; `source` names where it came from in the error.

    Raises:
        UsageError: unknown keys (with the nearest known names), wrong types, values out of range; all
            of them are listed, one a line.
    """
    if not isinstance(data, dict):
        raise UsageError(f"{source}: expected a mapping of settings, got {_kind_of(data)}.")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise UsageError(explain(error, kind, source)) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping; numbers such as 1e-3 are numbers, a key given twice is refused.

    Raises:
        UsageError: unreadable, not YAML (with the line), or not a mapping.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{path} is not valid YAML: {_yaml_problem(error)}.") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path}: expected a mapping of settings, got {_kind_of(data)}.")
    return data


def apply_overrides(data: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Return a copy of plain settings data with `a.b.c=value` overrides applied.

    Values are parsed as YAML (`1e-3`, `true`, `[16, 16]`, `null`). A path must exist already, so a
    misspelt key is refused with the nearest known names; list items are addressed by index.

    Raises:
        UsageError: no `=`, an unknown key, an index out of range, or a value that is not YAML.
    """
    result = _copy(data)
    for item in overrides:
        path, separator, text = item.partition("=")
        path = path.strip()
        if not separator or not path:
            raise UsageError(f"--set {item!r} is not of the form key.path=value.")
        _assign(result, path, _parse_value(text, item), item)
    return result


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but `1e-3` is a number and a key may stand only once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes exactly the strings that `_Loader` would read as something else."""


# PyYAML follows YAML 1.1, where a float needs a dot; people write 1e-3 and mean a number.
_SHORT_FLOAT = re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _SHORT_FLOAT, list("-+0123456789"))


def _yaml_problem(error: Exception) -> str:
    """Where and why a text is not YAML, in one line."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return str(error)
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', None) or error}"


def _kind_of(data: Any) -> str:
    """What a YAML document is, when it is not a mapping."""
    if data is None:
        return "nothing"
    return {str: "text", list: "a list", bool: "true or false"}.get(type(data), "a number")


def _copy(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _copy(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_copy(value) for value in data]
    return data


def _parse_value(text: str, item: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"--set {item!r}: the value {text!r} is not valid YAML.") from error


def _assign(data: dict[str, Any], path: str, value: Any, item: str) -> None:
    here: Any = data
    walked: list[str] = []
    while True:
        key, rest = _locate(here, path, walked, item)
        if not rest:
            here[key] = value
            return
        here = here[key]
        walked.append(str(key))
        path = rest


def _locate(container: Any, path: str, walked: list[str], item: str) -> tuple[Any, str]:
    """The key or index that `path` begins with in `container`, and what follows it."""
    where = ".".join(walked) or "the top level"
    first, _, rest = path.partition(".")
    if isinstance(container, dict):
        # Keys such as the module pattern "layers.*.mlp" hold dots themselves: the longest fit counts.
        fitting = [key for key in container if path == str(key) or path.startswith(f"{key}.")]
        if not fitting:
            raise UsageError(
                f"--set {item!r}: {where} has no key {first!r}.", nearest_names(first, map(str, container))
            )
        key = max(fitting, key=lambda key: len(str(key)))
        return key, path[len(str(key)) + 1 :]
    if isinstance(container, list):
        if not first.isdecimal() or int(first) >= len(container):
            allowed = f"use an index 0 to {len(container) - 1}" if container else "it is empty"
            raise UsageError(f"--set {item!r}: {where} is a list; {allowed}, not {first!r}.")
        return int(first), rest
    raise UsageError(f"--set {item!r}: {where} is {container!r} and has no key {first!r}.")
