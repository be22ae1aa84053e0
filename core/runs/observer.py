"""Whoever watches work that takes a while: a terminal, a test, nobody."""

from typing import Protocol


class Observer(Protocol):
    """Hears of progress; nothing of what it does comes back."""

    def message(self, text: str) -> None:
        """One line of talk."""
        ...

    def progress(self, phase: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` steps of a phase; called often, so it must be cheap."""
        ...


class Silent:
    """An observer that nobody listens to."""

    def message(self, text: str) -> None:
        """Forgets the line."""

    def progress(self, phase: str, done: int, total: int, note: str = "") -> None:
        """Forgets the numbers."""
