"""The `spd` command: its subcommands, and how every error becomes a message and an exit code."""

import io
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Annotated

import typer

from core.errors import Interrupted, SpdError
from spd_cli import ranks, report
from spd_cli.commands import decompose, demo, harvest, pretrain, runs, tui

READER_GONE = 128 + signal.SIGPIPE
"""Exit code when the reader of the output has gone (`| head`): what a shell sees of other commands then."""

app = typer.Typer(
    name="spd",
    help="Stochastic parameter decomposition: take a trained network apart into simple mechanisms.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # plain help: it starts twice as fast
)
app.command("decompose")(decompose.decompose)
app.command("pretrain")(pretrain.pretrain)
app.command("harvest")(harvest.harvest)
app.add_typer(runs.app, name="runs")
app.command("tui")(tui.tui)
app.command("demo")(demo.demo)


def _print_version(wanted: bool) -> None:
    if wanted:
        from core import __version__

        report.result(f"spd {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; every error has been told on stderr by then.

    0 done; 1 failed; 2 asked for something impossible; 130 stopped by the user; 141 nobody reads the output.
    """
    try:
        return _run(arguments)
    except BrokenPipeError as error:
        return _broken_pipe(error)


def _run(arguments: list[str]) -> int:
    try:
        app(args=arguments, prog_name="spd")
    except SystemExit as finished:
        if isinstance(finished.__context__, BrokenPipeError):  # which Typer turns into a silent 1
            raise finished.__context__ from None
        if finished.code == 130:  # what Typer makes of Ctrl-C
            report.talk("stopped.")
        return finished.code if isinstance(finished.code, int) else int(finished.code is not None)
    except Interrupted as stopped:  # as asked: no error
        report.talk(str(stopped))
        return stopped.exit_code
    except SpdError as error:
        report.error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        report.talk("stopped.")
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        if ranks.lost_partner(error):
            report.error("another rank has ended, so this one cannot go on; the last checkpoint is there.")
        elif isinstance(error, OSError) and _is_of_typer(error):
            # It writes help, to stdout, and what is wrong with a command line, to stderr, which has a code.
            if (code := getattr(error.__context__, "exit_code", None)) is not None:
                return code
            report.error(str(report.unwritten_result(error)))
        else:
            report.error(_crash_message(error))
        return 1
    return 0


def main() -> None:
    """Entry point of the `spd` script."""
    # Read by OpenMP when torch is first imported. By default its idle threads spin, which on a shared
    # machine takes the core from whoever has work: a step of 3 ms then takes 100.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Tokens and bars have characters that not every locale knows; their numbers are better than a crash.
        sys.stdout.reconfigure(errors="backslashreplace")
        if isinstance(sys.stdout.buffer, io.RawIOBase):
            sys.stdout = _buffered(sys.stdout)
    sys.exit(_flushed(run(sys.argv[1:])))


def _buffered(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """The same with a buffer, which PYTHONUNBUFFERED takes away.

    Without one Python drops, in silence, what a single write leaves over: when the reader goes or the disk
    is full midway. Results are flushed when they are written, so none waits.
    """
    raw = io.FileIO(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=stream.isatty()
    )


def _broken_pipe(error: BrokenPipeError) -> int:
    """The exit code when writing failed: of a program that SIGPIPE ends, if it was output nobody reads."""
    if any(map(_is_unread, (1, 2))):
        return READER_GONE
    report.error(_crash_message(error))
    return 1


def _is_unread(descriptor: int) -> bool:
    """Whether the descriptor is a pipe or socket whose other end is closed."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _is_of_typer(error: Exception) -> bool:
    """Whether it was Typer itself, no command, that met the error."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals["__name__"].startswith(("typer.", "click."))


def _flushed(code: int) -> int:
    """Write out what waits; what cannot be written is dropped, of which Python would complain at its exit."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if isinstance(error, BrokenPipeError):
                code = READER_GONE
            elif stream is sys.stdout:
                code = code or 1
    return code


def _crash_message(error: Exception) -> str:
    message = f"unexpected {type(error).__name__}: {error}".rstrip(": ")
    try:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        with tempfile.NamedTemporaryFile(
            "w", prefix=f"spd-crash-{stamp}-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError:
        return message + "\n" + "".join(traceback.format_exception(error))
    return f"{message}\nThis is a fault of spd. The details are in {Path(file.name)}; please report them."
