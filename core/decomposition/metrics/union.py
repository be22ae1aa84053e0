"""The one list of metrics. To add one: write its file, then name its class here."""

from typing import Annotated

from pydantic import Field

from core.decomposition.metrics.adversarial_budget import AdversaryMetric, MultiBatchAdversaryMetric
from core.decomposition.metrics.attention_patterns import AttentionPatternsMetric
from core.decomposition.metrics.cross_entropy import CrossEntropyMetric
from core.decomposition.metrics.hidden_activations import HiddenActivationsMetric
from core.decomposition.metrics.module_subsets import ModuleSubsetsMetric

EvaluationMetric = Annotated[
    CrossEntropyMetric
    | ModuleSubsetsMetric
    | AdversaryMetric
    | MultiBatchAdversaryMetric
    | HiddenActivationsMetric
    | AttentionPatternsMetric,
    Field(discriminator="kind"),
]
"""A metric of `evaluation.metrics`."""
