import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.settings import to_yaml
from core.text.corpus import is_held_out, open_corpus
from core.text.packed import PackedWindows, epoch_order
from core.text.settings import TextSettings
from core.text.windows import TextWindows, open_text

Make = Callable[..., TextSettings]


def windows_in(text: TextWindows, stream: str, count: int) -> list[tuple[int, ...]]:
    return [tuple(row) for row in text.batch(stream, 0, count).tolist()]


@given(
    n=st.integers(1, 40), window=st.integers(1, 5), extra=st.integers(0, 4), seed=st.integers(0, 9),
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=3),
)  # fmt: skip
def test_every_window_once_an_epoch_whatever_the_batch(
    n: int, window: int, extra: int, seed: int, sizes: list[int]
) -> None:
    ids = np.arange(n * window + min(extra, window - 1), dtype=np.uint16)
    whole = PackedWindows(ids, window, epoch_order(seed, "train")).rows(0, 3 * n)
    for epoch in range(3):
        rows = whole[epoch * n : (epoch + 1) * n]
        assert np.array_equal(rows[np.argsort(rows[:, 0])], ids[: n * window].reshape(n, window))
    for size in sizes:
        source = PackedWindows(ids, window, epoch_order(seed, "train"))
        parts = [source.rows(i * size, size) for i in range(-(-3 * n // size))]
        assert np.array_equal(np.concatenate(parts)[: 3 * n], whole)
        assert np.array_equal(source.rows(0, 1), whole[:1]), "an epoch left behind can be read again"


def test_epochs_differ_and_evaluation_keeps_its_order(settings: TextSettings, tmp_path: Path) -> None:
    text = open_text(settings, 0, tmp_path)
    n = text.n_windows("train")
    assert n is not None and n > 20
    rows = windows_in(text, "train", 2 * n)
    assert set(rows[:n]) == set(rows[n:]) and rows[:n] != rows[n:]
    other = open_text(settings, 1, tmp_path)
    assert rows != windows_in(other, "train", 2 * n)
    assert set(rows) == set(windows_in(other, "train", n))
    assert windows_in(other, "eval", 5) == windows_in(text, "eval", 5)
    held = text.n_windows("eval")
    assert held is not None
    again = windows_in(text, "eval", 2 * held)
    assert again[:held] == again[held:]
    plain = open_text(settings.model_copy(update={"shuffle": False}), 0, tmp_path)
    assert plain.batch("train", 0, n).flatten().tolist() == plain.batch("train", 1, n).flatten().tolist()
    assert plain.digest != text.digest
    batch = text.batch("train", 0, 4)
    assert batch.dtype == torch.int64 and batch.shape == (4, 16) and batch.is_contiguous()
    assert open_text(settings, 0, tmp_path, window=8).batch("train", 0, 2).shape == (2, 8)


def test_ids_are_the_documents_joined_with_the_end_of_text(settings: TextSettings, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"split_seed": 5})
    text = open_text(settings, 0, tmp_path, window=1)
    for stream, held_out in (("train", False), ("eval", True)):
        expected: list[int] = []
        for index, document in enumerate(open_corpus(settings.corpus).documents("train")):
            if is_held_out(5, index, settings.eval_fraction) is held_out:
                expected += [*text.tokenizer.encode(str(document)), text.tokenizer.end_of_text]
        plain = open_text(settings.model_copy(update={"shuffle": False}), 1, tmp_path, window=1)
        assert plain.batch(stream, 0, len(expected)).flatten().tolist() == expected
        assert text.n_tokens(stream) == len(expected)


def test_a_small_corpus_of_one_document(tmp_path: Path, files_settings: Make) -> None:
    (tmp_path / "small.txt").write_text("".join(f"line {i} of a small text\n" for i in range(120))[:3000])
    made = files_settings(tmp_path / "small.txt", eval_fraction=0.1, shuffle=False)
    for seed in range(12):  # the one document is held out under some of them
        text = open_text(made.model_copy(update={"split_seed": seed}), 0, tmp_path)
        n, held = text.n_tokens("train"), text.n_tokens("eval")
        assert n is not None and held is not None and 0.08 < held / (n + held) < 0.12
        joined = [
            *text.batch("train", 0, n // 16).flatten().tolist(), *text.batch("eval", 0, 1).flatten().tolist()
        ]  # fmt: skip
        assert text.tokenizer.decode(joined[:200]).startswith("line 0 of a small text\nline 1 of")


def test_a_long_document_is_cut_where_no_token_reaches(
    settings: TextSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_text(settings, 0, tmp_path / "a").batch("train", 0, 50)
    monkeypatch.setattr("core.text.tokens._BATCH_CHARACTERS", 40)
    assert torch.equal(open_text(settings, 0, tmp_path / "b").batch("train", 0, 50), whole)


def test_lower_case(settings: TextSettings, prose: Path, tmp_path: Path) -> None:
    for file in prose.glob("*.txt"):
        file.write_text(file.read_text().upper())
    text = open_text(settings.model_copy(update={"lowercase": True}), 0, tmp_path)
    shown = text.tokenizer.decode(text.batch("train", 0, 20).flatten().tolist())
    assert "the" in shown.replace("<|endoftext|>", "") and not any(char.isupper() for char in shown)


def test_unigram_entropy(settings: TextSettings, tmp_path: Path) -> None:
    text = open_text(settings, 0, tmp_path, window=1)
    counts = np.ones(text.vocabulary)
    for i in text.batch("train", 0, text.n_windows("train") or 0).flatten().tolist():
        counts[i] += 1
    held = text.batch("eval", 0, text.n_windows("eval") or 0).flatten().numpy()
    assert text.unigram_entropy() == pytest.approx(-np.log(counts / counts.sum())[held].mean())
    assert 2 < text.unigram_entropy() < np.log(text.vocabulary)


def test_tokenised_once_and_again_when_a_file_changes(
    settings: TextSettings, prose: Path, tmp_path: Path
) -> None:
    phases: list[str] = []
    told: list[tuple[int, int]] = []

    def report(phase: str, done: int, total: int) -> None:
        phases.append(phase)
        told.append((done, total))

    first = open_text(settings, 0, tmp_path, report)
    assert phases[0] == "training the tokenizer" and told[-1] == (40, 40)
    assert all(a <= b for a, b in pairwise(told[1:]))
    phases.clear()
    assert open_text(settings, 0, tmp_path, report).digest == first.digest and not phases
    (prose / "00.txt").write_text("another text of another length")
    assert open_text(settings, 0, tmp_path, report).digest != first.digest and phases


def test_a_damaged_file_is_made_again(settings: TextSettings, tmp_path: Path) -> None:
    expected = open_text(settings, 0, tmp_path).batch("train", 0, 8)
    folder = next((tmp_path / "text").iterdir())
    assert sorted(file.name for file in folder.iterdir()) == [
        "eval.bin", "manifest.json", "tokenizer.json", "train.bin"
    ]  # fmt: skip
    for name in ("train.bin", "eval.bin", "manifest.json", "tokenizer.json"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
        assert torch.equal(open_text(settings, 0, tmp_path).batch("train", 0, 8), expected), name
        assert (folder / name).read_bytes() == data


def test_a_failed_build_leaves_nothing(settings: TextSettings, tmp_path: Path) -> None:
    def stop(phase: str, done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_text(settings, 0, tmp_path, stop)
    assert not [path for path in (tmp_path / "text").iterdir() if not path.name.endswith(".lock")]
    assert open_text(settings, 0, tmp_path).n_windows("train")
    assert [path.name[0] for path in (tmp_path / "text").iterdir()] != ["."]


BUILD = """
import sys, time, pathlib
from core.settings import parse_settings, read_yaml
from core.text.settings import TextSettings
from core.text.windows import open_text
def report(phase, done, total):
    if done == 10:
        print("half", flush=True)
        time.sleep(float(sys.argv[3]))
settings = parse_settings(TextSettings, read_yaml(pathlib.Path(sys.argv[1])), "test")
open_text(settings, 0, pathlib.Path(sys.argv[2]), report)
"""


def start(settings: TextSettings, place: Path, pause: float) -> "subprocess.Popen[str]":
    (place / "text.yaml").write_text(to_yaml(settings))
    command = [sys.executable, "-c", BUILD, str(place / "text.yaml"), str(place), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_build_is_cleared_away_and_a_waiting_one_takes_over(
    settings: TextSettings, tmp_path: Path
) -> None:
    killed = start(settings, tmp_path, 60)
    assert killed.stdout is not None and killed.stdout.readline() == "half\n"
    assert list((tmp_path / "text").glob(".*.tmp")), "it is in the middle of it"
    phases: list[str] = []

    def report(phase: str, done: int, total: int) -> None:
        phases.append(phase)
        if phase.startswith("waiting"):
            os.kill(killed.pid, signal.SIGKILL)
            killed.communicate()

    taken_over = open_text(settings, 0, tmp_path, report).batch("train", 0, 4)
    assert phases[:2] == ["waiting for another process to tokenise", "training the tokenizer"]
    assert [path.name for path in (tmp_path / "text").iterdir() if path.name.startswith(".")] == []
    assert torch.equal(open_text(settings, 0, tmp_path / "fresh").batch("train", 0, 4), taken_over)


def test_of_several_one_builds_and_the_others_wait(settings: TextSettings, tmp_path: Path) -> None:
    phases: list[str] = []
    found: list[str] = []

    def report(phase: str, done: int, total: int) -> None:
        phases.append(phase)
        time.sleep(0.01)

    def build() -> None:
        found.append(str(open_text(settings, 0, tmp_path, report).batch("train", 0, 4).tolist()))

    # Each opens the lock for itself, so threads exclude one another just as processes do.
    threads = [threading.Thread(target=build) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert phases.count("training the tokenizer") == 1 and len(set(found)) == 1 and len(found) == 3


def test_shorter_than_a_window(settings: TextSettings, tmp_path: Path, files_settings: Make) -> None:
    text = open_text(settings, 0, tmp_path)
    held = text.n_tokens("eval")
    with pytest.raises(
        UsageError,
        match=rf"gives {held} tokens for evaluation, fewer than one window of 700 \(it has 40 doc",
    ):
        open_text(settings, 0, tmp_path, window=700)
    (tmp_path / "tiny.txt").write_text("too short")
    with pytest.raises(UsageError, match=r"tokens for training, fewer than one window of 16.*shorter window"):
        open_text(files_settings(tmp_path / "tiny.txt"), 0, tmp_path)


def test_empty_text(tmp_path: Path, files_settings: Make) -> None:
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(UsageError, match=r"empty\.txt is empty: no document there has any text"):
        open_text(files_settings(tmp_path / "empty.txt"), 0, tmp_path)


def test_a_batch_is_gathered_quickly() -> None:
    ids = np.random.default_rng(0).integers(0, 4096, 1 << 22).astype(np.uint16)
    source = PackedWindows(ids, 512, epoch_order(0, "train"))
    source.rows(0, 64)
    times = []
    for index in range(20):
        begin = time.perf_counter()
        torch.from_numpy(source.rows(index * 64, 64).astype(np.int64))
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.002
