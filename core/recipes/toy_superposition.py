"""Toy models of superposition (SPD paper, section 3.1 and appendix), with an optional identity layer."""

from core.components.routing import RouteLayerwise
from core.components.selection import ComponentsSettings, ModulePattern
from core.decomposition.metrics.target_solution import DenseSolution, IdentitySolution, TargetSolution
from core.decomposition.settings import DecompositionSettings, EvaluationSettings, TrainingSettings
from core.losses.minimality import MinimalityLoss
from core.losses.reconstruction import ReconstructionLoss
from core.schedule import Schedule
from core.targets.toy_superposition import ToySuperpositionSettings
from core.targets.training import TargetTrainingSettings

HIDDEN = "hidden_layers.0"


def tms_5_2() -> DecompositionSettings:
    """5 features in 2 dimensions."""
    return _tms("tms_5-2", 5, 2, C=20, minimality=MinimalityLoss(coeff=3e-3, p=1))


def tms_5_2_id() -> DecompositionSettings:
    """5 features in 2 dimensions, and an identity layer between."""
    return _tms("tms_5-2-id", 5, 2, C=20, minimality=MinimalityLoss(coeff=3e-3, p=1), identity_layer=True)


def tms_40_10() -> DecompositionSettings:
    """40 features in 10 dimensions."""
    return _tms("tms_40-10", 40, 10, C=200, minimality=MinimalityLoss(coeff=1e-4, p=2))


def tms_40_10_id() -> DecompositionSettings:
    """40 features in 10 dimensions, and an identity layer between."""
    minimality = MinimalityLoss(coeff=1e-4, p=2)
    return _tms("tms_40-10-id", 40, 10, C=200, minimality=minimality, identity_layer=True, steps=20_000)


def _tms(
    name: str,
    features: int,
    hidden: int,
    C: int,
    minimality: MinimalityLoss,
    identity_layer: bool = False,
    steps: int = 10_000,
) -> DecompositionSettings:
    modules = ["linear1", "linear2"] + [HIDDEN] * identity_layer
    target = ToySuperpositionSettings(
        n_features=features, n_hidden=hidden, n_hidden_layers=int(identity_layer)
    )
    if features > 5:
        # A random bias switches features off from the start: 1 of 20 seeds keeps all 40, with zero all do.
        training = TargetTrainingSettings(steps=10_000, batch_size=8192, lr=5e-3)
        target = target.model_copy(update={"training": training, "init_bias_to_zero": True})
    return DecompositionSettings(
        recipe=name,
        target=target,
        components=ComponentsSettings(modules=tuple(ModulePattern(pattern=m, C=C) for m in modules)),
        losses={
            "minimality": minimality,
            "stochastic": ReconstructionLoss(coeff=1),
            "stochastic_layerwise": ReconstructionLoss(coeff=1, routing=RouteLayerwise()),
        },
        training=TrainingSettings(
            steps=steps, batch_size=4096, lr=Schedule(start=1e-3, kind="cosine", final=0)
        ),
        evaluation=EvaluationSettings(
            solution=TargetSolution(
                identity=(IdentitySolution(pattern="linear*", n_features=features),),
                dense=(DenseSolution(pattern=HIDDEN, k=hidden),) * identity_layer,
            ),
            feature_weights={"linear1": "inputs", "linear2": "outputs"},
        ),
    )
