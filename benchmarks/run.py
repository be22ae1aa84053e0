"""Every quick benchmark, one table after the other: what `make bench` runs (about fifteen minutes).

Longer ones by hand: `recipes.py` with more names, `seeds.py`, `harvest.py full` and `growth`.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Run them in order; the first that fails ends it."""
    for title, script, *arguments in (
        ("compiled kernels against plain torch", "kernels.py"),
        ("training steps against eager torch", "steps.py", "--seconds", "10"),
        ("whole recipes", "recipes.py", "tms_5-2", "tms_5-2-id"),
        ("the harvest against plain torch", "harvest.py", "ratio", "--components", "2000"),
        ("the browser against its goals", "tui.py"),
    ):
        print(f"\n== {title} ({script})", flush=True)
        subprocess.run([sys.executable, str(HERE / script), *arguments], check=True)


if __name__ == "__main__":
    main()
