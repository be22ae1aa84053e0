"""The message from background work to the screen that started it."""

from typing import TYPE_CHECKING, Any

from textual.message import Message

if TYPE_CHECKING:
    from spd_tui.loading import Job


class Answered(Message):
    """From a worker's thread: the work has ended, with a value or an error.

    The screen gives it to the job's `done` or `failed`, unless nobody waits for the answer any more.
    """

    def __init__(self, job: "Job", value: Any = None, error: BaseException | None = None) -> None:
        super().__init__()
        self.job = job
        self.value = value
        self.error = error
