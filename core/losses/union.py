"""The one list of losses. To add one: write its file, then name its class here."""

from typing import Annotated

from pydantic import Field

from core.losses.faithfulness import FaithfulnessLoss
from core.losses.hidden import HiddenActivationsLoss
from core.losses.minimality import MinimalityLoss
from core.losses.reconstruction import ReconstructionLoss

LossSettings = Annotated[
    FaithfulnessLoss | MinimalityLoss | ReconstructionLoss | HiddenActivationsLoss,
    Field(discriminator="kind"),
]
