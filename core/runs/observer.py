"""Whoever watches work that takes a while: a terminal, a test, nobody."""

from typing import Protocol


class Observer(Protocol):
    """Hears of progress; nothing of what it does comes back."""

    def message(self, text: str) -> None:
        """One line of talk."""
        ...

    def progress(self, phase: str, done: int, total: int, note: str = "", unit: str | None = "step") -> None:
        """`done` of `total` of a phase; called often, so it must be cheap.

        `unit` is what is counted; None where the note says how fast it goes, or speed says nothing.
        """
        ...


class Silent:
    """An observer that nobody listens to."""

    def message(self, text: str) -> None:
        """Forgets the line."""

    def progress(self, phase: str, done: int, total: int, note: str = "", unit: str | None = "step") -> None:
        """Forgets the numbers."""
