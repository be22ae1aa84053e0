"""How bad an adversary with a given budget can make the reconstruction.

The number grows with the budget without end in sight, so it means nothing without it: every name and every
entry of the summary says how many steps of what length were made, from where, and on how much data at once.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from core.components.routing import RouteAll, RoutingSettings
from core.decomposition.metrics.metric import EvaluationBatches, Metric
from core.losses.adversary import source_masks
from core.losses.context import LossContext, Measurement

Sources = dict[str, Tensor]
Start = Literal["random", "ones", "zeros"]


class Adversary(Metric):
    """Projected gradient ascent on the sources of the masks g + (1 - g) s, looked at after some of its steps.

    Each step moves every source by `step_size` up the sign of the gradient and clamps it to [0, 1]. With a
    weight delta in the decomposition the sources have one more channel, its mask. Longer budgets go on from
    shorter ones, which is what starting anew would have given.
    """

    budgets: tuple[int, ...] = (20,)
    """Steps of ascent after which the divergence is reported, ascending."""

    step_size: float = Field(default=0.1, gt=0)
    """Length of one step."""

    init: Start = "random"
    """Where the ascent starts."""

    routing: RoutingSettings = RouteAll()
    """Which modules are replaced, and where."""

    @model_validator(mode="after")
    def _check_budgets(self) -> "Adversary":
        ascending = all(a < b for a, b in pairwise(self.budgets))
        if not self.budgets or self.budgets[0] < 0 or not ascending:
            raise ValueError(f"budgets = {list(self.budgets)} must be numbers of steps in ascending order")
        return self

    def data(self, batches: int) -> str:
        """What one ascent sees at once, in an evaluation of so many batches."""
        raise NotImplementedError

    def budget_names(self, batches: int) -> dict[int, str]:
        """The name of each budget in an evaluation of so many batches, with everything it consists of."""
        data = self.data(batches).replace(" ", "_")
        return {
            steps: f"loss/{steps}_steps_of_{self.step_size:g}_from_{self.init}_on_{data}"
            for steps in self.budgets
        }

    def _climb(
        self,
        sources: Sources,
        gradient: Callable[[Sources], Sources],
        measure: Callable[[Sources], Measurement],
        names: Mapping[int, str],
    ) -> dict[str, Measurement]:
        found: dict[str, Measurement] = {}
        for step in range(self.budgets[-1] + 1):
            if step in names:
                found[names[step]] = measure(sources)
            if step < self.budgets[-1]:
                rising = gradient(sources)
                sources = {
                    name: (source + self.step_size * rising[name].sign()).clamp(0, 1)
                    for name, source in sources.items()
                }
        return found

    def _start(self, context: LossContext, key: str, leading: torch.Size, shared: bool) -> Sources:
        found: Sources = {}
        for index, name in enumerate(context.sites):
            shape = torch.Size((*leading, context.model.sites[name].C + int(context.weight_delta)))
            if self.init == "random":
                draw = context.key(f"{key}/adversary", index)
                found[name] = (draw.whole() if shared else draw).uniform(shape, context.device)
            else:
                found[name] = torch.full(shape, float(self.init == "ones"), device=context.device)
        return found

    def _losses(self, context: LossContext, sources: Sources, key: str) -> Iterator[Measurement]:
        draw = context.key(f"{key}/routing")
        for routed in self.routing.passes(context.sites, context.positions, draw, context.device):
            yield context.compare(context.run(source_masks(context, routed, sources))[0])

    def _measured(self, context: LossContext, sources: Sources, key: str) -> Measurement:
        return Measurement.merged(list(self._losses(context, sources, key)))

    def _gradient(self, context: LossContext, sources: Sources, key: str) -> Sources:
        """Gradient of the summed loss by the sources; a module that cannot reach the output has none."""
        leaves = {name: source.detach().requires_grad_(True) for name, source in sources.items()}
        total = {name: torch.zeros_like(source) for name, source in sources.items()}
        with torch.enable_grad():
            for part in self._losses(context, leaves, key):
                gradients = torch.autograd.grad(part.total, list(leaves.values()), allow_unused=True)
                for name, gradient in zip(leaves, gradients, strict=True):
                    if gradient is not None:
                        total[name] += gradient
        return total


class AdversaryMetric(Adversary):
    """The divergence an adversary reaches on each batch by itself, mean over batches."""

    kind: Literal["adversary"] = "adversary"

    slow: ClassVar[bool] = True

    scope: Literal["unique_per_datapoint", "shared_across_batch"] = "shared_across_batch"
    """Whether every position has sources of its own or all of a batch share one set."""

    def data(self, batches: int) -> str:
        """One batch, or one position."""
        return "each batch" if self.scope == "shared_across_batch" else "each position"

    def measure(self, context: LossContext, name: str) -> dict[str, Measurement]:
        """The divergence after each budget."""
        shared = self.scope == "shared_across_batch"
        leading = torch.Size([1] * len(context.positions)) if shared else context.positions

        def gradient(sources: Sources) -> Sources:
            found = self._gradient(context, sources, name)
            return {site: context.ranks.sum(g) for site, g in found.items()} if shared else found

        start = self._start(context, name, leading, shared)
        names = self.budget_names(1)
        return self._climb(start, gradient, lambda sources: self._measured(context, sources, name), names)


class MultiBatchAdversaryMetric(Adversary):
    """The divergence an adversary reaches with one set of sources for many batches and all positions."""

    kind: Literal["multi_batch_adversary"] = "multi_batch_adversary"

    slow: ClassVar[bool] = True

    batches: int = Field(default=4, gt=0)
    """Evaluation batches whose gradients make up each step, as many as there are at most."""

    def data(self, batches: int) -> str:
        """All the batches it uses."""
        return f"{min(self.batches, batches)} batches"

    def measure_all(self, batches: EvaluationBatches, name: str) -> dict[str, Measurement]:
        """The divergence after each budget, over all batches it uses; each step goes through them once."""
        used = batches.first(self.batches)
        first = used.context(0)
        start = self._start(first, name, torch.Size([1] * len(first.positions)), shared=True)
        ranks = first.ranks
        del first  # one batch at a time

        def gradient(sources: Sources) -> Sources:
            total = {site: torch.zeros_like(source) for site, source in sources.items()}
            for context in used:
                for site, part in self._gradient(context, sources, name).items():
                    total[site] += part
            return {site: ranks.sum(part) for site, part in total.items()}

        def measure(sources: Sources) -> Measurement:
            return Measurement.merged([self._measured(context, sources, name) for context in used])

        return self._climb(start, gradient, measure, self.budget_names(batches.count))
