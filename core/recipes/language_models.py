"""The pieces that recipes of language models share: texts, losses, training and evaluation."""

from collections.abc import Mapping

from core.components.importance import ImportanceSettings
from core.components.importance_layerwise import LayerwiseImportance
from core.components.routing import RouteLayerwise, RouteSubset
from core.components.selection import ComponentsSettings, ModulePattern
from core.decomposition.metrics.adversarial_budget import AdversaryMetric
from core.decomposition.metrics.cross_entropy import CrossEntropyMetric
from core.decomposition.metrics.hidden_activations import HiddenActivationsMetric
from core.decomposition.metrics.module_subsets import ModuleSubsetsMetric
from core.decomposition.metrics.union import EvaluationMetric
from core.decomposition.settings import (
    DecompositionSettings,
    EvaluationSettings,
    FaithfulnessWarmup,
    RecordSettings,
    TrainingSettings,
)
from core.language_models.sources import CheckpointSource
from core.losses.adversary import AdversarialMasks
from core.losses.faithfulness import FaithfulnessLoss
from core.losses.minimality import MinimalityLoss
from core.losses.reconstruction import ReconstructionLoss
from core.losses.union import LossSettings
from core.schedule import Schedule
from core.targets.language_model import LanguageModelSettings, OwnTokenizer, TargetText
from core.text.settings import DatasetCorpus

SIMPLE_STORIES_GPT2 = "SimpleStories/test-SimpleStories-gpt2-1.25M"
"""A GPT-2 of simple stories on the hub, whose tokenizer of 4,019 tokens all models of them share."""


def simple_stories() -> TargetText:
    """Two million short stories in simple English, lower-cased."""
    return TargetText(
        corpus=DatasetCorpus(path="SimpleStories/SimpleStories", eval_split="test", column="story"),
        tokenizer=OwnTokenizer(otherwise=SIMPLE_STORIES_GPT2),
        window=512,
        lowercase=True,
    )


def stories_model(run: str) -> LanguageModelSettings:
    """A model of simple stories, from the pretraining run of that id."""
    return LanguageModelSettings(model=published_run(run), text=simple_stories())


def published_run(run: str) -> CheckpointSource:
    """A pretraining run at Weights & Biases."""
    return CheckpointSource(path=f"wandb:goodfire/spd/{run}")


def annealed(coeff: float, p_final: float = 0.3, beta: float = 0.0) -> MinimalityLoss:
    """Minimality whose exponent falls from 2 to `p_final` over the whole training."""
    return MinimalityLoss(coeff=coeff, p=2, p_final=p_final, anneal_start=0, anneal_end=1, beta=beta)


ONE_STEP = AdversarialMasks(init="random", step_size=1, n_steps=1)
"""An adversary that goes once as far as it can."""


def stochastic_subset(coeff: float) -> ReconstructionLoss:
    """Random ablation of random subsets of modules."""
    return ReconstructionLoss(coeff=coeff, routing=RouteSubset())


def adversarial_losses(
    minimality: MinimalityLoss, adversary: AdversarialMasks = ONE_STEP, faithfulness: float = 1e6
) -> dict[str, LossSettings]:
    """Random and adversarial ablation of random subsets of modules, each with weight 1/2."""
    return {
        "minimality": minimality,
        "stochastic_subset": stochastic_subset(0.5),
        "adversarial_subset": ReconstructionLoss(coeff=0.5, masks=adversary, routing=RouteSubset()),
        "faithfulness": FaithfulnessLoss(coeff=faithfulness),
    }


def layerwise_losses(minimality: MinimalityLoss) -> dict[str, LossSettings]:
    """Random ablation of one module at a time, with weight 2."""
    return {
        "minimality": minimality,
        "stochastic_layerwise": ReconstructionLoss(coeff=2, routing=RouteLayerwise()),
    }


def cosine(start: float, warmup: float = 0.0) -> Schedule:
    """A learning rate that falls to a tenth."""
    return Schedule(start=start, kind="cosine", warmup=warmup, final=0.1)


def shared_mlp(*hidden: int) -> LayerwiseImportance:
    """One network per module, from its input to all importances."""
    return LayerwiseImportance(kind="shared_mlp", hidden=hidden)


def vector_mlp(*hidden: int) -> LayerwiseImportance:
    """One network per subcomponent, from the module's input."""
    return LayerwiseImportance(kind="vector_mlp", hidden=hidden)


def slow_warmup(steps: int = 200) -> FaithfulnessWarmup:
    """A faithfulness warm-up for wide weights: small steps and no decay."""
    return FaithfulnessWarmup(steps=steps, lr=1e-3, weight_decay=0)


def language_model(
    name: str,
    target: LanguageModelSettings,
    counts: Mapping[str, int],
    importance: ImportanceSettings,
    losses: dict[str, LossSettings],
    training: TrainingSettings,
    evaluation: EvaluationSettings,
) -> DecompositionSettings:
    """A recipe whose modules and numbers of subcomponents are `counts`, by pattern."""
    return DecompositionSettings(
        recipe=name,
        target=target,
        components=ComponentsSettings(
            modules=tuple(ModulePattern(pattern=p, C=C) for p, C in counts.items())
        ),
        importance=importance,
        losses=losses,
        training=training,
        evaluation=evaluation,
        record=RecordSettings(log_every=200, checkpoint_every=5000),
    )


def evaluation_of(
    layers: int,
    every: int = 1000,
    figures_every: int = 10_000,
    batches: int = 5,
    batch_size: int | None = None,
) -> EvaluationSettings:
    """What every recipe of a language model measures.

    Where there are more than two of `layers`, subsets of modules are also masked alone.
    The adversary takes 20 steps.
    """
    metrics: dict[str, EvaluationMetric] = {
        "cross_entropy": CrossEntropyMetric(),
        "adversary": AdversaryMetric(budgets=(20,), step_size=0.1),
        "hidden": HiddenActivationsMetric(),
    }
    if layers > 2:
        metrics["subsets"] = ModuleSubsetsMetric()
    return EvaluationSettings(
        every=every,
        figures_every=figures_every,
        batches=batches,
        batch_size=batch_size,
        metrics=metrics,
        alive_threshold=0.0,
    )
