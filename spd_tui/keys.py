"""Every action that has a key, and the keys a person may give them in `tui.toml`.

A key means the same on every screen, so the shared actions are named here once and screens bind them with
`bind("sort")`; the method that does it is `action_sort`. Keys that only one screen has are declared there by
`bind("axis", "x", "steps or time")`. The name of an action is also its name in the settings file:

    [keys]
    sort = "o"
    quit = "ctrl+w,f10"
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textual.binding import Binding

SHARED: dict[str, tuple[str, str]] = {
    "open": ("enter", "go in"),
    "back": ("backspace,escape", "go back; Esc first stops what is being worked on"),
    "search": ("slash", "narrow the list as you type"),
    "sort": ("s", "sort by the next column"),
    "reverse": ("S", "turn the order round"),
    "filter": ("f", "next filter"),
    "copy": ("y", "copy to the clipboard and to a file"),
    "export": ("e", "export to a file"),
    "delete": ("d", "delete, after a question"),
    "retry": ("r", "read again, restart what failed"),
    "command": ("colon", "type a command"),
    "help": ("question_mark", "the keys of this screen"),
    "palette": ("ctrl+p", "find a command"),
    "stop": ("ctrl+c", "stop what is being worked on"),
    "repaint": ("ctrl+l", "paint the screen anew"),
    "suspend": ("ctrl+z", "back to the shell; `fg` returns"),
    "quit": ("q", "leave"),
    "up": ("k,up", "row up"),
    "down": ("j,down", "row down"),
    "top": ("g,home", "first row"),
    "bottom": ("G,end", "last row"),
    "page_up": ("ctrl+b,pageup", "page up"),
    "page_down": ("ctrl+f,pagedown", "page down"),
    "half_up": ("ctrl+u", "half a page up"),
    "half_down": ("ctrl+d", "half a page down"),
    "left": ("h,left", "scroll left"),
    "right": ("l,right", "scroll right"),
    "next_pane": ("tab", "next part of the screen"),
    "previous_pane": ("shift+tab", "previous part of the screen"),
}
"""Action -> its keys and what it does, for the actions that several screens have."""

_NAMED_KEYS = frozenset(
    (
        *("enter", "escape", "backspace", "tab", "space", "delete", "insert", "home", "end", "pageup"),
        *("pagedown", "up", "down", "left", "right", "slash", "colon", "question_mark", "comma", "full_stop"),
        *("semicolon", "minus", "plus", "equals_sign", "underscore", "left_square_bracket", "backslash"),
        *("right_square_bracket", "less_than_sign", "greater_than_sign", "vertical_line", "tilde", "at"),
        *("grave_accent", "exclamation_mark", "number_sign", "percent_sign", "ampersand", "asterisk"),
        *("left_parenthesis", "right_parenthesis", "apostrophe", "quotation_mark", "circumflex_accent"),
        *("dollar_sign", "left_curly_bracket", "right_curly_bracket"),
        *(f"f{number}" for number in range(1, 13)),
    )
)
_MODIFIED = re.compile(r"(?:ctrl\+|shift\+|alt\+)+(?P<key>.+)")


_own: dict[str, str] = {}


def bind(
    name: str, keys: str | None = None, description: str | None = None, action: str | None = None
) -> Binding:
    """The binding of an action: a shared one by its name alone, else with its keys and what it does.

    It calls `action_<name>` of the widget or screen (or `action`, as Textual writes it), and `name` can be
    given other keys in `tui.toml`.

    Raises:
        KeyError: not a shared action, and no keys are given.
    """
    if keys is None:
        keys, shared = SHARED[name]
        description = description or shared
    elif name not in SHARED:
        _own[name] = keys
    return Binding(keys, action or name, description or "", show=False, id=name)


def known_actions() -> dict[str, str]:
    """Every action bound so far and its usual keys: the shared ones and those of the modules imported."""
    return {**{name: keys for name, (keys, _) in SHARED.items()}, **_own}


@dataclass(frozen=True)
class KeySettings:
    """What the settings file says, as far as it could be understood."""

    keymap: dict[str, str] = field(default_factory=dict)
    """Action -> keys, as Textual's keymap wants them."""
    theme: str | None = None
    """The theme asked for."""
    problems: tuple[str, ...] = ()
    """What could not be understood: file, line, what is allowed."""


