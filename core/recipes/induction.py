"""An attention-only transformer that copies what followed the last token before (induction)."""

from core.components.importance_layerwise import LayerwiseImportance
from core.components.routing import RouteLayerwise
from core.components.selection import ComponentsSettings, ModulePattern
from core.decomposition.settings import DecompositionSettings, EvaluationSettings, TrainingSettings
from core.losses.minimality import MinimalityLoss
from core.losses.reconstruction import ReconstructionLoss
from core.schedule import Schedule
from core.targets.induction import InductionSettings


def ih() -> DecompositionSettings:
    """Queries, keys, values and outputs of both attention layers."""
    return DecompositionSettings(
        recipe="ih",
        target=InductionSettings(),
        components=ComponentsSettings(modules=(ModulePattern(pattern="layers.*.*_proj", C=40),)),
        importance=LayerwiseImportance(kind="vector_mlp", hidden=(16,)),
        losses={
            "minimality": MinimalityLoss(coeff=1e-3, p=2, p_final=0.3, anneal_start=0.0),
            "stochastic": ReconstructionLoss(coeff=1),
            "stochastic_layerwise": ReconstructionLoss(coeff=1, routing=RouteLayerwise()),
        },
        training=TrainingSettings(
            steps=5000, batch_size=128, lr=Schedule(start=1e-3, kind="cosine", final=0.1)
        ),
        evaluation=EvaluationSettings(
            groups={"layer_0": (r"layers\.0\.",), "layer_1": (r"layers\.1\.",)},
            batches=5,
        ),
    )
