"""Neuron contributions of a residual MLP: how much each neuron works for each feature.

Contribution of neuron n to feature f in one layer: (W_E W_in)[f, n] (W_out W_U)[n, f], what the feature
writes into the neuron times what the neuron writes back into the same feature (arXiv 2506.20790, figures on
residual MLPs). A subcomponent of `mlp_in` has contributions of its own, with its weights in place of W_in.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class NeuronContributions:
    """Contributions in one layer, features by neurons, float64 on the CPU."""

    target: Float[Tensor, "F n"]
    """With the target's input weights."""
    summed: Float[Tensor, "F n"]
    """With the sum of all subcomponents; with a weight delta that sum need not equal the target."""
    matched: Float[Tensor, "F n"]
    """Row f with the one subcomponent that matters most for feature f."""
    best: Int[Tensor, "F"]
    """Index of that subcomponent."""

    @property
    def agreement(self) -> "Agreement":
        """Matched subcomponents against the target, over all features and neurons."""
        return agree(self.target, self.matched)


@dataclass(frozen=True)
class Agreement:
    """Straight line through (target, subcomponent) pairs."""

    pearson: float
    """Correlation; 0 where either side does not vary."""
    slope: float
    """Least-squares slope of subcomponent against target, with intercept; 1 is best."""


def neuron_contributions(
    embed: Float[Tensor, "F d"],
    mlp_in: Float[Tensor, "n d"],
    mlp_out: Float[Tensor, "d n"],
    unembed: Float[Tensor, "d F"],
    V: Float[Tensor, "d C"],
    U: Float[Tensor, "C n"],
    *,
    live: Bool[Tensor, "C"] | None = None,
    chosen: Int[Tensor, "F"] | None = None,
) -> NeuronContributions:
    """Contributions of one layer's target weights and of the subcomponents of its `mlp_in`.

    `mlp_in` and `mlp_out` are linear weights as torch stores them (outputs by inputs); `embed` and
    `unembed` act from the left. The subcomponent of a feature is the one with the longest row of
    contributions (among `live` ones if given), which does not look at the target; `chosen` overrides it.
    Nothing of size F C n is built.
    """
    embed, mlp_in, mlp_out, unembed, V, U = (
        t.detach().to("cpu", torch.float64) for t in (embed, mlp_in, mlp_out, unembed, V, U)
    )
    back = (mlp_out.T @ unembed).T
    read = embed @ V
    if chosen is None:
        strength = read.abs() * (back.square() @ U.square().T).sqrt()
        if live is not None and bool(live.any()):
            strength = strength.masked_fill(~live.cpu(), -1.0)
        best = strength.argmax(dim=1)
    else:
        best = chosen.detach().cpu()
    matched = read.gather(1, best.unsqueeze(1)) * U[best] * back
    return NeuronContributions((embed @ mlp_in.T) * back, (read @ U) * back, matched, best)


def agree(target: Float[Tensor, "*shape"], components: Float[Tensor, "*shape"]) -> Agreement:
    """Correlation and least-squares slope of `components` against `target`, over all entries."""
    x = target.detach().double().flatten()
    y = components.detach().double().flatten()
    x, y = x - x.mean(), y - y.mean()
    product, xx, yy = float(x @ y), float(x @ x), float(y @ y)
    if xx == 0 or yy == 0:
        return Agreement(0.0, 0.0)
    return Agreement(product / (xx * yy) ** 0.5, product / xx)
