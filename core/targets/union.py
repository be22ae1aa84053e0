"""Every kind of target settings, told apart by their field `kind`."""

from typing import Annotated

from pydantic import Field

from core.targets.induction import InductionSettings
from core.targets.language_model import LanguageModelSettings
from core.targets.residual_mlp import ResidualMLPSettings
from core.targets.toy_superposition import ToySuperpositionSettings

ToySettings = ToySuperpositionSettings | ResidualMLPSettings | InductionSettings
"""Settings of a target that is small enough to be trained until it does its task."""

TargetSettings = Annotated[ToySettings | LanguageModelSettings, Field(discriminator="kind")]
"""Settings of any target; `kind` is `toy_superposition`, `residual_mlp`, `induction` or `language_model`."""
