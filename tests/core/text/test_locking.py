"""The right to build a folder, with others waiting and coming while it changes hands."""

import threading
import time
from pathlib import Path

from core.text.locking import build_lock


def test_never_two_builders_at_once(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []
    done: list[int] = []

    def build(number: int) -> None:
        for _ in range(15):
            with build_lock(tmp_path / "folder"):
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.001)
                inside.remove(number)
            done.append(number)

    workers = [threading.Thread(target=build, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert len(done) == 6 * 15
    assert max(most) == 1


def test_what_a_killed_builder_left_is_removed_and_the_lock_is_given_back(tmp_path: Path) -> None:
    (tmp_path / ".folder.1234.tmp").mkdir()
    with build_lock(tmp_path / "folder"):
        assert not (tmp_path / ".folder.1234.tmp").exists()
    assert list(tmp_path.iterdir()) == []
