from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.errors import UsageError
from core.text.corpus import is_held_out
from core.text.dataset import HubCorpus
from core.text.reader import Position, StreamReader
from core.text.settings import DatasetCorpus, TextSettings, TrainedTokenizer
from core.text.tokenizer import train_bpe
from core.text.windows import TextWindows, open_text

from .conftest import sentence

pytestmark = pytest.mark.usefixtures("dataset_cache")

TEXTS = [sentence(i, 3 + i % 9) for i in range(300)]
Make = Callable[..., TextSettings]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.parquet"
    polars.DataFrame({"n": range(len(TEXTS)), "text": TEXTS}).write_parquet(path, row_group_size=37)
    return path


@pytest.fixture
def make(table: Path) -> Make:
    def made(shuffle: bool = True, window: int = 16, **changes: Any) -> TextSettings:
        corpus = {"path": str(table), "streaming": True, "chunk_windows": 20, "eval_windows": 6, **changes}
        return TextSettings(
            corpus=DatasetCorpus(**corpus),
            tokenizer=TrainedTokenizer(vocabulary=300),
            window=window,
            eval_fraction=0.1,
            shuffle=shuffle,
        )

    return made


def endless(text: TextWindows, seed: int, count: int) -> list[int]:
    ids: list[int] = []
    while len(ids) < count:
        for index, document in enumerate(TEXTS):
            if not is_held_out(seed, index, 0.1):
                ids += [*text.tokenizer.encode(document), text.tokenizer.end_of_text]
    return ids[:count]


def test_chunks_are_the_endless_text(make: Make, tmp_path: Path) -> None:
    text = open_text(make(shuffle=False).model_copy(update={"split_seed": 2}), 0, tmp_path)
    windows = text.batch("train", 0, 700)  # more than one pass over the dataset
    assert windows.flatten().tolist() == endless(text, 2, 700 * 16)
    assert text.n_windows("train") is None and text.n_tokens("train") is None
    held = [d for i, d in enumerate(TEXTS) if is_held_out(2, i, 0.1)]
    expected = [i for d in held for i in [*text.tokenizer.encode(d), text.tokenizer.end_of_text]]
    assert text.batch("eval", 0, 6).flatten().tolist() == expected[: 6 * 16]
    assert text.n_windows("eval") == 6


def test_every_window_of_a_chunk_once_in_another_order(make: Make, tmp_path: Path) -> None:
    plain = open_text(make(shuffle=False), 0, tmp_path).batch("train", 0, 60)
    mixed = open_text(make(), 0, tmp_path).batch("train", 0, 60)
    for chunk in range(3):
        here = slice(20 * chunk, 20 * chunk + 20)
        assert not torch.equal(plain[here], mixed[here])
        assert sorted(plain[here].tolist()) == sorted(mixed[here].tolist())


