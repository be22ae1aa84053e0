"""What the shell survives: damaged files, any size, no colour, another encoding; and what it remembers."""

import json
import os

import pytest
from rich.text import Text

from spd_tui.keys import SHARED
from spd_tui.widgets.breadcrumb import Breadcrumb
from spd_tui.widgets.status_line import StatusLine
from tests.spd_tui.stub_screens import make_app, notice, ready, table
from tests.spd_tui.waiting import screen_text, wait_until

pytestmark = pytest.mark.usefixtures("bare_screens")


# ---- what is remembered, and files that are damaged


async def test_it_begins_where_it_was_left(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        screen.run_command("filter finished")
        screen.run_command("sort loss desc")
        await pilot.pause()
        await pilot.press("3")
        await wait_until(pilot, lambda: app.current_mode == "components")
        run = app.context.run.run_id  # pyright: ignore
        await pilot.press("q")
        await wait_until(pilot, lambda: app._exit)
    again = make_app(root)
    async with again.run_test(size=(80, 24)) as pilot:
        await wait_until(pilot, lambda: again.current_mode == "components")
        assert again.context.run is not None and again.context.run.run_id == run
        await pilot.press("backspace")
        await wait_until(pilot, lambda: again.current_mode == "runs")
        await ready(pilot)
        await wait_until(
            pilot, lambda: "only finished" in screen_text(again) and "loss▼" in screen_text(again)
        )
        assert table(pilot).cursor_key == run
        again.remember_place()
    elsewhere = make_app(root / "another")
    async with elsewhere.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.pause()
        assert elsewhere.current_mode == "runs"


async def test_a_remembered_run_that_has_gone_is_no_error(root):
    app = make_app(root)
    app.memory.run, app.memory.mode, app.memory.root = "s-gone", "run", str(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await wait_until(pilot, lambda: not app.jobs.visible())
        assert notice(pilot) == "" and app.current_mode == "runs"


async def test_damaged_files_are_said_and_the_app_starts(root, tmp_path):
    probe = make_app(root)
    for path, text in ((probe.memory.path, "{"), (probe.config_path, '[keys]\nsort = "z"\nfly = "w"\n')):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await wait_until(pilot, lambda: "line 3" in notice(pilot) and "no action 'fly'" in notice(pilot))
        assert str(app.memory.path) in notice(pilot)
        await pilot.press("z")
        await wait_until(pilot, lambda: "recipe▲" in screen_text(app))
        await pilot.press("s")
        assert "recipe▲" in screen_text(app)
        await pilot.press("question_mark")
        await wait_until(
            pilot, lambda: any(line.split()[:2] == ["z", "sort"] for line in screen_text(app).splitlines())
        )
        app.remember_place()
    assert json.loads(app.memory.path.read_text())["run"] is None


async def test_a_state_folder_that_cannot_be_written(root):
    app = make_app(root)
    app.memory.path.parent.parent.mkdir(parents=True, exist_ok=True)
    app.memory.path.parent.write_text("a file", encoding="utf-8")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("y")
        await wait_until(pilot, lambda: "clipboard only" in notice(pilot))
        await pilot.press("q")
        await wait_until(pilot, lambda: app._exit)
    assert "cannot write" in (app.exit_message or "")


# ---- sizes, colours, encodings


async def test_resize_storm(root):
    app = make_app(root)
    async with app.run_test(size=(200, 50)) as pilot:
        await ready(pilot)
        await pilot.press("j", "j")
        for size in [(60, 20), (200, 50), (80, 24), (61, 19), (30, 8), (10, 3), (1, 1), (80, 24)]:
            await pilot.resize_terminal(*size)
            await pilot.pause()
        assert table(pilot).cursor_key == "s-9c1102aa" and "▸resid_mlp1" in screen_text(app)
        for keys in (["question_mark"], ["escape", "colon", "s"], ["escape", "d"]):
            await pilot.press(*keys)
            for size in [(60, 20), (20, 5), (200, 50), (80, 24)]:
                await pilot.resize_terminal(*size)
                await pilot.pause()


async def test_no_colour_sends_none(root, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    app = make_app(root)
    os.environ["NO_COLOR"] = "1"  # taken away by the app when it starts
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        await wait_until(pilot, lambda: "2 modules" in screen_text(app))
        for strip in app.screen._compositor.render_strips():
            for segment in strip:
                for colour in (segment.style.color, segment.style.bgcolor) if segment.style else ():
                    assert colour is None or colour.is_default, (segment.text, segment.style)
        assert any(s.style.reverse for s in table(pilot).render_line(1) if s.style)
        screen.run_command("theme light")
        await wait_until(pilot, lambda: "NO_COLOR" in notice(pilot))


async def test_every_theme_paints(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        for name in ("light", "16", "dark"):
            screen.run_command(f"theme {name}")
            await wait_until(pilot, lambda name=name: app.theme == name)
            assert "▸tiny_lm" in screen_text(app)
        assert app.memory.theme == "dark"


async def test_another_encoding_gets_plain_marks_and_a_word(root):
    app = make_app(root, encoding="ascii")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await wait_until(pilot, lambda: "encoding is ascii" in notice(pilot))
        await pilot.press("j")
        await wait_until(pilot, lambda: ">tms_5-2" in screen_text(app))
        screen_text(app).encode("ascii")


def test_titles_lose_their_middle_and_facts_their_beginning(monkeypatch):
    line = Breadcrumb()

    def shown(width: int) -> str:
        monkeypatch.setattr(Breadcrumb, "size", type("Size", (), {"width": width})())
        text = line.render()
        assert isinstance(text, Text) and text.cell_len <= width
        return text.plain

    line.show(("spd", "tiny_lm s-3fa91c02", "components"), "1 204 live   /she")
    assert shown(80).startswith(" spd › tiny_lm s-3fa91c02 › components ") and shown(80).endswith(
        "1 204 live   /she"
    )
    assert shown(50).startswith(" spd › … › components ") and shown(50).endswith(" 1 204 live   /she")
    assert shown(34).startswith(" spd › … › components ") and shown(34).endswith("…ve   /she")
    assert shown(24).startswith(" spd › … › components")
    assert shown(16).startswith(" spd › comp")
    for width in range(1, 90):
        shown(width)


def test_status_hints_go_from_the_left(monkeypatch):
    line = StatusLine()
    line.show("tiny_lm s-3fa91c02", "s sort  ⏎ open  ? keys")

    def shown(width: int) -> str:
        monkeypatch.setattr(StatusLine, "size", type("Size", (), {"width": width})())
        return line.render().plain

    assert shown(60).startswith(" tiny_lm s-3fa91c02") and shown(60).endswith(
        "s sort  ⏎ open  ? keys ".rstrip()
    )
    assert shown(36).endswith("⏎ open  ? keys")
    for width in range(1, 70):
        assert len(shown(width)) <= max(width, 1)


def test_every_shared_action_says_what_it_does():
    assert all(text and keys for keys, text in SHARED.values())


def test_the_browser_needs_no_torch_numpy_or_polars_to_start(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, spd_tui.app, spd_tui.screens.runs\n"
        "heavy = {'torch', 'numpy', 'polars', 'pydantic', 'matplotlib', 'yaml', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
