"""Language models that need no network: one that is pretrained here, and one that a package carries."""

from core.components.selection import ComponentsSettings, ModulePattern
from core.decomposition.settings import (
    DecompositionSettings,
    FaithfulnessWarmup,
    RecordSettings,
    TrainingSettings,
)
from core.language_models.sources import SmolLM2Source
from core.recipes.language_models import (
    adversarial_losses,
    annealed,
    cosine,
    evaluation_of,
    layerwise_losses,
    shared_mlp,
    slow_warmup,
)
from core.recipes.pretraining import tiny_lm as pretrained_tiny_lm
from core.targets.language_model import LanguageModelSettings, PretrainedHere, TargetText

TINY_COUNTS = {
    "h.*.mlp.c_fc": 480,
    "h.*.mlp.down_proj": 400,
    "h.*.attn.q_proj": 160,
    "h.*.attn.k_proj": 160,
    "h.*.attn.v_proj": 200,
    "h.*.attn.o_proj": 240,
}


def tiny_lm() -> DecompositionSettings:
    """Every matrix of the pretraining recipe `tiny_lm`: 2 layers, 3,280 subcomponents."""
    return DecompositionSettings(
        recipe="tiny_lm",
        target=LanguageModelSettings(
            model=PretrainedHere(settings=pretrained_tiny_lm()), text=TargetText(window=64)
        ),
        components=ComponentsSettings(
            modules=tuple(ModulePattern(pattern=pattern, C=C) for pattern, C in TINY_COUNTS.items())
        ),
        importance=shared_mlp(256),
        losses=adversarial_losses(annealed(2e-3)),
        training=TrainingSettings(steps=3000, batch_size=8, lr=cosine(1e-3), warmup=slow_warmup(steps=100)),
        evaluation=evaluation_of(2, every=250, figures_every=1500),
        record=RecordSettings(log_every=20, checkpoint_every=250),
    )


def smollm2_mlp() -> DecompositionSettings:
    """What the last MLP of SmolLM2-135M writes, in 256 subcomponents: a demonstration.

    The last, because leaving it out changes the output most (KL 1.1; 0.1 to 0.4 for one in the middle), and
    gradients need not go through other layers.
    """
    return DecompositionSettings(
        recipe="smollm2_mlp",
        target=LanguageModelSettings(model=SmolLM2Source(), text=TargetText(window=64)),
        components=ComponentsSettings(
            modules=(ModulePattern(pattern="model.layers.29.mlp.down_proj", C=256),)
        ),
        importance=shared_mlp(128),
        losses=layerwise_losses(annealed(3e-4)),
        training=TrainingSettings(
            steps=200, batch_size=2, lr=cosine(1e-3), warmup=FaithfulnessWarmup(steps=100, weight_decay=0)
        ),
        evaluation=evaluation_of(0, every=100, figures_every=200, batches=2),
        record=RecordSettings(log_every=10, checkpoint_every=50),
    )
