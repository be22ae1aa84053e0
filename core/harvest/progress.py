"""How far a harvest is, and how fast it goes."""

from time import monotonic

from core.harvest.plan import HarvestPlan
from core.numerals import grouped
from core.runs.observer import Observer


class HarvestProgress:
    """Adds up what the shards have counted, and tells an observer."""

    def __init__(self, plan: HarvestPlan, observer: Observer) -> None:
        self._plan = plan
        self._observer = observer
        self._unit = "samples" if plan.kind == "features" else "tokens"
        self._counted = dict.fromkeys(range(plan.shards), 0)
        self._began = self._last = 0.0
        self._before = 0

    def start(self, counted: dict[int, int]) -> None:
        """The clock starts: so many positions of each shard are there from before."""
        self._counted.update(counted)
        self._before = self.positions
        self._began = self._last = monotonic()
        self._tell()

    @property
    def positions(self) -> int:
        """Positions counted so far, by all shards."""
        return sum(self._counted.values())

    def counted(self, shard: int, batches: int) -> None:
        """A shard has counted so many of its batches."""
        now = self._plan.positions_of(shard, batches)
        # A shard whose state was lost falls back: what it counts a second time is work all the same.
        self._before -= max(0, self._counted[shard] - now)
        self._counted[shard] = now
        self._last = monotonic()
        self._tell()

    def rate(self) -> float | None:
        """Positions counted a second until the last one, all workers together; None if there are none yet."""
        if self.positions == self._before:
            return None
        return (self.positions - self._before) / max(self._last - self._began, 1e-9)

    def _tell(self) -> None:
        rate = self.rate()
        note = "" if rate is None else f"{grouped(rate)} {self._unit}/s"
        self._observer.progress("harvest", self.positions, self._plan.positions, note, None)
