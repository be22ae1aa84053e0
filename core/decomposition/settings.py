"""Everything one decomposition is made from."""

from typing import Any, Literal

from pydantic import Field, model_validator

from core.components.importance import ImportanceSettings
from core.components.importance_layerwise import LayerwiseImportance
from core.components.selection import ComponentsSettings
from core.decomposition.metrics.target_solution import TargetSolution
from core.decomposition.metrics.union import EvaluationMetric
from core.losses.context import Distance
from core.losses.union import LossSettings
from core.schedule import Schedule
from core.settings import Settings, parse_settings, settings_digest
from core.targets.union import TargetSettings


class FaithfulnessWarmup(Settings):
    """Steps before training in which the subcomponents alone are fitted to the weights."""

    steps: int = Field(default=200, ge=0)
    """Number of these steps; 0 leaves the warm-up out."""

    lr: float = Field(default=1e-2, gt=0)
    """Learning rate of these steps."""

    weight_decay: float = Field(default=0.1, ge=0)
    """Weight decay of these steps; it keeps factors that are not needed small."""


class TrainingSettings(Settings):
    """How the losses are minimised (AdamW)."""

    steps: int = Field(gt=0)
    """Number of updates."""

    batch_size: int = Field(gt=0)
    """Inputs per update."""

    lr: Schedule
    """Learning rate of the importance networks, and of the subcomponents up to `component_lr_factor`."""

    component_lr_factor: float = Field(default=1.0, gt=0)
    """Learning rate of the subcomponents relative to that of the importance networks."""

    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW weight decay of everything."""

    clip_components: float | None = Field(default=None, gt=0)
    """Largest gradient norm of the subcomponents; null does not clip."""

    clip_importance: float | None = Field(default=None, gt=0)
    """Largest gradient norm of the importance networks; null does not clip."""

    warmup: FaithfulnessWarmup = FaithfulnessWarmup()
    """The faithfulness warm-up."""

    distance: Distance | None = None
    """How outputs are compared; null takes the target's own distance."""


TAKEN_NAMES = ("loss", "l0", "live", "mmcs", "ml2r", "neuron_contributions", "target_solution_error")
"""Names in metrics.jsonl that evaluations have of their own."""


class EvaluationSettings(Settings):
    """What is measured besides the losses, and how often."""

    every: int = Field(default=1000, gt=0)
    """Steps between evaluations; one more is made at the end."""

    figures_every: int = Field(default=5000, gt=0)
    """Steps between sets of figures; one more is drawn at the end."""

    batches: int = Field(default=10, gt=0)
    """Batches of held-out data an evaluation looks at."""

    batch_size: int | None = Field(default=None, gt=0)
    """Inputs in each of them; null takes training's."""

    metrics: dict[str, EvaluationMetric] = Field(default_factory=dict)
    """What is measured on these batches besides the losses, by a name of your choice."""

    alive_threshold: float = Field(default=0.1, ge=0)
    """Importance above which a subcomponent counts as active at a position."""

    live_mean: float = Field(default=1e-4, gt=0, lt=1)
    """Mean importance above which a subcomponent counts as live in a module whose sorted means have no cliff;
    on few data at least one position's worth of importance is asked for."""

    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Named groups of modules whose L0 is summed: regular expressions in which `*` means `.*`, matched at the
    start of a module's name (so `h.1` takes `h.10` too; write `h\\.1\\.`)."""

    solution: TargetSolution = TargetSolution()
    """The known answer, where there is one."""

    feature_weights: dict[str, Literal["inputs", "outputs"]] = Field(default_factory=dict)
    """Modules whose weight has one vector per feature, by input (a column) or by output (a row): these get
    MMCS and ML2R."""

    @model_validator(mode="after")
    def _check_metric_names(self) -> "EvaluationSettings":
        for name in self.metrics:
            if "/" in name or name in TAKEN_NAMES:
                raise ValueError(
                    f"metrics.{name}: choose another name, without slash and none of {', '.join(TAKEN_NAMES)}"
                )
        return self


class RecordSettings(Settings):
    """What is written while training."""

    log_every: int = Field(default=100, gt=0)
    """Steps between lines of training losses in metrics.jsonl."""

    checkpoint_every: int = Field(default=1000, gt=0)
    """Steps between checkpoints."""

    keep_checkpoints: int = Field(default=2, gt=0)
    """Newest checkpoints that are kept."""


class DecompositionSettings(Settings):
    """One decomposition, whole: written as settings.yaml into its run."""

    recipe: str = "custom"
    """Name of the recipe these settings came from."""

    seed: int = Field(default=0, ge=0)
    """Seed of every random draw, the target's training included."""

    target: TargetSettings | None = None
    """The model to decompose; null when the Python API was handed one."""

    components: ComponentsSettings
    """The modules to decompose."""

    importance: ImportanceSettings = LayerwiseImportance()
    """The causal-importance function."""

    losses: dict[str, LossSettings] = Field(min_length=1)
    """The terms of the total loss, by a name of your choice."""

    training: TrainingSettings
    """The optimisation."""

    evaluation: EvaluationSettings = EvaluationSettings()
    """The measurements."""

    record: RecordSettings = RecordSettings()
    """What is written."""

    @model_validator(mode="after")
    def _check_losses(self) -> "DecompositionSettings":
        if "total" in self.losses:
            raise ValueError("losses.total: this name is taken by the sum of all terms")
        if not any(loss.coeff for loss in self.losses.values()):
            raise ValueError("losses: at least one coeff must be above 0")
        return self

    @model_validator(mode="after")
    def _check_figures(self) -> "DecompositionSettings":
        if self.evaluation.figures_every % self.evaluation.every:
            raise ValueError(
                f"evaluation.figures_every = {self.evaluation.figures_every} must be a multiple of "
                f"evaluation.every = {self.evaluation.every}"
            )
        return self

    def digest(self) -> str:
        """A hash of everything here: two runs with one digest do the same."""
        return settings_digest(self)

    def resolved_distance(self, natural: Distance) -> Distance:
        """How outputs are compared, given the target's own distance."""
        return self.training.distance or natural


def settings_from(data: Any, source: str) -> DecompositionSettings:
    """Decomposition settings from plain data; errors name `source`."""
    return parse_settings(DecompositionSettings, data, source)
