"""Target weights against subcomponents: arrows in a plane of two hidden dimensions, neuron contributions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from core.decomposition.figures.canvas import BLUE, GREY, INK, RED, array, label, legend, new_page
from core.decomposition.metrics.neuron_contributions import NeuronContributions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PlaneModule:
    """A module with two hidden dimensions, as rows or as columns of its weight."""

    weight: Float[Tensor, "d_out d_in"]
    """The target's weight."""
    V: Float[Tensor, "d_in C"]
    """Subcomponent input factors."""
    U: Float[Tensor, "C d_out"]
    """Subcomponent output factors."""
    live: Bool[Tensor, "C"]
    """Which subcomponents to draw."""


def plane_vectors(modules: Mapping[str, PlaneModule]) -> "Figure":
    """Weight vectors of the target (pale, wide) and of live subcomponents (thin, dark) in the hidden plane.

    Columns of the weight where d_out is 2, rows where only d_in is 2. Of each subcomponent its longest
    vector is drawn, with the index of the subcomponent.

    Raises:
        ValueError: a module has no side of width 2.
    """
    page = new_page(1, len(modules), "Weight vectors in the hidden plane", cell=(3.3, 3.3))
    for (name, module), axis in zip(modules.items(), page.cells(), strict=True):
        target, parts, live = _in_plane(module, name)
        reach = 1.18 * max(float(np.abs(v).max(initial=0.0)) for v in (target, parts)) or 1.0
        _arrows(axis, target, "#bcd3ea", 0.022, head=2.2)
        _arrows(axis, parts, INK, 0.006, head=3.0)
        for index, tip in zip(live, parts, strict=True):
            length = float(np.hypot(*tip)) or 1.0
            place = tip + tip / length * 0.07 * reach
            axis.text(place[0], place[1], str(index), size=7, color=INK, ha="center", va="center")
        for line in (axis.axhline, axis.axvline):
            line(0, color=GREY, linewidth=0.5, zorder=0)
        axis.set_xlim(-reach, reach)
        axis.set_ylim(-reach, reach)
        label(axis, f"{name}: {len(target)} target, {len(live)} live", "hidden 0", "hidden 1")
    legend(page, (("#bcd3ea", 4.0, "target"), (INK, 1.2, "subcomponent")))
    return page.figure


def contribution_scatter(layers: Sequence[NeuronContributions]) -> "Figure":
    """Neuron contributions of the best subcomponent of each feature against the target's, by layer."""
    from matplotlib.ticker import MaxNLocator

    page = new_page(
        1,
        len(layers),
        "Neuron contributions",
        cell=(3.2, 3.2),
    )
    for index, (layer, axis) in enumerate(zip(layers, page.cells(), strict=True)):
        x, y = array(layer.target).ravel(), array(layer.matched).ravel()
        both = np.concatenate([x, y])
        low, high = float(both.min(initial=0.0)), float(both.max(initial=0.0))
        pad = 0.05 * (high - low) or 1.0
        span = (low - pad, high + pad)
        axis.plot(span, span, color=RED, linewidth=0.8, linestyle="--", zorder=3, label="equal")
        axis.plot(x, y, "o", color=BLUE, markersize=2.4, markeredgewidth=0, alpha=0.45, rasterized=True)
        axis.set_xlim(*span)
        axis.set_ylim(*span)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(MaxNLocator(5))
        fit = layer.agreement
        title = f"layer {index}: Pearson {fit.pearson:.4f}, slope {fit.slope:.3f}"
        label(axis, title, "target weights", "best subcomponent of each feature")
    legend(page, ((RED, 0.8, "equal"), (BLUE, 3.0, "feature and neuron")))
    return page.figure


def _in_plane(module: PlaneModule, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64], list[int]]:
    weight, V, U = array(module.weight), array(module.V), array(module.U)
    if weight.shape[0] != 2:
        if weight.shape[1] != 2:
            raise ValueError(f"{name} is {weight.shape[0]} by {weight.shape[1]}; neither side is 2 wide")
        weight, V, U = weight.T, U.T, V.T
    live = module.live.detach().cpu().nonzero().squeeze(1).tolist()
    strongest = np.abs(V).argmax(0)
    parts = np.array([V[strongest[c], c] * U[c] for c in live]).reshape(-1, 2)
    return weight.T, parts, live


def _arrows(axis: "Axes", tips: NDArray[np.float64], colour: str, width: float, head: float) -> None:
    if len(tips) == 0:
        return
    zeros = np.zeros(len(tips))
    axis.quiver(
        zeros,
        zeros,
        tips[:, 0],
        tips[:, 1],
        angles="xy",
        scale_units="xy",
        scale=1,
        width=width,
        headwidth=head,
        headlength=1.3 * head,
        headaxislength=1.2 * head,
        color=colour,
    )
