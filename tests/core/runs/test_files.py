"""Files are whole or not there, also when the disk fills up half way."""

import errno
import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import SpdError, UsageError
from core.runs import files


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_write_replaces_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "one")
    files.write_text(path, "zwei ä")
    assert path.read_text(encoding="utf-8") == "zwei ä"
    assert names(tmp_path) == ["a.txt"]


def test_body_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), files.new_file(path) as temporary:
        temporary.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_system_error_names_the_path_and_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SpdError) as caught:
        files.write_text(path, "new")
    assert caught.value.exit_code == 1
    assert str(path) in str(caught.value) and "disk is full" in str(caught.value)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_full_disk_keeps_the_old_file(small_disk: Path) -> None:
    path = small_disk / "a.bin"
    files.write_bytes(path, b"old")
    with pytest.raises(SpdError, match="No space left"):
        files.write_bytes(path, b"x" * 1_000_000)
    assert path.read_bytes() == b"old"
    assert names(small_disk) == ["a.bin"]


def test_full_disk_keeps_the_old_folder(small_disk: Path) -> None:
    target = small_disk / "checkpoints" / "step_1"
    with files.new_folder(target) as temporary:
        (temporary / "components").write_bytes(b"old")
    with pytest.raises(SpdError, match="No space left"), files.new_folder(target) as temporary:
        (temporary / "components").write_bytes(b"y" * 1_000_000)
    assert (target / "components").read_bytes() == b"old"
    assert names(target.parent) == ["step_1"]


def save_safetensors(path: Path) -> None:
    save_file({"V": torch.zeros(1_000_000)}, path)


def save_torch(path: Path) -> None:
    torch.save({"V": torch.zeros(1_000_000)}, path)


@pytest.mark.parametrize("save", [save_safetensors, save_torch])
def test_full_disk_is_recognised_behind_the_errors_of_libraries(
    small_disk: Path, save: Callable[[Path], None]
) -> None:
    with (
        pytest.raises(SpdError, match="disk is full"),
        files.new_folder(small_disk / "a") as new,
    ):
        save(new / "file")
    with pytest.raises(SpdError, match="No space left"), files.new_file(small_disk / "b") as new:
        save(new)
    assert names(small_disk) == []


def test_other_errors_of_libraries_pass(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes"), files.new_folder(tmp_path / "a"):
        raise RuntimeError("shapes do not fit")


def test_folder_appears_whole_and_replaces(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "step_1"
    for text in ("one", "two"):
        with files.new_folder(target) as temporary:
            (temporary / text).write_text(text)
            assert names(target.parent).count("step_1") == (text == "two")
    assert names(target) == ["two"]
    assert names(target.parent) == ["step_1"]


def test_folder_that_fails_is_gone(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), files.new_folder(tmp_path / "step_1") as temporary:
        (temporary / "half").write_text("x")
        raise RuntimeError
    assert names(tmp_path) == []


def test_json_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"b": math.nan, "a": [math.inf, 1.5, (2,)], "c": {"d": None}})
    text = path.read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text) == {"b": None, "a": [None, 1.5, [2]], "c": {"d": None}}
    assert list(files.read_json(path)) == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("content", "words"), [('{"a": 1', "not valid JSON"), ("[1]", "expected a JSON object")]
)
def test_bad_json_is_explained(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=words) as caught:
        files.read_json(path)
    assert str(path) in str(caught.value)


def test_missing_json_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        files.read_json(tmp_path / "absent.json")


def test_writable_check_leaves_nothing(tmp_path: Path) -> None:
    files.ensure_writable(tmp_path / "not" / "yet" / "there")
    assert names(tmp_path) == []


@pytest.mark.parametrize("place", ["/proc/spd_out", "/dev/null/spd_out"])
def test_unwritable_place_is_refused(place: str) -> None:
    with pytest.raises(UsageError, match=r"--out") as caught:
        files.ensure_writable(Path(place))
    assert place in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere: run as another user")
def test_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="not writable"):
        files.ensure_writable(tmp_path / "runs")


def test_safetensors_header(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"V": torch.zeros(2, 3), "U": torch.ones(3)}, path, metadata={"schema_version": "1"})
    header = files.read_safetensors_header(path)
    assert header["V"]["shape"] == [2, 3]
    assert header["__metadata__"] == {"schema_version": "1"}


@pytest.mark.parametrize("kept", [0, 4, 8, 40, -1])
def test_truncated_safetensors_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"V": torch.zeros(20, 3)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UsageError, match="truncated") as caught:
        files.read_safetensors_header(path)
    assert str(path) in str(caught.value)


def test_other_files_are_not_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes((5).to_bytes(8, "little") + b"abcde" + b"rest")
    with pytest.raises(UsageError, match="not a safetensors file"):
        files.read_safetensors_header(path)
    with pytest.raises(UsageError, match="cannot read"):
        files.read_safetensors_header(tmp_path / "absent")
