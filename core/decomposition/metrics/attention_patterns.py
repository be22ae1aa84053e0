"""Whether masked models attend where the target attends: the divergence of attention patterns."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from core.components.factored import dense
from core.decomposition.metrics.attention_heads import AttentionHeads, attention_heads
from core.decomposition.metrics.mask_modes import mode_masks
from core.decomposition.metrics.metric import Metric, no_match
from core.errors import UsageError
from core.losses.context import LossContext, Measurement

BLOCK = 1 << 24
"""Attention weights that are held at once."""

MODES: tuple[Literal["ci", "stochastic"], ...] = ("ci", "stochastic")


class AttentionPatternsMetric(Metric):
    """Mean KL(target || masked) of the rows of causal attention, with importance and stochastic masks.

    One row for each head, query position and sequence. Patterns are made from what the query and key modules
    gave in the target pass and in the masked pass, with the rotation by position of the model itself.
    Reported as `ci/<attention module>`, `stochastic/<attention module>`, and `ci` and `stochastic` over all.
    """

    kind: Literal["attention_patterns"] = "attention_patterns"

    slow: ClassVar[bool] = True

    queries: str = "*q_proj"
    """fnmatch pattern of the query modules; the key module beside each must be decomposed too."""

    keys: str = "*k_proj"
    """fnmatch pattern of the key modules."""

    fused: str = "*c_attn"
    """fnmatch pattern of modules that give queries, keys and values side by side."""

    heads: int | None = Field(default=None, gt=0)
    """Query heads of every attention module; null asks the module."""

    def check(self, name: str, model: nn.Module, sites: list[str]) -> None:
        """Refuse patterns that match nothing, and attention modules that cannot be read."""
        pairs = self.pairs(sites)
        if not pairs:
            missing = f"{self.queries}, {self.keys} or {self.fused}"
            raise no_match(name, "queries", missing, sites)
        for parent, (query, key) in pairs.items():
            if query is None or key is None:
                raise UsageError(
                    f"evaluation.metrics.{name}: of the attention {parent!r} only "
                    f"{query or key!r} is decomposed.",
                    "Decompose queries and keys both, or choose others with `queries` and `keys`.",
                )
            attention_heads(model, parent, self.heads)

    def pairs(self, sites: list[str]) -> dict[str, tuple[str | None, str | None]]:
        """Query and key module of every attention module; the same module twice where they are fused."""
        found: dict[str, tuple[str | None, str | None]] = {}
        for site in sites:
            parent = site.rpartition(".")[0]
            query, key = found.get(parent, (None, None))
            if fnmatchcase(site, self.fused):
                found[parent] = (site, site)
            elif fnmatchcase(site, self.queries):
                found[parent] = (site, key)
            elif fnmatchcase(site, self.keys):
                found[parent] = (query, site)
        return found

    def measure(self, context: LossContext, name: str) -> dict[str, Measurement]:
        """One masked pass for each kind of mask."""
        found: dict[str, Measurement] = {}
        for mode in MODES:
            outputs = context.run(mode_masks(context, mode, name))[1]
            for parent, (query, key) in self.pairs(context.sites).items():
                heads = attention_heads(context.model.target, parent, self.heads)
                wanted = _Projections.of(context.target.outputs, query, key, heads)
                given = _Projections.of(outputs, query, key, heads)
                found[f"{mode}/{parent}"] = pattern_divergence(wanted, given, heads)
            found[mode] = Measurement.merged(
                [part for key, part in found.items() if key.startswith(f"{mode}/")]
            )
        return found


@dataclass(frozen=True)
class _Projections:
    """Queries and keys of one attention module, heads side by side."""

    queries: Float[Tensor, "B S Q"]
    keys: Float[Tensor, "B S K"]

    @staticmethod
    def of(
        outputs: dict[str, Any], query: str | None, key: str | None, heads: AttentionHeads
    ) -> "_Projections":
        assert query is not None and key is not None
        if query != key:
            return _Projections(dense(outputs[query]).float(), dense(outputs[key]).float())
        joined = dense(outputs[query]).float()
        widths = heads.fused_widths(joined.shape[-1])
        queries, keys, _ = joined.split(widths, dim=-1)
        return _Projections(queries, keys)


def pattern_divergence(target: _Projections, masked: _Projections, heads: AttentionHeads) -> Measurement:
    """Sum over rows of KL(target || masked) of causal attention patterns, and the number of rows."""
    batch, length = target.queries.shape[:2]
    size = max(1, BLOCK // (heads.count * length * length))
    hidden = torch.ones(length, length, dtype=torch.bool, device=target.queries.device).triu(1)
    total = torch.zeros((), dtype=torch.float64, device=target.queries.device)
    for first in range(0, batch, size):
        rows = slice(first, first + size)
        log_p, log_q = (
            heads.scores(side.queries[rows], side.keys[rows])
            .masked_fill(hidden, -torch.inf)
            .log_softmax(-1)
            .masked_fill(hidden, 0.0)
            for side in (target, masked)
        )
        weight = log_p.exp().masked_fill(hidden, 0.0)
        total += (weight * (log_p - log_q)).sum().double()
    return Measurement(total, batch * heads.count * length)
