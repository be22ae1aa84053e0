"""The shell: ways between screens, help, commands, palette."""

import threading

import pytest

from spd_tui.modes import MODES, find_mode
from spd_tui.screens.help import HelpScreen, keys_of
from spd_tui.widgets.command_line import CommandLine
from tests.spd_tui.stub_screens import BareRun, make_app, notice, ready, table
from tests.spd_tui.waiting import screen_text, wait_until

pytestmark = pytest.mark.usefixtures("bare_screens")


# ---- ways between screens


async def test_number_keys_and_back(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("2")  # opens the run at the cursor
        await wait_until(pilot, lambda: app.current_mode == "run")
        await pilot.press("3")
        await wait_until(pilot, lambda: app.current_mode == "components")
        await pilot.press("1")
        await wait_until(pilot, lambda: app.current_mode == "runs")
        for mode in ("components", "run"):
            await pilot.press("escape")
            await wait_until(pilot, lambda mode=mode: app.current_mode == mode)
        await pilot.press("1", "1")
        await wait_until(pilot, lambda: app.current_mode == "runs")


async def test_back_goes_inside_the_screen_first_and_ends_at_the_first(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("backspace")
        await wait_until(pilot, lambda: "first screen; q leaves" in notice(pilot))
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.current_mode == "run")
        assert isinstance(app.screen, BareRun)
        app.screen.steps_inside = 2
        await pilot.press("backspace", "backspace")
        assert app.current_mode == "run"
        await pilot.press("backspace")
        await wait_until(pilot, lambda: app.current_mode == "runs")


async def test_another_run_gets_fresh_screens(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.current_mode == "run")
        first = app.screen
        await pilot.press("1", "2")
        await wait_until(pilot, lambda: app.screen is first)
        app.navigation.open_run("s-77be01d4", "run")
        await wait_until(pilot, lambda: isinstance(app.screen, BareRun) and app.screen is not first)
        assert app.context.run is not None and app.context.run.run_id == "s-77be01d4"
        await wait_until(pilot, lambda: not first.is_attached)
        await wait_until(pilot, lambda: app.screen.loads == 1)  # pyright: ignore


async def test_a_run_that_opens_late_takes_nobody_back(root, monkeypatch):
    from spd_tui import navigation

    go = threading.Event()
    resolve = navigation._resolve

    def late(root, reference):
        go.wait(20)
        return resolve(root, reference)

    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await wait_until(pilot, lambda: isinstance(app.screen, BareRun))
        first = app.context.run
        monkeypatch.setattr(navigation, "_resolve", late)
        app.navigation.open_run("s-77be01d4", "components")
        app.navigation.go_to("runs")
        go.set()
        assert app.jobs.visible() == []
        await wait_until(pilot, lambda: app.current_mode == "runs")
        await pilot.pause()
        assert app.current_mode == "runs" and app.context.run is first


async def test_nothing_is_answered_to_screens_of_the_run_before(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await wait_until(pilot, lambda: isinstance(app.screen, BareRun))
        screen = app.screen
        assert isinstance(screen, BareRun)
        go, got = threading.Event(), []
        screen.background.run(go.wait, what="reading", done=got.append)
        app.navigation.close_run()
        assert app.jobs.running(screen) == []
        go.set()
        await wait_until(pilot, lambda: not screen.is_attached)
        assert got == [] and app.current_mode == "runs"


async def test_a_run_named_at_the_start_is_opened(root):
    app = make_app(root, run="resid_mlp1", mode="components")
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_until(pilot, lambda: app.current_mode == "components")
        assert app.context.run is not None and app.context.run.run_id == "s-9c1102aa"


async def test_a_run_that_is_not_there_is_said(root):
    app = make_app(root, run="s-gone")
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_until(pilot, lambda: "no run 's-gone'" in notice(pilot))
        assert app.current_mode == "runs"


async def test_a_screen_that_cannot_be_loaded_is_said(root, monkeypatch):
    app = make_app(root)

    def broken(mode):
        raise ImportError("no such module")

    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        monkeypatch.setattr("spd_tui.modes.Mode.load", broken)
        await pilot.press("enter")
        await wait_until(pilot, lambda: "cannot be loaded: no such module" in notice(pilot))


def test_modes_have_keys_and_names_of_their_own():
    assert [mode.key for mode in MODES] == [str(number) for number in range(1, len(MODES) + 1)]
    assert len({mode.name for mode in MODES}) == len(MODES)
    with pytest.raises(KeyError):
        find_mode("nowhere")


async def test_quit_keys(root):
    for keys in (["q"], ["colon", "q", "u", "i", "t", "enter"]):
        app = make_app(root)
        async with app.run_test(size=(80, 24)) as pilot:
            await ready(pilot)
            await pilot.press(*keys)
            await wait_until(pilot, lambda app=app: app._exit)


# ---- help, commands, palette


async def test_help_shows_the_keys_that_work_here(root):
    app = make_app(root)
    async with app.run_test(size=(80, 70)) as pilot:
        screen = await ready(pilot)
        names = {name for name, _, _ in keys_of(screen)}
        assert {
            "open",
            "sort",
            "filter",
            "delete",
            "components",
            "go_runs",
            "quit",
            "palette",
            "top",
        } <= names
        await pilot.press("question_mark")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        text = screen_text(app)
        for part in (
            "components of the run under the cursor",
            "narrow the list as you type",
            ":open RUN",
            "tui.toml",
        ):
            assert part in text, part
        await pilot.press("question_mark")
        await wait_until(pilot, lambda: app.screen is screen)


async def test_a_screen_that_is_chosen_from_the_help_closes_it(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        await pilot.press("question_mark")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.press("2")
        await wait_until(pilot, lambda: app.current_mode == "run")
        await pilot.press("1")
        await wait_until(pilot, lambda: app.screen is screen)


async def test_the_help_scrolls_by_the_keys_of_every_list(root):
    app = make_app(root)
    async with app.run_test(size=(60, 22)) as pilot:
        await ready(pilot)
        await pilot.press("question_mark")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen) and app.focused)
        wrapped = "one run: curves, settings, evaluation,\n             figures"
        await wait_until(pilot, lambda: wrapped in screen_text(app), "a long line goes on under its column")
        for keys, last_line in (("G", True), ("g", False), ("end", True), ("home", False)):
            await pilot.press(keys)
            await wait_until(pilot, lambda last=last_line: ("tui.toml" in screen_text(app)) is last)
        for down, up in (("j", "k"), ("down", "up"), ("pagedown", "pageup"), ("ctrl+d", "ctrl+u")):
            await pilot.press(down)
            await wait_until(pilot, lambda: "Keys of runs" not in screen_text(app))
            await pilot.press(up)
            await wait_until(pilot, lambda: "Keys of runs" in screen_text(app))


async def test_a_search_is_offered_only_where_there_is_one(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.current_mode == "run")
        assert "search" not in {name for name, _, _ in keys_of(app.screen)}  # pyright: ignore
        await pilot.press("slash")
        assert not app.screen.query(CommandLine)


async def test_commands_complete_and_remember(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("colon", "t", "h")
        await wait_until(pilot, lambda: "theme NAME" in screen_text(app))
        await pilot.press("tab")  # the only one: completed, its arguments are offered
        await wait_until(pilot, lambda: "dark  light  16" in screen_text(app))
        await pilot.press("tab", "tab", "shift+tab", "tab", "enter")
        await wait_until(pilot, lambda: app.theme == "light")
        await pilot.press("colon", "up")
        await wait_until(pilot, lambda: ":theme light" in screen_text(app))
        await pilot.press("down")
        await wait_until(pilot, lambda: ":theme light" not in screen_text(app))
        await pilot.press("backspace")
        await wait_until(pilot, lambda: not app.screen.query(CommandLine))
        await pilot.press("colon", "enter")
        await wait_until(pilot, lambda: not app.screen.query(CommandLine))
        assert app.focused is table(pilot)


async def test_keys_that_come_at_once_go_to_the_line_that_the_first_opened(root):
    from textual import events

    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        typed = [("colon", ":"), *((letter, letter) for letter in "theme"), ("space", " ")]
        typed += [*((letter, letter) for letter in "light"), ("enter", None), ("colon", ":"), ("d", "d")]
        for key, character in typed:  # none waits for another, as in one packet of a slow connection
            app.post_message(events.Key(key, character))
        await wait_until(pilot, lambda: app.theme == "light")
        await wait_until(pilot, lambda: app.screen.query(CommandLine).last().text == "d")
        assert len(app.screen_stack) == 1, "d went to the line, not to the table"
        for key in ("backspace", "backspace", "colon", "slash", "colon", "escape"):
            app.post_message(events.Key(key, {"colon": ":", "slash": "/"}.get(key)))
        await wait_until(pilot, lambda: not app.screen.query(CommandLine))
        assert app.focused is table(pilot)


async def test_keys_that_come_before_their_screen_is_there_wait_for_it(root):
    from textual import events

    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        for key, character in (("question_mark", "?"), ("G", "G"), ("question_mark", "?"), ("j", "j")):
            app.post_message(events.Key(key, character))
        await wait_until(pilot, lambda: len(app.screen_stack) == 1 and table(pilot).cursor == 1)
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.context.run is not None and app.current_mode == "run")
        for key in ("1", "3", "colon", "1", "escape", "1", "k"):
            app.post_message(events.Key(key, ":" if key == "colon" else key))
        await wait_until(pilot, lambda: app.current_mode == "runs" and table(pilot).cursor == 0)
        assert not app.screen.query(CommandLine)


async def test_a_line_that_is_replaced_before_it_is_there_does_no_harm(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        app.screen.action_command("theme ")  # pyright: ignore
        app.screen.action_command("open ")  # pyright: ignore
        await wait_until(pilot, lambda: [line.text for line in app.screen.query(CommandLine)] == ["open "])
        await pilot.press("escape")
        await wait_until(pilot, lambda: app.focused is table(pilot))


async def test_the_palette_does_commands(root):
    app = make_app(root)
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        await pilot.press("ctrl+p")
        await wait_until(pilot, lambda: "CommandPalette" in type(app.screen).__name__)
        await pilot.press("pageup", "pagedown", "ctrl+end", *"zzz", "pageup", "pagedown", "up")
        await wait_until(pilot, lambda: "No matches" in screen_text(app))
        await pilot.press("pageup", "pagedown", "backspace", "backspace", "backspace")
        await pilot.press(*"theme")
        await wait_until(pilot, lambda: "theme NAME" in screen_text(app))
        await pilot.press("down", "enter")
        await wait_until(pilot, lambda: bool(app.screen.query(CommandLine)) and ":theme" in screen_text(app))
