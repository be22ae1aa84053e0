"""What importing really does, seen from a fresh interpreter: contracts cannot see deferred imports."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import core

FACES = ("typer", "click", "rich", "textual")
HARVEST_READERS = tuple(
    f"core.harvest.{name}" for name in ("artifact", "card", "catalogue", "filters", "listing", "queries")
)
DEFERRED = ("matplotlib", "scipy", "wandb", "transformers")
# Importing these is not our doing; they come first, so that what follows is.
THIRD_PARTY = ("einops", "jaxtyping", "numpy", "pydantic", "safetensors.torch", "torch", "yaml")

WATCH = """
import importlib, json, os, random, signal, sys, threading
for name in {before}: importlib.import_module(name)
seen = []
def hook(event, arguments):
    if event == "open" and isinstance(arguments[2], int):
        writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes: seen.append(["open", str(arguments[0])])
    elif event in ("os.mkdir", "os.rename", "os.remove", "subprocess.Popen", "socket.connect", "os.putenv"):
        seen.append([event, repr(arguments)])
def state():
    import numpy, torch
    return dict(
        threads=len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0,
        python_threads=[thread.name for thread in threading.enumerate()],
        handlers=[str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        environment=dict(os.environ), folder=os.getcwd(), excepthook=str(sys.excepthook),
        random=hash(random.getstate()), numpy=numpy.random.get_state()[1].tolist(),
        torch=torch.get_rng_state().tolist(), dtype=str(torch.get_default_dtype()),
        torch_threads=torch.get_num_threads(), grad=torch.is_grad_enabled(),
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )
before = state()
sys.addaudithook(hook)
for name in {names}: importlib.import_module(name)
did = list(seen)
after = state()
print(json.dumps(dict(did=did, changed=[key for key in before if before[key] != after[key]])))
"""

Run = Callable[..., Any]


def loaded_by(python: Run, statement: str, tmp_path: Path) -> set[str]:
    """Top-level names in sys.modules after `statement`."""
    script = (
        f"import json, sys\n{statement}\nprint(json.dumps(sorted({{n.split('.')[0] for n in sys.modules}})))"
    )
    return set(json.loads(python(script, cwd=tmp_path).stdout))


def test_core_is_ours(root: Path, python: Run, tmp_path: Path) -> None:
    # Another installed distribution with a top-level `core` would win silently.
    assert Path(core.__file__).parent == root / "core"
    names = "core, spd_cli, spd_tui"
    script = f"import {names}; print(*(module.__file__ for module in ({names})), sep='\\n')"
    found = python(script, cwd=tmp_path).stdout.splitlines()
    assert [Path(place).parent for place in found] == [root / "core", root / "spd_cli", root / "spd_tui"]


def test_the_command_line_starts_light(python: Run, tmp_path: Path) -> None:
    loaded = loaded_by(python, "import spd_cli.app", tmp_path)
    assert not loaded & {"torch", "numpy", *DEFERRED}
    assert "typer" in loaded


def test_settings_runs_and_the_list_of_recipes_open_without_torch(
    python: Run, modules: tuple[str, ...], tmp_path: Path
) -> None:
    light = [name for name in modules if name.startswith("core.runs") or name in HARVEST_READERS]
    assert len(light) > 3 + len(HARVEST_READERS)
    for name in ("core", "core.settings", "core.errors", "core.recipes.registry", *light):
        loaded = loaded_by(python, f"import {name}", tmp_path)
        assert not loaded & {"torch", *DEFERRED, *FACES}, name


def test_the_browser_opens_without_torch(python: Run, modules: tuple[str, ...], tmp_path: Path) -> None:
    every = [name for name in modules if name.startswith("spd_tui")]
    assert "spd_tui.app" in every
    loaded = loaded_by(python, "\n".join(f"import {name}" for name in every), tmp_path)
    assert "textual" in loaded and not loaded & {"torch", *DEFERRED}
    # What is needed before the first line is painted; tables are read after it.
    first = loaded_by(python, "import spd_tui.app", tmp_path)
    assert not first & {"torch", "numpy", "polars", *DEFERRED}


def test_core_loads_no_face_and_no_deferred_library(
    python: Run, modules: tuple[str, ...], tmp_path: Path
) -> None:
    # Ask about our own imports only: a library may bring its own command line along.
    first = "\n".join(f"import {name}" for name in THIRD_PARTY)
    brought = loaded_by(python, first, tmp_path)
    every = "\n".join(f"import {name}" for name in modules if name.startswith("core"))
    loaded = loaded_by(python, f"{first}\n{every}", tmp_path)
    assert {"core", "torch"} <= loaded
    assert not (loaded - brought) & {*FACES, *DEFERRED}
    assert not brought & set(FACES), "choose another way to see which faces core itself loads"


def test_importing_does_nothing(python: Run, modules: tuple[str, ...], tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    everything = (*modules, "typer", "rich.progress")
    script = WATCH.format(before=[*THIRD_PARTY, *everything[-2:]], names=list(modules))
    done = python(script, cwd=home, HOME=home, TMPDIR=home, SPD_OUT_DIR=home / "out")
    report = json.loads(done.stdout.splitlines()[-1])
    assert report == {"did": [], "changed": []}
    assert done.stdout.count("\n") == 1 and done.stderr == ""
    assert list(home.iterdir()) == []


def test_the_watch_sees_what_an_import_does(python: Run, tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(
        "import os, threading, torch\n"
        "open('left.txt', 'w').close()\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "torch.manual_seed(7)\n"
        "os.environ['BUSY'] = '1'\n"
    )
    script = WATCH.format(before=["torch", "numpy"], names=["busy"])
    report = json.loads(python(script, cwd=tmp_path).stdout)
    assert ["open", "left.txt"] in report["did"]
    assert {"python_threads", "torch", "environment"} <= set(report["changed"])
