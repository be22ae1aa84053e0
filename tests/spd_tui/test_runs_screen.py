"""The Runs screen: every key, what is shown, and that it follows what happens on disk."""

import csv
import json
import shutil
from datetime import timedelta

import pytest

from core.runs.catalogue import delete_run
from core.runs.directory import runs_folder
from core.runs.manifest import Manifest
from spd_tui.screens.confirm import ConfirmScreen
from spd_tui.screens.runs import RunsScreen
from spd_tui.watching import RunsWatch
from tests.spd_tui.sample_runs import NOW, add_records, write_run
from tests.spd_tui.stub_screens import make_app, notice, ready, table
from tests.spd_tui.waiting import screen_text, wait_until

ALL = ["s-3fa91c02", "s-77be01d4", "s-9c1102aa", "s-0d2b6e11", "s-11112222", "s-5a5a5a5a", "s-badbad00"]


@pytest.fixture(autouse=True)
def _quick(bare_screens, monkeypatch):
    monkeypatch.setattr("spd_tui.screens.runs.LOOK_SECONDS", 0.05)


def shown(screen: RunsScreen) -> list[str]:
    return [row.run_id for row in screen.shown]


async def test_what_stands_there(root):
    async with make_app(root).run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        assert shown(screen) == ALL
        text = screen_text(pilot.app)
        for part in (
            "7 runs  2 running  1 failed  1 unreadable",
            "2 340/5 000",
            "▶ 47 %",
            "✓ 5/5 features",
            "· H · ·",
        ):
            assert part in text, part
        for part in ("✗ failed 41 %", "‖ stopped 90 %", "✗ unreadable", "37m", "own settings"):
            assert part in text, part
        await wait_until(pilot, lambda: "2 modules, 40 c" in screen_text(pilot.app))
        assert "is alive" in screen_text(pilot.app) and "█" in screen_text(pilot.app)


async def test_the_panel_follows_the_cursor(root):
    async with make_app(root).run_test(size=(120, 30)) as pilot:
        await ready(pilot)
        await pilot.press("j", "j", "j")
        await wait_until(pilot, lambda: "failed: out of memory" in screen_text(pilot.app))
        assert "spd decompose s-0d2b6e11 --resume" in screen_text(pilot.app)
        await pilot.press("G")
        await wait_until(pilot, lambda: "schema version 99" in screen_text(pilot.app))


async def test_an_empty_folder_says_what_to_do(tmp_path):
    async with make_app(tmp_path / "none").run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        text = screen_text(pilot.app)
        assert "spd demo" in text and "spd decompose tms_5-2" in text and "0 runs" in text
        await pilot.press("j", "enter", "v", "y", "Y", "d", "s", "S", "f")
        assert pilot.app.screen is screen
        for key in ("y", "d"):
            await pilot.press(key)
            await wait_until(pilot, lambda: "no run under the cursor" in screen_text(pilot.app))
            await pilot.press("j")
            await wait_until(pilot, lambda: "no run under the cursor" not in screen_text(pilot.app))
        write_run(tmp_path / "none", "s-00000001")
        await wait_until(pilot, lambda: "s-00000001" in screen_text(pilot.app))


