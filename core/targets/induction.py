"""Induction-head transformer: finds an earlier occurrence of the last token and repeats what followed it.

    sequence   BOS T ... T S M T ... T S      the model must answer M at the last position

The S and M are drawn anew for every sequence and no other token is S, so the answer can only come from the
context: one layer has to mark each position with its previous token, the next to look for the mark.
(Olsson et al. 2022, arXiv 2209.11895.)
"""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from core.randomness import generator
from core.settings import Settings
from core.targets.quality import Quality
from core.targets.target import BatchFn
from core.targets.training import TargetTrainingSettings

REQUIRED_ACCURACY = 0.95
"""Fraction of sequences whose M must be the likeliest answer at the last position."""

_QUALITY_SEQUENCES = 2048


class InductionSettings(Settings):
    """The shape, data and training of an induction-head transformer."""

    kind: Literal["induction"] = "induction"
    """Which kind of target this is."""

    n_tokens: int = Field(default=32, ge=3)
    """Ordinary tokens, ids 0 to n_tokens - 1; the beginning of sequence has the id n_tokens."""

    sequence_length: int = Field(default=16, ge=5)
    """Positions of a sequence, BOS and the last S included."""

    d_model: int = Field(default=32, ge=1)
    """Width of the residual stream."""

    n_layers: int = Field(default=2, ge=1)
    """Attention layers."""

    n_heads: int = Field(default=2, ge=1)
    """Heads of each layer; must divide d_model."""

    training: TargetTrainingSettings = TargetTrainingSettings(
        steps=1000, batch_size=512, lr=3e-3, schedule="cosine"
    )
    """How the target is trained."""

    max_attempts: int = Field(default=5, ge=1)
    """Targets trained, each from its own seed, before giving up on one that is accurate."""

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "InductionSettings":
        if self.d_model % self.n_heads:
            raise ValueError(f"n_heads {self.n_heads} does not divide d_model {self.d_model}")
        return self


class CausalAttention(nn.Module):
    """Causal attention without biases; positions enter queries and keys only."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q_proj = nn.Linear(d_model, d_model, bias=False)
        self.k_proj = nn.Linear(d_model, d_model, bias=False)
        self.v_proj = nn.Linear(d_model, d_model, bias=False)
        self.o_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self, h: Float[Tensor, "B S d_model"], position: Float[Tensor, "S d_model"]
    ) -> Float[Tensor, "B S d_model"]:
        """What the layer adds to the residual stream `h`."""
        placed = h + position
        q, k, v = (
            rearrange(x, "B S (heads d_head) -> B heads S d_head", heads=self.n_heads)
            for x in (self.q_proj(placed), self.k_proj(placed), self.v_proj(h))
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(rearrange(mixed, "B heads S d_head -> B S (heads d_head)"))


class InductionTransformer(nn.Module):
    """Attention-only transformer: token ids (B S) to logits (B S vocab), vocab = n_tokens + 1."""

    def __init__(self, settings: InductionSettings) -> None:
        super().__init__()
        vocab, d_model = settings.n_tokens + 1, settings.d_model
        self.embed = nn.Embedding(vocab, d_model)
        self.position = nn.Parameter(torch.empty(settings.sequence_length, d_model))
        self.layers = nn.ModuleList(
            CausalAttention(d_model, settings.n_heads) for _ in range(settings.n_layers)
        )
        self.unembed = nn.Linear(d_model, vocab, bias=False)

    def forward(self, tokens: Int[Tensor, "B S"]) -> Float[Tensor, "B S vocab"]:
        """Logits of the next token at every position."""
        h = self.embed(tokens)
        position = self.position[: tokens.shape[-1]]
        for layer in self.layers:
            h = h + layer(h, position)
        return self.unembed(h)


def induction_batch(settings: InductionSettings, size: int, source: torch.Generator) -> Int[Tensor, "B S"]:
    """Draw `size` sequences `BOS T* S M T* S`.

    S and M are uniform, M may not be S; S stands at a uniform position from 1 to sequence_length - 3; every
    T is uniform over the tokens that are not S.
    """
    length, n = settings.sequence_length, settings.n_tokens
    trigger = torch.randint(0, n, (size, 1), generator=source)
    # Drawing from n - 1 tokens and stepping over S leaves the others equally likely.
    tokens = torch.randint(0, n - 1, (size, length), generator=source)
    tokens += tokens >= trigger
    place = torch.randint(1, length - 2, (size, 1), generator=source)
    tokens.scatter_(1, place, trigger)
    tokens[:, :1] = n
    tokens[:, -1:] = trigger
    return tokens


def induction_answers(tokens: Int[Tensor, "B S"]) -> Int[Tensor, " B"]:
    """The token M of each sequence: what follows the first occurrence of its last token."""
    place = (tokens == tokens[:, -1:]).int().argmax(dim=1, keepdim=True)
    return tokens.gather(1, place + 1).squeeze(1)


def induction_batches(settings: InductionSettings, seed: int) -> BatchFn:
    """The batches of an induction target: a function of (stream, index, size) for one seed."""

    def batch(stream: str, index: int, size: int) -> Tensor:
        return induction_batch(settings, size, generator(seed, f"data/{stream}", index, size))

    return batch


class InductionTask:
    """How an induction-head transformer is made, trained and judged."""

    def __init__(self, settings: InductionSettings, seed: int) -> None:
        self.settings = settings
        self.check = induction_batches(settings, seed)("target-quality", 0, _QUALITY_SEQUENCES)

    def build(self, seed: int) -> InductionTransformer:
        """An untrained model; equal seeds give equal weights."""
        # Made without values: the usual initialisation draws from the global generator.
        with torch.device("meta"):
            model = InductionTransformer(self.settings)
        model.to_empty(device="cpu")
        source = generator(seed, "init")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0.0, self.settings.d_model**-0.5, generator=source)
        return model

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """What is trained: everything."""
        return list(model.parameters())

    def loss(self, model: nn.Module, tokens: Int[Tensor, "B S"]) -> Float[Tensor, ""]:
        """Mean cross-entropy of M at the last position."""
        return F.cross_entropy(model(tokens)[:, -1], induction_answers(tokens))

    def finish(self, model: nn.Module) -> None:
        """Nothing is left over: every parameter is trained itself."""

    def quality(self, model: nn.Module) -> Quality:
        """Accuracy at the last position on sequences not trained on; at least `REQUIRED_ACCURACY`."""
        with torch.no_grad():
            answers = model(self.check)[:, -1].argmax(dim=-1)
        accuracy = (answers == induction_answers(self.check)).float().mean().item()
        note = f"{100 * accuracy:.1f}% of answers right"
        return Quality(accuracy >= REQUIRED_ACCURACY, note, {"accuracy": accuracy})

    def hopeless(self, model: nn.Module) -> bool:
        """Never: induction appears suddenly, often late."""
        return False
