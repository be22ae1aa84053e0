"""How well subcomponents point along the target's weight vectors: MMCS and ML2R.

Bushnaq, Braun, Sharkey 2025 (arXiv 2506.20790), Table 1 and its appendix on the toy model of superposition.
Subcomponent c is the rank-one matrix outer(U_c, V_c); its column j is U_c V_jc.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class ColumnMatch:
    """Best subcomponent of every weight vector of one module, in float64 on the CPU."""

    cosine: Float[Tensor, "n"]
    """Largest signed cosine over subcomponents, per weight vector; NaN where the target's vector is zero."""
    ratio: Float[Tensor, "n"]
    """Length of that subcomponent's vector over the target's; NaN where the target's vector is zero."""
    best: Int[Tensor, "n"]
    """Index of that subcomponent."""

    @property
    def mmcs(self) -> float:
        """Mean max cosine similarity, over the target's non-zero vectors; 1 is best."""
        return float(self.cosine.nanmean())

    @property
    def ml2r(self) -> float:
        """Mean L2 ratio at the best subcomponent, over the target's non-zero vectors; 1 is best."""
        return float(self.ratio.nanmean())


def match_columns(
    weight: Float[Tensor, "d_out d_in"],
    V: Float[Tensor, "d_in C"],
    U: Float[Tensor, "C d_out"],
    *,
    features: Literal["inputs", "outputs"] = "inputs",
    live: Bool[Tensor, "C"] | None = None,
) -> ColumnMatch:
    """Match the target's columns (`features="inputs"`) or rows (`"outputs"`) with subcomponents.

    Since column j of subcomponent c is U_c scaled by V_jc, its cosine with W_:j is
    sign(V_jc) cos(U_c, W_:j), so nothing of size C d_out d_in is built. Rows are the columns of the
    transposed problem. A zero column has cosine 0 with everything.

    With `live`, only those subcomponents are candidates. In two hidden dimensions a dead one may point the
    right way by chance and win with a meaningless length. If none is live, every cosine and ratio is 0.
    """
    W, V, U = (t.detach().to("cpu", torch.float64) for t in (weight, V, U))
    if features == "outputs":
        W, V, U = W.T, U.T, V.T
    lengths = W.norm(dim=0)
    if live is not None and not bool(live.any()):
        nothing = torch.zeros_like(lengths).masked_fill(lengths == 0, torch.nan)
        return ColumnMatch(nothing, nothing.clone(), torch.zeros(lengths.shape, dtype=torch.int64))
    direction_U = torch.nn.functional.normalize(U, dim=1, eps=torch.finfo(torch.float64).tiny)
    direction_W = W / lengths.clamp_min(torch.finfo(torch.float64).tiny)
    cosines = V.T.sign() * (direction_U @ direction_W)
    if live is not None:
        cosines = cosines.masked_fill(~live.cpu().unsqueeze(1), -torch.inf)
    cosine, best = cosines.max(dim=0)
    reach = U.norm(dim=1)[best] * V.gather(1, best.unsqueeze(1)).squeeze(1).abs()
    zero = lengths == 0
    ratio = (reach / lengths).masked_fill(zero, torch.nan)
    return ColumnMatch(cosine.masked_fill(zero, torch.nan), ratio, best)
