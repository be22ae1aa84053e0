"""The table: only visible rows are asked for, the cursor stays on its key, every key and the mouse work."""

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from spd_tui.widgets.frame_table import Column, FrameTable, ListRows
from tests.spd_tui.waiting import screen_text, wait_until

COLUMNS = [
    Column("name", "name", 12),
    Column("value", "value %", 9, "decimal", hide=1),
    Column("note", "note", None, hide=2, minimum=10),
]


class Counted:
    """Rows that count how often they are asked."""

    def __init__(self, length: int, first: int = 0) -> None:
        self.length, self.first, self.asked = length, first, 0

    def __len__(self) -> int:
        return self.length

    def cells(self, index: int):
        self.asked += 1
        assert 0 <= index < self.length
        return [f"row {index + self.first}", f"{index / 8:.3g}", f"note {index}"]

    def key(self, index: int) -> int:
        return index + self.first

    def index_of(self, key) -> int | None:
        return key - self.first if 0 <= key - self.first < self.length else None


class TableApp(App[None]):
    def __init__(self, rows) -> None:
        super().__init__()
        self.first_rows = rows
        self.heard: list[tuple[str, object, int]] = []

    def compose(self) -> ComposeResult:
        yield FrameTable(empty="nobody here\nlook elsewhere")

    def on_mount(self) -> None:
        table = self.query_one(FrameTable)
        table.set_columns(COLUMNS)
        table.set_rows(self.first_rows)

    def on_frame_table_highlighted(self, event: FrameTable.Highlighted) -> None:
        self.heard.append(("highlighted", event.key, event.index))

    def on_frame_table_chosen(self, event: FrameTable.Chosen) -> None:
        self.heard.append(("chosen", event.key, event.index))


def table_of(pilot: Pilot) -> FrameTable:
    return pilot.app.query_one(FrameTable)


async def test_new_rows_are_asked_for_once():
    async with TableApp(Counted(1000)).run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        table = table_of(pilot)
        table.set_columns([Column("name", "name", 12)])
        rows = Counted(1000, first=1)
        table.set_rows(rows)
        assert rows.asked == table.size.height - 1


@pytest.mark.parametrize("length", [40_000, 1_000_000])
async def test_only_visible_rows_are_asked_for(length):
    rows = Counted(length)
    async with TableApp(rows).run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "row 0" in screen_text(pilot.app)
        # A sample for the decimal point, and a few paints of 23 lines.
        assert rows.asked < 600
        before = rows.asked
        await pilot.press("G")
        await pilot.pause()
        assert f"row {length - 1}" in screen_text(pilot.app)
        await pilot.press("k")
        await pilot.pause()
        assert rows.asked - before < 150
        assert table_of(pilot).cursor == length - 2


@pytest.mark.parametrize(
    ("keys", "cursor"),
    [
        (["j"], 1),
        (["down", "down", "up"], 1),
        (["j", "j", "k"], 1),
        (["k"], 0),
        (["G"], 99),
        (["end"], 99),
        (["G", "g"], 0),
        (["end", "home"], 0),
        (["pagedown"], 23),
        (["ctrl+f", "ctrl+b"], 0),
        (["pagedown", "pageup"], 0),
        (["ctrl+d"], 11),
        (["ctrl+d", "ctrl+d", "ctrl+u"], 11),
    ],
)
async def test_keys_move_the_cursor(keys, cursor):
    async with TableApp(Counted(100)).run_test(size=(80, 24)) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        table = table_of(pilot)
        assert table.cursor == table.cursor_key == cursor
        marked = [line for line in screen_text(pilot.app).splitlines() if line.startswith("▸")]
        assert marked and f"row {cursor} " in marked[0] + " "


async def test_enter_and_the_mouse_choose():
    app = TableApp(Counted(100))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("j", "enter")
        await wait_until(pilot, lambda: ("chosen", 1, 1) in app.heard)
        await pilot.click(FrameTable, offset=(3, 5))
        await wait_until(pilot, lambda: table_of(pilot).cursor == 4)
        await pilot.click(FrameTable, offset=(3, 5))
        await wait_until(pilot, lambda: ("chosen", 4, 4) in app.heard)
        await pilot.click(FrameTable, offset=(3, 0))
        assert table_of(pilot).cursor == 4


async def test_the_cursor_stays_on_its_row():
    async with TableApp(Counted(100)).run_test(size=(80, 24)) as pilot:
        table = table_of(pilot)
        table.go_to(50)
        await pilot.pause()
        line = next(n for n, text in enumerate(screen_text(pilot.app).splitlines()) if text.startswith("▸"))
        table.set_rows(Counted(110, first=-10))
        await pilot.pause()
        assert table.cursor_key == 50 and table.cursor == 60
        assert screen_text(pilot.app).splitlines()[line].startswith("▸")
        table.set_rows(Counted(30))
        assert (table.cursor_key, table.cursor) == (29, 29)
        table.set_rows(Counted(100), cursor=70)
        assert table.cursor_key == 70
        table.set_rows(Counted(100), keep=False)
        assert table.cursor_key == 0
        table.set_rows(ListRows())
        await pilot.pause()
        assert table.cursor_key is None
        assert "nobody here" in screen_text(pilot.app)
        await pilot.press("j", "G", "enter", "pagedown", "k")
        table.set_rows(ListRows([("a", ["x", "1.5", ""]), ("b", ["y", "2", ""])]), cursor="b")
        await pilot.pause()
        assert table.cursor_key == "b"
        assert not table.go_to("c")


async def test_columns_leave_and_the_rest_scrolls_sideways():
    async with TableApp(Counted(5)).run_test(size=(80, 24)) as pilot:
        table = table_of(pilot)
        assert table.visible_columns() == ("name", "value", "note")
        table.set_sort("value", descending=True)
        await pilot.pause()
        assert "value %▼" in screen_text(pilot.app)
        table.set_sort("name")
        await pilot.pause()
        assert "name▲" in screen_text(pilot.app)
        await pilot.resize_terminal(30, 10)
        await wait_until(pilot, lambda: table.visible_columns() == ("name", "value"))
        await pilot.resize_terminal(9, 6)
        await wait_until(pilot, lambda: table.visible_columns() == ("name",))
        await pilot.press("l")
        await pilot.pause()
        assert table.scroll_offset.x > 0
        await pilot.press("h")
        await pilot.pause()
        assert table.scroll_offset.x == 0
        await pilot.resize_terminal(80, 24)
        await wait_until(pilot, lambda: table.visible_columns() == ("name", "value", "note"))


async def test_what_stays_the_same_is_not_painted():
    async with TableApp(Counted(50)).run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        table = table_of(pilot)
        painted: list[object] = []
        refresh = table.refresh
        table.refresh = lambda *regions, **kw: (painted.extend(regions), refresh(*regions, **kw))[1]  # pyright: ignore
        table.set_rows(Counted(50))
        table.refresh_rows()
        assert painted == []
        table.set_rows(
            ListRows([(n, [f"row {n}{'!' * (n == 3)}", f"{n / 8:.3g}", f"note {n}"]) for n in range(50)])
        )
        assert {region.y for region in painted} == {4}  # pyright: ignore


async def test_resize_storm():
    async with TableApp(Counted(1000)).run_test(size=(80, 24)) as pilot:
        table = table_of(pilot)
        table.go_to(500)
        for width, height in [(200, 50), (60, 20), (20, 5), (1, 1), (80, 24), (200, 3), (80, 24)]:
            await pilot.resize_terminal(width, height)
            await pilot.press("j")
        await pilot.pause()
        assert table.cursor == 507
        assert "▸row 507" in screen_text(pilot.app)
