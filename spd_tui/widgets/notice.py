"""What the browser has to say, over the lowest lines of the screen until the next key."""

from typing import Literal

from rich.text import Text
from textual.widget import Widget

Kind = Literal["info", "warning", "error"]

_SIGNS: dict[str, str] = {"info": "", "warning": "! ", "error": "✗ "}


class Notice(Widget):
    """A few wrapped lines; not there when there is nothing to say, and nothing moves when it comes."""

    DEFAULT_CSS = """
    Notice {
        layer: notice; dock: bottom; height: auto; max-height: 8; margin: 0 0 1 0; padding: 0 1;
        display: none;
    }
    Notice.said { display: block; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = ""

    @property
    def text(self) -> str:
        """What is said now; empty when nothing is."""
        return self._text

    def say(self, text: str, kind: Kind = "info") -> None:
        """Say `text` until the next key."""
        self._text = _SIGNS[kind] + text
        self.set_classes(["said", kind])
        self.refresh(layout=True)

    def clear(self) -> None:
        """Say nothing any more."""
        if self._text:
            self._text = ""
            self.set_classes([])

    def render(self) -> Text:
        """The text, wrapped."""
        return Text(self._text, overflow="fold")
