"""A harvest from a run to its tables, in one process."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import core.harvest.run as harvesting
from core.errors import Interrupted, SpdError, UsageError
from core.harvest import shards
from core.harvest.artifact import TABLES, Harvest
from core.harvest.run import HarvestResult, harvest_run
from core.runs.directory import RunDirectory

Harvesting = Callable[..., HarvestResult]


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def left(run: RunDirectory) -> list[str]:
    """What lies in the folder of the harvests."""
    return sorted(path.name for path in run.harvests.iterdir()) if run.harvests.exists() else []


def test_a_language_model_is_harvested(text_run: RunDirectory, harvest_of: Harvesting, hearer: Any) -> None:
    heard = hearer()
    result = harvest_of(text_run, heard, positions=1000, batch_size=8, command=("spd", "harvest"))
    assert left(text_run) == [result.folder.name] == text_run.harvest_names()
    harvest = Harvest(result.folder)
    manifest = harvest.manifest
    assert harvest.positions == 84 * 12 == result.summary["positions"] == heard.counted[-1]
    assert [harvest.layers, manifest["vocabulary"]] == [
        (
            ("h.0.attn.o_proj", 5),
            ("h.0.mlp.c_fc", 9),
            ("h.1.attn.o_proj", 5),
            ("h.1.mlp.c_fc", 9),
        ),
        300,
    ]
    known = {
        "run_id": text_run.run_id,
        "checkpoint_step": 10,
        "kind": "text",
        "precision": "fp32",
        "device": "cpu",
        "batch_size": 8,
        "shards": 1,
        "command": ["spd", "harvest"],
    }
    assert {name: manifest[name] for name in known} == known
    assert manifest["data"]["sequences"] == 84
    assert manifest["positions_per_second"] > 0
    assert "·" in "".join(harvest.tokens()["text"].to_list())
    assert any(note.endswith("tokens/s") for note in heard.notes)


def test_passes_over_a_short_text_are_told(
    text_run: RunDirectory, harvest_of: Harvesting, hearer: Any
) -> None:
    heard = hearer()
    result = harvest_of(text_run, heard, positions=6000)
    passes = Harvest(result.folder).manifest["data"]["passes"]
    assert passes > 1
    assert any(f"read it {passes:.2f} times" in message for message in heard.messages)


def test_components_of_the_known_answer_fire_at_their_feature(
    toy_run: RunDirectory, harvest_of: Harvesting
) -> None:
    result = harvest_of(toy_run, positions=4000)
    harvest = Harvest(result.folder)
    assert (harvest.manifest["kind"], harvest.manifest["settings"]["output_share"]) == ("features", 0)
    assert harvest.tokens()["text"].to_list() == ["x0", "x1", "x2", "x3", "x4"]
    for feature in range(5):
        card = harvest.card(harvest.number("linear1", feature))
        counts = dict(zip(card.tokens_in["token"], card.tokens_in["count"], strict=True))
        # The component reads this feature alone: it fires at all of its positions and nowhere else.
        assert counts[feature] == card.numbers["firings"] == harvest.tokens()["occurrences"][feature]
        assert card.numbers["top_input"] == feature
        for features, values in card.examples.select("features", "feature_values").rows():
            assert feature in features
            assert all(0 < value <= 1 for value in values)
    assert result.summary["layers"]["linear1"] == {
        "components": 7,
        "fired": 5,
        "fired_rarely": 0,
        "mean_active": pytest.approx(0.5, abs=0.05),
    }
    assert result.summary["output_mass_dropped"] is None
    assert result.summary["never_fired"] >= 2


def test_the_batch_size_changes_nothing_in_a_toy(
    toy_run: RunDirectory, harvest_of: Harvesting, same_tables: Any
) -> None:
    first = harvest_of(toy_run, positions=3000, batch_size=700)
    second = harvest_of(toy_run, positions=3000, batch_size=1100)
    counts = ("component", "firings", "density")
    tables = [
        pl.read_parquet(r.folder / "components.parquet").filter(pl.col("layer") == "linear1")
        for r in (first, second)
    ]
    assert tables[0].select(counts).equals(tables[1].select(counts))
    assert first.folder != second.folder


@pytest.mark.parametrize("at", [96, 480, 900])
def test_a_stopped_harvest_goes_on_as_if_it_had_not_been(
    text_run: RunDirectory, harvest_of: Harvesting, hearer: Any, same_tables: Any, at: int
) -> None:
    whole = harvest_of(text_run, positions=1200, batch_size=4)
    stopper = hearer(at, interrupt)
    with pytest.raises(Interrupted, match=r"stopped after \d+.*of 1 200 positions.*--resume") as caught:
        harvest_of(text_run, stopper, positions=1200, batch_size=4)
    assert stopper.messages.count("stopping: what was counted is being saved") == 1
    assert caught.value.exit_code == 130
    assert text_run.harvest_names() == [whole.folder.name]
    [name] = text_run.unfinished_harvests()
    heard = hearer()
    resumed = harvest_of(text_run, heard, resume=True)
    assert resumed.folder == text_run.harvest(name)
    assert heard.counted[0] >= at
    assert text_run.unfinished_harvests() == []
    same_tables(whole.folder, resumed.folder)


@pytest.mark.parametrize("count", [2, 5])
def test_shards_merge_to_the_same_tables(
    text_run: RunDirectory,
    harvest_of: Harvesting,
    same_tables: Any,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    whole = harvest_of(text_run, positions=1200, batch_size=4)
    monkeypatch.setattr(harvesting, "count_with_workers", count_here)
    shared = harvest_of(text_run, positions=1200, batch_size=4, workers=count)
    assert Harvest(shared.folder).manifest["shards"] == count
    same_tables(whole.folder, shared.folder)


def count_here(plan: Any, run: Any, root: Any, shards: Any, devices: Any, watch: Any) -> bool:
    """The work of the processes, one after another in this one."""
    model, inputs = harvesting.open_at_checkpoint(plan, run, root, devices[0])
    forward = harvesting.Forward(model, inputs, torch.device("cpu"), plan.precision, True)
    return all(
        harvesting.count_shard(plan, shard, run.harvest_work(plan.name), forward, watch) for shard in shards
    )


def test_a_damaged_state_is_counted_again(
    text_run: RunDirectory,
    harvest_of: Harvesting,
    hearer: Any,
    same_tables: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = harvest_of(text_run, positions=1200, batch_size=4)
    monkeypatch.setattr(harvesting, "count_with_workers", count_here)
    with pytest.raises(Interrupted):
        harvest_of(text_run, hearer(700, interrupt), positions=1200, batch_size=4, workers=2)
    work = text_run.harvest_work(text_run.unfinished_harvests()[0])
    finished, half = sorted(work.glob("*.state"))
    finished.write_bytes(finished.read_bytes()[:-100])
    broken = bytearray(half.read_bytes())
    broken[len(broken) // 2] ^= 1
    half.write_bytes(broken)
    heard = hearer()
    resumed = harvest_of(text_run, heard, resume=True)
    again = [message for message in heard.messages if "is counted again from its start" in message]
    assert ["shard 0" in again[0] or "shard 1" in again[0], len(again)] == [True, 2]
    same_tables(whole.folder, resumed.folder)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"positions": 0}, "positions = 0"),
        ({"workers": 0}, "workers = 0"),
        ({"positions": 10, "batches": 2}, "10 positions and 2 batches"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
    ],
)
def test_what_cannot_be_done_leaves_nothing_behind(
    text_run: RunDirectory, harvest_of: Harvesting, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        harvest_of(text_run, **changes)
    assert left(text_run) == []


def test_a_run_without_a_checkpoint(text_run: RunDirectory, harvest_of: Harvesting) -> None:
    text_run.checkpoint(10).rename(text_run.path / "elsewhere")
    with pytest.raises(UsageError, match="has no checkpoint yet"):
        harvest_of(text_run)
    assert left(text_run) == []


def test_importances_that_are_no_numbers_name_batch_and_layer(
    text_run: RunDirectory, harvest_of: Harvesting, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = harvesting.Forward.batch

    def poisoned(self: Any, index: int, size: int, count: int) -> Any:
        batch = plain(self, index, size, count)
        if index == 3:
            batch.importances["h.1.mlp.c_fc"][2, 5, 1] = float("nan")
        return batch

    monkeypatch.setattr(harvesting.Forward, "batch", poisoned)
    with pytest.raises(SpdError, match=r"batch 3 \(sequences 12 to 15\).*h\.1\.mlp\.c_fc.*NaN") as caught:
        harvest_of(text_run, positions=1200, batch_size=4)
    assert caught.value.exit_code == 1
    assert text_run.harvest_names() == []


@pytest.mark.parametrize("when", ["state", "tables"])
def test_a_full_disk_leaves_what_was_saved(
    text_run: RunDirectory,
    harvest_of: Harvesting,
    hearer: Any,
    same_tables: Any,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    whole = harvest_of(text_run, positions=1200, batch_size=4)
    full, replaced = [False], os.replace
    monkeypatch.setattr(shards, "_SAVING_SHARE", 1e9)  # after every batch

    def replace(source: Any, target: Any) -> None:
        wanted = str(target).endswith(".state" if when == "state" else "manifest.json")
        if wanted and full[0]:
            raise OSError(28, "No space left on device", str(target))
        replaced(source, target)

    monkeypatch.setattr("os.replace", replace)
    heard = hearer(500, lambda: full.__setitem__(0, True))
    with pytest.raises(
        SpdError, match=r"cannot write .*No space left.*Free some space.*go on with --resume"
    ) as caught:
        harvest_of(text_run, heard, positions=1200, batch_size=4, save_seconds=0)
    assert caught.value.exit_code == 1
    [name] = text_run.unfinished_harvests()
    states = [path.name for path in text_run.harvest_work(name).glob("*")]
    assert len([state for state in states if state.endswith(".state")]) == 1, states
    assert not [state for state in states if state.endswith(".tmp")]
    assert sorted(left(text_run)) == sorted([whole.folder.name, f".{name}.work"])
    full[0] = False
    again = hearer()
    resumed = harvest_of(text_run, again, resume=True)
    assert again.counted[0] >= 400
    same_tables(whole.folder, resumed.folder)


def test_a_disk_that_is_really_full(
    text_run: RunDirectory,
    harvest_of: Harvesting,
    hearer: Any,
    same_tables: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = harvest_of(text_run, positions=1200, batch_size=4)
    aside = whole.folder.rename(text_run.path / "whole")
    monkeypatch.setattr(shards, "_SAVING_SHARE", 1e9)
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(text_run.harvests)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs: run as root")
    try:
        filler = text_run.harvests / "filler"

        def fill() -> None:
            with open(filler, "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
                while True:
                    file.write(bytes(4096))

        with pytest.raises(SpdError, match=r"cannot write .*\.state: No space.*Free some space") as caught:
            harvest_of(text_run, hearer(500, fill), positions=1200, batch_size=4, save_seconds=0)
        assert caught.value.exit_code == 1
        filler.unlink()
        heard = hearer()
        resumed = harvest_of(text_run, heard, resume=True)
        assert heard.counted[0] >= 400
        same_tables(aside, resumed.folder)
    finally:
        subprocess.run(["umount", str(text_run.harvests)], check=True)


def test_every_table_is_there(text_run: RunDirectory, harvest_of: Harvesting) -> None:
    folder: Path = harvest_of(text_run, batches=2, batch_size=10).folder
    assert Harvest(folder).positions == 240
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["manifest.json", *(f"{name}.parquet" for name in TABLES)]
    )


def test_harvest_run_is_the_door(request_of: Any, text_run: RunDirectory, hearer: Any) -> None:
    result = harvest_run(request_of(text_run, positions=120), hearer())
    assert result.summary["folder"] == str(result.folder)
