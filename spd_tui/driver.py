"""A terminal driver that sends what is new on the screen and nothing else, and has the terminal to itself."""

import os
import sys
from typing import TYPE_CHECKING, Any

from spd_tui.painted_cells import PaintedCells, paints_nothing
from spd_tui.terminal_style import StyleThrift

if TYPE_CHECKING:
    from textual.driver import Driver


class Frugal:
    """A driver that shortens what it writes; the terminal shows the same in the end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._cells = PaintedCells()
        self._thrift = StyleThrift()
        super().__init__(*args, **kwargs)

    def shortened(self, data: str) -> str:
        """What of `data` has to be sent."""
        # The thread that reads keys writes such too, while the app may be painting.
        if paints_nothing(data):
            return data
        return self._thrift.shorten(self._cells.rest_of(data))

    def forget(self) -> None:
        """The terminal may show anything by now: whatever is painted next is sent."""
        self._cells.forget()


def terminal_driver() -> "type[Driver] | None":
    """The driver for this terminal; None where Textual's own choice is the right one."""
    if sys.platform == "win32" or "TEXTUAL_DRIVER" in os.environ:
        return None
    from textual.drivers.linux_driver import LinuxDriver

    class FrugalDriver(Frugal, LinuxDriver):
        """Textual's driver, sending little, with the terminal to itself."""

        _given: int | None = None

        def start_application_mode(self) -> None:
            """Take the terminal; what else is written to standard error meanwhile is dropped.

            Native code (a panic while a damaged file is read) writes there past Python, over the screen.
            """
            if sys.__stderr__ is not None and self._file is sys.__stderr__:
                encoding, errors = sys.__stderr__.encoding, sys.__stderr__.errors
                # Open as long as the driver lives: its last words are written after it has stopped.
                self._file = os.fdopen(os.dup(2), "w", encoding=encoding, errors=errors)
            if self._given is None:
                self._given = os.dup(2)
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 2)
                os.close(nowhere)
            super().start_application_mode()

        def stop_application_mode(self) -> None:
            """Give the terminal back, and standard error with it."""
            super().stop_application_mode()
            if self._given is not None:
                os.dup2(self._given, 2)
                os.close(self._given)
                self._given = None

        def write(self, data: str) -> None:
            """Write what of `data` is new."""
            super().write(self.shortened(data))

    return FrugalDriver
