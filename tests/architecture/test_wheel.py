"""What a wheel holds: a package left out of the build settings is missed only when someone installs it."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from core import __version__

pytestmark = pytest.mark.slow  # compiles the kernels, unless `target/` has them


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "maturin", "build", "--release", "--out", str(place), "--quiet"]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(root / "target")}
    interpreter = ["--interpreter", sys.executable]
    done = subprocess.run(
        [*command, *interpreter], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (built,) = place.glob("*.whl")
    return built


def test_wheel_runs_on_every_python_that_we_promise(wheel: Path, root: Path) -> None:
    assert re.match(rf"spd-{re.escape(__version__)}-cp311-abi3-\w+\.whl", wheel.name), wheel.name
    assert 'requires-python = ">=3.11"' in (root / "pyproject.toml").read_text()


def test_wheel_holds_the_packages_and_nothing_else(wheel: Path, sources: tuple[Path, ...]) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "core",
        "spd_cli",
        "spd_tui",
        f"spd-{__version__}.dist-info",
    }
    assert {str(path) for path in sources} == {name for name in names if name.endswith(".py")}
    compiled = [name for name in names if re.fullmatch(r"core/_harvest\.\S+\.(so|pyd)", name)]
    assert len(compiled) == 1, names
    data = {"core/py.typed", "spd_tui/spd.tcss"}
    assert {"core/_harvest.pyi", *data} <= set(names)
    rest = [n for n in names if not n.endswith((".py", ".pyi")) and n not in {*compiled, *data}]
    assert all(name.startswith(f"spd-{__version__}.dist-info/") for name in rest), rest


def test_the_unpacked_wheel_runs_without_the_project(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = (
        "import core.native, spd_cli.app, pathlib\n"
        f"assert pathlib.Path(core.__file__).is_relative_to({str(tmp_path)!r}), core.__file__\n"
        "assert spd_cli.app.run(['decompose', '--list']) == 0"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "tms_5-2" in done.stdout
    entry_points = next(tmp_path.glob("*.dist-info/entry_points.txt")).read_text()
    assert "spd=spd_cli.app:main" in entry_points.replace(" ", "")
