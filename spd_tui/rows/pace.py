"""How fast a run trains."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.numerals import three_digits
from spd_tui.rows.runs import RunRow

if TYPE_CHECKING:
    from core.runs.overview import RunOverview


def pace_text(pace: float) -> str:
    """Steps a second, of slow runs a minute."""
    return f"{three_digits(pace)} steps/s" if pace >= 1 else f"{three_digits(60 * pace)} steps/min"


def mean_pace(overview: "RunOverview") -> float | None:
    """Steps a second since a run was made, which stood still before it was resumed; None without steps."""
    if overview.updated is None or overview.step <= 0:
        return None
    seconds = (overview.updated - overview.created).total_seconds()
    return overview.step / seconds if seconds > 1 else None


class Pace:
    """Steps a second of running runs, from what their logs said at two looks."""

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[float, int]]] = {}

    def look(self, rows: Sequence[RunRow]) -> None:
        """Take in what the runs have logged by now."""
        running = {row.run_id: row.overview for row in rows if row.is_running and row.overview}
        self._seen = {run_id: seen for run_id, seen in self._seen.items() if run_id in running}
        for run_id, overview in running.items():
            if overview.updated is None:
                continue
            seen = self._seen.setdefault(run_id, [])
            point = (overview.updated.timestamp(), overview.step)
            if seen and point[1] < seen[-1][1]:
                seen.clear()
            if not seen or point[1] > seen[-1][1]:
                seen.append(point)
            del seen[:-30]

    def of(self, row: RunRow, resumed: bool | None) -> float | None:
        """Steps a second of a running run; None when nothing tells.

        The time since it was made tells only of a run that is known not to have been `resumed`.
        """
        overview = row.overview
        if overview is None or not row.is_running:
            return None
        seen = self._seen.get(row.run_id, [])
        if len(seen) > 1 and seen[-1][0] > seen[0][0]:
            return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])
        return mean_pace(overview) if resumed is False else None
