"""What every metric of `evaluation.metrics` offers.

A metric measures sums and counts, which add up over batches and over the ranks of a data-parallel run; only
the means of the whole evaluation are turned into the numbers that are reported. Every batch's target pass and
importances are computed once for all metrics together.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from core.errors import UsageError
from core.losses.context import LossContext, Measurement
from core.settings import Settings


@dataclass(frozen=True)
class EvaluationBatches:
    """The batches of an evaluation, to be gone through as often as one likes.

    Target pass and importances are computed again each time, so that no more than one batch is held.
    """

    count: int
    """How many there are."""
    context: Callable[[int], LossContext]
    """Makes the context of one of them; every rank its share of the rows."""

    def __iter__(self) -> Iterator[LossContext]:
        return (self.context(index) for index in range(self.count))

    def first(self, count: int) -> "EvaluationBatches":
        """The first few, or all if there are fewer."""
        return EvaluationBatches(min(count, self.count), self.context)


Result = dict[str, float | str]
"""What a metric reports: numbers, and names such as that of the worst subset."""


class Metric(Settings):
    """One metric; a metric overrides the method it needs and inherits that the others measure nothing."""

    slow: ClassVar[bool] = False
    """Whether it is left to the evaluations with figures and the last one, because it takes long."""

    def check(self, name: str, model: nn.Module, sites: list[str]) -> None:
        """Refuse settings that do not fit the model; `sites` are its decomposed modules.

        Raises:
            UsageError: naming the setting under `evaluation.metrics.<name>` and what there is.
        """

    def measure(self, context: LossContext, name: str) -> dict[str, Measurement]:
        """Sums and counts of one batch; `name` keeps the noise of two metrics apart."""
        return {}

    def measure_all(self, batches: EvaluationBatches, name: str) -> dict[str, Measurement]:
        """Sums and counts of what needs all batches at once, over all of them."""
        return {}

    def finish(self, means: Mapping[str, float]) -> Result:
        """What is reported, from the means of everything measured over all batches and ranks."""
        return dict(means)


def no_match(name: str, field: str, pattern: str, sites: list[str]) -> UsageError:
    """The error for a pattern that fits no decomposed module."""
    return UsageError(
        f"evaluation.metrics.{name}.{field}: {pattern!r} matches no decomposed module.",
        f"Modules: {', '.join(sites)}.",
    )
