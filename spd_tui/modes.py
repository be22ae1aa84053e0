"""The screens of the browser: the one place where a screen is added.

A mode is a screen that has a number key and a name (`:NAME` goes there as well). To add one: write a subclass
of `spd_tui.screens.base.SpdScreen` and put a line into `MODES`. Nothing else needs to know about it; its
module is imported when somebody goes there, so a heavy screen costs the start nothing.

A screen of a mode with `needs_run` lives as long as its run stays open: `app.context.run` stays the same run
for it, and opening another one throws it away. It is made anew when somebody goes there.
"""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spd_tui.screens.base import SpdScreen


@dataclass(frozen=True)
class Mode:
    """One screen of the browser and the key that leads to it."""

    key: str
    """The number key, `1` to `9`."""
    name: str
    """What `:` commands and the memory call it."""
    title: str
    """What it answers, in a few words; shown in the help and the palette."""
    screen: str
    """Dotted path of the `SpdScreen` subclass, imported on demand."""
    needs_run: bool = True
    """Whether it shows one run."""

    def load(self) -> "type[SpdScreen]":
        """The screen's class.

        Raises:
            ImportError, AttributeError: the dotted path leads nowhere.
        """
        module, _, name = self.screen.rpartition(".")
        return getattr(importlib.import_module(module), name)


MODES: tuple[Mode, ...] = (
    Mode("1", "runs", "all runs and how they stand", "spd_tui.screens.runs.RunsScreen", needs_run=False),
    Mode("2", "run", "one run: curves, settings, evaluation, figures", "spd_tui.screens.run.RunScreen"),
    Mode(
        "3",
        "components",
        "components of the run: table and card",
        "spd_tui.screens.components.ComponentsScreen",
    ),
)


def find_mode(name: str) -> Mode:
    """The mode called `name`.

    Raises:
        KeyError: there is none.
    """
    for mode in MODES:
        if mode.name == name:
            return mode
    raise KeyError(name)
