"""Run whole recipes, one after the other, and print what they found and what they cost.

    python benchmarks/recipes.py [RECIPE ...] [--out DIR]

Seconds hold everything: start of the program, training of the target, decomposition, evaluation and figures.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from time import perf_counter

PUBLISHED_SECONDS = {
    "tms_5-2": 311,
    "tms_5-2-id": 367,
    "tms_40-10": 4362,
    "tms_40-10-id": 16_300,
    "resid_mlp1": 1865,
    "resid_mlp2": 6275,
}
"""The original implementation on 2 CPU cores: target and loop (tms_5-2: with its evaluation, as measured)."""


def main() -> None:
    """Print one row a recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="*", default=["tms_5-2", "tms_5-2-id"])
    parser.add_argument("--out", help="folder of the runs (default: a temporary one)")
    arguments = parser.parse_args()
    print(f"{'recipe':14}{'seconds':>9}{'published':>11}{'ratio':>7}{'peak GB':>9}  answer")
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.recipes:
            command = [sys.executable, "-m", "spd_cli", "decompose", name, "--device", "cpu"]
            command += ["--json", "--quiet", "--out", arguments.out or scratch]
            start = perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds = perf_counter() - start
            found = json.loads(done.stdout)
            published = PUBLISHED_SECONDS.get(name, float("nan"))
            peak = found["peak_memory_bytes"] / 1e9
            print(f"{name:14}{seconds:9.1f}{published:11.0f}{published / seconds:7.1f}{peak:9.2f}  ", end="")
            print("; ".join(f"{key}: {text}" for key, text in found["verdict"].items()), flush=True)


if __name__ == "__main__":
    main()
