"""Matrices as heat maps: importances on probes and subcomponent weights, in an order one can read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from core.decomposition.figures.canvas import Page, array, colour_bar, label, new_page, whole_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def permuted_importances(
    lower: Mapping[str, Float[Tensor, "F C"]],
    upper: Mapping[str, Float[Tensor, "F C"]],
    orders: Mapping[str, Int[Tensor, "C"]],
) -> "Figure":
    """Importances on probes of one feature each: lower (blue) and upper (red), columns in `orders`.

    Lower importances make the masks, upper ones carry the minimality penalty. A perfect identity is a
    diagonal from the upper left.
    """
    page = _matrix_page(lower, "Causal importance on inputs with one feature each")
    for (name, values), row in zip(lower.items(), page.axes, strict=True):
        order = orders[name].cpu().numpy()
        kinds = (("lower", array(values), "Blues"), ("upper", array(upper[name]), "Reds"))
        for axis, (kind, matrix, colours) in zip(row, kinds, strict=True):
            top = max(1.0, float(matrix.max(initial=1.0)))
            image = _show(axis, matrix[:, order], colours, 0.0, top)
            label(axis, f"{name}, {kind}", "subcomponent (permuted)", "feature")
            colour_bar(axis, image, "importance")
    return page.figure


def weight_maps(
    V: Mapping[str, Float[Tensor, "d_in C"]],
    U: Mapping[str, Float[Tensor, "C d_out"]],
    orders: Mapping[str, Int[Tensor, "C"]],
) -> "Figure":
    """V and U transposed, both with subcomponents as columns in `orders`; red is positive, blue negative."""
    page = _matrix_page(V, "Subcomponent weights")
    for (name, values), row in zip(V.items(), page.axes, strict=True):
        order = orders[name].cpu().numpy()
        sides = (("V", array(values), "input"), ("U", array(U[name]).T, "output"))
        for axis, (symbol, matrix, side) in zip(row, sides, strict=True):
            limit = float(np.abs(matrix).max(initial=0.0)) or 1.0
            image = _show(axis, matrix[:, order], "RdBu_r", -limit, limit)
            label(axis, f"{name}, {symbol}", "subcomponent (permuted)", f"{side} dimension")
            colour_bar(axis, image, "weight")
    return page.figure


def _matrix_page(matrices: Mapping[str, Tensor], title: str) -> Page:
    widest = max((m.shape[1] for m in matrices.values()), default=1)
    width = float(np.clip(0.012 * widest, 3.4, 5.5))
    return new_page(len(matrices), 2, title, cell=(width, 2.0), gap=(1.25, 0.72), right=0.75)


def _show(axis: "Axes", matrix: NDArray[np.float64], colours: str, low: float, high: float) -> Any:
    rows, columns = matrix.shape
    # Cells larger than a pixel need no smoothing; smaller ones must not be skipped over.
    smooth = "antialiased" if max(rows / 200, columns / 350) > 1 else "nearest"
    image = axis.imshow(matrix, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation=smooth)
    axis.set_xticks(list(whole_ticks(columns)))
    axis.set_yticks(list(whole_ticks(rows)))
    for spine in axis.spines.values():
        spine.set_visible(True)
    return image
