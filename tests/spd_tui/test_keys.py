"""The settings file: what it may say, and that every mistake in it is named with its line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.binding import Binding

from spd_tui.keys import SHARED, bind, known_actions, read_key_settings, shown
from spd_tui.modes import MODES

ACTIONS = {name: keys for name, (keys, _) in SHARED.items()}
THEMES = ("dark", "light", "16")


def read(folder: Path, text: str):
    path = folder / "tui.toml"
    path.write_text(text, encoding="utf-8")
    return read_key_settings(path, ACTIONS, THEMES)


def test_no_file_says_nothing(tmp_path):
    settings = read_key_settings(tmp_path / "none.toml", ACTIONS, THEMES)
    assert (settings.keymap, settings.theme, settings.problems) == ({}, None, ())


def test_keys_and_theme(tmp_path):
    settings = read(tmp_path, 'theme = "light"\n[keys]\nsort = "o"\nquit = "ctrl+w, f10"\nsearch = "#"\n')
    assert settings.problems == ()
    assert settings.theme == "light"
    assert settings.keymap == {"sort": "o", "quit": "ctrl+w,f10", "search": "number_sign"}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[keys]\n\nsortt = "o"\n', 3, ["sortt", "Did you mean sort"]),
        ('[keys]\nsort = ""\n', 2, ["give a key"]),
        ("[keys]\nsort = 3\n", 2, ["3", "give a key"]),
        ('[keys]\nsort = "ctrl+hyper"\n', 2, ["ctrl+hyper", "is no key", "ctrl+"]),
        ('[keys]\nsort = "y"\n', 2, ["sort", "'copy'"]),
        ('[keys]\ntop = "o"\nsort = "o"\n', 2, ["top", "'sort'"]),
        ('theme = "pink"\n', 1, ["pink", "dark, light, 16"]),
        ('[colors]\na = "b"\n', 1, ["colors", "[keys]"]),
        ("[keys]\nsort = \n", 2, ["not TOML", "line 2"]),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path, text, line, words):
    settings = read(tmp_path, text)
    problem = settings.problems[0]
    assert f"line {line}" in problem and str(tmp_path / "tui.toml") in problem
    assert all(word in problem for word in words), problem


def test_what_is_right_beside_a_mistake_counts(tmp_path):
    settings = read(tmp_path, '[keys]\nsortt = "o"\nfilter = "F"\n')
    assert settings.keymap == {"filter": "F"} and len(settings.problems) == 1


def test_a_key_freed_by_one_action_may_go_to_another(tmp_path):
    settings = read(tmp_path, '[keys]\nsort = "f"\nfilter = "s"\n')
    assert settings.problems == () and settings.keymap == {"sort": "f", "filter": "s"}


@given(st.text(max_size=60))
def test_any_text_is_survived(text):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        read(Path(folder), text)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "tui.toml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in read_key_settings(tmp_path / "tui.toml", ACTIONS, THEMES).problems[0]


def test_keys_as_people_read_them():
    assert shown("slash") == "/"
    assert shown("ctrl+p,f2") == "^p F2"
    assert shown("enter") == "⏎"
    assert shown("plus,equals_sign,minus,underscore,delete") == "+ = - _ delete"


def test_a_shared_action_needs_no_keys():
    assert bind("sort").key == "s" and bind("sort", description="by loss").description == "by loss"
    with pytest.raises(KeyError):
        bind("no such action")


def test_a_key_means_the_same_on_every_screen():
    """Among shared actions, those of the shell, and those that only one screen has."""
    meanings: dict[str, str] = {}
    for name, keys in ACTIONS.items():
        for key in keys.split(","):
            assert meanings.setdefault(key, name) == name
    for mode in MODES:
        screens = [each.__dict__.get("BINDINGS", ()) for each in mode.load().__mro__]
        bindings = [
            binding for own in screens for binding in own if isinstance(binding, Binding) and binding.id
        ]
        for binding in Binding.make_bindings(bindings):
            assert binding.id is not None, f"{mode.name}: {binding} has no name to rebind it by"
            assert binding.id in known_actions(), binding
            other = meanings.setdefault(binding.key, binding.id)
            assert other == binding.id, f"{mode.name}: {binding.key} is {other} elsewhere"
