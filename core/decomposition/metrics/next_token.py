"""Next-token statistics of logits: cross-entropy, divergence from the target's logits, agreement.

Logits of a large vocabulary are never copied whole: positions are worked through in blocks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.errors import UsageError
from core.losses.context import LossContext, Measurement

BLOCK = 1 << 20
"""Logits that are worked on at once: few enough to stay in a processor's cache."""


@dataclass(frozen=True)
class TargetLogits:
    """The target's logits on one batch of token ids, with what every comparison needs of them."""

    logits: Float[Tensor, "N vocab"]
    """At all positions."""
    log_sum: Float[Tensor, "N"]
    """Their log-sum-exp."""
    best: Int[Tensor, "N"]
    """The likeliest token by position."""
    labels: Int[Tensor, "N"]
    """The token that follows; -1 at the last position of a sequence, where none does."""

    @staticmethod
    def of(context: LossContext) -> "TargetLogits":
        """From a batch whose inputs are token ids (B S).

        Raises:
            UsageError: the inputs are not token ids, or the output is not logits at each of them.
        """
        ids = token_ids(context)
        logits = context.target.output
        if logits.shape[:-1] != ids.shape:
            raise UsageError(
                f"next-token metrics need logits at each of the {tuple(ids.shape)} tokens; the target's "
                f"output is {tuple(logits.shape)}.",
                "Leave these metrics out of evaluation.metrics.",
            )
        labels = torch.full_like(ids, -1)
        labels[..., :-1] = ids[..., 1:]
        flat = logits.flatten(0, -2)
        blocks = [
            (part.logsumexp(-1), part.argmax(-1)) for part in (flat[rows].float() for rows in _blocks(flat))
        ]
        log_sum, best = (torch.cat(parts) for parts in zip(*blocks, strict=True))
        return TargetLogits(flat, log_sum, best, labels.flatten())

    def cross_entropy(self) -> Measurement:
        """The target's own cross-entropy of next tokens, in nats."""
        chosen = self.logits.gather(-1, self.labels.clamp(min=0).unsqueeze(-1)).squeeze(-1).float()
        return self._over_labels(self.log_sum - chosen)

    def compare(self, output: Tensor) -> dict[str, Measurement]:
        """`ce`: cross-entropy of next tokens; `kl`: KL(target || output); `top1`: how often both find the
        same token likeliest. Nats, over the positions of the batch (for `ce` those with a next token).
        """
        flat = output.flatten(0, -2)
        kl = torch.zeros((), device=flat.device, dtype=torch.float64)
        same = torch.zeros((), device=flat.device, dtype=torch.int64)
        surprise = torch.empty_like(self.log_sum)
        for rows in _blocks(flat):
            q = flat[rows].float()
            log_q = q - q.logsumexp(-1, keepdim=True)
            log_p = self.logits[rows].float() - self.log_sum[rows].unsqueeze(-1)
            kl += (log_p.exp() * (log_p - log_q)).sum().double()
            same += (q.argmax(-1) == self.best[rows]).sum()
            surprise[rows] = -log_q.gather(-1, self.labels[rows].clamp(min=0).unsqueeze(-1)).squeeze(-1)
        positions = len(self.log_sum)
        return {
            "ce": self._over_labels(surprise),
            "kl": Measurement(kl, positions),
            "top1": Measurement(same.double(), positions),
        }

    def _over_labels(self, surprise: Float[Tensor, "N"]) -> Measurement:
        known = self.labels >= 0
        return Measurement(surprise.double()[known].sum(), int(known.sum()))


def token_ids(context: LossContext) -> Int[Tensor, "B S"]:
    """The token ids of a batch.

    Raises:
        UsageError: its inputs are something else.
    """
    inputs = context.inputs
    ids = inputs.get("input_ids") if isinstance(inputs, Mapping) else inputs
    if not isinstance(ids, Tensor) or ids.is_floating_point() or ids.dim() != 2:
        found = f"{ids.dtype} of shape {tuple(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
        raise UsageError(
            f"next-token metrics need token ids (batch, sequence) as inputs; this target takes {found}.",
            "Leave these metrics out of evaluation.metrics.",
        )
    return ids


def _blocks(flat: Float[Tensor, "N vocab"]) -> Iterator[slice]:
    size = max(1, BLOCK // flat.shape[-1])
    for first in range(0, flat.shape[0], size):
        yield slice(first, first + size)