def read_key_settings(path: Path, actions: Mapping[str, str], themes: Iterable[str]) -> KeySettings:
    """The settings in `path`; a file that is not there says nothing, a wrong one says what is wrong.

    `actions` are the known actions with their keys. What is right in a file with errors still counts.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return KeySettings()
    except (OSError, UnicodeDecodeError) as error:
        return KeySettings(problems=(f"{path} cannot be read ({error}); the usual keys are used.",))
    import tomllib

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return KeySettings(problems=(f"{path} is not TOML: {error}; the usual keys are used.",))
    problems: list[str] = []
    for name in data.keys() - {"keys", "theme"}:
        problems.append(f"{_at(path, text, name)}: {name!r} is unknown; allowed are [keys] and theme.")
    theme = data.get("theme")
    if theme is not None and theme not in set(themes):
        known = ", ".join(themes)
        problems.append(f"{_at(path, text, 'theme')}: no theme {theme!r}; there are {known}.")
        theme = None
    keys = data.get("keys", {})
    if not isinstance(keys, dict):
        problems.append(f'{_at(path, text, "keys")}: keys must be a table of action = "key".')
        keys = {}
    keymap = _keymap(keys, actions, lambda name: _at(path, text, name), problems)
    return KeySettings(keymap, theme, tuple(problems))


def shown(keys: str) -> str:
    """Keys as people read them: `slash` is `/`, `ctrl+p` is `^p`, `enter` is `⏎`."""
    return " ".join(_shown_one(key) for key in keys.split(","))


def _keymap(keys: dict[str, Any], actions: Mapping[str, str], at: Any, problems: list[str]) -> dict[str, str]:
    from core.errors import nearest_names

    keymap: dict[str, str] = {}
    for action, value in keys.items():
        if action not in actions:
            problems.append(f"{at(action)}: no action {action!r}. {nearest_names(action, actions)}")
        elif not isinstance(value, str) or not value.strip():
            problems.append(f'{at(action)}: {action} = {value!r}; give a key such as "o" or "ctrl+o,f3".')
        elif wrong := [key for key in _split(value) if not _is_key(key)]:
            problems.append(
                f"{at(action)}: {action} = {value!r}: {wrong[0]!r} is no key; allowed are single characters, "
                'names such as "enter", "f2", "slash", and "ctrl+", "shift+" or "alt+" before them.'
            )
        else:
            keymap[action] = ",".join(_key_name(key) for key in _split(value))
    _drop_clashes(keymap, actions, at, problems)
    return keymap


def _drop_clashes(keymap: dict[str, str], actions: Mapping[str, str], at: Any, problems: list[str]) -> None:
    for action in list(keymap):
        taken = {
            key: other
            for other, keys in {**actions, **keymap}.items()
            if other != action
            for key in keys.split(",")
        }
        clash = next((key for key in keymap[action].split(",") if key in taken), None)
        if clash is not None:
            problems.append(
                f"{at(action)}: {action} = {shown(clash)!r} is the key of {taken[clash]!r} already."
            )
            del keymap[action]


def _split(value: str) -> list[str]:
    parts = [part.strip() for part in value.split(",")]
    return [part for part in parts if part] or [","]


def _is_key(key: str) -> bool:
    if modified := _MODIFIED.fullmatch(key):
        return _is_key(modified["key"])
    return (len(key) == 1 and key.isprintable()) or key in _NAMED_KEYS


def _key_name(key: str) -> str:
    from textual.keys import _character_to_key

    return _character_to_key(key) if len(key) == 1 else key


def _at(path: Path, text: str, name: str) -> str:
    pattern = re.compile(rf"^\s*\[?\s*[\"']?{re.escape(name)}[\"']?\s*[\]=.]")
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.match(line):
            return f"{path}, line {number}"
    return str(path)


def _shown_one(key: str) -> str:
    names = {
        "enter": "⏎",
        "backspace": "⌫",
        "escape": "Esc",
        "slash": "/",
        "colon": ":",
        "question_mark": "?",
        "up": "↑",
        "down": "↓",
        "left": "←",
        "right": "→",
        "pageup": "PgUp",
        "pagedown": "PgDn",
        "home": "Home",
        "end": "End",
        "space": "Space",
        "tab": "Tab",
        "shift+tab": "S-Tab",
        "left_square_bracket": "[",
        "right_square_bracket": "]",
        "plus": "+",
        "minus": "-",
        "underscore": "_",
    }
    if key in names:
        return names[key]
    if key.startswith("ctrl+"):
        return "^" + _shown_one(key.removeprefix("ctrl+"))
    if re.fullmatch(r"f\d+", key):
        return key.upper()
    from textual.keys import key_to_character

    character = key_to_character(key)
    return character if character is not None and character.isprintable() else key
