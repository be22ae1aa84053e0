"""What any program on a whole terminal owes: keys in their order, Ctrl+Z, and a clean end when it is killed.

Textual hands a key to the widget that has the focus when the key arrives. Of several that arrive together, as
over a slow line, those after `:` would then go to the table below: `:sort` would sort, and `:d` would delete.
Here every key is dealt with before the next is looked at.
"""

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any, ClassVar

from textual import events, on
from textual.app import App
from textual.driver import Driver
from textual.geometry import Size
from textual.timer import Timer

from spd_tui.driver import Frugal
from spd_tui.keys import bind
from spd_tui.screens.base import SpdScreen

REST_SECONDS = 0.15
"""A size that has not changed for so long has come to rest."""


class TerminalApp(App[Any]):
    """An app that deals with keys strictly one after the other and gives the terminal back in every case."""

    BINDINGS: ClassVar = [bind("repaint"), bind("suspend", action="suspend_process"), bind("quit")]

    _at_rest: Timer | None = None
    _size_shown: Size | None = None
    _painted = False

    def remember_place(self) -> None:
        """Write down what is worth keeping for next time."""

    def on_mount(self) -> None:
        """Be told before the end; without a terminal (tests, pictures) the usual end will do."""
        if not self.is_headless:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, self._terminated)
            loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        self.call_after_refresh(self.set_timer, REST_SECONDS, self._first_paint)

    def _first_paint(self) -> None:
        self._painted = True

    def action_command_palette(self) -> None:
        """Open the palette; imported here, as most people start without it."""
        from spd_tui.palette import SpdCommandPalette

        if not SpdCommandPalette.is_open(self):
            self.push_screen(SpdCommandPalette(id="--command-palette"))

    @on(events.Resize)
    def _resized(self, event: events.Resize) -> None:
        """Paint all of the screen once its size has come to rest.

        A terminal that is made small and large again drops lines on the way, and when the app hears of it the
        size may be what it was: then nothing would be painted.
        """
        if event.size != self._size_shown:  # at first the same is told again once all is painted
            self._size_shown = event.size
            self._forget_painted()
        if self._at_rest is not None:
            self._at_rest.stop()
        if self._painted:  # for the sizes before, everything is painted anyway
            self._at_rest = self.set_timer(REST_SECONDS, self.action_repaint)

    @on(Driver.SignalResume)
    def action_repaint(self) -> None:
        """Paint everything: the terminal may have forgotten what was painted, as after `fg`."""
        if not self.screen_stack:  # on its way out
            return
        self._forget_painted()
        self.screen.refresh(layout=True)
        for widget in self.screen.walk_children():
            widget.refresh()

    def _forget_painted(self) -> None:
        if isinstance(self._driver, Frugal):
            self._driver.forget()

    def _terminated(self) -> None:
        self.remember_place()
        self.exit(return_code=128 + signal.SIGTERM)

    def _hung_up(self) -> None:
        self.remember_place()
        # The terminal is gone: there is nothing to restore, and writing to it could wait for ever.
        os._exit(128 + signal.SIGHUP)

    async def on_event(self, event: events.Event) -> None:
        """Keys and pasted text wait for the screen or the line that was opened before them."""
        screen = self.screen_stack[-1] if self.screen_stack else None
        typed = isinstance(event, (events.Key, events.Paste)) and not event.is_forwarded
        if typed and isinstance(screen, SpdScreen) and await _there(screen):
            if (line := screen.open_line) is not None:
                await line.ready()
            if isinstance(event, events.Key) and await self._take(event, screen):
                return
        await super().on_event(event)

    async def _take(self, event: events.Key, screen: SpdScreen) -> bool:
        """Deal with a key now; False when nothing is bound to it."""
        if not self.app_focus:
            self.app_focus = True
        if await self._check_bindings(event.key, priority=True):
            return True
        line = screen.open_line
        if line is not None and line.takes_keys:
            if await line.take(event):
                return True
        else:
            screen.on_key(event)
        return await self._check_bindings(event.key)


async def _there(screen: SpdScreen) -> bool:
    """Wait until a screen has its widgets, a few milliseconds; False when that takes too long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await screen._mounted_event.wait()
    return screen.is_mounted
