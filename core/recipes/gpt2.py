"""Models like GPT-2: of simple stories (`ss_gpt2*`), the original (`gpt2`), of tiny stories (`ts`)."""

from core.components.importance_layerwise import LayerwiseImportance
from core.decomposition.settings import DecompositionSettings, TrainingSettings
from core.language_models.sources import TransformersSource
from core.losses.reconstruction import ReconstructionLoss
from core.losses.union import LossSettings
from core.recipes.language_models import (
    SIMPLE_STORIES_GPT2,
    adversarial_losses,
    annealed,
    cosine,
    evaluation_of,
    language_model,
    layerwise_losses,
    shared_mlp,
    simple_stories,
    slow_warmup,
    stochastic_subset,
    stories_model,
    vector_mlp,
)
from core.schedule import Schedule
from core.targets.language_model import LanguageModelSettings, OwnTokenizer, TargetText
from core.text.settings import DatasetCorpus

MODULES = ("mlp.c_fc", "mlp.down_proj", "attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.o_proj")


def ss_gpt2() -> DecompositionSettings:
    """The first matrix of one MLP of a GPT-2 of simple stories."""
    return _one_matrix(
        "ss_gpt2",
        LanguageModelSettings(model=TransformersSource(path=SIMPLE_STORIES_GPT2), text=simple_stories()),
        module="transformer.h.1.mlp.c_fc",
        C=4000,
        importance=vector_mlp(12),
        training=TrainingSettings(steps=50_000, batch_size=16, lr=cosine(3e-4, warmup=0.01)),
    )


def gpt2() -> DecompositionSettings:
    """Queries, keys and values of one layer of the original GPT-2."""
    text = TargetText(
        corpus=DatasetCorpus(
            path="apollo-research/Skylion007-openwebtext-tokenizer-gpt2",
            column="input_ids",
            tokenized=True,
            streaming=True,
        ),
        window=1024,
    )
    return _one_matrix(
        "gpt2",
        LanguageModelSettings(model=TransformersSource(path="openai-community/gpt2"), text=text),
        module="transformer.h.1.attn.c_attn",
        C=768,
        importance=vector_mlp(12),
        training=TrainingSettings(steps=50_000, batch_size=2, lr=cosine(3e-4, warmup=0.01)),
    )


def ts() -> DecompositionSettings:
    """The first matrix of one MLP of a 1M-parameter model of tiny stories."""
    text = TargetText(
        corpus=DatasetCorpus(path="roneneldan/TinyStories", eval_split="validation"),
        tokenizer=OwnTokenizer(otherwise="EleutherAI/gpt-neo-125M"),
        window=2048,
    )
    return _one_matrix(
        "ts",
        LanguageModelSettings(model=TransformersSource(path="roneneldan/TinyStories-1M"), text=text),
        module="transformer.h.3.mlp.c_fc",
        C=100,
        importance=vector_mlp(8),
        training=TrainingSettings(steps=50_000, batch_size=4, lr=Schedule(start=1e-4, warmup=0.01)),
    )


def ss_gpt2_simple() -> DecompositionSettings:
    """Four layers; random ablation only."""
    return _blocks(
        "ss_gpt2_simple",
        run="syhzse3u",
        layers=4,
        counts=dict.fromkeys(MODULES, 1200),
        importance=shared_mlp(1000),
        losses={"minimality": annealed(4e-3), "stochastic_subset": stochastic_subset(1)},
        training=TrainingSettings(steps=20_000, batch_size=256, lr=cosine(5e-4)),
    )


def ss_gpt2_simple_noln() -> DecompositionSettings:
    """Four layers without layer norms; one module at a time, and all at once."""
    without_queries = [module for module in MODULES if module != "attn.q_proj"]
    return _blocks(
        "ss_gpt2_simple_noln",
        run="xi36b9az",
        layers=4,
        counts=dict.fromkeys(without_queries, 2000),
        importance=vector_mlp(12),
        losses={**layerwise_losses(annealed(3e-4)), "stochastic": ReconstructionLoss(coeff=0.2)},
        training=TrainingSettings(steps=50_000, batch_size=48, lr=cosine(5e-4)),
    )


def ss_gpt2_simple_1l() -> DecompositionSettings:
    """One layer."""
    return _small("ss_gpt2_simple-1L", run="3qhd7rnb", layers=1)


def ss_gpt2_simple_2l() -> DecompositionSettings:
    """Two layers."""
    return _small("ss_gpt2_simple-2L", run="wr1su18m", layers=2)


def _small(name: str, run: str, layers: int) -> DecompositionSettings:
    return _blocks(
        name,
        run=run,
        layers=layers,
        counts=dict.fromkeys(MODULES, 650),
        importance=shared_mlp(550),
        losses=adversarial_losses(annealed(2e-3)),
        training=TrainingSettings(steps=400_000, batch_size=64, lr=cosine(2e-4), warmup=slow_warmup()),
    )


def _blocks(
    name: str,
    run: str,
    layers: int,
    counts: dict[str, int],
    importance: LayerwiseImportance,
    losses: dict[str, LossSettings],
    training: TrainingSettings,
) -> DecompositionSettings:
    return language_model(
        name,
        target=stories_model(run),
        counts={f"h.*.{module}": C for module, C in counts.items()},
        importance=importance,
        losses=losses,
        training=training,
        evaluation=evaluation_of(layers),
    )


def _one_matrix(
    name: str,
    target: LanguageModelSettings,
    module: str,
    C: int,
    importance: LayerwiseImportance,
    training: TrainingSettings,
) -> DecompositionSettings:
    return language_model(
        name,
        target=target,
        counts={module: C},
        importance=importance,
        losses=layerwise_losses(annealed(3e-4)),
        training=training,
        evaluation=evaluation_of(0, figures_every=5000),
    )
