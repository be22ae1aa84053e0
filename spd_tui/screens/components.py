"""The components of a run: a table to narrow and sort, and the card of the one under the cursor."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.containers import Container

from core.numerals import grouped
from spd_tui.commands import Command
from spd_tui.keys import bind
from spd_tui.loading import reason
from spd_tui.rows.run_facts import deleted_text
from spd_tui.rows.wrapping import wrapped
from spd_tui.screens.component_card import PATIENCE, CardScreen, ComponentCardScreen
from spd_tui.widgets.card_panel import CardPanel
from spd_tui.widgets.frame_table import Column, FrameTable, ListRows

if TYPE_CHECKING:
    from core.runs.directory import RunDirectory
    from spd_tui.rows.components import ComponentColumn, ComponentData, ComponentRows

FILTERS = {"": "all", "is:fired": "live", "is:silent": "silent"}
"""What `f` adds to the search, and how it is called."""


MOST_IMPORTANT = ("mean_importance", True)
"""What the table is sorted by to begin with, largest first."""


class ComponentsScreen(CardScreen):
    """Table and card: beside each other, under each other, or one after the other where it is narrow."""

    MODE = "components"
    HINTS = "/ narrow  s sort  f filter  [ ] section  ⏎ card  ? keys"
    BINDINGS: ClassVar = [
        bind("sort"),
        bind("reverse"),
        bind("filter"),
        bind("harvest", "H", "choose among harvests"),
    ]
    DEFAULT_CSS = """
    ComponentsScreen #split { layout: horizontal; height: 1fr; }
    ComponentsScreen #components { width: 1fr; }
    ComponentsScreen #card { width: 1fr; border-left: vkey $panel-lighten-2; }
    ComponentsScreen.-narrow #split { layout: vertical; }
    ComponentsScreen.-narrow #components { width: 1fr; height: 9fr; }
    ComponentsScreen.-narrow #card { width: 1fr; height: 11fr; border-left: none; }
    ComponentsScreen.-narrow #card { border-top: solid $panel-lighten-2; }
    ComponentsScreen.-tiny #card { display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._harvest: str | None = None
        self._columns: tuple[ComponentColumn, ...] = ()
        self._sort = MOST_IMPORTANT
        self._filter = ""
        self._begun = False

    def compose_body(self) -> ComposeResult:
        """Table and card."""
        with Container(id="split"):
            yield FrameTable(id="components", empty="opening the harvest …")
            yield CardPanel(id="card")

    @property
    def table(self) -> FrameTable:
        """The table of components."""
        return self.query_one("#components", FrameTable)

    # ---- loading

    def refresh_view(self) -> None:
        """Open the harvest and show its components, as they were left last time."""
        if not self._begun:
            self._begun = True
            self._recall()
        asked = (self._query(), self._sort)
        self.background.run(
            open_table,
            self.run.directory,
            self._harvest,
            *asked,
            what="opening the harvest",
            done=partial(self._opened, asked),
            failed=self._not_opened,
        )

    def _recall(self) -> None:
        self._sort = (self.remembered("sort", self._sort[0]), self.remembered("descending", self._sort[1]))
        if self.remembered("run", "") == self.run.run_id:  # the names in a search are those of one run
            self._search = self.remembered("search", "")
            self._set_filter(self.remembered("filter", ""))

    def _set_filter(self, name: str) -> None:
        self._filter = name if name in FILTERS else ""
        self.set_crumbs(*([FILTERS[self._filter]] if self._filter else []))

    def _opened(
        self, asked: tuple[str, tuple[str, bool]], opened: "tuple[ComponentData, ComponentRows, str]"
    ) -> None:
        data, rows, problem = opened
        self.use_data(data)
        self.context.harvest = data.harvest
        self._columns = tuple(rows.columns)
        self.table.set_columns([_column(column) for column in rows.columns])
        self.table.set_empty("no component fits\n\nEsc takes the search away, f goes to another filter.")
        if problem:
            self._search = ""
            self._set_filter("")
            self._sort = MOST_IMPORTANT
            self.say(problem, "warning")
        elif asked != (self._query(), self._sort):
            self._apply()  # somebody typed meanwhile
        self._show_rows(rows)
        self.show_status()
        if self.table.cursor_key is not None:
            self.want_card(self._component_at_cursor())

    def _not_opened(self, error: BaseException) -> None:
        self.data = self._wanted = self.context.harvest = None
        lines = [reason(error)]
        if len(self._harvest_names("")) > 1:
            lines += ["", "H chooses another harvest."]
        elif self.run.directory.path.is_dir():
            lines += ["", "r looks again."]
        self.table.set_rows(ListRows())
        width = self.size.width if self.size.width < 100 else self.size.width // 2
        folded = [piece for line in lines for piece in wrapped(line, max(20, width - 4)) or [""]]
        self.table.set_empty("\n".join(folded))
        self.set_facts("")
        self.panel.show_text("")

    def _show_rows(self, rows: "ComponentRows") -> None:
        if rows.order is not None:
            self.table.set_sort(rows.order.column, rows.order.descending)
        self.table.set_rows(rows)
        assert self.data is not None
        total, live = self.data.table.height, self.data.fired
        which = f"{grouped(live)} live" if len(rows) == total else grouped(len(rows))
        self.set_facts(f"{which} of {grouped(total)}")
        if not len(rows):
            self.panel.show_text("")

    # ---- narrowing and sorting

    def narrow(self, text: str) -> None:
        """Show the components that a query leaves; a wrong one is explained and changes nothing."""
        self._apply()

    def _query(self) -> str:
        return f"{self._filter} {self.search}".strip()  # what is typed may end in an open quote

    def _apply(self) -> None:
        if self.data is None:
            return
        self.remember(sort=self._sort[0], descending=self._sort[1])
        self.remember(run=self.run.run_id, search=self.search, filter=self._filter)
        self.background.run(
            narrowed,
            self.data,
            self._query(),
            self._sort,
            what="narrowing the components",
            done=partial(self._narrowed, self.data),
            failed=partial(self._not_narrowed, self.data),
            group="narrow",
        )

    def _narrowed(self, data: "ComponentData", rows: "ComponentRows") -> None:
        if data is self.data:
            if self.open_line is not None:
                self.unsay()  # what was wrong with the text some letters ago
            self._show_rows(rows)

    def _not_narrowed(self, data: "ComponentData", error: BaseException) -> None:
        if data is self.data:
            self.say(reason(error), "warning")

    def action_sort(self) -> None:
        """Sort by the next column that is in sight."""
        visible = self.table.visible_columns()
        if not visible:
            return
        before = visible.index(self._sort[0]) if self._sort[0] in visible else -1
        self._set_sort(visible[(before + 1) % len(visible)])

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._sort = (self._sort[0], not self._sort[1])
        self._apply()

    def _set_sort(self, name: str) -> None:
        texts = {column.name for column in self._columns if column.kind in ("layer", "text", "index")}
        self._sort = (name, name not in texts)
        self._apply()

    def sort_by(self, name: str) -> None:
        """Sort by a column.

        Raises:
            UsageError: there is none of that name.
        """
        from core.errors import UsageError, nearest_names

        titles = {column.title: column.name for column in self._columns}
        names = [column.name for column in self._columns]
        if name not in names and name not in titles:
            raise UsageError(f"there is no column {name}.", nearest_names(name, [*names, *titles]))
        self._set_sort(titles.get(name, name))

    def action_filter(self) -> None:
        """All components, those that fire, those that never do."""
        filters = list(FILTERS)
        self._set_filter(filters[(filters.index(self._filter) + 1) % len(filters)])
        self._apply()

    # ---- card

    def _component_at_cursor(self) -> int:
        return int(str(self.table.cursor_key))

    def on_frame_table_highlighted(self, event: FrameTable.Highlighted) -> None:
        """The card follows the cursor, once it rests."""
        if event.key != self.table.cursor_key:
            return  # other rows have come meanwhile
        self.forget_trail()
        if self.panel.display:
            self.want_card(self._component_at_cursor(), patience=PATIENCE)

    def on_frame_table_chosen(self, event: FrameTable.Chosen) -> None:
        """Go into the card: its own screen where there is no room for it."""
        if self.data is None or event.key != self.table.cursor_key:
            return
        if self.panel.display:
            self.panel.focus()
            return
        settings = {"measure": self._measure, "strongest": self._strongest}
        self.app.push_screen(ComponentCardScreen(self.data, self._component_at_cursor(), settings))

    def on_resize(self) -> None:
        """A card that has come into sight shows what the cursor is on."""
        if self.data is not None and self.panel.display and self.table.cursor_key is not None:
            wanted = self._wanted.component if self._wanted else None
            if wanted is None or (not self._trail and wanted != self._component_at_cursor()):
                self.want_card(self._component_at_cursor())
        elif self.panel.has_focus and not self.panel.display:
            self.table.focus()

    def go_back(self) -> bool:
        """To the card before, from the first one to the table."""
        if self.follow_back():
            return True
        if self.panel.has_focus:
            self.table.focus()
            return True
        return False

    def go_to_component(self, name: str) -> None:
        """Put the cursor on a component; one that the search leaves out is shown on the card alone.

        Raises:
            UsageError: none or several have that name.
        """
        from core.harvest.card import find_component

        if self.data is None:
            return
        component = find_component(self.data.harvest, name)
        if not self.table.go_to(component):
            self.follow(component)

    # ---- harvests

    def action_harvest(self) -> None:
        """Choose among several harvests."""
        names = self._harvest_names("")
        if len(names) > 1:
            self.action_command("harvest ")
        else:
            self.say(f"The run has one harvest, {names[0]}." if names else self._without_harvest())

    def _without_harvest(self) -> str:
        path = self.run.directory.path
        if not path.is_dir():
            return deleted_text(path)
        return f"The run has no harvest; `spd harvest {self.run.run_id}` makes one."

    def open_harvest(self, name: str) -> None:
        """Show another harvest of the run.

        Raises:
            UsageError: it has none of that name.
        """
        from core.errors import UsageError, nearest_names

        if name not in (names := self._harvest_names("")):
            raise UsageError(f"the run has no harvest {name}.", nearest_names(name, names))
        self._harvest = name
        self.refresh_view()

    def _harvest_names(self, typed: str) -> list[str]:
        return self.run.directory.harvest_names()[::-1]

    def commands(self) -> list[Command]:
        """The commands of this screen and of its card."""
        names: Callable[[str], list[str]] = lambda _: [column.name for column in self._columns]  # noqa: E731
        return [
            Command("sort", "sort by a column", self.sort_by, "COLUMN", names),
            Command("harvest", "show another harvest", self.open_harvest, "NAME", self._harvest_names),
            *super().commands(),
        ]


