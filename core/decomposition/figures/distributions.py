"""How causal importances are distributed: histograms, means and firing densities of subcomponents."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from core.decomposition.figures.canvas import (
    BLUE,
    GREEN,
    GREY,
    RED,
    array,
    decade_ticks,
    label,
    new_page,
    power_of_ten,
    whole_ticks,
)
from core.stats.spectrum import SMALLEST_MEAN, SpectrumCut

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def importance_histograms(
    importance: Mapping[str, Tensor],
    importance_edges: Tensor,
    pre: Mapping[str, Tensor] | None = None,
    pre_edges: Tensor | None = None,
) -> "Figure":
    """Histograms of causal importances and, beside them, of the values before the sigmoid.

    Counts by module ([bins]) over shared edges ([bins + 1]), log scale. The end bins of the values before
    the sigmoid hold everything further out.
    """
    columns = 1 if pre is None else 2
    page = new_page(len(importance), columns, "Causal importances over positions and subcomponents")
    for (name, counts), row in zip(importance.items(), page.axes, strict=True):
        _bars(row[0], array(counts), array(importance_edges), BLUE)
        label(row[0], name, "causal importance", "entries")
        if pre is not None and pre_edges is not None:
            _bars(row[1], array(pre[name]), array(pre_edges), GREEN)
            for edge in (0.0, 1.0):
                row[1].axvline(edge, color=GREY, linewidth=0.7, linestyle=":")
            label(row[1], f"{name}, before the sigmoid", "value before the sigmoid", "entries")
    return page.figure


def mean_importance(means: Mapping[str, Tensor], cuts: Mapping[str, SpectrumCut] | None = None) -> "Figure":
    """Mean causal importance of each subcomponent ([C] by module), sorted, linear and log.

    With `cuts` the live subcomponents are coloured, the cut is drawn and the gap's width is given.
    Exact zeros are drawn at the bottom of the log curve, hollow.
    """
    page = new_page(len(means), 2, "Mean causal importance of each subcomponent, sorted")
    for (name, values), row in zip(means.items(), page.axes, strict=True):
        cut = cuts.get(name) if cuts else None
        sorted_values = np.sort(array(values))[::-1]
        live = len(sorted_values) if cut is None else cut.count
        rank = np.arange(1, len(sorted_values) + 1)
        size = float(np.clip(120 / len(rank), 1.5, 4.0))
        shown, zero = _drawable(sorted_values, cut)
        for axis, curve in ((row[0], sorted_values), (row[1], shown)):
            axis.plot(rank[:live], curve[:live], "o", color=BLUE, markersize=size, markeredgewidth=0)
            axis.plot(rank[live:], curve[live:], "o", color=GREY, markersize=size, markeredgewidth=0)
            axis.set_xlim(0.5 - len(rank) / 60, len(rank) + 0.5 + len(rank) / 60)
            axis.set_xticks([max(tick, 1) for tick in whole_ticks(len(rank) + 1)])
        row[1].plot(rank[zero], shown[zero], "o", color="white", markersize=size * 0.6, markeredgewidth=0)
        row[0].set_ylim(bottom=0)
        # Whole decades at both ends: a curve within one decade would otherwise have no tick at all.
        decades = np.log10([shown.min(initial=1.0), shown.max(initial=1e-6)])
        decade_ticks(row[1], 10 ** (np.floor(decades[0]) - 0.2), 10 ** (np.ceil(decades[1]) + 0.2))
        count = f"{name}: {len(rank)} subcomponents" if cut is None else f"{name}: {live} of {len(rank)} live"
        label(row[0], count, "rank", "mean importance")
        label(row[1], _cut_text(cut, bool(zero.any())), "rank", "mean importance (log)")
        if cut is not None and 0 < live < len(rank):
            row[1].axhline(cut.threshold, color=RED, linewidth=0.8, linestyle="--")
    return page.figure


def activation_density(density: Mapping[str, Tensor], threshold: float) -> "Figure":
    """Histogram of how often subcomponents fire ([C] fractions by module), log count.

    Bins are equally wide in the logarithm of the density; subcomponents that never fire have a bar of
    their own at the left.
    """
    columns = min(2, max(len(density), 1))
    rows = -(-max(len(density), 1) // columns)
    page = new_page(rows, columns, f"Firing density: fraction of positions with importance > {threshold:g}")
    cells = page.cells()
    for axis in cells[len(density) :]:
        axis.set_visible(False)
    smallest = min(
        (float(v[v > 0].min()) for v in map(array, density.values()) if (v > 0).any()), default=1e-3
    )
    low = min(np.floor(np.log10(smallest)), -2.0)
    for (name, values), axis in zip(density.items(), cells, strict=False):
        _density_bars(axis, array(values), low)
        silent = int((array(values) == 0).sum())
        label(axis, f"{name}: {silent} of {len(array(values))} never fire", "density (log)", "subcomponents")
    return page.figure


def _density_bars(axis: "Axes", values: NDArray[np.float64], low: float) -> None:
    edges = np.linspace(low, 0, 8 * int(-low) + 1)
    firing = np.log10(values[values > 0])
    counts, _ = np.histogram(np.clip(firing, low, 0), edges)
    width = edges[1] - edges[0]
    axis.bar(edges[:-1], counts, width, align="edge", color=BLUE, edgecolor="white", linewidth=0.3)
    never = low - 0.5
    axis.bar([never], [(values == 0).sum()], 0.3, color=GREY)
    axis.set_yscale("symlog", linthresh=1, linscale=0.5)
    top = max(counts.max(initial=0), (values == 0).sum(), 1)
    ticks = [t for t in (0, 1, 10, 100, 1000, 10000) if t <= top * 3]
    axis.set_yticks(ticks, [str(t) for t in ticks])
    axis.yaxis.minorticks_off()
    axis.set_ylim(0, top * 1.6)
    decades = list(range(int(low), 1))
    axis.set_xticks([never, *decades], ["never", *map(power_of_ten, decades)])
    axis.set_xlim(low - 0.8, 0.1)


def _bars(axis: "Axes", counts: NDArray[np.float64], edges: NDArray[np.float64], colour: str) -> None:
    # One outline instead of a hundred rectangles: ten times quicker to draw.
    axis.stairs(counts, edges, fill=True, color=colour, baseline=0.5)
    decade_ticks(axis, 0.5, max(float(counts.max(initial=1)), 1.0) * 2)
    axis.set_xlim(edges[0], edges[-1])


def _drawable(
    values: NDArray[np.float64], cut: SpectrumCut | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    positive = values[values > 0]
    bottom = positive.min() / 10 if len(positive) else SMALLEST_MEAN
    if cut is not None:
        # Not above the lower edge of the gap, or zeros would stand above the line that cuts them off.
        bottom = min(bottom, cut.threshold / 10 ** (cut.gap_decades / 2))
    zero = values <= 0
    return np.where(zero, bottom, values), zero


def _cut_text(cut: SpectrumCut | None, zeros: bool) -> str:
    note = "; hollow: exactly 0" if zeros else ""
    if cut is None:
        return f"log scale{note}"
    if cut.gap_decades == 0:
        return f"no cliff{note}"
    return f"gap {cut.gap_decades:.1f} decades (next {cut.runner_up_decades:.1f}){note}"
