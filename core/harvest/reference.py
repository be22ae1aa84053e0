"""The harvest in plain torch, with dense tables: what the compiled engine has to agree with.

With `precision=torch.float64` every value is first rounded to the engine's unit, and sums of such values are
exact up to 2^53 units, so small streams must give equal tables, not close ones. With `torch.float32` nothing
is rounded and everything runs as fast as dense torch can; that is for comparing speeds.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core.harvest.kernel import HarvestBatch, output_units
from core.harvest.reference_examples import Samples, Seen
from core.harvest.settings import HarvestSettings
from core.harvest.tables import ExampleTable, importance_edges

IMPORTANCE_UNIT = 2.0**-40
ACTIVATION_UNIT = 2.0**-30
PROBABILITY_UNIT = 2.0**-31


class ReferenceHarvest:
    """Every statistic as a dense tensor; see `core.harvest.tables` for what they mean."""

    def __init__(
        self,
        layers: list[tuple[str, int]],
        vocabulary: int,
        settings: HarvestSettings,
        precision: torch.dtype = torch.float64,
    ) -> None:
        components = sum(width for _, width in layers)
        self.layers = [name for name, _ in layers]
        self.settings = settings
        self.precision = precision
        self.positions = 0
        self.firings = torch.zeros(components, dtype=torch.int64)
        self.importance_sum = torch.zeros(components, dtype=precision)
        self.activation_sum = torch.zeros(components, dtype=precision)
        self.firing_importance_sum = torch.zeros(components, dtype=precision)
        self.firing_activation_sum = torch.zeros(components, dtype=precision)
        self.importance_histogram = torch.zeros(components, 32, dtype=torch.int64)
        self.cofiring = torch.zeros(components, components, dtype=precision)
        self.input_tokens = torch.zeros(vocabulary, components, dtype=precision)
        self.occurrences = torch.zeros(vocabulary, dtype=torch.int64)
        self.output_mass = torch.zeros(components, vocabulary, dtype=precision)
        self.output_dropped = torch.zeros(components, dtype=precision)
        self.token_mass = torch.zeros(vocabulary, dtype=precision)
        self.kept_token_mass = torch.zeros(vocabulary, dtype=precision)
        self.samples = Samples(components, settings)

    def add_batch(self, batch: HarvestBatch) -> None:
        """Count one batch."""
        importances = torch.cat([batch.importances[name] for name in self.layers], dim=-1).float()
        activations = torch.cat([batch.activations[name] for name in self.layers], dim=-1).float()
        importance, activation = importances.flatten(0, 1), activations.flatten(0, 1)
        tokens = batch.tokens.flatten().long()
        fires = importance > self.settings.threshold
        firing = fires.to(self.precision)

        self.positions += len(tokens)
        self.firings += fires.sum(0)
        self._add_sums(importance, activation, firing)
        self._add_histogram(importance, fires)
        self.cofiring += firing.T @ firing
        if batch.features is None:
            self.input_tokens.index_add_(0, tokens, firing)
            self.occurrences += tokens.bincount(minlength=len(self.occurrences))
        else:
            active = batch.features.flatten(0, 1)
            self.input_tokens += active.to(self.precision).T @ firing
            self.occurrences += active.sum(0)
        if batch.probabilities is not None:
            self._add_output(batch.probabilities.flatten(0, 1).float(), firing)
        self.samples.add(Seen(batch.sequences, batch.tokens.long(), importances, activations))

    def examples(self) -> ExampleTable:
        """All examples, by component."""
        return self.samples.table()

    def _add_sums(self, importance: Tensor, activation: Tensor, firing: Tensor) -> None:
        importance = self._rounded(importance, IMPORTANCE_UNIT)
        activation = self._rounded(activation, ACTIVATION_UNIT)
        self.importance_sum += importance.sum(0)
        self.activation_sum += activation.sum(0)
        self.firing_importance_sum += (importance * firing).sum(0)
        self.firing_activation_sum += (activation * firing).sum(0)

    def _add_histogram(self, importance: Tensor, fires: Bool[Tensor, "N C"]) -> None:
        components = fires.nonzero()[:, 1]
        bins = torch.bucketize(importance[fires], torch.tensor(importance_edges()[1:]), right=True)
        self.importance_histogram.index_put_((components, bins), torch.ones_like(components), accumulate=True)

    def _add_output(self, probabilities: Float[Tensor, "N vocab"], firing: Tensor) -> None:
        mass = self._rounded(probabilities, PROBABILITY_UNIT)
        kept = nucleus(mass, self.settings.output_share)
        self.output_mass += firing.T @ kept
        self.output_dropped += firing.T @ (mass.sum(1) - kept.sum(1))
        self.token_mass += mass.sum(0)
        self.kept_token_mass += kept.sum(0)

    def _rounded(self, values: Tensor, unit: float) -> Tensor:
        if self.precision is torch.float64:
            return (values.double() / unit).round() * unit
        return values.to(self.precision)


def nucleus(mass: Float[Tensor, "N vocab"], share: float) -> Float[Tensor, "N vocab"]:
    """The most probable tokens of each row until they have `share` of its mass, zero elsewhere.

    Equal ones are taken in the order of their ids.
    """
    if share == 1:
        return mass
    ordered, tokens = mass.sort(dim=1, descending=True, stable=True)
    before = ordered.cumsum(1) - ordered
    # As the engine counts: the target is a whole number of units.
    units = (mass.sum(1, keepdim=True) / PROBABILITY_UNIT).double()
    target = (units * (output_units(share) / 2**32)).ceil() * PROBABILITY_UNIT
    return torch.zeros_like(mass).scatter(1, tokens, torch.where(before < target, ordered, 0.0))