async def test_enter_and_v_open_the_run(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("j", "enter")
        await wait_until(pilot, lambda: app.current_mode == "run")
        assert app.context.run is not None and app.context.run.run_id == "s-77be01d4"
        assert "spd › tms_5-2 s-77be01d4 › run" in screen_text(app)
        await pilot.press("backspace")
        await wait_until(pilot, lambda: app.current_mode == "runs")
        await pilot.press("j", "v")
        await wait_until(pilot, lambda: app.current_mode == "components")
        assert app.context.run.run_id == "s-9c1102aa"


async def test_an_unreadable_run_says_why(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("G", "enter")
        await wait_until(pilot, lambda: "schema version 99" in notice(pilot))
        await pilot.press("d")
        await wait_until(pilot, lambda: "by hand" in notice(pilot))
        assert app.current_mode == "runs" and len(app.screen_stack) == 1


async def test_sorting(root):
    async with make_app(root).run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        assert "age▲" in screen_text(pilot.app)
        await pilot.press("s")
        await wait_until(pilot, lambda: "recipe▲" in screen_text(pilot.app))
        assert [row.recipe for row in screen.shown][:2] == ["own settings", "resid_mlp1"]
        assert table(pilot).cursor_key == "s-3fa91c02"
        await pilot.press("S")
        await wait_until(pilot, lambda: "recipe▼" in screen_text(pilot.app))
        assert screen.shown[0].recipe == "tms_5-2"
        for _ in range(6):
            await pilot.press("s")
        await wait_until(pilot, lambda: "age▲" in screen_text(pilot.app))
        assert shown(screen) == ALL


async def test_filtering(root):
    async with make_app(root).run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        seen = []
        for _ in range(6):
            await pilot.press("f")
            await pilot.pause()
            seen.append(shown(screen))
        assert seen[0] == ["s-3fa91c02", "s-5a5a5a5a"] and seen[2] == ["s-0d2b6e11"]
        assert seen[-1] == ALL
        await pilot.press("f")
        await wait_until(pilot, lambda: "only running" in screen_text(pilot.app))


async def test_searching_narrows_as_it_is_typed(root):
    async with make_app(root).run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        await pilot.press("slash", "t", "m", "s")
        await wait_until(pilot, lambda: shown(screen) == ["s-77be01d4", "s-0d2b6e11", "s-11112222"])
        await pilot.press("space", "f", "a", "i", "l", "enter")
        await wait_until(pilot, lambda: shown(screen) == ["s-0d2b6e11"])
        assert "/tms fail" in screen_text(pilot.app) and pilot.app.focused is table(pilot)
        await pilot.press("slash", "x", "escape")
        await wait_until(pilot, lambda: shown(screen) == ["s-0d2b6e11"])
        await pilot.press("escape")
        await wait_until(pilot, lambda: shown(screen) == ALL)
        await pilot.press("slash", "up")
        await wait_until(pilot, lambda: shown(screen) == ["s-0d2b6e11"])
        await pilot.press("q", "q", "q", "enter")
        await wait_until(pilot, lambda: "No run fits" in screen_text(pilot.app))


async def test_copying(root, monkeypatch):
    app = make_app(root)
    sent: list[str] = []
    monkeypatch.setattr(app, "copy_to_clipboard", sent.append)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("y")
        await wait_until(pilot, lambda: "Copied s-3fa91c02" in notice(pilot))
        file = app.memory.path.parent / "clipboard.txt"
        assert (
            sent == ["s-3fa91c02"] and file.read_text() == "s-3fa91c02" and "clipboard.txt" in notice(pilot)
        )
        await pilot.press("Y")
        await wait_until(pilot, lambda: "Only a run that stopped" in notice(pilot))
        await pilot.press("j", "j", "j", "Y")
        await wait_until(pilot, lambda: file.read_text() == "spd decompose s-0d2b6e11 --resume")


async def test_deleting_asks_first(root):
    app = make_app(root)
    place = runs_folder(root) / "s-77be01d4"
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        await pilot.press("j", "enter")
        await wait_until(pilot, lambda: app.current_mode == "run")
        await pilot.press("1", "d")
        await wait_until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        assert "Delete s-77be01d4 tms_5-2?" in screen_text(app) and "H 1 harvest" in screen_text(app)
        await pilot.press("n")
        await wait_until(pilot, lambda: app.screen is screen)
        assert place.is_dir()
        await pilot.press("d")
        await wait_until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("escape")
        await wait_until(pilot, lambda: app.screen is screen)
        await pilot.press("d")
        await wait_until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("y")
        await wait_until(pilot, lambda: "Deleted s-77be01d4" in notice(pilot))
        assert not place.exists() and app.context.run is None
        await wait_until(pilot, lambda: "s-77be01d4" not in shown(screen))
        assert table(pilot).cursor_key == "s-9c1102aa"


async def test_a_running_run_is_not_deleted(root):
    async with make_app(root).run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("d")
        await wait_until(pilot, lambda: "stop it first" in notice(pilot))
        assert len(pilot.app.screen_stack) == 1


async def test_exporting(root, tmp_path):
    async with make_app(root).run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("e")
        await wait_until(pilot, lambda: ":export runs.csv" in screen_text(pilot.app))
        await pilot.press("escape")
        screen = pilot.app.screen
        assert isinstance(screen, RunsScreen)
        for name in ("runs.csv", "runs.json"):
            screen.run_command(f"export {tmp_path / name}")
            await wait_until(
                pilot, lambda name=name: name in notice(pilot) and "Wrote 6 runs" in notice(pilot)
            )
        rows = list(csv.DictReader((tmp_path / "runs.csv").read_text().splitlines()))
        assert [row["run_id"] for row in rows] == ALL[:6]
        assert [row["run_id"] for row in json.loads((tmp_path / "runs.json").read_text())] == ALL[:6]
        screen.run_command(f"export {tmp_path / 'runs.xls'}")
        await wait_until(pilot, lambda: ".csv" in notice(pilot) and "failed" in notice(pilot))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sort nothing", "no column 'nothing'"),
        ("sort loss sideways", "asc, desc"),
        ("filter done", "no status 'done'"),
        ("goto s-zzz", "names 0 of the runs"),
        ("theme pink", "dark, light, 16"),
        ("nonsense", "no command 'nonsense'"),
        ("open s-zzz", "no run 's-zzz'"),
    ],
)
async def test_commands_that_cannot_be_done_say_why(root, line, words):
    async with make_app(root).run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        screen.run_command(line)
        await wait_until(pilot, lambda: words in notice(pilot))


