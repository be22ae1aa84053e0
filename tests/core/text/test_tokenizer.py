import json
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.text.settings import TokenizerFile
from core.text.tokenizer import END_OF_TEXT, Tokenizer, train_bpe
from core.text.tokenizer_files import load_tokenizer, tokenizer_from

TEXTS = ["the cat sat on the mat, and the café was cold\n", "two boats\tand  nine stones €5 " * 3]
BPE = train_bpe(TEXTS, 300)


@given(st.text())
def test_every_text_comes_back(text: str) -> None:
    ids = BPE.encode(text)
    assert BPE.decode(ids) == text
    if END_OF_TEXT not in text:
        assert b"".join(BPE.bytes_of(i) or b"" for i in ids) == text.encode()


def test_pieces_of_the_whole_vocabulary_differ_and_are_safe() -> None:
    pieces = BPE.pieces(range(BPE.vocabulary))
    assert len(set(pieces)) == BPE.vocabulary
    assert not any(unicodedata.category(char).startswith(("C", "Z")) for piece in pieces for char in piece)
    assert BPE.pieces([BPE.vocabulary + 5, -1]) == [f"<id {BPE.vocabulary + 5}>", "<id -1>"]
    assert BPE.pieces(BPE.encode(" the\n")) == ["·the", "↵"]
    assert "".join(BPE.pieces(BPE.encode("日"))) == "<0xE6><0x97><0xA5>"


def test_special_tokens_in_a_text_are_their_ids() -> None:
    assert BPE.encode(f"a{END_OF_TEXT}")[-1] == BPE.end_of_text == 0
    assert BPE.decode([BPE.end_of_text]) == END_OF_TEXT


def test_training_is_the_same_in_another_process(tmp_path: Path) -> None:
    code = (
        "import sys, json\nfrom core.text.tokenizer import train_bpe\n"
        "print(train_bpe(json.loads(sys.argv[1]), 300).digest)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, json.dumps(TEXTS)], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == BPE.digest
    assert train_bpe(TEXTS[:1], 300).digest != BPE.digest


def test_saved_and_loaded_again(tmp_path: Path) -> None:
    BPE.save(tmp_path / "tokenizer.json")
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        found = tokenizer_from(str(path))
        assert (found.digest, found.end_of_text, found.vocabulary) == (BPE.digest, 0, BPE.vocabulary)
    assert not (tmp_path / "tokenizer_config.json").exists()


def backend(tokens: list[str], special: list[str], metaspace: bool = False) -> Any:
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    found = Backend(
        models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[], byte_fallback=metaspace)
    )
    if metaspace:
        found.pre_tokenizer = pre_tokenizers.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
        found.decoder = decoders.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    found.add_special_tokens(special)
    return found


def test_an_unusual_end_of_text_is_kept(tmp_path: Path) -> None:
    Tokenizer(backend(["a", "b"], [END_OF_TEXT, "STOP"]), "STOP").save(tmp_path / "tokenizer.json")
    assert tokenizer_from(str(tmp_path)).end_of_text == 3
    assert tokenizer_from(str(tmp_path), end_of_text=END_OF_TEXT).end_of_text == 2


def test_metaspace_pieces() -> None:
    tokens = ["▁", "a", "▁a", *(f"<0x{byte:02X}>" for byte in range(256))]
    found = Tokenizer(backend(tokens, ["</s>"], metaspace=True))
    assert found.pieces([0, 1, 2, 3 + 0xE2, 3 + 10, 3 + 27, found.end_of_text]) == [
        "·", "a", "·a", "<0xE2>", "↵", "<U+001B>", "</s>",
    ]  # fmt: skip
    assert found.pieces(found.encode("aé")) == ["·", "a", "<0xC3>", "<0xA9>"]


def test_a_transformers_folder(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    inner = backend(["a", "b"], ["<end>"])
    PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>").save_pretrained(tmp_path)
    assert tokenizer_from(str(tmp_path)).end_of_text == 2


def test_a_tokenizer_without_a_fast_form(tmp_path: Path) -> None:
    from transformers import ByT5Tokenizer

    found = Tokenizer(ByT5Tokenizer(), "</s>")
    ids = found.encode("a é")
    assert found.decode(ids) == "a é" and len(ids) == 4 and found.end_of_text < found.vocabulary
    with pytest.raises(UsageError, match=r"cannot be written as one tokenizer\.json"):
        found.save(tmp_path / "tokenizer.json")


def test_lengths_set_in_the_file_do_not_cut_texts(tmp_path: Path) -> None:
    inner = backend(["a"], [END_OF_TEXT])
    inner.enable_truncation(3)
    inner.save(str(tmp_path / "tokenizer.json"))
    assert len(tokenizer_from(str(tmp_path)).encode("a" * 10)) == 10


def test_no_end_of_text_names_the_special_tokens() -> None:
    with pytest.raises(
        UsageError, match=r"ends a text; its special tokens are \[CLS\], \[MASK\]\..*end_of_text="
    ):
        _ = Tokenizer(backend(["a"], ["[MASK]", "[CLS]"])).end_of_text
    with pytest.raises(UsageError, match=r"no token '</S>' to end a text with. Did you mean </s>"):
        _ = Tokenizer(backend(["a"], ["</s>"]), "</S>").end_of_text


def test_what_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": 1}')
    with pytest.raises(UsageError, match=r"x\.json is not a tokenizer"):
        load_tokenizer(TokenizerFile(path=str(tmp_path / "x.json")))
    with pytest.raises(UsageError, match="there is no such file or folder"):
        load_tokenizer(TokenizerFile(path=str(tmp_path / "nowhere")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no tokenizer that can be read"):
        load_tokenizer(TokenizerFile(path=str(tmp_path / "empty")))


def test_a_hub_name_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.text.hub._reachable", lambda endpoint: False)
    with pytest.raises(UsageError, match=r"no tokenizer 'nobody/nothing'.*Give a local path"):
        load_tokenizer(TokenizerFile(path="nobody/nothing"))


def test_half_a_surrogate_pair() -> None:
    with pytest.raises(UsageError, match=r"half of a surrogate pair \('\\ud83d'\)"):
        BPE.encode("a \ud83d b")
