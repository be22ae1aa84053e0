"""A run's settings as a tree that can be searched: pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SHORT = 60


@dataclass(frozen=True)
class SettingsNode:
    """One entry of the settings."""

    path: str
    """Where it is, as `--set` takes it: `training.lr.start`."""
    name: str
    value: str | None
    """What it is set to, as YAML would write it; None for a mapping or list with entries below."""
    children: tuple["SettingsNode", ...] = ()

    def walk(self) -> Iterator["SettingsNode"]:
        """This entry and all below."""
        yield self
        for child in self.children:
            yield from child.walk()


def settings_nodes(settings: Mapping[str, Any]) -> tuple[SettingsNode, ...]:
    """The entries of the settings, in their order; short lists of plain values stay on one line."""
    return tuple(_node(str(name), str(name), value) for name, value in settings.items())


def matching(nodes: Sequence[SettingsNode], text: str) -> tuple[SettingsNode, ...]:
    """The entries whose path or value has every word of `text`, with what leads to them and lies below."""
    words = text.lower().split()
    if not words:
        return tuple(nodes)
    found: list[SettingsNode] = []
    for node in nodes:
        own = f"{node.path} {node.value or ''}".lower()
        if all(word in own for word in words):
            found.append(node)
            continue
        below = matching(node.children, text)
        if below:
            found.append(SettingsNode(node.path, node.name, node.value, below))
    return tuple(found)


def count(nodes: Sequence[SettingsNode]) -> int:
    """Settings with a value."""
    return sum(1 for node in nodes for each in node.walk() if each.value is not None)


def value_text(value: Any) -> str:
    """A plain value as YAML writes it, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        needs_quotes = not value or value != value.strip() or not value.isprintable()
        return repr(value) if needs_quotes else value
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(value_text, value)) + "]"
    if isinstance(value, Mapping):
        return "{}" if not value else "{" + ", ".join(f"{k}: {value_text(v)}" for k, v in value.items()) + "}"
    return str(value)


def _node(path: str, name: str, value: Any) -> SettingsNode:
    if isinstance(value, Mapping) and value:
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and value and not _fits(value):
        items = [(str(place), item) for place, item in enumerate(value)]
    else:
        return SettingsNode(path, name, value_text(value))
    return SettingsNode(path, name, None, tuple(_node(f"{path}.{key}", key, item) for key, item in items))


def _fits(value: Sequence[Any]) -> bool:
    plain = all(not isinstance(item, Mapping | list) for item in value)
    return plain and len(value_text(value)) <= _SHORT
