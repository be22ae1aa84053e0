"""Every kind of target settings, told apart by their field `kind`."""

from typing import Annotated

from pydantic import Field

from core.targets.induction import InductionSettings
from core.targets.residual_mlp import ResidualMLPSettings
from core.targets.toy_superposition import ToySuperpositionSettings

TargetSettings = Annotated[
    ToySuperpositionSettings | ResidualMLPSettings | InductionSettings, Field(discriminator="kind")
]
"""Settings of any target; `kind` is `toy_superposition`, `residual_mlp` or `induction`."""
