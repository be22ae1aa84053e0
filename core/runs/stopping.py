"""Stopping between two steps when the user or the scheduler asks for it."""

import signal
import threading
from time import monotonic
from types import FrameType, TracebackType
from typing import Any, Self

ECHO_SECONDS = 2.0
"""A signal to a group of processes comes straight and through their launcher; within this time it is one."""


class StopSignal:
    """While entered, Ctrl-C and SIGTERM set `requested` instead of breaking off in the middle of a step.

    A second one, after a moment, breaks off at once. Outside the main thread, where Python allows no signal
    handlers, nothing is changed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._first = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = monotonic()
        if self.requested and now - self._first > ECHO_SECONDS:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self._first = True, now
