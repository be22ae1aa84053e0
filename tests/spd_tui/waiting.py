"""Waiting for a condition in a test of the browser, and reading its screen."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from textual.css.query import QueryError
from textual.pilot import Pilot

DEADLINE = 20.0


async def wait_until(
    pilot: Pilot[Any], condition: Callable[[], object], what: str = "", deadline: float = DEADLINE
) -> None:
    """Let the app work until `condition()` is true; fail with `what` after `deadline` seconds.

    An `AssertionError` or Textual's "nothing matches" inside the condition counts as not yet.
    """
    end = time.monotonic() + deadline
    while True:
        try:
            if condition():
                return
        except (AssertionError, QueryError):
            pass
        if time.monotonic() > end:
            raise AssertionError(
                f"not within {deadline:.0f} s: {what or condition}\n{screen_text(pilot.app)}"
            )
        await pilot.pause()
        await asyncio.sleep(0.005)


def screen_text(app: Any) -> str:
    """What the screen shows, as text, one line a row."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)