def test_resumed_and_gone_back_to_without_reading_from_the_start(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = open_text(make(), 0, tmp_path)
    expected = [text.batch("train", i, 7) for i in range(60)]
    folder = next((tmp_path / "text").iterdir())
    assert sum(path.name.startswith("chunk-") for path in folder.iterdir()) == 4, "old chunks go"
    first: list[int] = []
    rows_from = HubCorpus.rows_from

    def watched(self: HubCorpus, state: Any) -> Any:
        for before, value in rows_from(self, state):
            first.append(int(value.split(":")[0]))
            yield before, value

    monkeypatch.setattr(HubCorpus, "rows_from", watched)
    for index in (12, 50, 4, 31):
        first.clear()
        again = open_text(make(), 0, tmp_path).batch("train", index, 7)
        assert torch.equal(again, expected[index]), index
        assert index != 12 or 0 < first[0] < 299, "it goes on from the noted place"
    moved = open_text(make(), 0, tmp_path / "elsewhere")
    assert torch.equal(moved.batch("train", 31, 7), expected[31]), "without any notes it reads up to there"
    for path in folder.glob("chunk-*/train.bin"):
        path.write_bytes(path.read_bytes()[:-2])
    assert torch.equal(open_text(make(), 0, tmp_path).batch("train", 58, 7), expected[58])


def test_two_readers_share_chunks(make: Make, tmp_path: Path) -> None:
    one, two = open_text(make(), 0, tmp_path), open_text(make(), 0, tmp_path)
    for index in range(0, 40, 3):
        assert torch.equal(one.batch("train", index, 7), two.batch("train", index, 7))
        assert torch.equal(two.batch("train", index + 1, 7), one.batch("train", index + 1, 7))


@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=st.lists(st.integers(1, 900), min_size=2, max_size=6))
def test_a_reader_goes_on_from_any_place(make: Make, cuts: list[int]) -> None:
    made = make()
    assert isinstance(made.corpus, DatasetCorpus)
    corpus, tokenizer = HubCorpus(made.corpus), train_bpe(TEXTS, 300)
    whole = StreamReader(made, corpus, tokenizer, 0, 16, Position()).take(sum(cuts))
    position, parts = Position(), []
    for cut in cuts:
        reader = StreamReader(made, corpus, tokenizer, 0, 16, position)
        parts.append(reader.take(cut))
        position = reader.position
    assert np.array_equal(np.concatenate(parts), whole)


ROWS = [[(7 * n + i) % 300 for i in range(1 + (n * n) % 41)] for n in range(300)]


@pytest.fixture
def tokenised(make: Make, tmp_path: Path) -> Make:
    """Settings over a table whose rows are token ids, shorter and longer than the windows of 16."""
    train_bpe(TEXTS, 300).save(tmp_path / "tokenizer.json")
    polars.DataFrame({"ids": ROWS}).write_parquet(tmp_path / "ids.parquet", row_group_size=37)

    def made(shuffle: bool = False, **changes: Any) -> TextSettings:
        changes = {"path": str(tmp_path / "ids.parquet"), "column": "ids", "tokenized": True, **changes}
        plain = make(shuffle, **changes).model_dump()
        return TextSettings.model_validate({**plain, "tokenizer": {"kind": "file", "path": str(tmp_path)}})

    return made


def cut_rows(rows: list[list[int]], window: int) -> list[list[int]]:
    """One window for each row that is long enough; the others joined among themselves."""
    windows, short = [], []
    for row in rows:
        if len(row) >= window:
            windows.append(row[:window])
        else:
            short += row
            if len(short) >= window:
                windows.append(short[:window])
                short = short[window:]
    return windows


def split_rows(held_out: bool) -> list[list[int]]:
    return [row for n, row in enumerate(ROWS) if is_held_out(0, n, 0.1) is held_out]


@pytest.mark.parametrize("window", [16, 1, 41])
def test_rows_of_ids_share_no_window_unless_they_are_short(
    tokenised: Make, tmp_path: Path, window: int
) -> None:
    train, held = cut_rows(split_rows(False), window), cut_rows(split_rows(True), window)
    whole = open_text(tokenised(streaming=False, window=window), 0, tmp_path)
    assert whole.n_windows("train") == len(train) and whole.n_tokens("train") == len(train) * window
    assert whole.batch("train", 0, len(train)).tolist() == train
    assert whole.n_windows("eval") == len(held) and whole.batch("eval", 0, len(held)).tolist() == held
    streamed = open_text(tokenised(window=window, eval_windows=3), 0, tmp_path)
    endless_windows = cut_rows(split_rows(False) * 3, window)
    assert streamed.batch("train", 0, 2 * len(train)).tolist() == endless_windows[: 2 * len(train)]
    assert streamed.batch("eval", 0, 3).tolist() == held[:3]


