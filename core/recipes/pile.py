"""Llama-like models with plain MLPs, of the Pile: tens of thousands of subcomponents."""

from core.components.importance_attention import AttentionSettings
from core.components.importance_transformer import TransformerImportance
from core.components.routing import RouteSubset
from core.decomposition.settings import DecompositionSettings, TrainingSettings
from core.losses.faithfulness import FaithfulnessLoss
from core.losses.persistent import PersistentMasks
from core.losses.persistent_sources import AdamAscent, RepeatAcrossBatch
from core.losses.reconstruction import ReconstructionLoss
from core.recipes.language_models import (
    annealed,
    cosine,
    evaluation_of,
    language_model,
    published_run,
    slow_warmup,
    stochastic_subset,
)
from core.schedule import Schedule
from core.targets.language_model import LanguageModelSettings, OwnTokenizer, TargetText
from core.text.settings import DatasetCorpus

COUNTS = {
    "h.*.mlp.c_fc": 4096,
    "h.*.mlp.down_proj": 3072,
    "h.*.attn.q_proj": 512,
    "h.*.attn.k_proj": 256,
    "h.*.attn.v_proj": 1024,
    "h.*.attn.o_proj": 1024,
}
"""Subcomponents of every block: 9,984."""


def pile_llama_simple_mlp_2l() -> DecompositionSettings:
    """Two layers, 19,968 subcomponents."""
    return _pile("pile_llama_simple_mlp-2L", run="t-bd02d372", layers=2)


def pile_llama_simple_mlp_4l() -> DecompositionSettings:
    """Four layers, 39,936 subcomponents."""
    return _pile("pile_llama_simple_mlp-4L", run="t-32d1bb3b", layers=4)


def _pile(name: str, run: str, layers: int) -> DecompositionSettings:
    text = TargetText(
        corpus=DatasetCorpus(
            path="danbraunai/pile-uncopyrighted-tok",
            eval_split="val",
            column="input_ids",
            tokenized=True,
            streaming=True,
        ),
        tokenizer=OwnTokenizer(otherwise="EleutherAI/gpt-neox-20b"),
        window=512,
    )
    adversary = PersistentMasks(
        optimizer=AdamAscent(lr=Schedule(start=0.1), beta1=0.9, beta2=0.99),
        scope=RepeatAcrossBatch(sources=8),
    )
    return language_model(
        name,
        target=LanguageModelSettings(model=published_run(run), text=text),
        counts=COUNTS,
        importance=TransformerImportance(
            d_model=1024, n_blocks=8, hidden=(8192,), attention=AttentionSettings(n_heads=16)
        ),
        losses={
            "minimality": annealed(5e-4, p_final=0.4, beta=0.1),
            "stochastic_subset": stochastic_subset(0.5),
            "adversarial_subset": ReconstructionLoss(coeff=0.5, masks=adversary, routing=RouteSubset()),
            "faithfulness": FaithfulnessLoss(coeff=1e6),
        },
        training=TrainingSettings(
            steps=400_000, batch_size=64, lr=cosine(1e-4), clip_components=0.01, warmup=slow_warmup(steps=400)
        ),
        # Small batches: evaluations are in float32, and this vocabulary and these components are large.
        evaluation=evaluation_of(layers, batches=8, batch_size=8),
    )
