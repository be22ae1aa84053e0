"""Harvests that were broken off: what goes on with them, what is refused, what is left of them."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import core.harvest.run as harvesting
from core.decomposition.checkpoint import COMPONENTS
from core.errors import Interrupted, SpdError, UsageError
from core.harvest.artifact import Harvest
from core.harvest.run import HarvestRequest, HarvestResult, harvest_run
from core.harvest.settings import HarvestSettings
from core.runs.directory import RunDirectory

Harvesting = Callable[..., HarvestResult]


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def left(run: RunDirectory) -> list[str]:
    """What lies in the folder of the harvests."""
    return sorted(path.name for path in run.harvests.iterdir()) if run.harvests.exists() else []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"threshold": 0.5}, "threshold is 0.5 here and 0.0 there"),
        ({"seed": 3, "context": 4}, "context is 4 here and 3 there; seed is 3 here and 0 there"),
        ({"positions": 24}, "tokens, in whole sequences, are 24 here and 1 200 there"),
        ({"batch_size": 7}, "batch_size is 7 here and 4 there"),
        ({"precision": "bf16"}, "precision is bf16 here and fp32 there"),
    ],
)
def test_other_settings_are_refused_when_resuming(
    text_run: RunDirectory, harvest_of: Harvesting, hearer: Any, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(Interrupted):
        harvest_of(text_run, hearer(100, interrupt), positions=1200, batch_size=4)
    before = left(text_run)
    with pytest.raises(UsageError, match=complaint):
        harvest_of(text_run, resume=True, **changes)
    assert left(text_run) == before


def test_what_is_not_said_when_resuming_is_as_it_was_begun(
    text_run: RunDirectory, harvest_of: Harvesting, hearer: Any
) -> None:
    chosen = HarvestSettings(threshold=0.25, output_share=1.0)
    request = HarvestRequest(
        text_run, text_run.path.parents[1], chosen, positions=1200, batch_size=4, precision="bf16"
    )
    with pytest.raises(Interrupted):
        harvest_run(request, hearer(100, interrupt))
    again = HarvestRequest(text_run, request.root, HarvestSettings(), resume=True)
    manifest = Harvest(harvest_run(again, hearer()).folder).manifest
    assert manifest["settings"] == chosen.model_dump()
    assert (manifest["precision"], manifest["positions"]) == ("bf16", 1200)


def test_nothing_to_resume_is_said(text_run: RunDirectory, harvest_of: Harvesting) -> None:
    with pytest.raises(UsageError, match="has no unfinished harvest"):
        harvest_of(text_run, resume=True)
    assert left(text_run) == []


def test_training_may_go_on_meanwhile(
    text_run: RunDirectory, harvest_of: Harvesting, hearer: Any, same_tables: Callable[[Path, Path], None]
) -> None:
    whole = harvest_of(text_run, positions=1200, batch_size=4).folder
    with pytest.raises(Interrupted):
        harvest_of(text_run, hearer(100, interrupt), positions=1200, batch_size=4)
    shutil.rmtree(text_run.checkpoint(10))  # as training does with all but the newest
    resumed = harvest_of(text_run, resume=True, workers=1).folder
    same_tables(whole, resumed)
    assert Harvest(resumed).manifest["checkpoint_step"] == 10


def test_a_kept_checkpoint_that_is_lost_is_named(
    text_run: RunDirectory, harvest_of: Harvesting, hearer: Any
) -> None:
    with pytest.raises(Interrupted):
        harvest_of(text_run, hearer(100, interrupt), positions=1200, batch_size=4)
    [name] = text_run.unfinished_harvests()
    (text_run.harvest_work(name) / COMPONENTS).unlink()
    with pytest.raises(UsageError, match=r"has lost components\.safetensors, .* step 10"):
        harvest_of(text_run, resume=True)


def test_one_process_works_on_a_harvest(text_run: RunDirectory, harvest_of: Harvesting, hearer: Any) -> None:
    refused: list[str] = []

    def second() -> None:
        with pytest.raises(SpdError, match="being worked on by process") as caught:
            harvest_of(text_run, resume=True)
        refused.append(caught.value.message)

    harvest_of(text_run, hearer(300, second), positions=1200, batch_size=4)
    assert len(refused) == 1


def test_a_harvest_whose_end_was_not_tidied_up_is_finished(
    text_run: RunDirectory, harvest_of: Harvesting, hearer: Any
) -> None:
    with pytest.raises(Interrupted):
        harvest_of(text_run, hearer(100, interrupt), positions=1200, batch_size=4)
    [name] = text_run.unfinished_harvests()
    text_run.harvest(name).mkdir()
    (text_run.harvest(name) / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match="has no unfinished harvest"):
        harvest_of(text_run, resume=True)
    assert left(text_run) == [name]


def test_one_stopped_while_it_is_tidied_up_is_finished(
    text_run: RunDirectory, harvest_of: Harvesting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(harvesting.shutil, "rmtree", stop)
        with pytest.raises(Interrupted, match=r"the harvest (h-\S+) of .* is finished.*--list --harvest \1"):
            harvest_of(text_run, positions=120)
    [name] = text_run.harvest_names()
    assert text_run.unfinished_harvests() == [name]
    other = harvest_of(text_run, positions=120).folder.name
    assert left(text_run) == [name, other]


def test_an_unfinished_harvest_is_told_of(
    text_run: RunDirectory, harvest_of: Harvesting, hearer: Any
) -> None:
    with pytest.raises(Interrupted):
        harvest_of(text_run, hearer(100, interrupt), positions=1200, batch_size=4)
    heard = hearer()
    harvest_of(text_run, heard, positions=120)
    [name] = text_run.unfinished_harvests()
    assert f"--resume --harvest {name} goes on with it" in heard.messages[0]


def test_a_harvest_under_way_is_not_told_of_as_unfinished(
    text_run: RunDirectory, harvest_of: Harvesting, hearer: Any
) -> None:
    heard = hearer()

    def second() -> None:
        harvest_of(text_run, heard, positions=120)

    (text_run.harvests / ".h-20200101-000000.work").mkdir(parents=True)  # killed before it had a plan
    harvest_of(text_run, hearer(300, second), positions=1200, batch_size=4)
    assert "unfinished" not in " ".join(heard.messages)
    assert len(text_run.harvest_names()) == 2


@pytest.mark.parametrize("removed", [True, False])
def test_a_harvest_that_ends_while_it_is_taken_up_is_not_begun_again(
    text_run: RunDirectory,
    harvest_of: Harvesting,
    hearer: Any,
    monkeypatch: pytest.MonkeyPatch,
    removed: bool,
) -> None:
    with pytest.raises(Interrupted):
        harvest_of(text_run, hearer(100, interrupt), positions=1200, batch_size=4)
    opened = harvesting.open_at_checkpoint
    folders: list[Path] = []

    def slowly(*arguments: Any) -> Any:
        found = opened(*arguments)
        monkeypatch.setattr(harvesting, "open_at_checkpoint", opened)
        folders.append(harvest_of(text_run, resume=True).folder)
        if not removed:  # its lock went first, the rest is still there
            text_run.harvest_work(folders[0].name).mkdir()
        return found

    monkeypatch.setattr(harvesting, "open_at_checkpoint", slowly)
    with pytest.raises(UsageError, match="another process has ended it"):
        harvest_of(text_run, resume=True)
    assert Harvest(folders[0]).positions == 1200


def test_what_was_being_written_when_it_was_killed_goes(
    text_run: RunDirectory, harvest_of: Harvesting, hearer: Any
) -> None:
    with pytest.raises(Interrupted):
        harvest_of(text_run, hearer(100, interrupt), positions=1200, batch_size=4)
    [name] = text_run.unfinished_harvests()
    (text_run.harvests / f".{name}.0123abcd.tmp").mkdir()
    (text_run.harvests / f".{name}.0123abcd.tmp" / "cofiring.parquet").write_text("half")
    state = text_run.harvest_work(name) / ".shard-0000-batches-00000009.state.0123abcd.tmp"
    state.write_text("half")
    with pytest.raises(Interrupted):
        harvest_of(text_run, hearer(400, interrupt), resume=True)
    assert not state.exists()
    harvest_of(text_run, resume=True)
    assert left(text_run) == [name]


def test_what_the_engine_refuses_leaves_nothing_to_go_on_with(
    text_run: RunDirectory, harvest_of: Harvesting
) -> None:
    with pytest.raises(SpdError, match=r"threshold 1 is not in \[0, 1\)"):
        harvest_of(text_run, positions=120, threshold=0.99999999)  # one in single precision
    assert left(text_run) == []
