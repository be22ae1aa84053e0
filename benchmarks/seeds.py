"""Run one recipe from several seeds and say how many recover the known answer.

python benchmarks/seeds.py [RECIPE] [--seeds N] [--out DIR] [--jobs N]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def run(recipe: str, seed: int, out: str) -> dict[str, Any]:
    """The summary of one whole run in a process of its own."""
    command = [sys.executable, "-m", "spd_cli", "decompose", recipe, "--device", "cpu", "--json", "--quiet"]
    command += ["--seed", str(seed), "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"seed": seed, "recovered": None, "verdict": {"headline": done.stderr.strip()}}
    return json.loads(done.stdout)


def main() -> None:
    """Print one line a seed, then the count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", nargs="?", default="tms_5-2")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", help="folder of the runs (default: a temporary one)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(arguments.jobs) as pool:
        out = arguments.out or scratch
        summaries = pool.map(lambda seed: run(arguments.recipe, seed, out), range(arguments.seeds))
        good = 0
        for found in summaries:
            good += found["recovered"] is True
            print(f"seed {found['seed']}: {found['verdict']['headline']}", _numbers(found), flush=True)
    print(f"{good} of {arguments.seeds} seeds of {arguments.recipe} recovered the known answer")


def _numbers(found: dict[str, Any]) -> str:
    rounded = {
        name: {module: round(value, 5) for module, value in found.get(name, {}).items()}
        for name in ("live_components", "identity_ci_error", "dense_ci_error", "mmcs", "ml2r")
    }
    shown = {name: values for name, values in rounded.items() if values}
    return json.dumps(shown | {"seconds": round(found.get("seconds", 0.0), 1)})


if __name__ == "__main__":
    main()