def test_other_windows_of_ids_are_not_those_kept_before(tokenised: Make, tmp_path: Path) -> None:
    for window in (16, 12):
        text = open_text(tokenised(streaming=False), 0, tmp_path, window=window)
        assert text.batch("train", 0, 40).tolist() == cut_rows(split_rows(False), window)[:40]
    assert len([path for path in (tmp_path / "text").iterdir() if path.is_dir()]) == 2


def test_a_stream_of_ids_is_resumed_with_its_short_rows(tokenised: Make, tmp_path: Path) -> None:
    made = tokenised(shuffle=True, chunk_windows=5)
    text = open_text(made, 0, tmp_path)
    expected = [text.batch("train", i, 7) for i in range(60)]
    notes = [path.read_text() for path in (tmp_path / "text").glob("*/positions/*.json")]
    assert sum('"joined": []' not in note for note in notes) > 20, "short rows wait where chunks begin"
    for index in (50, 4, 31, 12):
        assert torch.equal(open_text(made, 0, tmp_path).batch("train", index, 7), expected[index]), index


@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=st.lists(st.integers(1, 700), min_size=2, max_size=6))
def test_a_reader_of_ids_goes_on_from_any_place(tokenised: Make, cuts: list[int]) -> None:
    made = tokenised()
    assert isinstance(made.corpus, DatasetCorpus)
    corpus, tokenizer = HubCorpus(made.corpus), train_bpe(TEXTS, 300)
    position, parts = Position(), []
    for cut in cuts:
        reader = StreamReader(made, corpus, tokenizer, 0, 16, position)
        parts.append(reader.take(cut))
        position = reader.position
    windows = np.concatenate(cut_rows(split_rows(False) * 2, 16))
    assert np.array_equal(np.concatenate(parts), windows[: sum(cuts)])


def test_held_out_windows_of_ids_stay_whole(tokenised: Make, tmp_path: Path) -> None:
    rows = [[10 * n + i for i in range(6)] for n in range(20)]
    polars.DataFrame({"ids": rows}).write_parquet(tmp_path / "few.parquet")
    made = tokenised(path=str(tmp_path / "few.parquet"), streaming=False)
    for seed in range(12):  # under some of them no row or nearly all are held out
        text = open_text(made.model_copy(update={"split_seed": seed}), 0, tmp_path, window=5)
        found = [*text.batch("train", 0, text.n_windows("train") or 0).tolist()]
        found += text.batch("eval", 0, text.n_windows("eval") or 0).tolist()
        assert sorted(found) == [row[:5] for row in rows], seed
    with pytest.raises(UsageError, match=r"gives 0 tokens for training, fewer than one window of 200"):
        open_text(made, 0, tmp_path, window=200)


def test_rows_of_ids_are_checked(make: Make, tmp_path: Path) -> None:
    tokenizer = train_bpe(TEXTS, 300)
    tokenizer.save(tmp_path / "tokenizer.json")
    rows = [tokenizer.encode(text) for text in TEXTS]
    polars.DataFrame({"ids": rows}).write_parquet(tmp_path / "ids.parquet")
    given_tokenizer = {"kind": "file", "path": str(tmp_path)}
    for streaming in (True, False):
        plain = make(
            False, path=str(tmp_path / "ids.parquet"), column="ids", tokenized=True, streaming=streaming
        )
        made = TextSettings.model_validate({**plain.model_dump(), "tokenizer": given_tokenizer})
        with pytest.raises(
            UsageError, match="holds token ids already, from which no tokenizer can be trained"
        ):
            open_text(plain, 0, tmp_path)
        text_column = TextSettings.model_validate(
            {**make(streaming=streaming).model_dump(), "tokenizer": given_tokenizer}
        )
        wrong = {**text_column.corpus.model_dump(), "tokenized": True}
        with pytest.raises(UsageError, match="holds str, not lists of token ids"):
            open_text(TextSettings.model_validate({**text_column.model_dump(), "corpus": wrong}), 0, tmp_path)
    polars.DataFrame({"ids": [[1, 2, 999]] * 50}).write_parquet(tmp_path / "ids.parquet")
    with pytest.raises(
        UsageError, match=r"holds the token id 999, but the tokenizer has only ids 0 to \d+\."
    ):
        open_text(made, 0, tmp_path)
    not_text = make(path=str(tmp_path / "ids.parquet"), column="ids")
    with pytest.raises(UsageError, match=r"holds token ids, not text.*tokenized=true"):
        open_text(not_text, 0, tmp_path)