def open_table(
    run: "RunDirectory", name: str | None, query: str, sort: tuple[str, bool]
) -> "tuple[ComponentData, ComponentRows, str]":
    """A harvest, its rows, and what is wrong with the query if it is; runs in a thread.

    Raises:
        SpdError: the run is gone, there is no harvest, or a file of it is missing or damaged.
    """
    from core.errors import SpdError, UsageError
    from spd_tui.rows.components import Order, load_components, narrow

    if not run.path.is_dir():
        raise SpdError(deleted_text(run.path))
    data = load_components(run, name)
    try:
        return data, narrow(data, query, Order(*sort)), ""
    except UsageError as error:
        return data, narrow(data, "", Order()), f"{query!r} does not fit this harvest: {error}"


def narrowed(data: "ComponentData", query: str, sort: tuple[str, bool]) -> "ComponentRows":
    """The rows that a query leaves; runs in a thread.

    Raises:
        UsageError: the query cannot be understood.
    """
    from spd_tui.rows.components import Order, narrow

    return narrow(data, query, Order(*sort))


def _column(column: "ComponentColumn") -> Column:
    grows = column.kind == "text"
    return Column(
        name=column.name,
        title=column.title,
        width=None if grows else column.width,
        align="right" if column.kind in ("index", "count") else "left",
        hide=column.hide,
        minimum=column.width,
        maximum=28 if grows else None,
    )
