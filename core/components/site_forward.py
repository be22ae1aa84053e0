"""What a decomposed module computes under a mask, and a linear layer on activations in factors."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.components.factored import Activation, Factored, dense
from core.components.masks import Mask
from core.components.passes import MaskedPass
from core.components.subcomponents import Site
from core.shapes import PositionValues, Routing


def masked_forward(
    site: Site,
    original: Callable[[Activation], Activation],
    x: Activation,
    mask: Mask,
    passing: MaskedPass,
    factors: bool,
) -> Activation:
    """The output of a replaced module, see `core.components.masks` for the formula.

    Shares activations and output with the target pass where `passing` allows it; `factors` keeps a wide
    output in factors.
    """
    shared = passing.shares(site.name, x)
    gated = mask.gate(passing.acts[site.name] if shared else site.activations(x))
    bias, delta, route = site.bias, mask.delta, mask.route
    if delta is None and route is None and not factors:
        return _plus(gated @ site.U, bias)
    if site.kind != "embedding" and bias is None and site.d_out > site.C + site.d_in:
        wide = _in_factors(site, gated, dense(x), delta, route)
        return wide if factors else wide.dense()
    out = gated @ site.U
    if delta is None and route is None:
        return _plus(out, bias)
    assert not shared or passing.target is not None
    o = dense(passing.target.outputs[site.name] if shared and passing.target else original(x))
    if delta is None:
        out = _plus(out, bias)
    else:
        part = delta.unsqueeze(-1).to(o.dtype)  # without the cast everything after would be float32
        out = torch.addcmul(out, part, o) if bias is None else torch.addcmul(out, part, o - bias) + bias
    return out if route is None else torch.where(route.unsqueeze(-1), out, o)


def _in_factors(
    site: Site, gated: Tensor, x: Tensor, delta: PositionValues | None, route: Routing | None
) -> Factored:
    """The masked output of a site with a wide output, as one product [gated, w x] [U; W^T].

    The module's own output is x W^T, taken with weight w = m_delta where the site is routed and 1 elsewhere.
    """
    if delta is None and route is None:
        return Factored(((gated, site.U),))
    if route is None:
        weight = delta
    else:
        gated = gated * route.unsqueeze(-1)
        weight = torch.where(route, 0.0 if delta is None else delta, 1.0)
    assert weight is not None
    both = torch.cat([gated, weight.unsqueeze(-1) * x], dim=-1)
    return Factored(((both, torch.cat([site.U, site.target_weight().T])),))


def linear_forward(layer: nn.Linear, x: Activation) -> Activation:
    """A linear layer on an activation in factors; without bias, a wide output stays in factors."""
    if isinstance(x, Factored):
        return _plus(x.times(layer.weight.T), layer.bias)
    if layer.bias is None and layer.out_features > layer.in_features:
        return Factored(((x, layer.weight.T),))
    return F.linear(x, layer.weight, layer.bias)


def _plus(out: Tensor, bias: Tensor | None) -> Tensor:
    return out if bias is None else out + bias
