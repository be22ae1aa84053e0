import signal
from pathlib import Path

import pytest

from core.decomposition.settings import settings_from
from core.demo import real
from core.errors import Interrupted
from core.harvest.artifact import Harvest
from core.runs.catalogue import list_runs, open_run
from core.runs.observer import Silent

SHORT = {
    "target": {
        "kind": "toy_superposition",
        "n_features": 3,
        "n_hidden": 3,
        "data": {"probability": 0.2},
        "training": {"steps": 500, "batch_size": 256, "lr": 1e-2},
    },
    "components": {"modules": [{"pattern": "linear*", "C": 6}]},
    "losses": {"stochastic": {"kind": "reconstruction", "coeff": 1}},
    "training": {"steps": 20, "batch_size": 128, "lr": {"start": 1e-3}},
    "evaluation": {"every": 20, "figures_every": 20, "batches": 1},
}


@pytest.fixture
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from(SHORT, "test")
    monkeypatch.setattr(real, "build_recipe", lambda name: settings)
    monkeypatch.setattr(real, "_POSITIONS", 512)


@pytest.mark.usefixtures("briefly")
def test_decomposes_and_harvests_once_and_takes_no_unfinished_run(tmp_path: Path) -> None:
    run = real.make_demo(tmp_path, Silent())
    assert open_run(run.path).status == "finished"
    (name,) = run.harvest_names()
    assert Harvest(run.harvest(name)).positions >= 512
    assert real.make_demo(tmp_path, Silent()) == run
    assert run.harvest_names() == [name]
    assert len(list((tmp_path / "runs").iterdir())) == 1
    open_run(run.path).manifest.update(status="interrupted").write(run.manifest)
    assert real.finished(tmp_path, open_run(run.path).manifest.settings_digest) is None


class _Interrupting:
    """Presses Ctrl-C when a phase is heard of."""

    def __init__(self, phase: str) -> None:
        self._phase = phase

    def message(self, text: str) -> None:
        pass

    def progress(self, phase: str, done: int, total: int, note: str = "", unit: str | None = "step") -> None:
        if phase == self._phase:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("briefly")
@pytest.mark.parametrize("phase", ["decompose", "harvest"])
def test_what_was_stopped_goes_on(tmp_path: Path, phase: str) -> None:
    with pytest.raises(Interrupted):
        real.make_demo(tmp_path, _Interrupting(phase))
    (begun,) = list_runs(tmp_path)
    run = real.make_demo(tmp_path, Silent())
    assert run == begun.directory and len(list_runs(tmp_path)) == 1
    assert len(run.harvest_names()) == 1 and not run.unfinished_harvests()
