"""The `spd` command as a whole: quick help, exit codes, and what is said where."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from core import __version__
from core.errors import Interrupted, SpdError, UsageError
from spd_cli import app
from spd_cli.commands import runs

HEAVY = ("torch", "matplotlib", "wandb", "scipy", "numpy", "rich.progress")


def spd(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spd_cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["decompose", "--help"],
        ["harvest", "--help"],
        ["tui", "--help"],
        ["demo", "--help"],
        ["runs", "--help"],
        ["runs", "list"],
        ["decompose", "--list"],
    ],
)
def test_light_commands_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from spd_cli.app import run\n"
        f"assert run({arguments!r}) == 0\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    environment = {**os.environ, "SPD_OUT_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr


def cpu_seconds_of_help() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert spd("--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_is_quick() -> None:
    # The least of several: other work on the machine slows single runs down.
    assert min(cpu_seconds_of_help() for _ in range(5)) < 0.3


def test_help_names_every_command() -> None:
    text = spd("--help").stdout
    assert {"decompose", "pretrain", "harvest", "runs", "tui", "demo"} <= set(text.split())


def test_version() -> None:
    assert spd("--version").stdout == f"spd {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["decompos"], "decompos"),
        (["runs", "show"], "RUN"),
        (["decompose", "--no-such-flag"], "--no-such-flag"),
        (["decompose", "tms_5-2", "--precision", "fp64"], "bf16"),
        (["decompose"], "--list"),
        (["decompose", "tms_52"], "tms_5-2"),
        (["runs", "pull", "somewhere"], "wandb:entity/project/run_id"),
        (["runs", "import", "/nowhere/at/all"], "/nowhere/at/all"),
        (["harvest"], "RUN"),
        (["harvest", "tms_5-2"], "spd decompose"),
        (["harvest", "tms_5-2", "--precision", "fp64"], "bf16"),
        (["tui"], "needs a terminal"),
        (["tui", "--size", "3x3"], "--size '3x3'"),
        (["tui", "tms_5-2", "--demo"], "--demo"),
        (["tui", "tms_5-2", "--screenshot", "runs", "a.svg"], "no runs"),
        (["demo", "--components", "0"], "--components"),
    ],
)
def test_wrong_requests_end_with_2_and_leave_nothing(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    done = spd(*arguments, SPD_OUT_DIR=str(tmp_path))
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """The exit code of a command line whose work raises `error`."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(runs, "_import", fail)
    return app.run(["runs", "import", "."])


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UsageError("bad.", "Do this."), 2, "error: bad. Do this.\n"),
        (SpdError("bad.", "Do this."), 1, "error: bad. Do this.\n"),
        (Interrupted("stopped.", "Do this."), 130, "stopped. Do this.\n"),
    ],
)
def test_our_errors_are_told_in_one_line(
    error: SpdError,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert failing(monkeypatch, error) == code
    told = capsys.readouterr()
    assert told.err == words and told.out == ""


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(monkeypatch, KeyboardInterrupt()) == 130
    assert "stopped" in capsys.readouterr().err


def test_unexpected_errors_leave_a_crash_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert failing(monkeypatch, ZeroDivisionError("by nought")) == 1
    told = capsys.readouterr()
    (crash,) = tmp_path.iterdir()
    assert "unexpected ZeroDivisionError: by nought" in told.err and str(crash) in told.err
    assert "Traceback" not in told.err and told.out == ""
    assert "Traceback" in crash.read_text() and "by nought" in crash.read_text()


def test_unexpected_errors_are_told_even_without_a_place_for_the_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    assert failing(monkeypatch, ZeroDivisionError("by nought")) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stdout", "code", "words"), [("/dev/full", 1, "cannot write the result"), ("&-", 0, "")]
)
def test_a_result_nobody_can_take_is_no_fault_of_ours(
    stdout: str, code: int, words: str, tmp_path: Path
) -> None:
    for arguments in ("--list", "--list --json"):
        script = f"{sys.executable} -m spd_cli decompose {arguments} >{stdout}"
        environment = {**os.environ, "SPD_OUT_DIR": str(tmp_path)}
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == code and words in done.stderr and "fault" not in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("--help >/dev/full", 1, "cannot write the result to standard output"),
        ("harvest --help >/dev/full", 1, "cannot write the result to standard output"),
        ("--help >/dev/full 2>&1", 1, ""),
        ("no-such-command 2>/dev/full", 2, ""),
        ("decompose no-such-recipe 2>/dev/full", 2, ""),
        ("runs list 2>/dev/full", 0, ""),
    ],
)
def test_a_full_disk_is_no_fault_of_ours(
    command: str, code: int, words: str, unbuffered: str, tmp_path: Path
) -> None:
    (tmp_path / "crashes").mkdir()
    environment = f"export PYTHONUNBUFFERED={unbuffered} TMPDIR={tmp_path}/crashes"
    done = shell(f"{environment}; {sys.executable} -m spd_cli {command}", tmp_path)
    assert done.returncode == code and words in done.stderr and bool(words) == bool(done.stderr)
    assert list((tmp_path / "crashes").iterdir()) == []


def test_an_error_of_the_system_within_a_command_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert failing(monkeypatch, OSError(errno.ENOSPC, "No space left on device")) == 1
    assert "unexpected OSError" in capsys.readouterr().err


def test_a_closed_stderr_sends_no_talk_to_stdout(tmp_path: Path) -> None:
    script = f"{sys.executable} -m spd_cli runs list 2>&-"
    environment = {**os.environ, "SPD_OUT_DIR": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    "command",
    [
        "decompose --list",
        "decompose --list --json",
        "--help",
        "decompose --list 2>&4",
        "no-such-command 2>&4",
    ],
)
def test_a_reader_that_has_gone_ends_the_command_as_it_ends_others(command: str, tmp_path: Path) -> None:
    # The command starts when nobody is there to read any more.
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = f"exec 3<>{fifo} 4>{fifo}; exec 3<&-; {sys.executable} -m spd_cli {command} >&4"
    done = shell(script, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (141, "", "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_midway_ends_the_command_as_it_ends_others(unbuffered: str) -> None:
    # A pipe holds 64 KiB, so what is left of one long result cannot be written.
    script = (
        "from spd_cli import app, report; rows = [('x' * 100, row) for row in range(4000)]; "
        "app.app.command('rows')(lambda: report.result_table(('text', 'row'), rows)); app.main()"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", script, "rows"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    with command:
        assert command.stdout is not None and command.stderr is not None
        assert command.stdout.read(100)
        command.stdout.close()
        assert (command.stderr.read(), command.wait()) == (b"", 141)


def test_another_broken_pipe_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert failing(monkeypatch, BrokenPipeError(errno.EPIPE, "Broken pipe")) == 1
    assert "unexpected BrokenPipeError" in capsys.readouterr().err


def shell(script: str, out: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SPD_OUT_DIR": str(out)}
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=environment, check=False
    )