@pytest.mark.parametrize("streaming", [True, False])
def test_splits_and_columns_that_are_not_there(make: Make, tmp_path: Path, streaming: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for split, texts in (("train", TEXTS[:200]), ("test", TEXTS[200:])):
        polars.DataFrame({"text": texts, "n": range(len(texts))}).write_ndjson(folder / f"{split}.jsonl")
    made = make(path=str(folder), streaming=streaming, eval_split="test", shuffle=False)
    text = open_text(made, 0, tmp_path)
    shown = text.tokenizer.decode(text.batch("eval", 0, 6).flatten().tolist())
    assert shown.startswith(TEXTS[200])
    with pytest.raises(UsageError, match=r"no split 'valid'; it has: .*test.*corpus\.eval_split=NAME"):
        open_text(make(path=str(folder), streaming=streaming, eval_split="valid"), 0, tmp_path)
    with pytest.raises(UsageError, match=r"no split 'training'; it has: .*train.*corpus\.train_split=NAME"):
        open_text(make(path=str(folder), streaming=streaming, train_split="training"), 0, tmp_path)
    with pytest.raises(UsageError, match=r"has no column 'body'; it has: text, n\."):
        open_text(make(path=str(folder), streaming=streaming, column="body"), 0, tmp_path)


def test_a_dataset_saved_to_disk(make: Make, tmp_path: Path) -> None:
    import datasets

    datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": TEXTS})}).save_to_disk(
        tmp_path / "saved"
    )
    streamed = open_text(make(False, path=str(tmp_path / "saved")), 0, tmp_path).batch("train", 0, 30)
    whole = open_text(make(False, path=str(tmp_path / "saved"), streaming=False), 0, tmp_path)
    assert torch.equal(whole.batch("train", 0, 30), streamed)
    with pytest.raises(UsageError, match="no split 'x'; it has: train"):
        open_text(make(path=str(tmp_path / "saved"), train_split="x"), 0, tmp_path)


@pytest.mark.parametrize("streaming", [True, False])
def test_datasets_that_cannot_be_had(
    make: Make, tmp_path: Path, streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.text.hub._reachable", lambda endpoint: False)
    for path, message in (
        (
            "nobody/nothing",
            r"nobody/nothing is no local path and the hub cannot be reached.*corpus\.path=\.\.\.,",
        ),
        (str(tmp_path / "gone"), r"gone cannot be loaded|gone is no local path"),
        (str(tmp_path / "x.pkl"), r"x\.pkl is no dataset: its ending '\.pkl' is not known"),
        (str(tmp_path / "broken.parquet"), r"broken\.parquet cannot be (loaded|read)"),
    ):
        (tmp_path / "x.pkl").write_bytes(b"x")
        (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
        with pytest.raises(UsageError, match=message):
            open_text(make(path=path, streaming=streaming), 0, tmp_path)


def test_an_empty_dataset(make: Make, tmp_path: Path) -> None:
    polars.DataFrame({"text": [""] * 5}).write_parquet(tmp_path / "empty.parquet")
    for streaming in (True, False):
        with pytest.raises(UsageError, match=r"empty\.parquet is empty: no document there has any text"):
            open_text(make(path=str(tmp_path / "empty.parquet"), streaming=streaming), 0, tmp_path)


def test_without_the_library(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(
        UsageError, match=r"`datasets`, which is not installed\. Install it with pip install 'spd\[text\]'"
    ):
        open_text(make(), 0, tmp_path)
