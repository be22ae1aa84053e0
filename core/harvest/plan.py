"""The plan of a harvest: written once before anything is counted, and what a later session goes on with.

Batches are dealt out to the shards in turn: shard i of n counts the batches i, i + n, i + 2n, ... Which
batches there are, how large they are and on how many threads each is computed stands in the plan, not how
many workers share the shards: so the same values are counted however often the work is broken off and by
whomever it is done.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from core.devices import Precision
from core.errors import UsageError
from core.harvest.inputs import Kind
from core.harvest.settings import HarvestSettings
from core.numerals import grouped
from core.runs.files import read_json, write_json

PLAN_FILE = "plan.json"

PLAN_VERSION = 1


class HarvestPlan(BaseModel):
    """Everything that decides what a harvest counts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    version: int = PLAN_VERSION
    """Version of the work folder's layout."""
    name: str
    """Name of the harvest, also of its folder."""
    run_id: str
    """Run that is harvested."""
    run_digest: str
    """Hash of the run's settings."""
    target_digest: str
    """Names the target's weights and data."""
    checkpoint_step: int
    """Checkpoint of the run that is read."""
    settings: HarvestSettings
    """What is counted."""
    kind: Kind
    """What the sequences are of."""
    layers: tuple[tuple[str, int], ...]
    """Module paths with their numbers of components."""
    vocabulary: int
    """Token ids, or features."""
    length: int
    """Positions of a sequence."""
    sequences: int
    """Sequences to count."""
    batch_size: int
    """Sequences of a batch; the last one may be smaller."""
    shards: int
    """Parts of the work that are counted apart."""
    threads: int
    """CPU threads of each worker; the last bits of what the model computes depend on them."""
    device: str
    """Kind of device the model computes on: `cpu` or `cuda`."""
    precision: Precision
    """Precision of the matrix products."""
    save_seconds: float
    """A shard's state is saved about this often."""
    created: datetime
    """When the harvest was begun, UTC."""
    command: tuple[str, ...]
    """Command line that began it."""

    @property
    def batches(self) -> int:
        """Batches to count."""
        return -(-self.sequences // self.batch_size)

    @property
    def positions(self) -> int:
        """Positions to count."""
        return self.sequences * self.length

    def batches_of(self, shard: int) -> range:
        """Numbers of the batches of one shard."""
        return range(shard, self.batches, self.shards)

    def sequences_of(self, batch: int) -> int:
        """Sequences in one batch."""
        return min(self.batch_size, self.sequences - batch * self.batch_size)

    def positions_of(self, shard: int, batches: int) -> int:
        """Positions in the first `batches` batches of a shard."""
        numbers = self.batches_of(shard)[:batches]
        if not numbers:
            return 0
        return self.length * (self.batch_size * (len(numbers) - 1) + self.sequences_of(numbers[-1]))

    def write(self, work: Path) -> None:
        """Write the plan into its work folder.

        Raises:
            SpdError: the disk is full or the folder may not be written.
        """
        write_json(work / PLAN_FILE, self.model_dump(mode="json"))


def read_plan(work: Path) -> HarvestPlan:
    """The plan in a work folder.

    Raises:
        UsageError: missing, damaged, or of another version.
    """
    path = work / PLAN_FILE
    data = read_json(path)
    if data.get("version") != PLAN_VERSION:
        raise UsageError(
            f"{path} has version {data.get('version')!r}; this spd goes on with version {PLAN_VERSION}.",
            f"Remove {work} and harvest again.",
        )
    try:
        return HarvestPlan.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"{path} is damaged: {where}: {first['msg']}.", f"Remove {work} and harvest again."
        ) from error


def check_same(plan: HarvestPlan, wanted: dict[str, Any]) -> None:
    """Refuse to go on with a plan that is not what is asked for; `wanted` holds fields of it, or None.

    Raises:
        UsageError: something differs; everything that does is named.
    """
    found = {**plan.settings.model_dump(), **dict(plan)}
    differing = [
        _difference(plan, name, value, found[name])
        for name, value in wanted.items()
        if value is not None and value != found[name]
    ]
    if differing:
        raise UsageError(
            f"the unfinished harvest {plan.name} of {plan.run_id} was begun otherwise: "
            f"{'; '.join(differing)}.",
            "Give what it was begun with, name another with --harvest, or leave --resume out to begin one.",
        )


def _difference(plan: HarvestPlan, name: str, here: Any, there: Any) -> str:
    if name != "sequences":
        return f"{name} is {here} here and {there} there"
    # Nobody asks for sequences: what is given is tokens, or batches of them.
    unit = "samples are" if plan.kind == "features" else "tokens, in whole sequences, are"
    return f"{unit} {grouped(here * plan.length)} here and {grouped(there * plan.length)} there"
