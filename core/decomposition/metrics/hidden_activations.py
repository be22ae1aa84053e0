"""How well each module's own output survives masking, not only the model's."""

from typing import ClassVar, Literal

from core.decomposition.metrics.metric import Metric
from core.losses.context import LossContext, Measurement
from core.losses.hidden import HiddenActivationsLoss
from core.losses.reconstruction import ImportanceMasks, StochasticMasks


class HiddenActivationsMetric(Metric):
    """Squared error per entry of every module's output, for masks by importance and stochastic ones.

    Reported as `ci/<module>` and `stochastic/<module>`, and pooled over all entries as `ci` and `stochastic`.
    """

    kind: Literal["hidden_activations"] = "hidden_activations"

    slow: ClassVar[bool] = True

    def measure(self, context: LossContext, name: str) -> dict[str, Measurement]:
        """One masked pass for each kind of mask."""
        found: dict[str, Measurement] = {}
        for mode, masks in (("ci", ImportanceMasks()), ("stochastic", StochasticMasks())):
            parts = HiddenActivationsLoss(coeff=0, masks=masks).per_module(context, f"{name}/{mode}")
            found |= {f"{mode}/{module}": part for module, part in parts.items()}
            found[mode] = Measurement.merged(list(parts.values()))
        return found
