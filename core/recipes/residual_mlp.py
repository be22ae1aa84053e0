"""Residual MLPs that compute 100 ReLUs with 50 neurons, in 1, 2 or 3 layers (SPD paper, section 3.2)."""

from core.components.importance import ImportanceSettings
from core.components.importance_layerwise import LayerwiseImportance
from core.components.routing import RouteLayerwise, RouteSubset
from core.components.selection import ComponentsSettings, ModulePattern
from core.decomposition.metrics.target_solution import DenseSolution, IdentitySolution, TargetSolution
from core.decomposition.settings import (
    DecompositionSettings,
    EvaluationSettings,
    FaithfulnessWarmup,
    TrainingSettings,
)
from core.losses.adversary import AdversarialMasks
from core.losses.minimality import MinimalityLoss
from core.losses.reconstruction import ReconstructionLoss
from core.losses.union import LossSettings
from core.schedule import Schedule
from core.targets.residual_mlp import ResidualMLPSettings


def resid_mlp1() -> DecompositionSettings:
    """One layer."""
    return _resid(
        "resid_mlp1",
        ResidualMLPSettings(n_layers=1, d_mlp=50),
        C=100,
        importance=LayerwiseImportance(kind="mlp", hidden=(16,)),
        losses=_stochastic_losses(minimality=1e-5),
        training=_training(steps=20_000, lr=2e-3),
    )


def resid_mlp2() -> DecompositionSettings:
    """Two layers, with an adversary in place of the layerwise loss."""
    return _resid(
        "resid_mlp2",
        ResidualMLPSettings(n_layers=2, d_mlp=25),
        C=400,
        importance=LayerwiseImportance(kind="shared_mlp", hidden=(256,)),
        losses={
            "minimality": MinimalityLoss(coeff=1e-4, p=2),
            "stochastic_subset": ReconstructionLoss(coeff=2, routing=RouteSubset()),
            "adversarial_subset": ReconstructionLoss(
                coeff=2, masks=AdversarialMasks(step_size=1, n_steps=1), routing=RouteSubset()
            ),
        },
        training=_training(steps=25_000, lr=3e-4, warmup_decay=0),
    )


def resid_mlp3() -> DecompositionSettings:
    """Three layers."""
    return _resid(
        "resid_mlp3",
        ResidualMLPSettings(n_layers=3, d_mlp=17, n_features=102),
        C=500,
        importance=LayerwiseImportance(kind="mlp", hidden=(128,)),
        losses=_stochastic_losses(minimality=1e-5),
        training=_training(steps=50_000, lr=1e-3),
    )


def _stochastic_losses(minimality: float) -> dict[str, LossSettings]:
    return {
        "minimality": MinimalityLoss(coeff=minimality, p=2),
        "stochastic": ReconstructionLoss(coeff=1),
        "stochastic_layerwise": ReconstructionLoss(coeff=1, routing=RouteLayerwise()),
    }


def _training(steps: int, lr: float, warmup_decay: float = 0.1) -> TrainingSettings:
    warmup = FaithfulnessWarmup(weight_decay=warmup_decay)
    return TrainingSettings(steps=steps, batch_size=2048, lr=Schedule(start=lr), warmup=warmup)


def _resid(
    name: str,
    target: ResidualMLPSettings,
    C: int,
    importance: ImportanceSettings,
    losses: dict[str, LossSettings],
    training: TrainingSettings,
) -> DecompositionSettings:
    several = target.n_layers > 1
    return DecompositionSettings(
        recipe=name,
        target=target,
        components=ComponentsSettings(
            modules=(
                ModulePattern(pattern="layers.*.mlp_in", C=C),
                ModulePattern(pattern="layers.*.mlp_out", C=C),
            )
        ),
        importance=importance,
        losses=losses,
        training=training,
        evaluation=EvaluationSettings(
            batches=5,
            solution=TargetSolution(
                identity=(
                    IdentitySolution(pattern="layers.*.mlp_in", n_features=target.n_features, joined=several),
                ),
                dense=(
                    DenseSolution(
                        pattern="layers.*.mlp_out", k=target.n_layers * target.d_mlp, joined=several
                    ),
                ),
            ),
        ),
    )
