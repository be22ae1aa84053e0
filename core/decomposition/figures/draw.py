"""Which figures a run gets, and where they are saved."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from core.components.component_model import ComponentModel
from core.decomposition.evaluation import Evaluation
from core.decomposition.figures.canvas import save
from core.decomposition.figures.comparisons import PlaneModule, contribution_scatter, plane_vectors
from core.decomposition.figures.distributions import (
    activation_density,
    importance_histograms,
    mean_importance,
)
from core.decomposition.figures.heatmaps import permuted_importances, weight_maps
from core.decomposition.figures.language import l0_bars, training_curves
from core.decomposition.metrics.cross_entropy import CrossEntropyMetric
from core.decomposition.metrics.importance_tally import IMPORTANCE_RANGE, PRE_SIGMOID_RANGE, bin_edges
from core.numerals import grouped
from core.runs.directory import RunDirectory
from core.runs.metrics_log import read_metrics
from core.stats.matching import permute_to_dense, permute_to_identity
from core.targets.target import Target

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODULES_ON_A_PAGE = 8
"""Modules in one figure; more go to further files with a number in their names."""

MODULES_WITH_WEIGHTS = 24
"""Modules in a model beyond which weights are not drawn: nobody looks through so many heat maps."""

LARGEST_DRAWN_WEIGHT = 2_000_000
"""Entries of V or U beyond which a heat map shows nothing that the eye can tell apart, and is left out."""


def draw_figures(
    model: ComponentModel, target: Target, evaluation: Evaluation, run: RunDirectory, step: int
) -> list[Path]:
    """Draw every figure that applies to this target and save it under the run's figures folder.

    Each figure has one file, `figures/<name>.png`, which always shows the latest step it was drawn at.

    Raises:
        SpdError: a figure cannot be written.
    """
    names = list(evaluation.live)
    pages = [names[i : i + MODULES_ON_A_PAGE] for i in range(0, len(names), MODULES_ON_A_PAGE)]
    orders = _orders(evaluation)
    paths: list[Path] = []
    for number, page in enumerate(pages, start=1):
        suffix = "" if len(pages) == 1 else f"_{number}"
        figures = {
            **dict(_distributions(evaluation, page)),
            **dict(_matrices(model, target, evaluation, orders, page)),
        }
        paths += [_save(figure, run, name + suffix, step) for name, figure in figures.items()]
    if evaluation.neurons:
        figure = contribution_scatter(list(evaluation.neurons.values()))
        paths.append(_save(figure, run, "neuron_contributions", step))
    paths += [_save(figure, run, name, step) for name, figure in _language(evaluation, run)]
    return paths


def _language(evaluation: Evaluation, run: RunDirectory) -> "Iterator[tuple[str, Figure]]":
    for name, found in evaluation.metrics.items():
        if isinstance(found.metric, CrossEntropyMetric):
            records = [record for record in read_metrics(run.metrics) if record.get("kind") == "eval"]
            yield "training_curves", training_curves(records, name)
            yield "l0_per_layer", l0_bars(evaluation.tally.l0())
            return


def _distributions(evaluation: Evaluation, page: list[str]) -> "Iterator[tuple[str, Figure]]":
    tally = evaluation.tally
    parts = {name: tally.modules[name] for name in page}
    yield (
        "importance_histograms",
        importance_histograms(
            {name: part.importance_bins for name, part in parts.items()},
            bin_edges(IMPORTANCE_RANGE),
            {name: part.pre_bins for name, part in parts.items()},
            bin_edges(PRE_SIGMOID_RANGE),
        ),
    )
    yield "mean_importance", mean_importance(_only(tally.mean_importance(), page), evaluation.live)
    yield "activation_density", activation_density(_only(tally.density(), page), tally.threshold)


def _matrices(
    model: ComponentModel,
    target: Target,
    evaluation: Evaluation,
    orders: dict[str, Tensor],
    page: list[str],
) -> "Iterator[tuple[str, Figure]]":
    sites = {name: model.sites[name] for name in page}
    if evaluation.probes is not None:
        lower, upper = (_only(side, page) for side in (evaluation.probes.lower, evaluation.probes.upper))
        yield "permuted_importances", permuted_importances(lower, upper, orders)
    small = {n: s for n, s in sites.items() if s.C * max(s.d_in, s.d_out) <= LARGEST_DRAWN_WEIGHT}
    if small and len(evaluation.live) <= MODULES_WITH_WEIGHTS:
        V, U = {n: s.V for n, s in small.items()}, {n: s.U for n, s in small.items()}
        yield "weights", weight_maps(V, U, orders)
    flat = {n: s for n, s in sites.items() if 2 in (s.d_in, s.d_out)}
    if target.name == "toy_superposition" and flat:
        modules = {
            name: PlaneModule(site.target_weight(), site.V, site.U, evaluation.live[name].live)
            for name, site in flat.items()
        }
        yield "weight_vectors", plane_vectors(modules)


def _orders(evaluation: Evaluation) -> dict[str, Tensor]:
    """Column order of every module: from its upper importances on probes, or else by mean importance.

    Upper ones, because lower ones are cut off at 1 and cannot tell a strong subcomponent from a stronger.
    """
    if evaluation.probes is None:
        means = evaluation.tally.mean_importance()
        return {name: values.argsort(descending=True, stable=True) for name, values in means.items()}
    dense = {n for s in evaluation.errors.modules.values() if s.kind == "dense" for n in s.modules}
    return {
        name: permute_to_dense(values) if name in dense else permute_to_identity(values)
        for name, values in evaluation.probes.upper.items()
    }


def _save(figure: "Figure", run: RunDirectory, name: str, step: int) -> Path:
    title = figure.texts[0]
    title.set_text(f"{title.get_text()} (step {grouped(step)})")
    path = run.figure(name)
    save(figure, path)
    return path


def _only(values: dict[str, Tensor], page: list[str]) -> dict[str, Tensor]:
    return {name: values[name] for name in page}
