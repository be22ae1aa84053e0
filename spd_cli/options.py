"""Options that more than one command has, declared once."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Run id (or its beginning), path, `latest`, or a recipe: its newest run."
    ),
]

OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Folder of all runs and targets.  [default: $SPD_OUT_DIR or ~/spd_out]"
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON value, nothing else.")]

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no messages.")]

DeviceOption = Annotated[
    str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N.", show_default=True)
]

PrecisionOption = Annotated[
    Literal["auto", "fp32", "bf16"],
    typer.Option("--precision", help="Of the training steps; auto measures which is faster here."),
]

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one setting, e.g. training.steps=2000. Repeatable."
    ),
]

SeedOption = Annotated[
    int | None, typer.Option("--seed", min=0, help="Seed of every random draw; short for --set seed=N.")
]

DpOption = Annotated[
    int | None,
    typer.Option(
        "--dp", metavar="N", min=1, help="Share every batch among N processes, on as many GPUs or on the CPU."
    ),
]

ListOption = Annotated[bool, typer.Option("--list", help="List the recipes with the time they take.")]

PrintOption = Annotated[
    bool, typer.Option("--print-settings", help="Print the whole settings as YAML, and stop.")
]


def command(*words: str, out: Path | None) -> str:
    """A command to tell the user, for the same folder of runs."""
    return shlex.join([*words, *([] if out is None else ["--out", str(out)])])
