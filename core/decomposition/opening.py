"""From settings to a model: building a component model, and opening the one of an earlier run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.components.component_model import ComponentModel
from core.decomposition.checkpoint import load_component_tensors, read_components
from core.decomposition.settings import DecompositionSettings, settings_from
from core.devices import resolve_device
from core.errors import UsageError
from core.runs.directory import RunDirectory
from core.settings import read_yaml
from core.targets.load import load_target
from core.targets.target import ReportFn, Target


def build_model(
    settings: DecompositionSettings,
    target: Target,
    device: torch.device,
    output: Callable[[Any], Tensor] | None = None,
) -> ComponentModel:
    """A fresh component model of `target` on `device`."""
    model = ComponentModel(
        target.model.to(device),
        settings.components,
        settings.importance,
        ties=target.ties,
        output=output,
        seed=settings.seed,
    )
    return model.to(device)


def open_run(
    run: RunDirectory,
    root: Path,
    device: str = "cpu",
    checkpoint: Path | None = None,
    report: ReportFn | None = None,
) -> tuple[ComponentModel, DecompositionSettings, Target]:
    """A run's model at its newest checkpoint, or at the one in the folder `checkpoint`, with its settings and
    target. `report` hears of a target that has to be made again.

    Raises:
        UsageError: no such checkpoint, a damaged one, or a run of a model that only its maker has.
    """
    settings = read_settings(run)
    if settings.target is None:
        raise UsageError(f"run {run.run_id} decomposes a model that was handed to the Python API.", _API_HELP)
    checkpoint = checkpoint or run.latest_checkpoint()
    if checkpoint is None:
        raise UsageError(f"run {run.run_id} has no checkpoint yet.", "Let it run longer, or resume it.")
    target = load_target(settings.target, settings.seed, root, report)
    model = build_model(settings, target, resolve_device(device))
    load_component_tensors(model, read_components(checkpoint)[0], str(checkpoint))
    return model, settings, target


def read_settings(run: RunDirectory) -> DecompositionSettings:
    """The settings a run was made with."""
    return settings_from(read_yaml(run.settings), str(run.settings))


def largest_product(model: ComponentModel, positions: int) -> tuple[int, int, int]:
    """Rows, inner size and columns of the largest matrix product of a step, which decides the precision."""
    sites = [site for site in model.sites.values() if site.kind != "embedding"]
    widths = [(site.d_in, site.C) for site in sites] + [(site.C, site.d_out) for site in sites]
    inner, columns = max(widths, key=lambda pair: pair[0] * pair[1], default=(0, 0))
    return positions, inner, columns


_API_HELP = "Build the same model and call core.decompose on it with resume=True."
