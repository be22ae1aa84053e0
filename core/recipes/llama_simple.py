"""Small Llama-like models of simple stories: gated MLPs (`ss_llama_simple`) and plain ones (`_mlp`)."""

from collections.abc import Mapping

from core.decomposition.settings import DecompositionSettings, TrainingSettings
from core.losses.adversary import AdversarialMasks
from core.losses.union import LossSettings
from core.recipes.language_models import (
    adversarial_losses,
    annealed,
    cosine,
    evaluation_of,
    language_model,
    shared_mlp,
    slow_warmup,
    stochastic_subset,
    stories_model,
)

ATTENTION = ("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.o_proj")
GATED = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", *ATTENTION)
PLAIN = ("mlp.c_fc", "mlp.down_proj", *ATTENTION)

FOUR_STEPS = AdversarialMasks(init="random", step_size=0.5, n_steps=4)


def ss_llama_simple() -> DecompositionSettings:
    """Four layers with gated MLPs; random ablation only, without a warm-up."""
    return _recipe(
        "ss_llama_simple",
        run="zz4armi6",
        layers=4,
        counts=dict.fromkeys(GATED, 1200),
        hidden=1000,
        losses={"minimality": annealed(2e-3), "stochastic_subset": stochastic_subset(1)},
        training=TrainingSettings(
            steps=200_000, batch_size=256, lr=cosine(2e-4), warmup=slow_warmup(steps=0)
        ),
    )


def ss_llama_simple_1l() -> DecompositionSettings:
    """One layer with a gated MLP."""
    return _gated("ss_llama_simple-1L", run="tfacbi70", layers=1)


def ss_llama_simple_2l() -> DecompositionSettings:
    """Two layers with gated MLPs."""
    return _gated("ss_llama_simple-2L", run="tb8373uo", layers=2)


def ss_llama_simple_mlp() -> DecompositionSettings:
    """Four layers with plain MLPs; an adversary of four steps."""
    return _recipe(
        "ss_llama_simple_mlp",
        run="9de1zu65",
        layers=4,
        counts=dict(zip(PLAIN, (650, 580, 250, 200, 350, 300), strict=True)),
        hidden=800,
        losses=adversarial_losses(annealed(4e-3, p_final=0.5), FOUR_STEPS, faithfulness=1e5),
        training=TrainingSettings(
            steps=400_000, batch_size=128, lr=cosine(5e-4), clip_components=0.01, warmup=slow_warmup()
        ),
    )


def ss_llama_simple_mlp_1l() -> DecompositionSettings:
    """One layer with a plain MLP; subcomponents that fire often cost more."""
    return _recipe(
        "ss_llama_simple_mlp-1L",
        run="gvbmdt9w",
        layers=1,
        counts=dict(zip(PLAIN, (650, 600, 150, 150, 250, 300), strict=True)),
        hidden=550,
        losses=adversarial_losses(annealed(2e-3, beta=0.1)),
        training=_training(steps=400_000),
    )


def ss_llama_simple_mlp_2l() -> DecompositionSettings:
    """Two layers with plain MLPs."""
    return _recipe(
        "ss_llama_simple_mlp-2L",
        run="7pt957pf",
        layers=2,
        counts=dict.fromkeys(PLAIN, 650),
        hidden=550,
        losses=adversarial_losses(annealed(1e-3)),
        training=_training(steps=200_000),
    )


def ss_llama_simple_mlp_2l_wide() -> DecompositionSettings:
    """Two wider layers with plain MLPs; an adversary of four steps."""
    return _recipe(
        "ss_llama_simple_mlp-2L-wide",
        run="gf6rbga0",
        layers=2,
        counts=dict(zip(PLAIN, (1152, 960, 288, 288, 384, 480), strict=True)),
        hidden=1250,
        losses=adversarial_losses(annealed(1e-3, p_final=0.5), FOUR_STEPS),
        training=TrainingSettings(
            steps=400_000, batch_size=128, lr=cosine(5e-4), clip_components=0.01, warmup=slow_warmup()
        ),
    )


def _gated(name: str, run: str, layers: int) -> DecompositionSettings:
    return _recipe(
        name,
        run=run,
        layers=layers,
        counts=dict.fromkeys(GATED, 650),
        hidden=550,
        losses=adversarial_losses(annealed(1e-3)),
        training=_training(steps=200_000),
    )


def _training(steps: int) -> TrainingSettings:
    return TrainingSettings(steps=steps, batch_size=64, lr=cosine(2e-4), warmup=slow_warmup())


def _recipe(
    name: str,
    run: str,
    layers: int,
    counts: Mapping[str, int],
    hidden: int,
    losses: dict[str, LossSettings],
    training: TrainingSettings,
) -> DecompositionSettings:
    return language_model(
        name,
        target=stories_model(run),
        counts={f"h.*.{module}": C for module, C in counts.items()},
        importance=shared_mlp(hidden),
        losses=losses,
        training=training,
        evaluation=evaluation_of(layers),
    )
