"""The card of a component: loading it, following what goes with it, its own screen where it is narrow."""

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.timer import Timer

from spd_tui.clipboard import home_relative
from spd_tui.commands import Command
from spd_tui.keys import bind
from spd_tui.loading import reason
from spd_tui.rows.associates import MEASURE_TITLES
from spd_tui.rows.card import RANK_TITLES, SECTIONS
from spd_tui.screens.base import SpdScreen
from spd_tui.screens.card_reading import CardRequest, rank, read_card, write_card
from spd_tui.widgets.card_panel import CardPanel, Place

if TYPE_CHECKING:
    from core.harvest.artifact import Harvest
    from core.harvest.card import ComponentCard
    from spd_tui.loading import Job
    from spd_tui.rows.components import ComponentData, Ranks

PATIENCE = 0.1
"""Seconds the cursor rests before the card under it is read."""
REMEMBERED_CARDS = 64


class CardScreen(SpdScreen):
    """A screen with a `CardPanel`: what is asked of it last is what it shows.

    One card is read at a time. While one is read the cursor may go anywhere; when it is there, the card that
    is wanted by then is read, and those in between never are.
    """

    BINDINGS: ClassVar = [
        bind("next_section", "right_square_bracket", "next section of the card"),
        bind("previous_section", "left_square_bracket", "section before"),
        bind("shading", "a", "shade tokens by CI, activation, both"),
        bind("centre", "c", "firing tokens in one column, or whole windows"),
        bind("measure", "m", "next measure of association; rank by CI or density"),
        bind("sample", "o", "examples: uniform sample or strongest"),
        bind("copy"),
        bind("export"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.data: ComponentData | None = None
        self._measure = "log_likelihood_ratio"
        self._strongest = False
        self._rank_column = "mean_importance"
        self._wanted: CardRequest | None = None
        self._wanted_place: Place | None = None
        self._job: Job | None = None
        self._reading: CardRequest | None = None
        self._timer: Timer | None = None
        self._cards: OrderedDict[CardRequest, ComponentCard] = OrderedDict()
        self._trail: list[tuple[int, Place]] = []

    @property
    def panel(self) -> CardPanel:
        """Where the card is shown."""
        return self.query_one(CardPanel)

    # ---- loading

    def use_data(self, data: "ComponentData") -> None:
        """Show cards of another harvest."""
        self.data = data
        self._cards.clear()
        self._trail.clear()
        self._wanted = None
        self.panel.layer_names = data.layers
        self.panel.unit = data.unit
        self.panel.show_ranks(None)

    def want_card(self, component: int, place: Place | None = None, patience: float = 0.0) -> None:
        """Show the card of a component, after `patience` seconds without another request."""
        self._wanted = CardRequest(component, self._measure, self._strongest)
        self._wanted_place = place
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if self._wanted in self._cards:
            self._show_wanted()
        elif self._busy and self._reading == self._wanted:
            return
        elif patience:
            self._timer = self.set_timer(patience, self._read_wanted)
        else:
            self._read_wanted()

    @property
    def _busy(self) -> bool:
        return self._job is not None and not self._job.stopped

    def _read_wanted(self) -> None:
        self._timer = None
        request = self._wanted
        if request is None or self.data is None or self._busy:
            return
        self._reading = request
        self._job = self.background.run(
            read_card,
            self.data.harvest,
            request,
            what=f"reading component {self.short_name(request.component)}",
            done=partial(self._card_read, self.data.harvest, request),
            failed=partial(self._card_failed, self.data.harvest, request),
            group="card",
        )

    def _card_read(self, harvest: "Harvest", request: CardRequest, card: "ComponentCard") -> None:
        self._job = None
        if self.data is None or harvest is not self.data.harvest:
            self._read_wanted()
            return
        self._cards[request] = card
        while len(self._cards) > REMEMBERED_CARDS:
            self._cards.popitem(last=False)
        if request == self._wanted:
            self._show_wanted()
        elif self._timer is None:
            self._read_wanted()

    def _card_failed(self, harvest: "Harvest", request: CardRequest, error: BaseException) -> None:
        self._job = None
        if self.data is not None and (harvest is not self.data.harvest or request != self._wanted):
            self._read_wanted()  # the cursor has gone on, and so has the screen
            return
        self.panel.show_text(f"{reason(error)}\n\nr reads the harvest again.")

    def _show_wanted(self) -> None:
        assert self._wanted is not None
        self.panel.show_card(self._cards[self._wanted], self._wanted_place)
        self._wanted_place = None
        self._load_ranks()

    def refresh_card(self) -> None:
        """Read the card anew after a change of what it lists."""
        if self._wanted is not None:
            self.want_card(self._wanted.component, self.panel.place)

    def _load_ranks(self) -> None:
        ranks = self.panel.ranks
        if self.panel.section != "rank" or self.data is None:
            return
        if ranks is None or ranks.column != self._rank_column:
            done = partial(self._ranked, self.data)
            self.background.run(rank, self.data, self._rank_column, what="ranking", done=done, quiet=True)

    def _ranked(self, data: "ComponentData", ranks: "Ranks") -> None:
        if data is self.data and ranks.column == self._rank_column:
            self.panel.show_ranks(ranks)

    # ---- following

    def short_name(self, component: int) -> str:
        """A component's name as the table has it."""
        from spd_tui.rows.card import component_name

        if self.data is None:
            return str(component)
        return component_name(component, self.data.layers, self.data.harvest.layers)

    def follow(self, component: int) -> None:
        """Go to a component from the card that is shown; `follow_back` returns."""
        card = self.panel.card
        if card is not None and card.component != component:
            self._trail.append((card.component, self.panel.place))
            self.want_card(component)
            self.show_trail(component)

    def follow_back(self) -> bool:
        """Return to the card before; False when there is none."""
        if not self._trail:
            return False
        component, place = self._trail.pop()
        self.want_card(component, place)
        self.show_trail(component)
        return True

    def forget_trail(self) -> None:
        """Begin a new trail: the cursor of the table moved."""
        if self._trail:
            self._trail.clear()
            self.set_crumbs()

    def show_trail(self, component: int) -> None:
        """The way to a component, in the title."""
        names = [self.short_name(each) for each, _ in self._trail]
        self.set_crumbs(*names, *([self.short_name(component)] if names else []))

    def on_card_panel_followed(self, event: CardPanel.Followed) -> None:
        """Enter on something that leads to a component."""
        self.follow(event.component)

    def on_card_panel_pointed(self, event: CardPanel.Pointed) -> None:
        """The status line says what the cursor rests on."""
        self.show_status()

    def on_descendant_focus(self) -> None:
        """The status line speaks of the card while the keys go there."""
        self.show_status()

    def on_descendant_blur(self) -> None:
        """See `on_descendant_focus`."""
        self.show_status()

    def loaded_text(self) -> str:
        """What the card's cursor rests on, else what is loaded."""
        panels = self.query(CardPanel)
        item = panels.first().item if panels and panels.first().has_focus else None
        return super().loaded_text() if item is None else item.says

    # ---- keys

    def action_next_section(self) -> None:
        """The next section of the card."""
        self.panel.next_section(1)
        self._load_ranks()

    def action_previous_section(self) -> None:
        """The section before."""
        self.panel.next_section(-1)
        self._load_ranks()

    def action_shading(self) -> None:
        """Shade tokens by causal importance, activation or both."""
        self.panel.next_shading()

    def action_centre(self) -> None:
        """Firing tokens in one column, or whole windows."""
        self.panel.toggle_centred()

    def action_measure(self) -> None:
        """The next measure; in the rank plot, what is ranked."""
        if self.panel.section == "rank":
            columns = list(RANK_TITLES)
            self._rank_column = columns[(columns.index(self._rank_column) + 1) % len(columns)]
            self._load_ranks()
            return
        measures = list(MEASURE_TITLES)
        self.set_measure(measures[(measures.index(self._measure) + 1) % len(measures)])

    def set_measure(self, measure: str) -> None:
        """Order associates by a measure.

        Raises:
            UsageError: there is none of that name.
        """
        from core.errors import UsageError, nearest_names

        if measure not in MEASURE_TITLES:
            raise UsageError(f"there is no measure {measure}.", nearest_names(measure, MEASURE_TITLES))
        self._measure = measure
        self.refresh_card()

    def action_sample(self) -> None:
        """A uniform sample of the firings, or the strongest."""
        self._strongest = not self._strongest
        self.refresh_card()

    def action_copy(self) -> None:
        """Copy what the card's cursor rests on, else the component's key."""
        item, card = self.panel.item, self.panel.card
        if item is not None and self.panel.has_focus:
            self.copy(item.copies, f"“{item.copies}”")
        elif card is not None:
            self.copy(card.key, card.key)

    def action_export(self) -> None:
        """Ask for the file to write the card to."""
        if name := self._export_names(""):
            self.action_command(f"export {name[0]}")
        else:
            self.say("There is no card to export.", "warning")

    def export_card(self, path: str) -> None:
        """Write the card as JSON to `path`."""
        card = self.panel.card
        if card is None:
            self.say("There is no card to export.", "warning")
            return
        target = Path(path).expanduser().absolute()

        def written(place: Path) -> None:
            self.say(f"Wrote the card of {card.key} to {home_relative(place)}.")

        self.background.run(
            write_card,
            card,
            target,
            what=f"writing {target.name}",
            done=written,
        )

    def commands(self) -> list[Command]:
        """The commands of a card."""
        return [
            Command("component", "go to a component", self.go_to_component, "NAME", self._component_names),
            Command(
                "measure", "order associates by", self.set_measure, "NAME", lambda _: list(MEASURE_TITLES)
            ),
            Command("section", "show a section of the card", self._go_to_section, "NAME", lambda _: SECTIONS),
            Command("export", "write the card as JSON", self.export_card, "FILE", self._export_names),
        ]

    def go_to_component(self, name: str) -> None:
        """Show the card of a component by its name or number.

        Raises:
            UsageError: none or several have that name.
        """
        from core.harvest.card import find_component

        if self.data is not None:
            self.follow(find_component(self.data.harvest, name))

    def _export_names(self, typed: str) -> list[str]:
        card = self.panel.card
        return [f"{self.run.run_id}-{card.key.replace(':', '-')}.json"] if card is not None else []

    def _component_names(self, typed: str) -> list[str]:
        return (
            [] if self.data is None or ":" in typed else [f"{layer}:" for layer in self.data.layers.values()]
        )

    def _go_to_section(self, name: str) -> None:
        from core.errors import UsageError, nearest_names

        if name not in SECTIONS:
            raise UsageError(f"a card has no section {name}.", nearest_names(name, SECTIONS))
        self.panel.next_section(SECTIONS.index(name) - SECTIONS.index(self.panel.section))
        self._load_ranks()


class ComponentCardScreen(CardScreen):
    """One component's card on a whole screen, where the terminal is too narrow for table and card."""

    HINTS = "⏎ follow  [ ] section  ⌫ back  ? keys"
    AUTO_FOCUS = "CardPanel"

    def __init__(self, data: "ComponentData", component: int, settings: "Mapping[str, bool | str]") -> None:
        super().__init__()
        self._opened = data
        self._component = component
        self._settings = settings

    def compose_body(self) -> ComposeResult:
        """The card."""
        yield CardPanel(id="card")

    def refresh_view(self) -> None:
        """Read the card."""
        if self.data is None:
            self._measure = str(self._settings["measure"])
            self._strongest = bool(self._settings["strongest"])
        self.use_data(self._opened)
        self.show_trail(self._component)
        self.want_card(self._component)

    def show_trail(self, component: int) -> None:
        """The way to a component; here it is always said where we are."""
        self.set_crumbs(
            "components", *(self.short_name(each) for each, _ in self._trail), self.short_name(component)
        )

    def go_back(self) -> bool:
        """To the card before; from the first one back to the table."""
        return self.follow_back()
