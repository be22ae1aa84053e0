"""How the decomposition of a language model goes: curves over training, active subcomponents by layer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.decomposition.figures.canvas import (
    BLUE,
    GREEN,
    GREY,
    INK,
    RED,
    decade_ticks,
    label,
    new_page,
    whole_ticks,
)
from core.decomposition.metrics.layers import by_layer, kind_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODE_COLOURS = {"target": INK, "unmasked": GREY, "ci": BLUE, "stochastic": GREEN, "rounded": RED}
"""Colour of the curve of each kind of mask; the rest have none."""

SHADES = (BLUE, "#7fa8d1", GREEN, "#8fc3a4", RED, "#dd9a94", GREY, "#cdd5dc")
"""Colours of kinds of modules, from the bottom up."""


def training_curves(records: Sequence[Mapping[str, Any]], metric: str) -> "Figure":
    """Cross-entropy, divergence, share of the cross-entropy recovered and L0 against the step.

    `records` are the evaluations of metrics.jsonl, `metric` the name of its cross-entropy metric.
    """
    page = new_page(2, 2, "Evaluations while training")
    panels = (
        ("ce", "cross-entropy of next tokens", "nats", False),
        ("kl", "KL(target || masked)", "nats (log)", True),
        ("ce_recovered", "cross-entropy recovered", "share", False),
    )
    cells = page.cells()
    for axis, (key, title, unit, log) in zip(cells, panels, strict=False):
        curves = {mode: _curve(records, f"eval/{metric}/{key}/{mode}") for mode in MODE_COLOURS}
        for mode, (steps, values) in curves.items():
            if len(steps):
                axis.plot(
                    steps, values, "o-", color=MODE_COLOURS[mode], markersize=2.5, linewidth=1, label=mode
                )
        if log:
            _log(axis, np.concatenate([values for _, values in curves.values()]))
        if key == "ce_recovered":
            # A decomposition at its start may be far worse than no modules at all, which would hide the rest.
            axis.set_ylim(max(axis.get_ylim()[0], -0.5), 1.05)
        label(axis, title, "step", unit)
        if axis.lines:
            axis.legend(fontsize=6.5, frameon=False, labelcolor=INK)
    steps, values = _curve(records, "eval/l0_total")
    cells[-1].plot(steps, values, "o-", color=BLUE, markersize=2.5, linewidth=1)
    _log(cells[-1], values)
    label(cells[-1], "L0: active subcomponents at a token", "step", "subcomponents (log)")
    return page.figure


def l0_bars(l0: Mapping[str, float]) -> "Figure":
    """Mean number of active subcomponents per position of every layer, its modules on top of one another."""
    from matplotlib.patches import Patch

    layers = by_layer(l0)
    page = new_page(
        1, 1, "Active subcomponents by layer", cell=(max(5.0, 0.28 * len(layers)), 2.6), right=1.6
    )
    axis = page.axes[0][0]
    kinds = list(dict.fromkeys(kind_of(name) for name in l0))
    colours = {kind: SHADES[index % len(SHADES)] for index, kind in enumerate(kinds)}
    for place, members in enumerate(layers.values()):
        bottom = 0.0
        for name in members:
            axis.bar(place, l0[name], 0.8, bottom=bottom, color=colours[kind_of(name)])
            bottom += l0[name]
    named = [Patch(color=colours[kind], label=kind) for kind in reversed(kinds)]
    axis.legend(
        handles=named, fontsize=7, frameon=False, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.0, 1.0)
    )
    ticks = list(whole_ticks(len(layers), most=12))
    axis.set_xticks(ticks, [list(layers)[tick] for tick in ticks])
    axis.set_ylim(bottom=0)
    label(axis, f"L0 {sum(l0.values()):.1f} over all layers, by kind of module", "layer", "L0")
    return page.figure


def _curve(records: Sequence[Mapping[str, Any]], key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points = [(record["step"], record[key]) for record in records if record.get(key) is not None]
    both = np.array(points, dtype=np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _log(axis: "Axes", values: NDArray[np.float64]) -> None:
    positive = values[values > 0]
    if len(positive):
        low, high = np.floor(np.log10(positive.min())), np.ceil(np.log10(positive.max()))
        decade_ticks(axis, 10 ** (low - 0.05), 10 ** (max(high, low + 1) + 0.05))
