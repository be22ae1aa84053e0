"""Unfinished harvests: any of them can be named to go on with, and it is told how far each is."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import core.harvest.unfinished as unfinished
from core.errors import Interrupted, UsageError
from core.harvest.run import HarvestResult
from core.harvest.shards import ShardStates
from core.harvest.unfinished import choose_unfinished, remove_finished_work, unfinished_harvests
from core.runs.directory import RunDirectory
from core.runs.lock import ProcessLock

Harvesting = Callable[..., HarvestResult]


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def two(text_run: RunDirectory, harvest_of: Harvesting, hearer: Any) -> list[str]:
    """Names of two that were broken off, oldest first; they differ in their threshold."""
    for threshold in (0.25, 0.5):
        with pytest.raises(Interrupted):
            harvest_of(text_run, hearer(100, interrupt), positions=1200, batch_size=4, threshold=threshold)
    return text_run.unfinished_harvests()


def test_the_older_one_can_be_named(
    text_run: RunDirectory,
    harvest_of: Harvesting,
    two: list[str],
    same_tables: Callable[[Path, Path], None],
) -> None:
    whole = harvest_of(text_run, positions=1200, batch_size=4, threshold=0.25).folder
    resumed = harvest_of(text_run, resume=True, harvest=two[0], threshold=0.25).folder
    assert resumed.name == two[0]
    same_tables(whole, resumed)
    assert text_run.unfinished_harvests() == two[1:]
    assert choose_unfinished(text_run).name == two[1]


def test_what_does_not_fit_the_newest_is_told_with_the_way_to_another(
    text_run: RunDirectory, harvest_of: Harvesting, two: list[str]
) -> None:
    with pytest.raises(
        UsageError, match=r"threshold is 0.25 here and 0.5 there.*name another with --harvest"
    ):
        harvest_of(text_run, resume=True, threshold=0.25)


def test_how_far_each_is(text_run: RunDirectory, two: list[str]) -> None:
    found = unfinished_harvests(text_run)
    assert [harvest.name for harvest in found] == two[::-1]
    for harvest in found:
        assert harvest.positions == 1200 and harvest.counted is not None
        assert 100 <= harvest.counted < 1200 and harvest.share == f"{harvest.counted // 12} %"
        assert harvest.worked_on_by is None and harvest.problem is None and harvest.folder.is_dir()
    with ProcessLock(text_run.harvest_lock(two[0]), "the harvest"):
        newest, oldest = unfinished_harvests(text_run)
    assert newest.worked_on_by is None and str(oldest.worked_on_by).startswith("process ")


def test_a_damaged_plan_is_listed_with_what_is_wrong(text_run: RunDirectory, two: list[str]) -> None:
    (text_run.harvest_work(two[1]) / "plan.json").write_text("{")
    newest, oldest = unfinished_harvests(text_run)
    assert newest.share == "damaged" and "plan.json" in str(newest.problem) and not newest.waiting
    assert oldest.problem is None and oldest.waiting


def test_the_newest_is_gone_on_with_that_waits_for_it(
    text_run: RunDirectory, harvest_of: Harvesting, two: list[str], hearer: Any
) -> None:
    def told() -> str:
        observer = hearer()
        harvest_of(text_run, observer, positions=120)
        (text,) = (text for text in observer.messages if "is unfinished" in text)
        return text

    with ProcessLock(text_run.harvest_lock(two[1]), "the harvest"):
        assert choose_unfinished(text_run).name == two[0]
        assert f"--resume --harvest {two[0]} goes on" in told()
        with ProcessLock(text_run.harvest_lock(two[0]), "the harvest"):
            assert choose_unfinished(text_run).name == two[1]
    (text_run.harvest_work(two[1]) / "plan.json").write_text("{")
    assert choose_unfinished(text_run).name == two[0]
    assert f"--resume --harvest {two[0]} goes on" in told() and "more" not in told()
    assert harvest_of(text_run, resume=True).folder.name == two[0]
    with pytest.raises(UsageError, match=rf"{two[1]}.*plan\.json is not valid"):
        choose_unfinished(text_run)


def test_one_that_goes_while_it_is_looked_at_is_left_out(
    text_run: RunDirectory, two: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, batches = unfinished.read_plan, ShardStates.batches

    def removed_before_its_plan_is_read(work: Path) -> Any:
        if work == text_run.harvest_work(two[1]):
            shutil.rmtree(work)
        return read(work)

    def removed_before_its_states_are_seen(states: ShardStates) -> int:
        shutil.rmtree(states.work)
        return batches(states)

    monkeypatch.setattr(unfinished, "read_plan", removed_before_its_plan_is_read)
    (found,) = unfinished_harvests(text_run)
    assert found.name == two[0]
    monkeypatch.setattr(ShardStates, "batches", removed_before_its_states_are_seen)
    assert unfinished_harvests(text_run) == []


def test_what_is_left_of_a_finished_one_goes_unless_somebody_is_at_it(
    text_run: RunDirectory, harvest_of: Harvesting, two: list[str]
) -> None:
    text_run.harvest(two[0]).mkdir()
    (text_run.harvest(two[0]) / "manifest.json").write_text("{}")
    with ProcessLock(text_run.harvest_lock(two[0]), "the harvest"):
        remove_finished_work(text_run)
        assert text_run.unfinished_harvests() == two
    harvest_of(text_run, positions=120)
    assert text_run.unfinished_harvests() == two[1:]


def test_a_new_harvest_tells_of_the_unfinished(
    text_run: RunDirectory, harvest_of: Harvesting, two: list[str], hearer: Any
) -> None:
    observer = hearer()
    harvest_of(text_run, observer, positions=120)
    (told,) = (text for text in observer.messages if "is unfinished" in text)
    assert two[1] in told and "1 more: --unfinished lists them" in told


def test_names_that_cannot_be_gone_on_with(
    text_run: RunDirectory, harvest_of: Harvesting, two: list[str]
) -> None:
    done = harvest_of(text_run, positions=120).folder.name
    with pytest.raises(UsageError, match=rf"{done} .* is finished.*--list --harvest {done}"):
        choose_unfinished(text_run, done)
    with pytest.raises(UsageError, match=rf"no unfinished harvest h-1\. Unfinished: {two[1]} \(\d+ %\)"):
        choose_unfinished(text_run, "h-1")


def test_without_any_a_name_is_refused_too(toy_run: RunDirectory) -> None:
    with pytest.raises(UsageError, match="no unfinished harvest h-1, nor any other"):
        choose_unfinished(toy_run, "h-1")