async def test_commands(root):
    async with make_app(root).run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        screen.run_command("sort loss desc")
        await wait_until(pilot, lambda: "loss▼" in screen_text(pilot.app))
        screen.run_command("filter failed")
        await wait_until(pilot, lambda: shown(screen) == ["s-0d2b6e11"])
        screen.run_command("filter all")
        screen.run_command("goto s-111")
        await wait_until(pilot, lambda: table(pilot).cursor_key == "s-11112222")
        screen.run_command("search tiny")
        await wait_until(pilot, lambda: shown(screen) == ["s-3fa91c02"])
        screen.run_command("search")
        await wait_until(pilot, lambda: len(shown(screen)) == 7)
        assert {"latest", "s-77be01d4", "tms_5-2"} <= set(pilot.app._known_runs(""))  # pyright: ignore


async def test_a_running_run_grows_in_place(root):
    async with make_app(root).run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("j", "j")
        run = next(row for row in pilot.app.screen.rows if row.run_id == "s-3fa91c02")  # pyright: ignore
        from core.runs.directory import RunDirectory

        add_records(RunDirectory(run.overview.path), [3000, 3500], NOW + timedelta(seconds=10))
        await wait_until(pilot, lambda: "3 500/5 000" in screen_text(pilot.app))
        assert "▶ 70 %" in screen_text(pilot.app) and table(pilot).cursor_key == "s-9c1102aa"


async def test_a_run_that_goes_leaves_the_list(root):
    async with make_app(root).run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        await pilot.press("j")
        shutil.rmtree(runs_folder(root) / "s-77be01d4")
        await wait_until(pilot, lambda: "s-77be01d4" not in shown(screen))
        assert table(pilot).cursor_key == "s-9c1102aa"
        await pilot.press("r")
        await wait_until(pilot, lambda: len(shown(screen)) == 6)


async def test_a_process_that_dies_is_seen_without_a_touched_file(root, monkeypatch):
    async with make_app(root).run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        monkeypatch.setattr("core.runs.manifest.why_dead", lambda *_: "no process 1 here")
        await wait_until(pilot, lambda: "‖ stopped 47 %" in screen_text(pilot.app))


