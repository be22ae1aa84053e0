"""How much of a language model survives each way of masking: cross-entropy, divergence, agreement."""

from collections.abc import Mapping
from math import nan
from typing import Literal

from pydantic import Field

from core.decomposition.metrics.mask_modes import MASK_MODES, mode_masks
from core.decomposition.metrics.metric import Metric, Result
from core.decomposition.metrics.next_token import TargetLogits
from core.losses.context import LossContext, Measurement


class CrossEntropyMetric(Metric):
    """Cross-entropy of next tokens, KL to the target and top-1 agreement under six kinds of masks.

    Reported as `ce/<mode>`, `kl/<mode>`, `top1/<mode>`, and for each mode against the target's own
    `ce/target`: `ce_difference/<mode>`, `ce_unrecovered/<mode>` (see `unrecovered`) and
    `ce_recovered/<mode>`, which is 1 minus that.
    """

    kind: Literal["cross_entropy"] = "cross_entropy"

    rounding_threshold: float = Field(default=0.0, ge=0, lt=1)
    """Importance above which a `rounded` mask is 1; 0 keeps whatever has any importance."""

    def measure(self, context: LossContext, name: str) -> dict[str, Measurement]:
        """One masked pass for each mode."""
        target = TargetLogits.of(context)
        found = {"ce/target": target.cross_entropy()}
        for mode in MASK_MODES:
            masks = mode_masks(context, mode, name, self.rounding_threshold)
            found |= {f"{key}/{mode}": part for key, part in target.compare(context.run(masks)[0]).items()}
        return found

    def finish(self, means: Mapping[str, float]) -> Result:
        """Adds what the cross-entropies say against the target's and that of zero masks.

        They are compared as means over the whole evaluation: the ratio of a small batch is mostly noise.
        """
        found: Result = dict(means)
        base, zero = means["ce/target"], means["ce/zero"]
        for mode in MASK_MODES:
            found[f"ce_difference/{mode}"] = means[f"ce/{mode}"] - base
            if mode != "zero":
                part = unrecovered(means[f"ce/{mode}"], base, zero)
                found |= {f"ce_unrecovered/{mode}": part, f"ce_recovered/{mode}": 1 - part}
        return found


def unrecovered(ce: float, target: float, zero: float) -> float:
    """(ce - target) / (zero - target): the share of what the decomposed modules do that is lost.

    0 is as good as the target, 1 as bad as without the modules; undefined (NaN) where they make no difference
    or the model is no worse without them.
    """
    return (ce - target) / (zero - target) if zero > target else nan
