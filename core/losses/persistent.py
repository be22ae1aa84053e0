"""The adversary that persists: masks from sources which are trained against the model as it is trained."""

from typing import Literal

from pydantic import Field

from core.components.masks import Mask, NoiseKey
from core.components.routing import RoutedPass
from core.losses.adversary import source_masks
from core.losses.context import LossContext
from core.losses.persistent_sources import PersistentSettings, PersistentSources, new_sources


class PersistentMasks(PersistentSettings):
    """Masks from sources that live through training, moved against the model once a step (persistent PGD).

    The sources hold one more channel than there are subcomponents, the weight delta's, when it takes part.
    """

    kind: Literal["persistent"] = "persistent"

    warmup_steps: int = Field(default=0, ge=0)
    """Updates of the sources alone on each batch, before the model meets them."""

    def begin(self, context: LossContext, name: str) -> PersistentSources:
        """Sources for the loss called `name`, shaped for batches like this one.

        Raises:
            UsageError: a scope that does not fit the batch.
        """
        widths = {site: context.model.sites[site].C + int(context.weight_delta) for site in context.sites}
        # Named without the step: the sources are the same whichever batch comes first.
        key = NoiseKey(context.noise.seed, f"persistent/{name}", (), context.ranks.rank)
        return new_sources(self, widths, context.positions, key, context.device, context.ranks)

    def masks(self, context: LossContext, routed: RoutedPass, key: tuple[str, int]) -> dict[str, Mask]:
        """Masks of one pass at the sources as they are; gradients reach the sources."""
        held = context.persistent[key[0]]
        return source_masks(context, routed, {site: held.of(site, context.positions) for site in routed})
