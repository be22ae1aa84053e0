"""What is made of a worker that ends badly, without any harvest around it."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import pytest

from core.errors import SpdError, UsageError
from core.harvest.shards import Watch
from core.harvest.workers import _follow, _listen, _Worker


@pytest.fixture
def errors() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        yield file


def worker(script: str, errors: IO[bytes]) -> _Worker:
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", f"import os, sys, json\n{script}"],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
    return _Worker(process, (0, 2), errors)


def followed(made: _Worker) -> tuple[bool, list[tuple[int, int]], list[str]]:
    import queue
    import threading

    counted: list[tuple[int, int]] = []
    told: list[str] = []
    said: queue.Queue[Any] = queue.Queue()
    listener = threading.Thread(target=_listen, args=(made, said))
    listener.start()
    try:
        watch = Watch(lambda shard, done: counted.append((shard, done)), told.append, lambda: False)
        return _follow([made], said, watch), counted, told
    finally:
        listener.join()
        assert made.process.stdout is not None
        made.process.stdout.close()


def test_a_worker_that_does_its_work(errors: IO[bytes]) -> None:
    script = 'print(json.dumps({"counted": [2, 7]})); print(json.dumps({"message": "a state is damaged"}))'
    assert followed(worker(script, errors)) == (True, [(2, 7)], ["a state is damaged"])


def test_a_worker_that_was_told_to_stop(errors: IO[bytes]) -> None:
    assert followed(worker("sys.exit(130)", errors))[0] is False


@pytest.mark.parametrize(("code", "kind"), [(1, SpdError), (2, UsageError)])
def test_an_error_keeps_its_words_and_its_kind(errors: IO[bytes], code: int, kind: type[SpdError]) -> None:
    script = f'print(json.dumps({{"error": "no checkpoint.", "remedy": "Make one."}})); sys.exit({code})'
    with pytest.raises(SpdError, match=r"^no checkpoint\. Make one\.$") as caught:
        followed(worker(script, errors))
    assert type(caught.value) is kind


def test_an_end_without_a_word_shows_what_was_written(errors: IO[bytes]) -> None:
    with pytest.raises(SpdError, match=r"worker of shards 0, 2 ended with code 7:\nboom\n.*--resume"):
        followed(worker('sys.stderr.write("boom"); sys.exit(7)', errors))


def test_a_kill_in_the_middle_of_a_line(errors: IO[bytes]) -> None:
    script = "sys.stdout.write('{\"counted\": ['); sys.stdout.flush(); os.kill(os.getpid(), 9)"
    with pytest.raises(SpdError, match=r"worker of shards 0, 2 was killed \(SIGKILL, out of memory\?\)"):
        followed(worker(script, errors))
