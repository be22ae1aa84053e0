"""Background work: shown, answered, stopped, started again; answers nobody waits for are dropped."""

import threading

import pytest
from textual.app import ComposeResult

from spd_tui.loading import Job
from spd_tui.widgets.frame_table import FrameTable
from tests.spd_tui.stub_screens import BareRun, make_app, notice, ready
from tests.spd_tui.waiting import screen_text, wait_until

pytestmark = pytest.mark.usefixtures("bare_screens")


# ---- background work


class Worker(BareRun):
    """Starts what a test gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[object] = []

    def compose_body(self) -> ComposeResult:
        yield FrameTable()


async def test_work_is_shown_answered_and_stopped(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        screen = Worker()
        await app.push_screen(screen)
        go = threading.Event()

        def work(job: Job, value: int) -> int:
            while not go.wait(0.01):
                job.check()
            return value

        screen.background.run(work, 7, what="counting", done=screen.got.append, with_job=True)
        await wait_until(pilot, lambda: "counting 0 s · Esc stops" in screen_text(app))
        await pilot.press("escape")
        await wait_until(pilot, lambda: "Stopped counting" in notice(pilot))
        assert screen.got == [] and app.jobs.running() == [] and app.screen is screen
        await pilot.press("r")
        await wait_until(pilot, lambda: "counting 0 s · Esc stops" in screen_text(app))
        await pilot.press("ctrl+c")
        await wait_until(pilot, lambda: app.jobs.running() == [])
        screen.background.run(work, 8, what="counting", done=screen.got.append, with_job=True)
        screen.background.run(work, 9, what="counting", done=screen.got.append, with_job=True)
        go.set()
        await wait_until(pilot, lambda: app.jobs.running() == [])
        assert screen.got == [9]
        await pilot.press("j")
        await wait_until(pilot, lambda: "counting" not in screen_text(app))


async def test_work_that_dies_is_said_and_r_starts_it_again(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        screen = Worker()
        await app.push_screen(screen)
        tries: list[int] = []

        def work() -> str:
            tries.append(1)
            if len(tries) < 2:
                raise MemoryError("no room")
            return "there"

        screen.background.run(work, what="fetching", done=screen.got.append)
        await wait_until(pilot, lambda: "fetching failed: MemoryError: no room" in notice(pilot))
        assert "r tries again" in notice(pilot)
        await pilot.press("r")
        await wait_until(pilot, lambda: "there" in screen.got)
        loads = screen.loads
        await pilot.press("r")
        await wait_until(pilot, lambda: screen.loads == loads + 1)


async def test_answers_for_a_screen_that_has_gone_are_dropped(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        worker = Worker()
        await app.push_screen(worker)
        go = threading.Event()
        job = worker.background.run(go.wait, what="waiting", done=worker.got.append)
        await app.pop_screen()
        await wait_until(pilot, lambda: job.stopped)
        go.set()
        await pilot.pause()
        assert worker.got == [] and app.screen is screen


async def test_ctrl_c_stops_work_and_leaves_the_app(root):
    app = make_app(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("ctrl+c")
        await wait_until(pilot, lambda: "q leaves" in notice(pilot))
        await pilot.press("j")
        await wait_until(pilot, lambda: notice(pilot) == "")
