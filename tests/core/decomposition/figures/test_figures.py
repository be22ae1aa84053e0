"""Figures become PNGs of the expected size; matplotlib stays out until one is made, pyplot always."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.decomposition.figures import comparisons, distributions, heatmaps
from core.decomposition.figures.canvas import DPI, new_page, power_of_ten, save, whole_ticks
from core.decomposition.metrics.importance_tally import (
    IMPORTANCE_RANGE,
    PRE_SIGMOID_RANGE,
    ImportanceTally,
    bin_edges,
)
from core.decomposition.metrics.neuron_contributions import neuron_contributions
from core.errors import SpdError
from core.stats.matching import permute_to_identity


def png_size(path: Path) -> tuple[int, int]:
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")


class Run:
    """Made-up results of a decomposition with `n` modules of C subcomponents and 2 by 5 weights."""

    def __init__(self, n: int, C: int) -> None:
        source = torch.Generator().manual_seed(0)
        self.names = [f"layers.{i}" for i in range(n)]
        pre = {m: torch.randn(40, C, generator=source) for m in self.names}
        self.tally = ImportanceTally(0.1)
        self.tally.add({m: p.clamp(0, 1) for m, p in pre.items()}, pre)
        self.lower = {m: p[:5].clamp(0, 1) for m, p in pre.items()}
        self.upper = {m: p[:5].clamp(min=0) for m, p in pre.items()}
        self.orders = {m: permute_to_identity(u) for m, u in self.upper.items()}
        self.V = {m: torch.randn(5, C, generator=source) for m in self.names}
        self.U = {m: torch.randn(C, 2, generator=source) for m in self.names}
        self.cuts = self.tally.live_by_spectrum()


def histograms(run: Run) -> Any:
    tallies = run.tally.modules
    return distributions.importance_histograms(
        {m: t.importance_bins for m, t in tallies.items()},
        bin_edges(IMPORTANCE_RANGE),
        {m: t.pre_bins for m, t in tallies.items()},
        bin_edges(PRE_SIGMOID_RANGE),
    )


def plane(run: Run) -> Any:
    weight = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    return comparisons.plane_vectors(
        {m: comparisons.PlaneModule(weight, run.V[m], run.U[m], run.cuts[m].live) for m in run.names}
    )


def scatter(run: Run) -> Any:
    source = torch.Generator().manual_seed(1)
    embed, mlp_in = torch.randn(5, 9, generator=source), torch.randn(2, 9, generator=source)
    C = run.V[run.names[0]].shape[1]
    V = torch.randn(9, C, generator=source)
    layers = [neuron_contributions(embed, mlp_in, mlp_in.T, embed.T, V, run.U[m]) for m in run.names]
    return comparisons.contribution_scatter(layers)


FIGURES: dict[str, Callable[[Run], Any]] = {
    "histograms": histograms,
    "mean": lambda run: distributions.mean_importance(run.tally.mean_importance(), run.cuts),
    "mean_without_cuts": lambda run: distributions.mean_importance(run.tally.mean_importance()),
    "density": lambda run: distributions.activation_density(run.tally.density(), run.tally.threshold),
    "importances": lambda run: heatmaps.permuted_importances(run.lower, run.upper, run.orders),
    "weights": lambda run: heatmaps.weight_maps(run.V, run.U, run.orders),
    "plane": plane,
    "scatter": scatter,
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize(("n", "C"), [(1, 3), (6, 120)])
def test_every_figure_is_written_in_full(tmp_path: Path, name: str, n: int, C: int) -> None:
    figure = FIGURES[name](Run(n, C))
    save(figure, tmp_path / "figures" / f"{name}.png")
    path = tmp_path / "figures" / f"{name}.png"
    expected = tuple(side * DPI for side in figure.get_size_inches())
    assert png_size(path) == pytest.approx(expected, abs=1)
    assert path.stat().st_size > 5_000
    assert list(path.parent.iterdir()) == [path], "nothing temporary is left"


def test_dead_decompositions_can_be_drawn(tmp_path: Path) -> None:
    run = Run(2, 4)
    tally = ImportanceTally()
    zeros = {m: torch.zeros(10, 4) for m in run.names}
    tally.add(zeros, zeros)
    run.tally, run.cuts = tally, tally.live_by_spectrum()
    run.lower = run.upper = {m: z[:5] for m, z in zeros.items()}
    run.V, run.U = ({m: torch.zeros_like(w) for m, w in side.items()} for side in (run.V, run.U))
    for name, draw in FIGURES.items():
        save(draw(run), tmp_path / f"{name}.png")


def test_axes_are_named() -> None:
    run = Run(2, 6)
    for draw in FIGURES.values():
        figure = draw(run)
        assert figure.texts[0].get_text()
        titled = [axis for axis in figure.axes if axis.get_title(loc="left")]
        assert titled
        assert all(axis.get_xlabel() and axis.get_ylabel() for axis in titled)


def test_heat_map_shows_the_permuted_matrix() -> None:
    run = Run(1, 6)
    name = run.names[0]
    figure = heatmaps.permuted_importances(run.lower, run.upper, run.orders)
    shown = torch.as_tensor(np.asarray(figure.axes[0].images[0].get_array()))
    assert torch.equal(shown, run.lower[name][:, run.orders[name]].double())


def test_rows_are_drawn_where_outputs_are_the_features() -> None:
    run = Run(1, 6)
    name = run.names[0]
    weight = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    module = comparisons.PlaneModule(weight, run.U[name].T, run.V[name].T, torch.ones(6, dtype=torch.bool))
    quiver = comparisons.plane_vectors({name: module}).axes[0].collections[0]
    assert np.asarray(quiver.get_offsets()).shape == (5, 2)
    wide = comparisons.PlaneModule(torch.zeros(3, 5), run.V[name], torch.zeros(6, 3), module.live)
    with pytest.raises(ValueError, match="3 by 5"):
        comparisons.plane_vectors({name: wide})


def test_a_failed_write_leaves_the_old_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SpdError, match="No space"):
        save(new_page(1, 1, "title").figure, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_ticks() -> None:
    assert power_of_ten(0) == "1"
    assert power_of_ten(-12) == "10⁻¹²"
    for count in (1, 5, 20, 400, 5000, 10**6):
        assert 1 <= len(whole_ticks(count)) <= 6
        assert all(0 <= tick < count for tick in whole_ticks(count))


def test_matplotlib_is_loaded_only_to_draw_and_pyplot_never() -> None:
    code = """
import sys
from core.decomposition.figures import canvas, comparisons, distributions, heatmaps
from core.decomposition.metrics import column_match, importance_tally, target_solution, verdict
from core.stats import matching, spectrum
loaded = [m for m in ("matplotlib", "scipy") if m in sys.modules]
assert not loaded, loaded
canvas.new_page(1, 1, "title").figure
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
