"""Pictures of the screens at fixed sizes, compared with those kept beside this file.

After a change that is meant: `pytest tests/spd_tui/test_snapshots.py --snapshot-update`, and look at them.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.image import SVGImageSnapshotExtension

from core.demo.synthetic import make_synthetic
from core.errors import UsageError
from core.runs.catalogue import open_run
from core.runs.observer import Silent
from spd_tui.app import SpdApp
from spd_tui.screenshot import picture, settle, take_screenshot

MADE = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Under the home folder, so that the path on the screen is the same everywhere."""
    monkeypatch.setenv("HOME", str(tmp_path))
    root = tmp_path / "spd_out"
    for seed, age in ((0, timedelta(hours=2)), (1, timedelta(days=3))):
        run = make_synthetic(root, 480, seed, Silent(), positions=2048, vocabulary=512, created=MADE - age)
        manifest = open_run(run.path).manifest
        manifest.update(host="login1", seconds=100.0).write(run.manifest)
    return root


@pytest.mark.parametrize(
    ("mode", "keys", "size"),
    [
        ("runs", (), (80, 24)),
        ("run", (), (120, 36)),
        ("components", ("j", "j"), (120, 36)),
        ("components", ("enter",), (60, 20)),
    ],
    ids=["runs", "run", "components", "card"],
)
async def test_a_screen_looks_as_it_did(
    snapshot: SnapshotAssertion, root: Path, mode: str, keys: tuple[str, ...], size: tuple[int, int]
) -> None:
    run = None if mode == "runs" else "synthetic-480"
    app = SpdApp(root, run, mode, clock=lambda: MADE, encoding="utf-8")
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)
        svg = picture(app)
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "").replace(
        "https://www.textualize.io", ""
    )
    assert svg == snapshot(extension_class=SVGImageSnapshotExtension)


def test_a_picture_may_be_narrowed(root: Path, tmp_path: Path) -> None:
    take_screenshot(root, "synthetic-480", "components/layer:mlp", tmp_path / "a.svg", clock=lambda: MADE)
    svg = (tmp_path / "a.svg").read_text()
    assert ".mlp." in svg and ".attn." not in svg
    with pytest.raises(UsageError, match=r"no screen 'component'.*components"):
        take_screenshot(root, "synthetic-480", "component/layer:mlp", tmp_path / "b.svg")