async def test_a_look_that_dies_is_said_and_r_goes_on(root, monkeypatch):
    async with make_app(root).run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        look = RunsWatch.look

        def broken(watch):
            raise RuntimeError("the disk went away")

        monkeypatch.setattr(RunsWatch, "look", broken)
        await wait_until(
            pilot, lambda: "the disk went away" in notice(pilot) and "r tries again" in notice(pilot)
        )
        monkeypatch.setattr(RunsWatch, "look", look)
        write_run(root, "s-00000009", age=timedelta(minutes=1))
        await pilot.press("r")
        await wait_until(pilot, lambda: shown(screen)[0] == "s-00000009")


async def test_nothing_is_painted_while_nothing_happens(tmp_path):
    write_run(tmp_path, "s-00000001")
    write_run(tmp_path, "s-00000002", age=timedelta(days=3))
    looks: list[int] = []
    async with make_app(tmp_path).run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        await wait_until(pilot, lambda: "2 modules" in screen_text(pilot.app))
        look = screen._watch.look  # pyright: ignore
        screen._watch.look = lambda: (looks.append(1), look())[1]  # pyright: ignore
        painted: list[object] = []
        pilot.app._display, display = (lambda *a: (painted.append(a), display(*a))), pilot.app._display  # pyright: ignore
        for _ in range(5):  # something from before may still be painted in the first of these times
            painted.clear()
            seen = len(looks)
            await wait_until(pilot, lambda seen=seen: len(looks) > seen + 3)
            if not painted:
                break
        assert painted == []


def test_a_look_reads_only_what_changed(root, monkeypatch):
    watch = RunsWatch(root)
    first = watch.look()
    assert len(first.rows) == 7
    read: list[str] = []
    import spd_tui.watching as watching

    real = watching.read_row
    monkeypatch.setattr(watching, "read_row", lambda path: (read.append(path.name), real(path))[1])
    again = watch.look()
    assert again == first
    assert sorted(read) == ["s-3fa91c02", "s-5a5a5a5a"]  # those that run
    manifest = runs_folder(root) / "s-77be01d4" / "manifest.json"
    Manifest.read(manifest).update(seed=7).write(manifest)
    read.clear()
    later = watch.look()
    assert later != first and "s-77be01d4" in read and len(read) == 3
    watch.forget()
    assert watch.look() == later


def test_a_run_deleted_while_it_is_looked_at_is_not_a_damaged_one(root, monkeypatch):
    import spd_tui.watching as watching

    real = watching.read_row

    def read(path):
        if path.name == "s-77be01d4":
            delete_run(root, path.name)
        return real(path)

    monkeypatch.setattr(watching, "read_row", read)
    rows = RunsWatch(root).look().rows
    assert [row.run_id for row in rows] == [name for name in ALL if name != "s-77be01d4"]
    assert rows[-1].overview is None  # one that is damaged and there stays


def test_a_folder_that_cannot_be_read_is_said(tmp_path):
    (tmp_path / "runs").write_text("a file", encoding="utf-8")
    listing = RunsWatch(tmp_path).look()
    assert listing.problem is not None and "cannot be read" in listing.problem


async def test_without_runs_every_key_says_so(tmp_path, monkeypatch):
    app = make_app(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        assert "There are no runs" in screen_text(app) and f"--out {tmp_path}"[:40] in screen_text(app)
        for key, said in (("v", "no run under the cursor"), ("e", "No run is shown"), ("d", "no run under")):
            await pilot.press(key)
            await wait_until(pilot, lambda said=said: said in notice(pilot))
    monkeypatch.setenv("SPD_OUT_DIR", str(tmp_path))
    app = make_app(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        assert "--out" not in screen_text(app), "commands write there of themselves"


async def test_what_a_search_leaves_is_counted(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        screen.set_search("tms_40")
        await wait_until(pilot, lambda: "2 of 7 runs" in screen_text(app))
