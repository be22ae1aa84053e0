"""What is remembered comes back; a damaged file is ignored with a word."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SpdError
from spd_tui.memory import Memory


def test_it_comes_back(tmp_path):
    memory = Memory(tmp_path / "state" / "tui.json")
    memory.load()
    assert memory.problem is None
    memory.run, memory.mode, memory.root, memory.theme = "s-1", "components", "/out", "light"
    memory.of_screen("runs")["filter"] = "failed"
    memory.typed("search", "tms")
    memory.save()
    again = Memory(memory.path)
    again.load()
    assert (again.run, again.mode, again.root, again.theme) == ("s-1", "components", "/out", "light")
    assert again.of_screen("runs") == {"filter": "failed"} and again.of_screen("other") == {}
    assert again.history("search") == ["tms"] and again.history("command") == []


def test_history_keeps_the_last_ones_once(tmp_path):
    memory = Memory(tmp_path / "tui.json")
    for number in range(80):
        memory.typed("search", str(number))
    memory.typed("search", "40")
    memory.typed("search", "  ")
    history = memory.history("search")
    assert len(history) == 50 and history[-1] == "40" and history.count("40") == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 99}',
        '{"version": 1, "screens": []}',
        '{"version": 1, "screens": {"runs": 3}}',
        '{"version": 1, "history": {"search": [1]}}',
        '{"version": 1, "run": 7}',
    ],
)
def test_a_damaged_file_is_ignored_with_a_word(tmp_path, text):
    path = tmp_path / "tui.json"
    path.write_text(text, encoding="utf-8")
    memory = Memory(path)
    memory.load()
    assert memory.problem is not None and str(path) in memory.problem
    assert (memory.run, memory.mode, memory.of_screen("runs")) == (None, "runs", {})
    memory.save()
    assert json.loads(path.read_text())["version"] == 1


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists)
    | st.dictionaries(st.text(), st.text())
)
def test_any_json_is_survived(value):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tui.json"
        path.write_text(json.dumps(value), encoding="utf-8")
        memory = Memory(path)
        memory.load()
        assert memory.mode == "runs"


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "state").write_text("a file", encoding="utf-8")
    with pytest.raises(SpdError, match=r"cannot write .*tui\.json"):
        Memory(tmp_path / "state" / "tui.json").save()
