"""What the tests of the browser share: a home of their own, runs to look at, quick looks at the disk."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes what the person running it has."""
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLORTERM", "truecolor")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An output folder with a run of each kind."""
    from tests.spd_tui.sample_runs import write_examples

    write_examples(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def harvested_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with two small harvested runs, for tests that leave them as they are."""
    from core.demo.synthetic import make_synthetic
    from core.runs.observer import Silent

    root = tmp_path_factory.mktemp("root")
    for seed in (0, 1):
        make_synthetic(root, 480, seed, Silent(), positions=2048, vocabulary=512)
    return root


@pytest.fixture
def bare_screens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modes lead to bare screens."""
    from tests.spd_tui.stub_screens import use_bare_screens

    use_bare_screens(monkeypatch)


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at a run follow one another quickly, so that tests wait for conditions and not for seconds."""
    monkeypatch.setattr("spd_tui.screens.following.RUNNING_SECONDS", 0.15)
    monkeypatch.setattr("spd_tui.screens.following.RESTING_SECONDS", 0.15)


@pytest.fixture(scope="session")
def harvested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with one run and its two harvests, which tests only read."""
    from tests.spd_tui.component_pilot import make_harvested

    return make_harvested(tmp_path_factory.mktemp("harvested"))
