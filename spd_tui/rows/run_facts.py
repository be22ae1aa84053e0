"""How a run stands, in a few words: pure."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from core.numerals import grouped
from core.runs.overview import RunOverview
from spd_tui.rows.pace import mean_pace, pace_text
from spd_tui.rows.runs import SIGNS, duration

WHERE_OTHERS_ARE = "`:runs` shows the runs that are left."
"""What to do when the run that is open has been deleted."""


def deleted_text(path: Path) -> str:
    """What is said of a run whose folder has gone, and what to do."""
    return f"{path} has been deleted. {WHERE_OTHERS_ARE}"


def facts(overview: RunOverview, now: datetime, resumed: bool = False) -> str:
    """Status, steps, and how long it took or has left: `▶ running 340/800  63 steps/min, 7m left`."""
    steps = f"{grouped(overview.step)}/{grouped(overview.steps)} steps"
    parts = [f"{SIGNS[overview.status]} {overview.status} {steps}"]
    if overview.status == "running":
        # A run that was resumed stood still for a time that nobody knows.
        if not resumed and (pace := mean_pace(overview)):
            left = (overview.steps - overview.step) / pace
            parts.append(f"{pace_text(pace)}, {duration(left)} left")
        if overview.updated is not None and (now - overview.updated).total_seconds() > 60:
            parts.append(f"nothing logged for {duration((now - overview.updated).total_seconds())}")
    else:
        parts.append(duration(overview.seconds))
    return "  ".join(parts)


def seconds_a_step(manifest: Mapping[str, Any]) -> float | None:
    """Mean time of a training step up to the last checkpoint; None before the first."""
    step, seconds = manifest.get("step"), manifest.get("seconds")
    return float(seconds) / int(step) if step and seconds else None
