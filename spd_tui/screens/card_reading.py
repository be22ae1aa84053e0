"""Reading and writing cards: the work that the card screens do in threads."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.harvest.artifact import Harvest
    from core.harvest.card import ComponentCard
    from spd_tui.rows.components import ComponentData, Ranks


@dataclass(frozen=True)
class CardRequest:
    """Which card, and which of its lists."""

    component: int
    measure: str
    strongest: bool


def read_card(harvest: "Harvest", request: CardRequest) -> "ComponentCard":
    """The card that is asked for; runs in a thread."""
    from core.harvest.card import component_card

    return component_card(harvest, request.component, measure=request.measure, strongest=request.strongest)


def rank(data: "ComponentData", column: str) -> "Ranks":
    """Components by rank; runs in a thread."""
    from spd_tui.rows.components import Ranks

    return Ranks.of(data, column)


def write_card(card: "ComponentCard", path: Path) -> Path:
    """Write a card as JSON; runs in a thread.

    Raises:
        SpdError: the file cannot be written.
    """
    from core.harvest.card import plain
    from core.runs.files import write_json

    write_json(path, plain(card))
    return path
